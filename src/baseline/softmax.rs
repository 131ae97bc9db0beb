//! The tiling of the softmax kernel. Pure.

use super::SoftmaxTilingData;
use crate::{DType, Error, ErrorKind, Result, Soc};

/// Elements of a chunk: 16 KiB of f32 scores a copy.
const CHUNK_ELEMENTS: u32 = 4096;

/// Widest chunk: the row stride of a vector instruction is 8 bits of 32-byte blocks (dav-c220.md §2.2).
const MAX_CHUNK: u32 = 1024;

/// Most f32 elements of a slice, 96 KiB of UB.
const SLICE_ELEMENTS: u32 = 24 * 1024;

/// Most rows of a slice: the arrays of row values.
const MAX_ROWS: u32 = 64;

/// Most keys: one row has to fit a slice.
pub const MAX_SEQLEN_K: u32 = SLICE_ELEMENTS;

/// Name of the kernel for a mask and P of type `dtype` and scores of type `scores`.
///
/// # Errors
/// `Unsupported` when there is none.
pub fn softmax_kernel_name(dtype: DType, scores: DType) -> Result<&'static str> {
    match (dtype, scores) {
        (DType::F16, DType::F16) => Ok("fa_softmax_f16"),
        (DType::Bf16, DType::Bf16) => Ok("fa_softmax_bf16"),
        (DType::F16, DType::F32) => Ok("fa_softmax_f16_f32"),
        (DType::Bf16, DType::F32) => Ok("fa_softmax_bf16_f32"),
        (DType::F32, DType::F32) => Ok("fa_softmax_f32"),
        _ => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "softmax: dtype = {dtype} with scores = {scores} has no kernel; supported: scores = f32 or \
                     the same type as dtype"
            ),
        )),
    }
}

/// Matrices of scores, `num_heads` of `[rows, cols]` with row pitch `pitch`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scores {
    pub(super) num_heads: u32,
    pub(super) rows: u32,
    pub(super) cols: u32,
    pub(super) pitch: u32,
    pub(super) dtype: DType,
    /// Of P and the mask. With f32, UB has no room for a mask.
    pub(super) dtype_p: DType,
}

/// The tiling for `cols` from 1 to [`MAX_SEQLEN_K`]; no mask where P is f32.
pub(super) fn tiling(scores: Scores, has_mask: bool, softmax_scale: f32, soc: &Soc) -> SoftmaxTilingData {
    let chunk = (scores.cols.div_ceil(64) * 64).min(MAX_CHUNK);
    let whole_row = scores.cols.div_ceil(chunk) * chunk;
    let slice_rows =
        (CHUNK_ELEMENTS / chunk).min(SLICE_ELEMENTS / whole_row).min(MAX_ROWS).clamp(1, scores.rows.max(1));
    let elements = slice_rows * chunk;
    let mut next = 0;
    let mut place = |bytes: u32| {
        let at = next;
        next += bytes;
        at
    };
    let [score_bytes, p_bytes] =
        [scores.dtype, scores.dtype_p].map(|dtype| if dtype == DType::F32 { 4 } else { 2 });
    debug_assert!(!(has_mask && p_bytes == 4), "nothing plans it");
    // Two copies, half a row of banks apart (SpreadRows in fa/row_ops.h).
    let row_blocks = 2 * slice_rows.next_multiple_of(16) * 32 + 512;
    let slices = u64::from(scores.rows.div_ceil(slice_rows)) * u64::from(scores.num_heads);
    let data = SoftmaxTilingData {
        num_heads: scores.num_heads,
        rows: scores.rows,
        cols: scores.cols,
        pitch: scores.pitch,
        chunk,
        slice_rows,
        num_cores: u32::try_from(slices).unwrap_or(u32::MAX).clamp(1, soc.vector_cores),
        has_mask: u32::from(has_mask),
        softmax_scale,
        ub_in_offset_bytes: place(2 * elements * score_bytes),
        ub_mask_offset_bytes: place(if p_bytes == 4 { 0 } else { 2 * elements * 2 }),
        ub_out_offset_bytes: place(2 * elements * p_bytes),
        ub_x_offset_bytes: place(whole_row * slice_rows * 4),
        ub_tmp_offset_bytes: place(elements * 4),
        ub_spread_offset_bytes: place(row_blocks),
        ub_stats_offset_bytes: place(3 * MAX_ROWS * 4),
    };
    debug_assert!(
        next <= soc.core.usable_ub_bytes(),
        "the constants above are chosen so that the sum fits every SoC"
    );
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_fits_ub() {
        let soc = Soc::by_name("Ascend910B4").unwrap();
        for cols in (1..=MAX_SEQLEN_K).step_by(37).chain([1, 63, 64, 65, 1024, 1025, MAX_SEQLEN_K]) {
            for (dtype, dtype_p) in
                [(DType::F16, DType::F16), (DType::F32, DType::F16), (DType::F32, DType::F32)]
            {
                let scores = Scores { num_heads: 3, rows: 100, cols, pitch: cols, dtype, dtype_p };
                let t = tiling(scores, dtype_p == DType::F16, 1.0, soc);
                assert!(t.ub_stats_offset_bytes + 3 * 256 <= soc.core.usable_ub_bytes(), "{t:?}");
                assert!(t.slice_rows >= 1 && t.slice_rows <= MAX_ROWS && t.chunk <= MAX_CHUNK, "{t:?}");
            }
        }
    }
}
