//! A problem with every default filled in, and what the mask means for it.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{DType, Footprint, Mask, Tensor};

/// A problem of forward attention with every default filled in.
///
/// Strides are elements between batches, rows of the sequence and heads; a row's elements are contiguous.
/// They may describe any order of the three (BSND, BNSD, ...). GM copies have byte granularity, so no stride
/// needs an alignment; multiples of 256 elements (512 bytes) are the fastest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Batch size; 0 is legal.
    pub batch: u32,
    /// Heads of q and o.
    pub num_heads: u32,
    /// Heads of k and v; divides `num_heads`.
    pub num_heads_k: u32,
    /// Elements of a row of q and k.
    pub head_dim: u32,
    /// Elements of a row of v and o.
    pub head_dim_v: u32,
    /// Rows of q and o; 0 is legal.
    pub seqlen_q: u32,
    /// Rows of k and v; 0 is legal.
    pub seqlen_k: u32,
    /// Element type of q, k, v and o.
    pub dtype: DType,
    /// Element type in which scores go from the Cube to the vector cores.
    pub score_dtype: DType,
    /// Which keys a row sees.
    pub mask: Mask,
    /// Factor of the scores.
    pub softmax_scale: f32,
    /// Whether the log-sum-exp of the rows is written.
    pub want_lse: bool,
    /// Whether the mean of the keys of a head is subtracted from each before the scores are made.
    pub shift_keys: bool,
    /// Strides of q.
    pub q_stride: [u64; 3],
    /// Strides of k.
    pub k_stride: [u64; 3],
    /// Strides of v.
    pub v_stride: [u64; 3],
    /// Strides of o.
    pub o_stride: [u64; 3],
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "batch {}, num_heads {}, num_heads_k {}, head_dim {}, head_dim_v {}, seqlen_q {}, seqlen_k {}, \
             mask {}, softmax_scale {}, scores {}{}, lse {}",
            self.batch,
            self.num_heads,
            self.num_heads_k,
            self.head_dim,
            self.head_dim_v,
            self.seqlen_q,
            self.seqlen_k,
            self.mask,
            self.softmax_scale,
            self.score_dtype,
            if self.shift_keys { " of shifted keys" } else { "" },
            if self.want_lse { "yes" } else { "no" }
        )
    }
}

/// For planners, which take what becomes a shape.
impl From<&Shape> for Shape {
    fn from(shape: &Shape) -> Self {
        *shape
    }
}

/// Strides of a dense `[batch, seqlen, heads, dim]` tensor (BSND). One that needs more than 64 bits is
/// `u64::MAX`, which no plan takes.
pub fn dense_strides(seqlen: u32, heads: u32, dim: u32) -> [u64; 3] {
    let row = u64::from(heads) * u64::from(dim);
    [row.saturating_mul(u64::from(seqlen)), row, u64::from(dim)]
}

impl Shape {
    /// Keys visible to the left and right of the diagonal, `None` where the limit never hides a key.
    ///
    /// Row `i` sees key `j` iff `i + off - left <= j <= i + off + right` with `off = seqlen_k - seqlen_q`.
    /// The left limit binds for some pair only if it hides key 0 from the last row, the right one only if it
    /// hides the last key from row 0; so what is left is below 2^31 and a kernel with one query row or a wide
    /// window needs no mask step.
    pub fn limits(&self) -> (Option<u32>, Option<u32>) {
        self.mask.limits(self.seqlen_q, self.seqlen_k)
    }

    /// The keys that some row of `rows` sees: exact, clipped to the keys that exist; `0..0` when no row sees
    /// any.
    pub fn visible_keys(&self, rows: Range<u32>) -> Range<u32> {
        let rows = rows.start..rows.end.min(self.seqlen_q);
        if rows.is_empty() {
            return 0..0;
        }
        let (left, right) = self.limits();
        let seqlen_k = i64::from(self.seqlen_k);
        let off = seqlen_k - i64::from(self.seqlen_q);
        let begin = left.map_or(0, |left| i64::from(rows.start) + off - i64::from(left));
        let end = right.map_or(seqlen_k, |right| i64::from(rows.end) + off + i64::from(right));
        let clip = |at: i64| u32::try_from(at.clamp(0, seqlen_k)).unwrap_or(self.seqlen_k);
        match (clip(begin), clip(end)) {
            (begin, end) if begin < end => begin..end,
            _ => 0..0,
        }
    }

    /// Bytes of k and v that one head of them has.
    pub(crate) fn head_k_bytes(&self) -> u64 {
        u64::from(self.seqlen_k)
            * (u64::from(self.head_dim) + u64::from(self.head_dim_v))
            * self.dtype.size_bytes() as u64
    }

    /// An upper bound of the keys that `rows` consecutive rows see.
    pub(crate) fn widest(&self, rows: u32) -> u32 {
        match self.limits() {
            (Some(left), Some(right)) => left.saturating_add(right).saturating_add(rows).min(self.seqlen_k),
            _ => self.seqlen_k,
        }
    }

    /// Bytes that the buffers of q, k, v, o and lse must hold, in this order; `u64::MAX` for more, which no
    /// plan takes.
    pub fn operand_bytes(&self) -> [u64; 5] {
        self.footprints().map(|o| u64::try_from(o.span).unwrap_or(u64::MAX))
    }

    /// q, k, v and o.
    pub(crate) fn tensors(&self) -> [Tensor; 4] {
        let tensor = |name, seqlen: u32, heads: u32, dim: u32, stride, is_output| Tensor {
            name,
            extent: [u64::from(self.batch), u64::from(seqlen), u64::from(heads)],
            dim: u64::from(dim),
            size: self.dtype.size_bytes() as u64,
            stride,
            is_output,
        };
        [
            tensor("q", self.seqlen_q, self.num_heads, self.head_dim, self.q_stride, false),
            tensor("k", self.seqlen_k, self.num_heads_k, self.head_dim, self.k_stride, false),
            tensor("v", self.seqlen_k, self.num_heads_k, self.head_dim_v, self.v_stride, false),
            tensor("o", self.seqlen_q, self.num_heads, self.head_dim_v, self.o_stride, true),
        ]
    }

    /// Of q, k, v, o and lse.
    pub(crate) fn footprints(&self) -> [Footprint; 5] {
        let rows = u128::from(self.batch) * u128::from(self.num_heads) * u128::from(self.seqlen_q);
        let lse = if self.want_lse { 4 * rows } else { 0 };
        let [q, k, v, o] = self.tensors().map(|tensor| tensor.footprint());
        [q, k, v, o, Footprint { span: lse, used: lse }]
    }
}
