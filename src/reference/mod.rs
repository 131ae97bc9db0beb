//! Attention computed the obvious way on the host: the oracle of every test. Slow on purpose.
//!
//! For query row `i` and key `j` of one head, with `off = seqlen_k - seqlen_q`:
//!
//! ```text
//! s[i][j] = softmax_scale * sum_d q[i][d] * k[j][d]           over the keys j that the mask lets row i see
//! lse[i]  = ln sum_j exp(s[i][j])                             natural logarithm
//! o[i][d] = sum_j exp(s[i][j] - lse[i]) * v[j][d]
//! ```
//!
//! - A row that sees no key, or whose every visible score is `-inf`, gives `o = 0` and `lse = -inf`.
//! - A masked key takes no part at all, whatever its k and v hold. The kernel agrees for k. For v it agrees
//!   only where the whole key block is skipped: a masked key inside a visited block has `p = 0`, and `0 * NaN
//!   = NaN` (likewise `0 * inf`), so NaN or infinity in its v row reaches `o` there. FlashAttention's kernels
//!   do the same.
//! - A visible score of NaN or `+inf` makes the row's `o` NaN, and its `lse` NaN, as IEEE arithmetic does
//!   (`inf - inf`). The result never depends on an order of keys.
//! - A score is finite here as long as f64 holds it. The kernel's is infinite when the dot product leaves the
//!   range of f32 (of f16 with scores in f16) before it is scaled, or when the scaled score does.
//!
//! [`attention`] computes in f64. [`same_precision`] is the plain implementation in the dtype of the operands
//! whose own error sets the tolerance: FlashAttention's rule asks that a kernel's error against f64 be at
//! most twice it.

mod exact;
mod merge;
mod same_precision;
#[cfg(test)]
mod tests;

pub use exact::attention;
pub use merge::{merge, merge_same_precision, Part};
pub use same_precision::{same_precision, Element};

use std::ops::{AddAssign, Mul, Range};

use crate::spec::Mask;

/// Sizes and options of a reference computation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// Batch size.
    pub batch: usize,
    /// Heads of q and o.
    pub num_heads: usize,
    /// Heads of k and v; head `h` of q reads head `h / (num_heads / num_heads_k)`.
    pub num_heads_k: usize,
    /// Elements of a row of q and k.
    pub head_dim: usize,
    /// Elements of a row of v and o.
    pub head_dim_v: usize,
    /// Rows of q and o.
    pub seqlen_q: usize,
    /// Rows of k and v.
    pub seqlen_k: usize,
    /// Factor of the scores.
    pub softmax_scale: f64,
    /// Which keys a row sees.
    pub mask: Mask,
}

impl Params {
    /// The keys that query row `i` sees: the definition, on signed numbers wide enough for every shape.
    fn visible(&self, i: usize) -> Range<usize> {
        let own = i as i128 + self.seqlen_k as i128 - self.seqlen_q as i128;
        let (first, last) = match self.mask {
            Mask::None => (None, None),
            Mask::Causal => (None, Some(own)),
            Mask::Window { left, right } => {
                (left.map(|left| own - i128::from(left)), right.map(|right| own + i128::from(right)))
            }
        };
        // Both ends lie between 0 and seqlen_k.
        let clamped =
            |key: i128| usize::try_from(key.max(0)).map_or(self.seqlen_k, |key| key.min(self.seqlen_k));
        let end = last.map_or(self.seqlen_k, |last| clamped(last + 1));
        first.map_or(0, clamped).min(end)..end
    }

    /// Every (batch, head of k), with the heads of q that read it.
    fn groups(&self) -> impl Iterator<Item = (usize, usize, Range<usize>)> {
        let (num_heads_k, group) = (self.num_heads_k, self.num_heads / self.num_heads_k);
        (0..self.batch).flat_map(move |b| (0..num_heads_k).map(move |h| (b, h, h * group..(h + 1) * group)))
    }

    /// Panics with the operand's name when a slice is too short: the oracle's callers are tests.
    fn check<T>(&self, q: &Tensor<'_, T>, k: &Tensor<'_, T>, v: &Tensor<'_, T>) {
        assert!(
            self.num_heads_k > 0 && self.num_heads.is_multiple_of(self.num_heads_k),
            "num_heads = {} is not a multiple of num_heads_k = {}",
            self.num_heads,
            self.num_heads_k
        );
        q.check("q", [self.batch, self.seqlen_q, self.num_heads, self.head_dim]);
        k.check("k", [self.batch, self.seqlen_k, self.num_heads_k, self.head_dim]);
        v.check("v", [self.batch, self.seqlen_k, self.num_heads_k, self.head_dim_v]);
    }
}

/// A `[batch, seqlen, heads, dim]` tensor in a slice; rows of `dim` elements are contiguous.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a, T> {
    /// The elements.
    pub data: &'a [T],
    /// Elements between batches, rows of the sequence, heads.
    pub stride: [usize; 3],
}

impl<'a, T> Tensor<'a, T> {
    /// A dense `[batch, seqlen, heads, dim]` tensor.
    pub fn dense(data: &'a [T], seqlen: usize, heads: usize, dim: usize) -> Self {
        Self { data, stride: [seqlen * heads * dim, heads * dim, dim] }
    }

    fn row(&self, batch: usize, row: usize, head: usize, dim: usize) -> &'a [T] {
        let start = batch * self.stride[0] + row * self.stride[1] + head * self.stride[2];
        &self.data[start..start + dim]
    }

    fn check(&self, name: &str, [batch, seqlen, heads, dim]: [usize; 4]) {
        if batch * seqlen * heads == 0 {
            return;
        }
        let [b, s, h] = self.stride;
        let need = (batch - 1) * b + (seqlen - 1) * s + (heads - 1) * h + dim;
        assert!(
            self.data.len() >= need,
            "{name} has {} elements, its shape and strides need {need}",
            self.data.len()
        );
    }
}

/// Result of a reference computation.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Dense `[batch, seqlen_q, num_heads, head_dim_v]`.
    pub o: Vec<f64>,
    /// Dense `[batch, num_heads, seqlen_q]`, natural logarithm.
    pub lse: Vec<f64>,
}

impl Output {
    fn new(p: &Params) -> Self {
        let rows = p.batch * p.num_heads * p.seqlen_q;
        Self { o: vec![0.0; rows * p.head_dim_v], lse: vec![f64::NEG_INFINITY; rows] }
    }

    /// Stores one row; the only place that knows the two layouts.
    fn set_row(&mut self, p: &Params, [batch, head, i]: [usize; 3], o: &[f64], lse: f64) {
        let start = ((batch * p.seqlen_q + i) * p.num_heads + head) * p.head_dim_v;
        self.o[start..start + p.head_dim_v].copy_from_slice(o);
        self.lse[(batch * p.num_heads + head) * p.seqlen_q + i] = lse;
    }
}

/// Every (batch, head, query row).
fn rows(p: &Params) -> impl Iterator<Item = [usize; 3]> {
    let p = *p;
    (0..p.batch)
        .flat_map(move |b| (0..p.num_heads).flat_map(move |h| (0..p.seqlen_q).map(move |i| [b, h, i])))
}

/// K and V of one head, in the type that is computed in. K lies by columns: so the scores of a row grow side
/// by side, each a sum in ascending order of the index. A loop over keys, with one sum after the other, took
/// three times as long.
struct Head<A> {
    /// `[head_dim, seqlen_k]`.
    k: Vec<A>,
    /// `[seqlen_k, head_dim_v]`.
    v: Vec<A>,
    seqlen_k: usize,
    head_dim_v: usize,
}

impl<A: Copy + Default + AddAssign + Mul<Output = A>> Head<A> {
    fn new<T: Copy>(
        p: &Params,
        [k, v]: [&Tensor<'_, T>; 2],
        [batch, head]: [usize; 2],
        [of_k, of_v]: [&dyn Fn(T) -> A; 2],
    ) -> Self {
        let mut columns = vec![A::default(); p.head_dim * p.seqlen_k];
        let mut values = Vec::with_capacity(p.seqlen_k * p.head_dim_v);
        for j in 0..p.seqlen_k {
            for (d, &k) in k.row(batch, j, head, p.head_dim).iter().enumerate() {
                columns[d * p.seqlen_k + j] = of_k(k);
            }
            values.extend(v.row(batch, j, head, p.head_dim_v).iter().map(|&v| of_v(v)));
        }
        Self { k: columns, v: values, seqlen_k: p.seqlen_k, head_dim_v: p.head_dim_v }
    }

    /// Products of a row of q with the keys `visible`.
    fn products(&self, q: impl Iterator<Item = A>, visible: Range<usize>) -> Vec<A> {
        let mut sums = vec![A::default(); visible.len()];
        for (q, column) in q.zip(self.k.chunks_exact(self.seqlen_k.max(1))) {
            for (sum, &k) in sums.iter_mut().zip(&column[visible.clone()]) {
                *sum += q * k;
            }
        }
        sums
    }

    /// Sum of the rows of v of the keys `visible`, each times its weight.
    fn weighted(&self, weights: &[A], visible: Range<usize>) -> Vec<A> {
        let mut sums = vec![A::default(); self.head_dim_v];
        let rows = self.v[visible.start * self.head_dim_v..].chunks_exact(self.head_dim_v.max(1));
        for (&weight, row) in weights.iter().zip(rows) {
            for (sum, &v) in sums.iter_mut().zip(row) {
                *sum += weight * v;
            }
        }
        sums
    }
}
