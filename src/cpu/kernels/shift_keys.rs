//! Keys less their mean, for f16 scores (`shift_keys.cpp`).

use ascend_sim::engine::Stopped;
use half::f16;

use super::ROW_GRAIN;
use crate::cpu::call::{index, span, Call};
use crate::kernels::operands::ShiftKeysArguments;
use crate::tiling::ShiftKeysTilingData;

/// Rows behind the keys of a head that say what was subtracted.
const MEAN_ROWS: u64 = 16;

/// Any vector may be subtracted, as it changes all scores of a row alike. Scores of this device are f32,
/// which no bias of the keys takes out of range, so it is 0: the keys are copied.
pub(super) fn shift_keys(call: &Call<'_>, list: &[u64]) -> Result<(), Stopped> {
    let gm = call.arguments(list, ShiftKeysArguments::of)?;
    let t: ShiftKeysTilingData = call.tiling(gm.tiling)?;
    let (rows, dim) = (u64::from(t.seqlen_k), u64::from(t.head_dim));
    if t.num_tiles == 0 || t.head_tiles == 0 || t.num_heads_k == 0 {
        return Ok(());
    }
    let (heads_k, heads) = (u64::from(t.num_heads_k), t.num_tiles / u64::from(t.head_tiles));
    let stride = t.k_stride;
    let k_dims = [(heads / heads_k, stride[0]), (rows, stride[1]), (heads_k, stride[2])];
    let k = call.tensor::<f16>("k", gm.k, span(&k_dims, dim))?;
    let has_mean = t.head_stride >= (rows + MEAN_ROWS) * dim;
    let written = if has_mean { rows + MEAN_ROWS } else { rows };
    let shifted =
        call.tensor::<f16>("shifted", gm.shifted, span(&[(heads, t.head_stride)], written * dim))?;
    let width = index(t.head_dim.into());
    call.each(
        heads * written,
        ROW_GRAIN,
        || vec![f16::ZERO; width],
        |keys, i| {
            let (head, row) = (i / written, i % written);
            keys.fill(f16::ZERO);
            if row < rows {
                k.read(head / heads_k * stride[0] + row * stride[1] + head % heads_k * stride[2], keys);
            }
            shifted.write(head * t.head_stride + row * dim, keys);
        },
    );
    Ok(())
}
