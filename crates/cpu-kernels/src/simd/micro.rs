//! Micro-kernels: what stays in registers.

use super::{Left, Simd};
use crate::element::Load;

/// [`Simd::product`] with `M = GROUP` and `N = PANEL / LANES`: `M * N` sums, `N` vectors of `b` and one of
/// `a`.
#[inline(always)]
#[allow(unsafe_code, reason = "checks of each element would cost as much as the products")]
pub(super) fn product<S: Simd, const M: usize, const N: usize>(
    s: S,
    a: Left<'_>,
    b: &[f32],
    c: &mut [f32],
    scale: Option<&[f32]>,
) {
    let mut sums = start::<S, M, N>(s, c, scale);
    let count = a.count::<M>(b.len() / (N * S::LANES));
    for (n, b) in b.chunks_exact(N * S::LANES).enumerate().take(count) {
        let mut row = [s.splat(0.0); N];
        for (j, row) in row.iter_mut().enumerate() {
            *row = s.load(&b[j * S::LANES..]);
        }
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `n` is less than `count`, and `i` less than `M`.
            let a = s.splat(unsafe { *a.elements.get_unchecked(n * a.row + i * a.column) });
            for (sum, row) in sums.iter_mut().zip(&row) {
                *sum = s.fma(a, *row, *sum);
            }
        }
    }
    finish(s, &sums, c);
}

impl Left<'_> {
    /// Rows: `count`, all of whose first `M` elements there are.
    #[inline(always)]
    pub(super) fn count<const M: usize>(&self, count: usize) -> usize {
        let last = count.saturating_sub(1) * self.row + (M - 1) * self.column;
        assert!(last < self.elements.len(), "elements of the left operand");
        count
    }
}

/// `c * scale`, or zeros.
#[inline(always)]
pub(super) fn start<S: Simd, const M: usize, const N: usize>(
    s: S,
    c: &[f32],
    scale: Option<&[f32]>,
) -> [[S::V; N]; M] {
    let mut sums = [[s.splat(0.0); N]; M];
    if let Some(scale) = scale {
        for (sums, c) in sums.iter_mut().zip(c.chunks_exact(N * S::LANES)) {
            for (j, sum) in sums.iter_mut().enumerate() {
                *sum = s.mul(s.load(&c[j * S::LANES..]), s.load(&scale[j * S::LANES..]));
            }
        }
    }
    sums
}

#[inline(always)]
pub(super) fn finish<S: Simd, const M: usize, const N: usize>(s: S, sums: &[[S::V; N]; M], c: &mut [f32]) {
    for (sums, c) in sums.iter().zip(c.chunks_exact_mut(N * S::LANES)) {
        for (j, sum) in sums.iter().enumerate() {
            s.store(&mut c[j * S::LANES..], *sum);
        }
    }
}

/// Products of `K` rows of `T` with `R` rows of `q`, `K * R = 8`: that of row `k` and row `r` is at `k * R +
/// r`. `q` has vector by vector one vector of each row, padded with zeros.
#[inline(always)]
#[allow(unsafe_code, reason = "checks would take as long as the products")]
pub(crate) fn dots<S: Simd, T: Load, const R: usize, const K: usize>(
    s: S,
    q: &[f32],
    rows: [&[T]; K],
) -> [f32; 8] {
    let mut sums = [[s.splat(0.0); R]; K];
    let len = rows[0].len();
    assert!(rows.iter().all(|row| row.len() == len), "rows of one length");
    let whole = len / S::LANES;
    let mut vectors = q.chunks_exact(R * S::LANES);
    for (i, q) in vectors.by_ref().take(whole).enumerate() {
        let mut k = [s.splat(0.0); K];
        for (k, row) in k.iter_mut().zip(rows) {
            // SAFETY: all rows have `whole` vectors, and `i` is less.
            *k = T::load(s, unsafe { row.get_unchecked(i * S::LANES..i * S::LANES + S::LANES) });
        }
        add_products(s, q, k, &mut sums);
    }
    for q in vectors {
        let mut k = [s.splat(0.0); K];
        for (k, row) in k.iter_mut().zip(rows) {
            *k = T::load_tail(s, &row[whole * S::LANES..]);
        }
        add_products(s, q, k, &mut sums);
    }
    let mut flat = [s.splat(0.0); 8];
    for (i, sums) in sums.iter().enumerate() {
        flat[i * R..][..R].copy_from_slice(sums);
    }
    s.sums(flat)
}

#[inline(always)]
fn add_products<S: Simd, const R: usize, const K: usize>(
    s: S,
    q: &[f32],
    k: [S::V; K],
    sums: &mut [[S::V; R]; K],
) {
    for r in 0..R {
        let q = s.load(&q[r * S::LANES..]);
        for (k, sums) in k.iter().zip(sums.iter_mut()) {
            sums[r] = s.fma(*k, q, sums[r]);
        }
    }
}

/// `o = o * scale + sum over keys of p[key] x rows[key]` for `R` rows of `o` and the `W` vectors from element
/// `at` on. Rows of `p` have `R` elements, those of `o` lie `stride` apart. Sums go in the order of the keys.
#[inline(always)]
pub(crate) fn accumulate<S: Simd, T: Load, const R: usize, const W: usize>(
    s: S,
    p: &[f32],
    rows: &[&[T]],
    at: usize,
    o: &mut [f32],
    (stride, scale): (usize, &[f32; R]),
) {
    let mut sums = [[s.splat(0.0); W]; R];
    for (r, sums) in sums.iter_mut().enumerate() {
        for (w, sum) in sums.iter_mut().enumerate() {
            *sum = s.mul(s.load(&o[r * stride + at + w * S::LANES..]), s.splat(scale[r]));
        }
    }
    for (p, row) in p.chunks_exact(R).zip(rows) {
        let mut v = [s.splat(0.0); W];
        if W == 1 && row.len() < at + S::LANES {
            v[0] = T::load_tail(s, &row[at..]);
        } else {
            // One slice of known length: its parts need no checks.
            let from = &row[at..at + W * S::LANES];
            for (w, v) in v.iter_mut().enumerate() {
                *v = T::load(s, &from[w * S::LANES..]);
            }
        }
        for (sums, p) in sums.iter_mut().zip(p) {
            let p = s.splat(*p);
            for (sum, v) in sums.iter_mut().zip(&v) {
                *sum = s.fma(p, *v, *sum);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        for (w, sum) in sums.iter().enumerate() {
            s.store(&mut o[r * stride + at + w * S::LANES..], *sum);
        }
    }
}
