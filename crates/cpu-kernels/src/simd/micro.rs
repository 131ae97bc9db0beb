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
pub(crate) fn dots<S: Simd, T: Load, const R: usize, const K: usize>(
    s: S,
    q: &[f32],
    rows: [&[T]; K],
) -> [f32; 8] {
    let mut flat = [s.splat(0.0); 8];
    dots_in_lanes::<S, T, R, K>(s, q, rows, &mut flat, |_| {});
    s.sums(flat)
}

/// The products in the lanes of vectors, whose sums they are: those of row `k` from `k * R` on. `before` is
/// called before each whole vector of the rows, with its number.
#[inline(always)]
#[allow(unsafe_code, reason = "checks would take as long as the products")]
pub(crate) fn dots_in_lanes<S: Simd, T: Load, const R: usize, const K: usize>(
    s: S,
    q: &[f32],
    rows: [&[T]; K],
    to: &mut [S::V],
    before: impl Fn(usize),
) {
    let mut sums = [[s.splat(0.0); R]; K];
    let len = rows[0].len();
    assert!(rows.iter().all(|row| row.len() == len), "rows of one length");
    let whole = len / S::LANES;
    let mut vectors = q.chunks_exact(R * S::LANES);
    for (i, q) in vectors.by_ref().take(whole).enumerate() {
        before(i);
        add_products(s, q, &mut sums, |k| {
            // SAFETY: all rows have `whole` vectors, and `i` is less.
            T::load(s, unsafe { rows[k].get_unchecked(i * S::LANES..i * S::LANES + S::LANES) })
        });
    }
    for q in vectors {
        add_products(s, q, &mut sums, |k| T::load_tail(s, &rows[k][whole * S::LANES..]));
    }
    for (to, sums) in to.chunks_exact_mut(R).zip(&sums) {
        to.copy_from_slice(sums);
    }
}

/// One vector of each row, loaded as late as it is used: all of them and the sums are more than there are
/// registers.
#[inline(always)]
fn add_products<S: Simd, const R: usize, const K: usize>(
    s: S,
    q: &[f32],
    sums: &mut [[S::V; R]; K],
    load: impl Fn(usize) -> S::V,
) {
    let mut own = [s.splat(0.0); R];
    for (r, own) in own.iter_mut().enumerate() {
        *own = s.load(&q[r * S::LANES..]);
    }
    for (k, sums) in sums.iter_mut().enumerate() {
        let k = load(k);
        for (q, sum) in own.iter().zip(sums) {
            *sum = s.fma(k, *q, *sum);
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
