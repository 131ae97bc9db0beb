//! SiLU and GELU, gated or not (`activation.cpp`).

use ascend_sim::engine::Stopped;

use super::{Real, Row};
use crate::cpu::call::{index, span, Call};
use crate::kernels::operands::ActivationArguments;
use crate::layer::ActivationTilingData;

/// Elements of a row that a thread takes at a time.
const CHUNK: u64 = 2048;

pub(super) fn activation<T: Real>(call: &Call<'_>, list: &[u64]) -> Result<(), Stopped> {
    let gm = call.arguments(list, ActivationArguments::of)?;
    let t: ActivationTilingData = call.tiling(gm.tiling)?;
    let (rows, dim) = (u64::from(t.rows), u64::from(t.dim));
    let rows_at = |name, address, stride| call.tensor::<T>(name, address, span(&[(rows, stride)], dim));
    let (x, y) = (rows_at("x", gm.x, t.x_stride)?, rows_at("y", gm.y, t.y_stride)?);
    let up = (t.is_gated != 0).then(|| rows_at("up", gm.up, t.up_stride)).transpose()?;
    let coefficients = t.coefficients.get(..=index(t.degree.into())).unwrap_or(&t.coefficients);
    let chunks = dim.div_ceil(CHUNK);
    call.each(
        rows * chunks,
        1,
        || (Row::<T>::new(index(CHUNK.min(dim))), Row::<T>::new(index(CHUNK.min(dim)))),
        |(own, other), item| {
            let (row, first) = (item / chunks, item % chunks * CHUNK);
            let cols = index(CHUNK.min(dim - first));
            own.resize(cols);
            other.resize(cols);
            own.read(&x, row * t.x_stride + first);
            for x in &mut own.values {
                let square = (*x * *x).min(t.square_limit);
                let polynomial = coefficients.iter().rev().fold(0.0, |sum, c| sum * square + c);
                *x /= 1.0 + (*x * polynomial).exp();
            }
            if let Some(up) = &up {
                let up = other.read(up, row * t.up_stride + first);
                own.values.iter_mut().zip(up).for_each(|(x, up)| *x *= up);
            }
            own.write(&y, row * t.y_stride + first);
        },
    );
    Ok(())
}
