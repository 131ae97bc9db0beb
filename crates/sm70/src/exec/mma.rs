//! `mma.sync.aligned.m8n8k4` with f16 operands and f32 sums: d = a b + c for each of the four quadpairs of a
//! warp.
//!
//! Quadpair `q` is lanes `4 q .. 4 q + 3` and `16 + 4 q .. 16 + 4 q + 3`; thread `t` of it is lane `4 q + t %
//! 4 + 16 (t / 4)`. PTX ISA 6.4, 9.7.14 "Matrix Fragments for mma.m8n8k4 with .f16 floating point type":
//! thread `t` gives row `t` of a (`.row`), column `t` of b (`.col`) or columns `4 (t / 4) ..` of row `t % 4`
//! of b (`.row`), and gets d number `i` at row `(t & 1) + (i & 2) + 4 (t / 4)`, column `(i & 1) + (t & 2) +
//! (i & 4)`.

use super::Lanes;

/// How the sums of an `mma` are rounded.
///
/// `ASSUMPTION(sm70-mma-sums)`: NVIDIA says only "at least single precision". Products of halves are exact in
/// f32 either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Sums {
    /// c, then the products by increasing k, each sum rounded to the nearest f32.
    #[default]
    Nearest,
    /// All five addends are cut to the 24 bits that count from the largest one's exponent, added exactly,
    /// and the sum is cut to an f32: what Fasi, Higham, Mikaitis and Pranesh ("Numerical behavior of
    /// NVIDIA tensor cores", 2021) measured on a V100.
    Truncated,
}

/// Where thread `t` of a quadpair has element `i` of d and c: row and column.
pub(super) fn place_of_d(t: usize, i: usize) -> (usize, usize) {
    ((t & 1) + (i & 2) + 4 * (t / 4), (i & 1) + (t & 2) + (i & 4))
}

/// Rows of a and columns of b of one quadpair.
type Operand = [[f32; 4]; 8];

/// d for a and b of two words of two halves a lane, and c.
pub(super) fn mma(
    a: [&Lanes<u32>; 2],
    b: [&Lanes<u32>; 2],
    b_is_row: bool,
    c: [&Lanes<u32>; 8],
    sums: Sums,
) -> [Lanes<u32>; 8] {
    let (a, b) = (a.map(halves), b.map(halves));
    let mut d = [[0; 32]; 8];
    for quadpair in 0..4 {
        let lane_of = |t: usize| 4 * quadpair + t % 4 + 16 * (t / 4);
        let mut rows: Operand = [[0.0; 4]; 8];
        let mut columns: Operand = [[0.0; 4]; 8];
        for t in 0..8 {
            for k in 0..4 {
                rows[t][k] = a[k / 2][k % 2][lane_of(t)];
                let (column, depth) = if b_is_row { (4 * (t / 4) + k, t % 4) } else { (t, k) };
                columns[column][depth] = b[k / 2][k % 2][lane_of(t)];
            }
        }
        for t in 0..8 {
            let lane = lane_of(t);
            for i in 0..8 {
                let (row, column) = place_of_d(t, i);
                let start = f32::from_bits(c[i][lane]);
                let products: [f32; 4] = std::array::from_fn(|k| rows[row][k] * columns[column][k]);
                d[i][lane] = match sums {
                    Sums::Nearest => products.iter().fold(start, |sum, product| sum + product).to_bits(),
                    Sums::Truncated => truncated(start, products).to_bits(),
                };
            }
        }
    }
    d
}

/// The low and the high half of each lane's word.
fn halves(words: &Lanes<u32>) -> [Lanes<f32>; 2] {
    [
        std::array::from_fn(|lane| half(words[lane] & 0xffff)),
        std::array::from_fn(|lane| half(words[lane] >> 16)),
    ]
}

/// A half in the low 16 bits. Without branches, so that 32 of them are a few vector instructions.
fn half(bits: u32) -> f32 {
    let magnitude = bits & 0x7fff;
    // The exponent moves from bias 15 to bias 127 by an exact product; subnormal halves become normal numbers
    // by it.
    let finite = f32::from_bits(magnitude << 13) * f32::from_bits(0x7780_0000);
    let special = magnitude << 13 | 0x7f80_0000;
    let value = if magnitude >= 0x7c00 { special } else { finite.to_bits() };
    f32::from_bits(value | (bits & 0x8000) << 16)
}

fn truncated(start: f32, products: [f32; 4]) -> f32 {
    let addends = [start, products[0], products[1], products[2], products[3]];
    if !addends.iter().all(|x| x.is_finite()) {
        return addends.iter().sum();
    }
    let exponent = |x: &f32| (x.to_bits() >> 23 & 255).max(1);
    let largest = addends.iter().map(exponent).max().unwrap_or(1);
    // In units of the last bit of the largest: at most five numbers below 2^24.
    let sum: i32 = addends
        .iter()
        .map(|x| {
            let bits = x.to_bits();
            let mantissa = bits & 0x7f_ffff | u32::from(bits >> 23 & 255 != 0) << 23;
            let cut = mantissa.checked_shr(largest - exponent(x)).unwrap_or(0).cast_signed();
            if bits >> 31 == 1 {
                -cut
            } else {
                cut
            }
        })
        .sum();
    // Cut to 24 bits again, then scaled: both are exact, but for overflow and subnormal sums.
    let excess = (32 - sum.unsigned_abs().leading_zeros()).saturating_sub(24);
    let kept = (sum.unsigned_abs() >> excess << excess).cast_signed();
    let unit = 2_f64.powi(largest.cast_signed() - 150);
    let value = f64::from(if sum < 0 { -kept } else { kept }) * unit;
    #[allow(clippy::cast_possible_truncation, reason = "24 bits fit; beyond the largest f32 it is infinite")]
    let value = value as f32;
    value
}
