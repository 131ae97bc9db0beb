//! The tiling of the kernel that makes one pass over all scores. Pure.

use super::ScorePassTilingData;
use crate::{DType, Error, ErrorKind, Result, Soc};

/// Most elements of a tile: 16 KiB of f16 a copy, and two tiles of everything fit UB.
const TILE_ELEMENTS: u32 = 8192;

/// Most rows of a tile.
const MAX_ROWS: u32 = 512;

/// Name of the kernel that reads scores of type `dtype` and writes them as `dtype_out`.
///
/// # Errors
/// `Unsupported` when there is none.
pub fn score_pass_kernel_name(dtype: DType, dtype_out: DType) -> Result<&'static str> {
    match (dtype, dtype_out) {
        (DType::F16, DType::F16) => Ok("fa_score_pass_f16"),
        (DType::Bf16, DType::Bf16) => Ok("fa_score_pass_bf16"),
        (DType::F16, DType::F32) => Ok("fa_score_pass_f16_f32"),
        (DType::Bf16, DType::F32) => Ok("fa_score_pass_bf16_f32"),
        (DType::F32, DType::F16) => Ok("fa_score_pass_f32_f16"),
        (DType::F32, DType::Bf16) => Ok("fa_score_pass_f32_bf16"),
        _ => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "score_pass: dtype = {dtype} with dtype_out = {dtype_out} has no kernel; supported: f16 or bf16 \
                 to the same type or f32, and f32 to f16 or bf16"
            ),
        )),
    }
}

/// What is done to each score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pass {
    Scale(f32),
    AddMask,
    /// To another type.
    Cast,
}

/// The tiling for `num_heads` matrices of `[rows, cols]` with row pitch `pitch`, from one type to another.
pub(super) fn tiling(
    [num_heads, rows, cols, pitch]: [u32; 4],
    [dtype, dtype_out]: [DType; 2],
    pass: Pass,
    soc: &Soc,
) -> ScorePassTilingData {
    let chunk = cols.next_multiple_of(16).min(TILE_ELEMENTS);
    let tile_rows = (TILE_ELEMENTS / chunk).min(MAX_ROWS).min(rows).max(1);
    let elements = tile_rows * chunk;
    let tiles = u64::from(num_heads) * u64::from(rows.div_ceil(tile_rows)) * u64::from(cols.div_ceil(chunk));
    let is_cast = pass == Pass::Cast;
    let [size, size_out] = [dtype, dtype_out].map(|dtype| if dtype == DType::F32 { 4 } else { 2 });
    let mut next = 0;
    let mut place = |bytes: u32| {
        let at = next;
        next += bytes;
        at
    };
    let data = ScorePassTilingData {
        num_heads,
        rows,
        cols,
        pitch,
        chunk,
        tile_rows,
        num_cores: u32::try_from(tiles).unwrap_or(u32::MAX).clamp(1, soc.vector_cores),
        has_mask: u32::from(pass == Pass::AddMask),
        scale: if let Pass::Scale(scale) = pass { scale } else { 1.0 },
        ub_x_offset_bytes: place(2 * elements * size),
        ub_mask_offset_bytes: place(if is_cast { 0 } else { 2 * elements * size }),
        ub_y_offset_bytes: place(2 * elements * size_out),
        ub_wide_offset_bytes: place(if is_cast { 0 } else { 4 * elements }),
        ub_wide_mask_offset_bytes: place(if is_cast { 0 } else { 4 * elements }),
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
    fn tiles_fit_ub_and_rows_are_whole_blocks() {
        let soc = Soc::by_name("Ascend910B4").unwrap();
        for cols in [1, 15, 16, 17, 100, 8191, 8192, 8193, 24576] {
            for rows in [1, 3, 5000] {
                for (types, pass) in [
                    ([DType::F16; 2], Pass::AddMask),
                    ([DType::Bf16, DType::F32], Pass::Cast),
                    ([DType::F32, DType::F16], Pass::Cast),
                ] {
                    let t = tiling([3, rows, cols, cols], types, pass, soc);
                    let wide_mask = if pass == Pass::Cast { 0 } else { 4 * t.tile_rows * t.chunk };
                    assert!(t.ub_wide_mask_offset_bytes + wide_mask <= soc.core.usable_ub_bytes(), "{t:?}");
                    assert!(t.chunk.is_multiple_of(16) && t.tile_rows <= rows && t.num_cores > 0, "{t:?}");
                    assert!(t.tile_rows == 1 || t.chunk >= cols, "{t:?}");
                }
            }
        }
    }
}
