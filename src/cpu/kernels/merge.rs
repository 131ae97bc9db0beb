//! Merge of partial results by lse (`merge.cpp`).

use ascend_sim::engine::Stopped;

use super::{Real, Row, ROW_GRAIN};
use crate::cpu::call::{index, span, Call, Tensor};
use crate::kernels::operands::MergeArguments;
use crate::merge::MergeTilingData;

/// Parts that lie in one tensor.
struct Source<T> {
    o: Tensor<T>,
    lse: Tensor<f32>,
    /// Strides of o: part, outer axes, inner axis; of lse: part, outer axes.
    stride: ([u64; 4], [u64; 3]),
    parts: u64,
}

fn sources<T: Real>(call: &Call<'_>, t: &MergeTilingData) -> Result<Vec<Source<T>>, Stopped> {
    let extent = t.extent.map(u64::from);
    let mut found = Vec::new();
    for (i, parts) in t.parts_of.iter().enumerate().filter(|(_, parts)| **parts > 0) {
        let parts = u64::from(*parts);
        let (o, lse) = (&t.o_parts_stride[4 * i..], &t.lse_parts_stride[3 * i..]);
        let stride = ([o[0], o[1], o[2], o[3]], [lse[0], lse[1], lse[2]]);
        let dims = |strides: &[u64]| {
            let extents = [parts, extent[0], extent[1], extent[2]];
            extents.into_iter().zip(strides.iter().copied()).collect::<Vec<_>>()
        };
        let o_len = span(&dims(&stride.0), t.dim.into());
        let lse_len = span(&dims(&stride.1), extent[2]);
        let o = call.tensor("a partial o", t.o_parts[i], o_len)?;
        let lse = call.tensor("a partial lse", t.lse_parts[i], lse_len)?;
        found.push(Source { o, lse, stride, parts });
    }
    Ok(found)
}

/// T: of the parts. O: of the result.
pub(super) fn merge<T: Real, O: Real>(call: &Call<'_>, list: &[u64]) -> Result<(), Stopped> {
    let gm = call.arguments(list, MergeArguments::of)?;
    let t: MergeTilingData = call.tiling(gm.tiling)?;
    let [outer0, outer1, inner] = t.extent.map(u64::from);
    let (os, ls) = (t.o_stride, t.lse_stride);
    let o_len = span(&[(outer0, os[0]), (outer1, os[1]), (inner, os[2])], t.dim.into());
    let o = call.tensor::<O>("o", gm.o, o_len)?;
    let lse = call.tensor::<f32>("lse", gm.lse, span(&[(outer0, ls[0]), (outer1, ls[1])], inner))?;
    let sources = sources::<T>(call, &t)?;
    let parts = index(t.num_parts.into());
    let dim = index(t.dim.into());
    let rows = outer0 * outer1 * inner;
    call.each(
        rows,
        ROW_GRAIN,
        || (Row::<T>::new(dim), Row::<O>::new(dim), vec![0.0_f32; parts]),
        |(part, sum, weights), row| {
            let at = [row / inner / outer1, row / inner % outer1, row % inner];
            let places = || sources.iter().flat_map(|s| (0..s.parts).map(move |i| (s, i)));
            for (weight, (s, i)) in weights.iter_mut().zip(places()) {
                let stride = s.stride.1;
                *weight = s.lse.get(i * stride[0] + at[0] * stride[1] + at[1] * stride[2] + at[2]);
            }
            let max = weights.iter().fold(f32::MIN, |max, x| if *x > max || x.is_nan() { *x } else { max });
            weights.iter_mut().for_each(|x| *x = (*x - max).exp());
            let total: f32 = weights.iter().sum();
            sum.values.fill(0.0);
            for (weight, (s, i)) in weights.iter().zip(places()) {
                let stride = s.stride.0;
                let place = i * stride[0] + at[0] * stride[1] + at[1] * stride[2] + at[2] * stride[3];
                let weight = weight / total.max(1.0);
                let part = part.read(&s.o, place);
                sum.values.iter_mut().zip(part).for_each(|(sum, x)| *sum += weight * x);
            }
            sum.write(&o, at[0] * os[0] + at[1] * os[1] + at[2] * os[2]);
            lse.write(at[0] * ls[0] + at[1] * ls[1] + at[2], &[max + total.ln()]);
        },
    );
    Ok(())
}
