//! Fractals of L0A and L0B into the panels of `cube`, widened to the lanes of the arithmetic.

use half::slice::HalfFloatSliceExt;

use super::cube::{Panels, COLS, ROWS};
use super::mmad::{Mad, FRACTAL};

/// Widens a run of bytes, at most one fractal, into lanes.
pub(super) type Unpack<T> = fn(&[u8], &mut [T]);

pub(super) fn pack_a<T: Copy + Default>(bytes: &[u8], mad: &Mad, panels: &mut Panels<T>, unpack: Unpack<T>) {
    // What stays of earlier products is overwritten below, or belongs to rows beyond m, which nobody may read.
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

pub(super) fn pack_b<T: Copy + Default>(bytes: &[u8], mad: &Mad, panels: &mut Panels<T>, unpack: Unpack<T>) {
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
fn turn<T: Copy, const R: usize>(lanes: &[T; FRACTAL], c0: usize, first: usize, out: &mut [[T; R]]) {
    match c0 {
        8 => turn_rows::<T, R, 8>(lanes, first, out),
        16 => turn_rows::<T, R, 16>(lanes, first, out),
        _ => turn_rows::<T, R, 32>(lanes, first, out),
    }
}

/// [`turn`] with the row length known to the compiler, which makes shuffles of it.
fn turn_rows<T: Copy, const R: usize, const C0: usize>(
    lanes: &[T; FRACTAL],
    first: usize,
    out: &mut [[T; R]],
) {
    let rows = &lanes.as_chunks::<C0>().0[first..first + R];
    if let Ok(whole) = <&mut [[T; R]; C0]>::try_from(&mut *out) {
        for (kk, to) in whole.iter_mut().enumerate() {
            *to = std::array::from_fn(|r| rows[r][kk]);
        }
        return;
    }
    for (kk, to) in out.iter_mut().enumerate() {
        *to = std::array::from_fn(|r| rows[r][kk]);
    }
}

pub(super) fn unpack_f16(bytes: &[u8], out: &mut [f32]) {
    let mut values = [half::f16::ZERO; FRACTAL / 2];
    for (value, pair) in values.iter_mut().zip(bytes.chunks_exact(2)) {
        *value = half::f16::from_le_bytes([pair[0], pair[1]]);
    }
    values[..out.len()].convert_to_f32_slice(out);
}

pub(super) fn unpack_bf16(bytes: &[u8], out: &mut [f32]) {
    for (value, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
        *value = f32::from_bits(u32::from(u16::from_le_bytes([pair[0], pair[1]])) << 16);
    }
}

fn unpack_f32(bytes: &[u8], out: &mut [f32]) {
    for (value, word) in out.iter_mut().zip(bytes.chunks_exact(4)) {
        *value = f32::from_le_bytes([word[0], word[1], word[2], word[3]]);
    }
}

pub(super) fn unpack_s8(bytes: &[u8], out: &mut [i32]) {
    for (value, byte) in out.iter_mut().zip(bytes) {
        *value = i32::from(byte.cast_signed());
    }
}

/// CTRL\[46\] turns HF32 on, CTRL\[47\] chooses its rounding (SetHF32Mode, SetHF32TransMode).
pub(super) fn hf32_or_f32(ctrl: u64) -> Unpack<f32> {
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
