//! Softmax of whole rows of scores (`softmax.cpp`), and single passes over them (`score_pass.cpp`).

use ascend_sim::engine::Stopped;

use super::{Real, Row, ROW_GRAIN};
use crate::baseline::{ScorePassTilingData, SoftmaxTilingData};
use crate::cpu::call::{index, span, Call};
use crate::kernels::operands::{ScorePassArguments, SoftmaxArguments};

/// T: of mask and P. S: of the scores.
pub(super) fn softmax<T: Real, S: Real>(call: &Call<'_>, list: &[u64]) -> Result<(), Stopped> {
    let gm = call.arguments(list, SoftmaxArguments::of)?;
    let t: SoftmaxTilingData = call.tiling(gm.tiling)?;
    let (rows, cols, pitch) = (u64::from(t.rows), u64::from(t.cols), u64::from(t.pitch));
    let all = u64::from(t.num_heads) * rows;
    let width = index(t.cols.into());
    let scores = call.tensor::<S>("scores", gm.scores, span(&[(all, pitch)], cols))?;
    let p = call.tensor::<T>("p", gm.p, span(&[(all, pitch)], cols))?;
    let has_mask = t.has_mask != 0;
    let mask =
        has_mask.then(|| call.tensor::<T>("mask", gm.mask, span(&[(rows, cols)], cols))).transpose()?;
    call.each(
        all,
        ROW_GRAIN,
        || (Row::<S>::new(width), Row::<T>::new(width)),
        |(x, out), row| {
            x.read(&scores, row * pitch);
            out.values.fill(0.0);
            if let Some(mask) = &mask {
                out.read(mask, row % rows * cols);
            }
            let masked = x.values.iter().zip(&mut out.values);
            let max = masked.fold(f32::MIN, |max, (x, out)| {
                *out += t.softmax_scale * x;
                // As the chip's: NaN stays.
                if *out > max || out.is_nan() {
                    *out
                } else {
                    max
                }
            });
            out.values.iter_mut().for_each(|x| *x = (*x - max).exp());
            let sum = out.values.iter().sum::<f32>().max(1.0);
            out.values.iter_mut().for_each(|x| *x /= sum);
            out.write(&p, row * pitch);
        },
    );
    Ok(())
}

/// T: of x and mask. U: of y.
pub(super) fn score_pass<T: Real, U: Real>(call: &Call<'_>, list: &[u64]) -> Result<(), Stopped> {
    let gm = call.arguments(list, ScorePassArguments::of)?;
    let t: ScorePassTilingData = call.tiling(gm.tiling)?;
    let (rows, cols, pitch) = (u64::from(t.rows), u64::from(t.cols), u64::from(t.pitch));
    let all = u64::from(t.num_heads) * rows;
    let width = index(t.cols.into());
    let x = call.tensor::<T>("x", gm.x, span(&[(all, pitch)], cols))?;
    let y = call.tensor::<U>("y", gm.y, span(&[(all, pitch)], cols))?;
    let has_mask = t.has_mask != 0;
    let mask =
        has_mask.then(|| call.tensor::<T>("mask", gm.mask, span(&[(rows, cols)], cols))).transpose()?;
    call.each(
        all,
        ROW_GRAIN,
        || (Row::<T>::new(width), Row::<T>::new(width), Row::<U>::new(width)),
        |(from, added, to), row| {
            from.read(&x, row * pitch);
            if let Some(mask) = &mask {
                added.read(mask, row % rows * cols);
                let values = from.values.iter().zip(&added.values);
                to.values.iter_mut().zip(values).for_each(|(to, (x, mask))| *to = x + mask);
            } else {
                // Where the type changes, the factor is 1.
                to.values.iter_mut().zip(&from.values).for_each(|(to, x)| *to = t.scale * x);
            }
            to.write(&y, row * pitch);
        },
    );
    Ok(())
}
