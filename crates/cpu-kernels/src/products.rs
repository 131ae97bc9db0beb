//! Products of rows with rows, `A B^T`: B is read in its own type and in the order of memory.

use half::{bf16, f16};

use crate::element::Load;
use crate::isa::Isa;
use crate::simd::{dots, Op, Simd};

/// Rows that are multiplied at a time: with two rows of B they are 8 sums.
const GROUP: usize = 4;

/// Rows of f32, in the order that products take them in.
#[derive(Clone, Debug)]
pub struct PackedRows {
    isa: Isa,
    rows: usize,
    len: usize,
    /// Group by group; in a group vector by vector one of each row, with zeros behind the ends of rows.
    packed: Vec<f32>,
}

/// Elements of the rows of B.
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    /// IEEE binary16.
    F16(&'a [f16]),
    /// The upper half of a f32.
    Bf16(&'a [bf16]),
    /// IEEE binary32.
    F32(&'a [f32]),
}

impl PackedRows {
    /// Rows of `len` elements, one behind the other.
    ///
    /// # Panics
    /// For a length of 0, and for values that are no whole rows.
    #[must_use]
    pub fn new(isa: Isa, values: &[f32], len: usize) -> Self {
        assert!(len > 0 && values.len().is_multiple_of(len), "whole rows");
        let rows = values.len() / len;
        Self { isa, rows, len, packed: isa.dispatch(Pack { values, len }) }
    }

    /// `out[r, n] = sum over i of a[r, i] * b[n, i]`, in f32; rows of B are as long as these. The order of a
    /// sum depends on nothing but the length.
    ///
    /// # Panics
    /// When B has no whole rows, or `out` not one element for each pair.
    pub fn products(&self, b: Elements<'_>, out: &mut [f32]) {
        match b {
            Elements::F16(b) => self.isa.dispatch(Products { a: self, b, out }),
            Elements::Bf16(b) => self.isa.dispatch(Products { a: self, b, out }),
            Elements::F32(b) => self.isa.dispatch(Products { a: self, b, out }),
        }
    }
}

/// Rows of the group that starts at row `first`: its size is 1, 2 or [`GROUP`].
fn group(first: usize, rows: usize) -> usize {
    (rows - first).min(GROUP).next_power_of_two()
}

struct Pack<'a> {
    values: &'a [f32],
    len: usize,
}

impl Op for Pack<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn call<S: Simd>(self, _: S) -> Vec<f32> {
        let Self { values, len } = self;
        let (rows, mut packed) = (values.len() / len, Vec::new());
        for first in (0..rows).step_by(GROUP) {
            let (group, start) = (group(first, rows), packed.len());
            packed.resize(start + len.div_ceil(S::LANES) * group * S::LANES, 0.0);
            for (r, row) in values[first * len..].chunks_exact(len).take(group).enumerate() {
                for (i, part) in row.chunks(S::LANES).enumerate() {
                    packed[start + (i * group + r) * S::LANES..][..part.len()].copy_from_slice(part);
                }
            }
        }
        packed
    }
}

struct Products<'a, T> {
    a: &'a PackedRows,
    b: &'a [T],
    out: &'a mut [f32],
}

impl<T: Load> Op for Products<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(self, s: S) {
        let Self { a, b, out } = self;
        let count = b.len() / a.len;
        assert!(count * a.len == b.len() && out.len() == a.rows * count, "whole rows, and their products");
        let mut rest = a.packed.as_slice();
        for first in (0..a.rows).step_by(GROUP) {
            let group = group(first, a.rows);
            let (own, behind) = rest.split_at(a.len.div_ceil(S::LANES) * group * S::LANES);
            rest = behind;
            let rows = group.min(a.rows - first);
            let out = &mut out[first * count..][..rows * count];
            match group {
                1 => run::<S, T, 1, 8>(s, own, b, a.len, out),
                2 => run::<S, T, 2, 4>(s, own, b, a.len, out),
                _ => run::<S, T, GROUP, 2>(s, own, b, a.len, out),
            }
        }
    }
}

/// A group of `R` rows with `K` rows of B at a time; where fewer are left the last one comes several times.
#[inline(always)]
fn run<S: Simd, T: Load, const R: usize, const K: usize>(
    s: S,
    a: &[f32],
    b: &[T],
    len: usize,
    out: &mut [f32],
) {
    let count = b.len() / len;
    for first in (0..count).step_by(K) {
        let mut rows = [&b[..0]; K];
        for (k, row) in rows.iter_mut().enumerate() {
            *row = &b[(first + k).min(count - 1) * len..][..len];
        }
        let sums = dots::<S, T, R, K>(s, a, rows);
        for k in 0..K.min(count - first) {
            for (r, out) in out.chunks_exact_mut(count).enumerate() {
                out[first + k] = sums[k * R + r];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against f64: a sum of n products of values below 1 is off by at most n^2 2^-24.
    #[test]
    fn products_are_those_of_f64_on_every_instruction_set() {
        let mut rng = fastrand::Rng::with_seed(11);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            for (rows, len, count) in
                [(1, 1, 1), (1, 64, 17), (2, 33, 9), (3, 100, 5), (5, 16, 8), (15, 71, 3)]
            {
                let mut value = || f16::from_f32(rng.f32() - 0.5);
                let a: Vec<f32> = (0..rows * len).map(|_| value().to_f32()).collect();
                let b: Vec<f16> = (0..count * len).map(|_| value()).collect();
                let mut out = vec![f32::NAN; rows * count];
                PackedRows::new(isa, &a, len).products(Elements::F16(&b), &mut out);
                for (at, own) in out.iter().enumerate() {
                    let (row, other) = (&a[at / count * len..], &b[at % count * len..]);
                    let pairs = row.iter().zip(other).take(len);
                    let sum: f64 = pairs.map(|(a, b)| f64::from(*a) * f64::from(b.to_f32())).sum();
                    let bound = (len * len) as f64 * 2f64.powi(-24);
                    let error = (f64::from(*own) - sum).abs();
                    assert!(error <= bound, "{isa}, {rows} x {len} x {count}: {own}, {sum}");
                }
                // Each row has the same bits alone, and so has each row of B.
                for (row, all) in out.chunks_exact(count).enumerate() {
                    let alone = PackedRows::new(isa, &a[row * len..][..len], len);
                    for (other, all) in all.iter().enumerate() {
                        let mut own = [f32::NAN];
                        alone.products(Elements::F16(&b[other * len..][..len]), &mut own);
                        assert_eq!(own[0].to_bits(), all.to_bits());
                    }
                }
                let wide: Vec<f32> = b.iter().map(|x| x.to_f32()).collect();
                let mut same = vec![f32::NAN; rows * count];
                PackedRows::new(isa, &a, len).products(Elements::F32(&wide), &mut same);
                assert_eq!(same, out, "another type");
            }
        }
    }
}
