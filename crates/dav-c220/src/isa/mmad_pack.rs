//! Fractals of L0A and L0B into the panels of `cube`, widened to the lanes of the arithmetic.

use super::cube::{Panels, COLS, ROWS};
use super::mmad::{Mad, FRACTAL};
use super::vec_wide::Repeated;
use crate::access::Stop;

impl<T> Panels<T> {
    /// Takes the memory that packing both operands needs.
    ///
    /// # Errors
    /// When the host has none.
    pub(super) fn make_room(&mut self, mad: &Mad) -> Result<(), Stop> {
        let (a, b) = (mad.m.div_ceil(ROWS) * mad.k, mad.n1 * mad.k);
        let a = self.a.try_reserve(a.saturating_sub(self.a.len()));
        let b = self.b.try_reserve(b.saturating_sub(self.b.len()));
        a.and(b).map_err(|_| Stop::no_memory("the operands of a matrix product"))
    }
}

/// Packs both operands. `unpack` widens a run of bytes, at most one fractal, into lanes.
pub(super) struct PackPanels<'a, T, U> {
    pub(super) a: &'a [u8],
    pub(super) b: &'a [u8],
    pub(super) mad: &'a Mad,
    pub(super) panels: &'a mut Panels<T>,
    pub(super) unpack: U,
}

impl<T: Copy + Default, U: Fn(&[u8], &mut [T])> Repeated for PackPanels<'_, T, U> {
    #[inline(always)]
    fn run(self) {
        pack_a(self.a, self.mad, self.panels, &self.unpack);
        pack_b(self.b, self.mad, self.panels, &self.unpack);
    }
}

#[inline(always)]
fn pack_a<T: Copy + Default>(
    bytes: &[u8],
    mad: &Mad,
    panels: &mut Panels<T>,
    unpack: &impl Fn(&[u8], &mut [T]),
) {
    // What stays of earlier products is overwritten below, or belongs to rows beyond m, which nobody may
    // read.
    panels.a.resize(mad.m.div_ceil(ROWS) * mad.k, [T::default(); ROWS]);
    let size = mad.elem.bytes();
    let mut lanes = [T::default(); FRACTAL];
    if mad.is_vector() {
        for (piece, out) in bytes.chunks(FRACTAL).zip(panels.a.chunks_mut(FRACTAL / size)) {
            unpack(piece, &mut lanes[..out.len()]);
            for (column, x) in out.iter_mut().zip(&lanes) {
                column[0] = *x;
            }
        }
        return;
    }
    let c0 = 32 / size;
    for mb in 0..mad.m1 {
        for kb in 0..mad.k1 {
            let at = (mb * mad.k1_stored + kb) * FRACTAL;
            unpack(&bytes[at..at + FRACTAL], &mut lanes[..16 * c0]);
            let (from, to) = (kb * c0, mad.k.min((kb + 1) * c0));
            let groups = (mad.m - mb * 16).min(16).div_ceil(ROWS);
            for group in 0..groups {
                let panel = (mb * 16 / ROWS + group) * mad.k;
                turn(&lanes, c0, group * ROWS, &mut panels.a[panel + from..panel + to]);
            }
        }
    }
}

#[inline(always)]
fn pack_b<T: Copy + Default>(
    bytes: &[u8],
    mad: &Mad,
    panels: &mut Panels<T>,
    unpack: &impl Fn(&[u8], &mut [T]),
) {
    panels.b.resize(mad.n1 * mad.k, [T::default(); COLS]);
    let c0 = 32 / mad.elem.bytes();
    let mut lanes = [T::default(); FRACTAL];
    for (i, fractal) in bytes.chunks_exact(FRACTAL).enumerate() {
        let (kb, nb) = (i / mad.n1, i % mad.n1);
        unpack(fractal, &mut lanes[..16 * c0]);
        let (from, to) = (nb * mad.k + kb * c0, nb * mad.k + mad.k.min((kb + 1) * c0));
        turn(&lanes, c0, 0, &mut panels.b[from..to]);
    }
}

/// `out[kk][r]` becomes element (first + r, kk) of a fractal whose rows have `c0` elements.
#[inline(always)]
fn turn<T: Copy, const R: usize>(lanes: &[T; FRACTAL], c0: usize, first: usize, out: &mut [[T; R]]) {
    match c0 {
        8 => turn_rows::<T, R, 8>(lanes, first, out),
        16 => turn_rows::<T, R, 16>(lanes, first, out),
        _ => turn_rows::<T, R, 32>(lanes, first, out),
    }
}

/// [`turn`] with the row length known to the compiler, which makes shuffles of it. Plain loops:
/// `array::from_fn` is at times left as a call, compiled without the vectors of the caller.
#[inline(always)]
fn turn_rows<T: Copy, const R: usize, const C0: usize>(
    lanes: &[T; FRACTAL],
    first: usize,
    out: &mut [[T; R]],
) {
    let rows = &lanes.as_chunks::<C0>().0[first..first + R];
    if let Ok(whole) = <&mut [[T; R]; C0]>::try_from(&mut *out) {
        for (kk, to) in whole.iter_mut().enumerate() {
            for (x, row) in to.iter_mut().zip(rows) {
                *x = row[kk];
            }
        }
        return;
    }
    for (kk, to) in out.iter_mut().enumerate() {
        for (x, row) in to.iter_mut().zip(rows) {
            *x = row[kk];
        }
    }
}

#[inline(always)]
pub(super) fn unpack_f16(bytes: &[u8], out: &mut [f32]) {
    for (value, pair) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *value = widened(u16::from_le_bytes(*pair));
    }
}

/// f16 to f32 without a branch, so that loops vectorise. A signalling NaN becomes quiet, as with the host's
/// instruction.
#[inline(always)]
fn widened(half: u16) -> f32 {
    /// 2^-14, the smallest normal f16, and the difference of the exponents' biases in place.
    const SMALLEST: u32 = 113 << 23;
    const BIAS: u32 = 112 << 23;
    let (sign, magnitude) = (u32::from(half & 0x8000) << 16, u32::from(half & 0x7fff) << 13);
    let normal = magnitude + BIAS;
    // Exact: the fraction of a subnormal number stands behind an implied one, which is taken off again.
    let subnormal = (f32::from_bits(magnitude + SMALLEST) - f32::from_bits(SMALLEST)).to_bits();
    let quiet = if magnitude > 0x7c00 << 13 { 1 << 22 } else { 0 };
    let special = magnitude | 0x7f80_0000 | quiet;
    let finite = if magnitude < 0x0400 << 13 { subnormal } else { normal };
    f32::from_bits(sign | if magnitude >= 0x7c00 << 13 { special } else { finite })
}

#[inline(always)]
pub(super) fn unpack_bf16(bytes: &[u8], out: &mut [f32]) {
    for (value, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
        *value = f32::from_bits(u32::from(u16::from_le_bytes([pair[0], pair[1]])) << 16);
    }
}

#[inline(always)]
fn unpack_f32(bytes: &[u8], out: &mut [f32]) {
    for (value, word) in out.iter_mut().zip(bytes.chunks_exact(4)) {
        *value = f32::from_le_bytes([word[0], word[1], word[2], word[3]]);
    }
}

#[inline(always)]
pub(super) fn unpack_s8(bytes: &[u8], out: &mut [i32]) {
    for (value, byte) in out.iter_mut().zip(bytes) {
        *value = i32::from(byte.cast_signed());
    }
}

/// CTRL\[46\] turns HF32 on, CTRL\[47\] chooses its rounding (SetHF32Mode, SetHF32TransMode).
pub(super) fn hf32_or_f32(ctrl: u64) -> fn(&[u8], &mut [f32]) {
    match ctrl >> 46 & 0b11 {
        0b01 => |bytes, out| unpack_hf32(bytes, out, |bits| 0xfff + (bits >> 13 & 1)),
        0b11 => |bytes, out| unpack_hf32(bytes, out, |_| 0xfff),
        _ => unpack_f32,
    }
}

/// HF32 keeps 10 bits of mantissa: to nearest, ties to even or towards zero, by what `round` adds below them.
fn unpack_hf32(bytes: &[u8], out: &mut [f32], round: impl Fn(u32) -> u32) {
    unpack_f32(bytes, out);
    for value in out.iter_mut().filter(|x| x.is_finite()) {
        let bits = value.to_bits();
        *value = f32::from_bits(bits.wrapping_add(round(bits)) & !0x1fff);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All f16 values, against the conversion of the `half` crate.
    #[test]
    fn widening_equals_that_of_the_host() {
        for bits in 0..=u16::MAX {
            let want = half::f16::from_bits(bits).to_f32();
            // The quiet bit of a NaN is set by the host's instruction, not by the portable path of `half`.
            let quiet = u32::from(want.is_nan()) << 22;
            assert_eq!(widened(bits).to_bits(), want.to_bits() | quiet, "{bits:#x}");
        }
    }
}
