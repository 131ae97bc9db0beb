//! Index of the largest element of each row (`argmax.cpp`).

use ascend_sim::engine::Stopped;

use super::{Real, Row};
use crate::cpu::call::{index, span, Call};
use crate::kernels::operands::ArgmaxArguments;
use crate::layer::ArgmaxTilingData;

pub(super) fn argmax<T: Real>(call: &Call<'_>, list: &[u64]) -> Result<(), Stopped> {
    let gm = call.arguments(list, ArgmaxArguments::of)?;
    let t: ArgmaxTilingData = call.tiling(gm.tiling)?;
    let (rows, dim) = (u64::from(t.rows), u64::from(t.dim));
    let x = call.tensor::<T>("x", gm.x, span(&[(rows, t.x_stride)], dim))?;
    let indices = call.tensor::<i32>("index", gm.index, Some(rows))?;
    call.each(
        rows,
        1,
        || Row::<T>::new(index(dim)),
        |own, row| {
            let first = first_largest(own.read(&x, row * t.x_stride));
            indices.write(row, &[i32::try_from(first).unwrap_or(i32::MAX)]);
        },
    );
    Ok(())
}

/// NaN is larger than every number.
fn first_largest(row: &[f32]) -> usize {
    let largest = row.iter().fold(f32::NEG_INFINITY, |max, x| if *x > max || x.is_nan() { *x } else { max });
    let is_it = |x: &f32| *x == largest || (largest.is_nan() && x.is_nan());
    row.iter().position(is_it).unwrap_or(0)
}
