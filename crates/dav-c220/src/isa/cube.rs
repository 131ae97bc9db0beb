//! The Cube's arithmetic: operands unpacked once into panels, then C computed in tiles held in registers.
//!
//! Every path performs the same scalar operations in the same order and never fuses a multiply with an add,
//! so the bits of the result do not depend on the host.
#![allow(unsafe_code, reason = "functions compiled for instruction sets that only some hosts have")]

/// Rows of C that one tile holds. A tile is `ROWS` x 16: 4 registers with AVX-512, 8 with AVX2.
pub(super) const ROWS: usize = 4;
/// Columns of a tile: the width of an L0C fractal.
pub(super) const COLS: usize = 16;
/// Bytes of a tile in L0C, where four rows of a fractal are contiguous.
const TILE_BYTES: usize = ROWS * COLS * 4;

/// A tile of C.
type Tile<T> = [[T; COLS]; ROWS];

/// Unpacked operands: `a[p * k + kk][r]` is A\[4p + r, kk\], `b[nb * k + kk][c]` is B\[kk, 16nb + c\].
#[derive(Debug, Default)]
pub(super) struct Panels<T> {
    pub(super) a: Vec<[T; ROWS]>,
    pub(super) b: Vec<[T; COLS]>,
}

/// How products become an element of C.
pub(super) trait Summation {
    /// Element of the panels.
    type Lane: Copy + Default;
    /// Element of C.
    type Out: Copy;

    fn from_bytes(bytes: [u8; 4]) -> Self::Out;
    fn to_bytes(value: Self::Out) -> [u8; 4];
    /// Adds the products of all `k` columns of `a` and rows of `b` to the tile.
    fn add(&self, tile: &mut Tile<Self::Out>, a: &[[Self::Lane; ROWS]], b: &[[Self::Lane; COLS]]);
}

/// `CubeAccumulate::F32Sequential`: each product and each sum rounded to f32, in increasing k.
pub(super) struct Sequential;

/// `CubeAccumulate::FractalExact`: the products of one k-fractal of that many columns summed in f64, rounded
/// once.
pub(super) struct FractalExact(pub(super) usize);

/// Products of 8-bit integers: exact within one instruction, then added to C with wrap-around or saturation.
pub(super) struct Integer {
    pub(super) saturate: bool,
}

/// One NaN for all hosts: which operand's payload survives differs between instruction sets.
#[inline(always)]
fn canonical(value: f32) -> [u8; 4] {
    if value.is_nan() { f32::NAN } else { value }.to_le_bytes()
}

impl Summation for Sequential {
    type Lane = f32;
    type Out = f32;

    #[inline(always)]
    fn from_bytes(bytes: [u8; 4]) -> f32 {
        f32::from_le_bytes(bytes)
    }

    #[inline(always)]
    fn to_bytes(value: f32) -> [u8; 4] {
        canonical(value)
    }

    #[inline(always)]
    fn add(&self, tile: &mut Tile<f32>, a: &[[f32; ROWS]], b: &[[f32; COLS]]) {
        let mut sum = *tile;
        for (column, row) in a.iter().zip(b) {
            for (line, x) in sum.iter_mut().zip(column) {
                for (s, y) in line.iter_mut().zip(row) {
                    *s += x * y;
                }
            }
        }
        *tile = sum;
    }
}

impl Summation for FractalExact {
    type Lane = f32;
    type Out = f32;

    #[inline(always)]
    fn from_bytes(bytes: [u8; 4]) -> f32 {
        f32::from_le_bytes(bytes)
    }

    #[inline(always)]
    fn to_bytes(value: f32) -> [u8; 4] {
        canonical(value)
    }

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "this rounding is the model")]
    fn add(&self, tile: &mut Tile<f32>, a: &[[f32; ROWS]], b: &[[f32; COLS]]) {
        for (columns, rows) in a.chunks(self.0).zip(b.chunks(self.0)) {
            let mut sum = [[0f64; COLS]; ROWS];
            for (column, row) in columns.iter().zip(rows) {
                for (line, x) in sum.iter_mut().zip(column) {
                    for (s, y) in line.iter_mut().zip(row) {
                        *s += f64::from(*x) * f64::from(*y);
                    }
                }
            }
            for (line, exact) in tile.iter_mut().zip(&sum) {
                for (c, s) in line.iter_mut().zip(exact) {
                    *c += *s as f32;
                }
            }
        }
    }
}

impl Summation for Integer {
    type Lane = i32;
    type Out = i32;

    #[inline(always)]
    fn from_bytes(bytes: [u8; 4]) -> i32 {
        i32::from_le_bytes(bytes)
    }

    #[inline(always)]
    fn to_bytes(value: i32) -> [u8; 4] {
        value.to_le_bytes()
    }

    #[inline(always)]
    fn add(&self, tile: &mut Tile<i32>, a: &[[i32; ROWS]], b: &[[i32; COLS]]) {
        // At most 4095 products of at most 2^14: the sum of one instruction cannot overflow.
        let mut sum = [[0i32; COLS]; ROWS];
        for (column, row) in a.iter().zip(b) {
            for (line, x) in sum.iter_mut().zip(column) {
                for (s, y) in line.iter_mut().zip(row) {
                    *s = s.wrapping_add(x.wrapping_mul(*y));
                }
            }
        }
        for (line, more) in tile.iter_mut().zip(&sum) {
            for (c, s) in line.iter_mut().zip(more) {
                *c = if self.saturate { c.saturating_add(*s) } else { c.wrapping_add(*s) };
            }
        }
    }
}

/// Adds A x B to C. `c` holds `n1` strips of `m1` fractals as L0C does; rows of A are those that the panels
/// have.
pub(super) fn multiply<S: Summation>(sum: &S, k: usize, m1: usize, panels: &Panels<S::Lane>, c: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the host has AVX-512F, the only requirement of the function.
            return unsafe { sweep_avx512(sum, k, m1, panels, c) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the host has AVX2, the only requirement of the function.
            return unsafe { sweep_avx2(sum, k, m1, panels, c) };
        }
    }
    sweep(sum, k, m1, panels, c);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn sweep_avx512<S: Summation>(sum: &S, k: usize, m1: usize, panels: &Panels<S::Lane>, c: &mut [u8]) {
    sweep(sum, k, m1, panels, c);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sweep_avx2<S: Summation>(sum: &S, k: usize, m1: usize, panels: &Panels<S::Lane>, c: &mut [u8]) {
    sweep(sum, k, m1, panels, c);
}

/// Strip by strip, so that one panel of B stays in the first-level cache of the host.
#[inline(always)]
fn sweep<S: Summation>(sum: &S, k: usize, m1: usize, panels: &Panels<S::Lane>, c: &mut [u8]) {
    for (b, strip) in panels.b.chunks_exact(k).zip(c.chunks_exact_mut(m1 * 1024)) {
        for (a, bytes) in panels.a.chunks_exact(k).zip(strip.chunks_exact_mut(TILE_BYTES)) {
            // Plain loops: `array::from_fn` is at times left as a call.
            let mut tile: Tile<S::Out> = [[S::from_bytes([0; 4]); COLS]; ROWS];
            for (value, raw) in tile.as_flattened_mut().iter_mut().zip(bytes.as_chunks::<4>().0) {
                *value = S::from_bytes(*raw);
            }
            sum.add(&mut tile, a, b);
            for (out, value) in bytes.chunks_exact_mut(4).zip(tile.as_flattened()) {
                out.copy_from_slice(&S::to_bytes(*value));
            }
        }
    }
}

#[cfg(test)]
pub(super) mod paths {
    //! Each compiled path by name, so that tests compare their bits.
    use super::*;

    type Path<S> = fn(&S, usize, usize, &Panels<<S as Summation>::Lane>, &mut [u8]);

    fn portable<S: Summation>(sum: &S, k: usize, m1: usize, panels: &Panels<S::Lane>, c: &mut [u8]) {
        sweep(sum, k, m1, panels, c);
    }

    #[cfg(target_arch = "x86_64")]
    fn avx2<S: Summation>(sum: &S, k: usize, m1: usize, panels: &Panels<S::Lane>, c: &mut [u8]) {
        assert!(is_x86_feature_detected!("avx2"));
        // SAFETY: asserted above.
        unsafe { sweep_avx2(sum, k, m1, panels, c) }
    }

    /// The portable path first.
    pub(in super::super) fn all<S: Summation>() -> Vec<(&'static str, Path<S>)> {
        let mut list: Vec<(&'static str, Path<S>)> = vec![("portable", portable), ("dispatched", multiply)];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            list.push(("avx2", avx2));
        }
        list
    }
}
