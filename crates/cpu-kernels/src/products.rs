//! Products of rows with rows, `A B^T`: B is read where it lies, in its own type and in the order of memory.

use half::{bf16, f16};

use crate::element::Load;
use crate::isa::Isa;
use crate::simd::{dots_in_lanes, Op, Simd};

/// Rows of A that are multiplied at a time: with two rows of B they are 8 sums.
const GROUP: usize = 4;

/// Bytes between what is multiplied and what is asked for meanwhile.
const AHEAD_BYTES: usize = 8192;

/// Elements.
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    /// IEEE binary16.
    F16(&'a [f16]),
    /// The upper half of a f32.
    Bf16(&'a [bf16]),
    /// IEEE binary32.
    F32(&'a [f32]),
}

/// Some rows of a matrix.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    elements: Elements<'a>,
    count: usize,
    len: usize,
    stride: usize,
}

/// Rows in f32, in the order that products take them in.
#[derive(Clone, Debug)]
pub struct PackedRows {
    isa: Isa,
    count: usize,
    len: usize,
    /// Group by group; in a group vector by vector one of each row, with zeros behind the ends of rows.
    packed: Vec<f32>,
}

impl Elements<'_> {
    fn len(&self) -> usize {
        match self {
            Self::F16(all) => all.len(),
            Self::Bf16(all) => all.len(),
            Self::F32(all) => all.len(),
        }
    }
}

impl<'a> Rows<'a> {
    /// `count` rows of `len` elements, each `stride` elements behind the one before.
    ///
    /// # Panics
    /// When `elements` has not all of them.
    #[must_use]
    pub fn new(elements: Elements<'a>, [count, len, stride]: [usize; 3]) -> Self {
        let last = count.checked_sub(1).map_or(Some(0), |last| last.checked_mul(stride)?.checked_add(len));
        let has = elements.len();
        assert!(
            last.is_some_and(|end| end <= has),
            "{count} rows of {len}, {stride} apart, in {has} elements"
        );
        Self { elements, count, len, stride }
    }
}

impl PackedRows {
    /// Packs rows for `isa`.
    #[must_use]
    pub fn new(isa: Isa, rows: Rows<'_>) -> Self {
        let packed = match rows.elements {
            Elements::F16(all) => isa.dispatch(Pack { all, rows }),
            Elements::Bf16(all) => isa.dispatch(Pack { all, rows }),
            Elements::F32(all) => isa.dispatch(Pack { all, rows }),
        };
        Self { isa, count: rows.count, len: rows.len, packed }
    }

    /// `out[r, n] = sum over i of a[r, i] * b[n, i]`, in f32. The order of a sum depends on nothing but the
    /// length of rows.
    ///
    /// # Panics
    /// When rows of B have another length, or `out` not one element for each pair.
    pub fn products(&self, b: Rows<'_>, out: &mut [f32]) {
        assert!(
            b.len == self.len && out.len() == self.count * b.count,
            "rows of one length, and their products"
        );
        match b.elements {
            Elements::F16(all) => self.isa.dispatch(Products { a: self, all, b, out }),
            Elements::Bf16(all) => self.isa.dispatch(Products { a: self, all, b, out }),
            Elements::F32(all) => self.isa.dispatch(Products { a: self, all, b, out }),
        }
    }
}

/// Rows of the group that starts at row `first`: its size is 1, 2 or [`GROUP`].
fn group(first: usize, rows: usize) -> usize {
    (rows - first).min(GROUP).next_power_of_two()
}

struct Pack<'a, T> {
    all: &'a [T],
    rows: Rows<'a>,
}

impl<T: Load> Op for Pack<'_, T> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn call<S: Simd>(self, s: S) -> Vec<f32> {
        let Self { all, rows: Rows { count, len, stride, .. } } = self;
        let vectors = len.div_ceil(S::LANES);
        let groups = (0..count).step_by(GROUP).map(|first| group(first, count));
        let mut packed = vec![0.0; groups.sum::<usize>() * vectors * S::LANES];
        for first in (0..count).step_by(GROUP) {
            let group = group(first, count);
            let own = &mut packed[first * vectors * S::LANES..][..group * vectors * S::LANES];
            for r in 0..group.min(count - first) {
                let row = &all[(first + r) * stride..][..len];
                for (i, part) in row.chunks(S::LANES).enumerate() {
                    let part = if part.len() < S::LANES { T::load_tail(s, part) } else { T::load(s, part) };
                    s.store(&mut own[(i * group + r) * S::LANES..], part);
                }
            }
        }
        packed
    }
}

struct Products<'a, T> {
    a: &'a PackedRows,
    all: &'a [T],
    b: Rows<'a>,
    out: &'a mut [f32],
}

impl<T: Load> Op for Products<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(self, s: S) {
        let Self { a, all, b, out } = self;
        let vectors = a.len.div_ceil(S::LANES);
        for first in (0..a.count).step_by(GROUP) {
            let group = group(first, a.count);
            let own = &a.packed[first * vectors * S::LANES..][..group * vectors * S::LANES];
            let out = &mut out[first * b.count..][..group.min(a.count - first) * b.count];
            match group {
                1 => run::<S, T, 1, 4>(s, own, (all, b), out),
                2 => run::<S, T, 2, 4>(s, own, (all, b), out),
                _ => run::<S, T, GROUP, 2>(s, own, (all, b), out),
            }
        }
    }
}

/// A group of `R` rows with `8 / R` rows of B, of which `K` are read side by side. Where fewer are left the
/// last one comes several times.
#[inline(always)]
fn run<S: Simd, T: Load, const R: usize, const K: usize>(
    s: S,
    a: &[f32],
    (all, b): (&[T], Rows<'_>),
    out: &mut [f32],
) {
    let row_bytes = (b.stride * size_of::<T>()).max(1);
    let ahead = AHEAD_BYTES.div_ceil(row_bytes).next_multiple_of(K) * row_bytes;
    for first in (0..b.count).step_by(8 / R) {
        let mut sums = [s.splat(0.0); 8];
        for (i, sums) in sums.chunks_exact_mut(K * R).enumerate() {
            let mut rows = [&all[..0]; K];
            for (k, row) in rows.iter_mut().enumerate() {
                *row = &all[(first + i * K + k).min(b.count - 1) * b.stride..][..b.len];
            }
            dots_in_lanes::<S, T, R, K>(s, a, rows, sums, |i| {
                for row in rows {
                    s.prefetch(row.as_ptr().wrapping_add(i * S::LANES).cast::<u8>().wrapping_add(ahead));
                }
            });
        }
        let sums = s.sums(sums);
        for k in 0..(8 / R).min(b.count - first) {
            for (r, out) in out.chunks_exact_mut(b.count).enumerate() {
                out[first + k] = sums[k * R + r];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(isa: Isa, values: &[f32], len: usize) -> PackedRows {
        PackedRows::new(isa, Rows::new(Elements::F32(values), [values.len() / len, len, len]))
    }

    /// Against f64: a sum of n products of values below 1 is off by at most n^2 2^-24.
    #[test]
    fn products_are_those_of_f64_on_every_instruction_set() {
        let mut rng = fastrand::Rng::with_seed(11);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            for (rows, len, count) in
                [(1, 1, 1), (1, 64, 17), (2, 33, 9), (3, 100, 5), (5, 16, 8), (15, 71, 3), (4, 2, 1)]
            {
                let stride = len + 3;
                let mut value = || f16::from_f32(rng.f32() - 0.5);
                let a: Vec<f32> = (0..rows * len).map(|_| value().to_f32()).collect();
                // What lies between the rows is NaN, and is not read.
                let is_own = |at: &usize| at % stride < len;
                let b: Vec<f16> =
                    (0..count * stride - 3).map(|at| if is_own(&at) { value() } else { f16::NAN }).collect();
                let all = Rows::new(Elements::F16(&b), [count, len, stride]);
                let mut out = vec![f32::NAN; rows * count];
                packed(isa, &a, len).products(all, &mut out);
                for (at, own) in out.iter().enumerate() {
                    let (row, other) = (&a[at / count * len..], &b[at % count * stride..]);
                    let pairs = row.iter().zip(other).take(len);
                    let sum: f64 = pairs.map(|(a, b)| f64::from(*a) * f64::from(b.to_f32())).sum();
                    let bound = (len * len) as f64 * 2f64.powi(-24);
                    let error = (f64::from(*own) - sum).abs();
                    assert!(error <= bound, "{isa}, {rows} x {len} x {count}: {own}, {sum}");
                }
                // Each row has the same bits alone, and so has each row of B.
                for (row, all) in out.chunks_exact(count).enumerate() {
                    let alone = packed(isa, &a[row * len..][..len], len);
                    for (other, all) in all.iter().enumerate() {
                        let mut own = [f32::NAN];
                        let b = Rows::new(Elements::F16(&b[other * stride..]), [1, len, stride]);
                        alone.products(b, &mut own);
                        assert_eq!(own[0].to_bits(), all.to_bits());
                    }
                }
                let wide: Vec<f32> = b.iter().map(|x| x.to_f32()).collect();
                let mut same = vec![f32::NAN; rows * count];
                packed(isa, &a, len)
                    .products(Rows::new(Elements::F32(&wide), [count, len, stride]), &mut same);
                assert_eq!(same, out, "another type");
                let narrow: Vec<f16> = a.iter().map(|x| f16::from_f32(*x)).collect();
                let rows = Rows::new(Elements::F16(&narrow), [rows, len, len]);
                PackedRows::new(isa, rows).products(all, &mut same);
                assert_eq!(same, out, "another type of A");
            }
        }
    }

    #[test]
    #[should_panic(expected = "2 rows of 4, 5 apart, in 8 elements")]
    fn rows_lie_inside() {
        let _ = Rows::new(Elements::F32(&[0.0; 8]), [2, 4, 5]);
    }
}
