//! Tiling-mask: which keys a row sees, and the M-mask from which the vector cores cut the mask of a block.
//!
//! No mask of the size of the scores exists anywhere. Blocks of scores that no row sees are skipped, blocks
//! that every row sees whole run unmasked, and a block on a diagonal takes a window of one fixed M-mask
//! (FastAttention's tiling-mask).
//!
//! The M-mask has `2M` rows of `2M` bits; bit `b` of row `a` is 1 (visible) iff `b <= a`. Let a slice's row
//! `i` see its column `j` iff `j <= i + d`. The window that starts at row `a0` and bit `b0` holds at `(i, j)`
//! whether `b0 + j <= a0 + i`, so it is the slice's mask iff `a0 - b0 = d`. [`window`] takes `b0` as 0 or M,
//! never in between, so that a row of the window starts on a byte; `|d| <= M` and slices of at most M x M
//! keep it inside the M-mask.
//!
//! A left window is a second diagonal: row `i` sees column `j` iff `j >= i + d_left`, which is the complement
//! of the window of `d_left - 1`. Both together: `window(d_right) AND NOT window(d_left - 1)`.

/// M of the M-mask that the operators use: the largest block of keys, as in CANN's fixed 2048 x 2048 mask.
pub const MASK_DIM: u32 = 1024;

/// Where a window starts in the M-mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First row.
    pub row: u32,
    /// First bit of a row: 0 or M.
    pub column: u32,
}

/// The M-mask: `2M` rows of `2M` bits, least significant bit first in each byte, bit `b` of row `a` set iff
/// `b <= a`.
///
/// # Panics
/// When `mask_dim` is not a multiple of 4, as a row would not be whole bytes.
pub fn m_mask(mask_dim: u32) -> Vec<u8> {
    assert!(mask_dim.is_multiple_of(4), "mask_dim = {mask_dim} is not a multiple of 4");
    let row_bytes = mask_dim / 4;
    (0..2 * mask_dim)
        .flat_map(|row| {
            (0..row_bytes).map(move |byte| match (row + 1).saturating_sub(8 * byte) {
                0 => 0,
                ones @ 1..=7 => (1u8 << ones) - 1,
                _ => 0xFF,
            })
        })
        .collect()
}

/// The window for a slice of at most `mask_dim` rows and columns whose row `i` sees column `j` iff `j <= i +
/// d`.
///
/// `d` beyond `mask_dim` either way is clipped: such a slice is seen whole or not at all, and so is the
/// clipped window.
pub fn window(d: i64, mask_dim: u32) -> Window {
    let below = u32::try_from(d.unsigned_abs()).map_or(mask_dim, |d| d.min(mask_dim));
    if d > 0 {
        Window { row: below, column: 0 }
    } else {
        Window { row: mask_dim - below, column: mask_dim }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bit(mask: &[u8], mask_dim: u32, row: u32, column: u32) -> bool {
        let bit = row as usize * 2 * mask_dim as usize + column as usize;
        mask[bit / 8] >> (bit % 8) & 1 == 1
    }

    #[test]
    fn m_mask_is_the_lower_triangle() {
        // M = 4: 8 rows of one byte, written out.
        assert_eq!(m_mask(4), [0x01, 0x03, 0x07, 0x0F, 0x1F, 0x3F, 0x7F, 0xFF]);
        let full = m_mask(MASK_DIM);
        assert_eq!(full.len(), 512 * 1024);
        for (row, column) in
            [(0, 0), (0, 1), (7, 7), (7, 8), (8, 8), (1023, 1024), (1024, 1024), (2047, 2047)]
        {
            assert_eq!(bit(&full, MASK_DIM, row, column), column <= row, "({row}, {column})");
        }
    }

    #[test]
    fn every_window_equals_the_rule() {
        const M: u32 = 16;
        let mask = m_mask(M);
        for d in -3 * i64::from(M)..=3 * i64::from(M) {
            let w = window(d, M);
            assert!([0, M].contains(&w.column), "{d}: column {}", w.column);
            for i in 0..M {
                for j in 0..M {
                    assert_eq!(
                        bit(&mask, M, w.row + i, w.column + j),
                        i64::from(j) <= i64::from(i) + d,
                        "d = {d}, row {i}, column {j}"
                    );
                }
            }
        }
        assert_eq!(window(i64::MAX, M), Window { row: M, column: 0 });
        assert_eq!(window(i64::MIN, M), Window { row: 0, column: M });
    }

    #[test]
    fn two_windows_make_a_band() {
        const M: u32 = 16;
        let mask = m_mask(M);
        for (d_left, d_right) in [(-5, 3), (0, 0), (4, 9), (-30, -2), (-40, 40)] {
            let (right, left) = (window(d_right, M), window(d_left - 1, M));
            for i in 0..M {
                for j in 0..M {
                    let seen = bit(&mask, M, right.row + i, right.column + j)
                        && !bit(&mask, M, left.row + i, left.column + j);
                    let distance = i64::from(j) - i64::from(i);
                    assert_eq!(seen, (d_left..=d_right).contains(&distance), "row {i}, column {j}");
                }
            }
        }
    }
}
