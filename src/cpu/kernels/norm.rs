//! RMSNorm and LayerNorm (`norm.cpp`).

use ascend_sim::engine::Stopped;

use super::{Real, Row, ROW_GRAIN};
use crate::cpu::call::{index, span, Call};
use crate::kernels::operands::NormArguments;
use crate::layer::NormTilingData;

/// Sums that run beside each other, so that the host's vector unit adds them.
const SUMS: usize = 16;

fn sum_of(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = values.as_chunks::<SUMS>();
    let mut sums = [0.0_f32; SUMS];
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += of(*x));
    }
    sums.iter().sum::<f32>() + rest.iter().map(|x| of(*x)).sum::<f32>()
}

/// T: of x and y. W: of weight and bias. R: of r and h.
pub(super) fn norm<T: Real, W: Real, R: Real>(call: &Call<'_>, list: &[u64]) -> Result<(), Stopped> {
    let gm = call.arguments(list, NormArguments::of)?;
    let t: NormTilingData = call.tiling(gm.tiling)?;
    let (rows, dim) = (u64::from(t.rows), u64::from(t.dim));
    let span = |stride| span(&[(rows, stride)], dim);
    let x = call.tensor::<T>("x", gm.x, span(t.x_stride))?;
    let y = call.tensor::<T>("y", gm.y, span(t.y_stride))?;
    let residual = match t.has_residual {
        0 => None,
        _ => Some((
            call.tensor::<R>("r", gm.r, span(t.r_stride))?,
            call.tensor::<R>("h", gm.h, span(t.h_stride))?,
        )),
    };
    let column = |name, address| -> Result<Vec<f32>, Stopped> {
        let mut row = Row::<W>::new(index(dim));
        row.read(&call.tensor(name, address, Some(dim))?, 0);
        Ok(row.values)
    };
    let weight = column("weight", gm.weight)?;
    let bias = (t.has_bias != 0).then(|| column("bias", gm.bias)).transpose()?;
    call.each(
        rows,
        ROW_GRAIN,
        || (Row::<T>::new(index(dim)), Row::<R>::new(index(dim))),
        |(own, other), row| {
            own.read(&x, row * t.x_stride);
            if let Some((r, h)) = &residual {
                other.read(r, row * t.r_stride);
                other.values.iter_mut().zip(&own.values).for_each(|(sum, x)| *sum += x);
                other.write(h, row * t.h_stride);
                std::mem::swap(&mut own.values, &mut other.values);
            }
            if t.is_centred != 0 {
                let mean = sum_of(&own.values, |x| x) * t.inverse_dim;
                own.values.iter_mut().for_each(|x| *x -= mean);
            }
            let square = sum_of(&own.values, |x| x * x) * t.inverse_dim;
            let scale = 1.0 / (square + t.eps).sqrt();
            own.values.iter_mut().zip(&weight).for_each(|(x, weight)| *x = *x * scale * weight);
            if let Some(bias) = &bias {
                own.values.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
            }
            own.write(&y, row * t.y_stride);
        },
    );
    Ok(())
}
