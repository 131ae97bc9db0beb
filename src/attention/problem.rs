//! What to compute, as the caller says it.

use std::fmt;

use crate::spec::{dense_strides, spec_builders, AttentionSpec, Mask, Reason, Shape};
use crate::tiling::MAX_HEAD_DIM;
use crate::{DType, Soc};

/// Order of the dimensions of dense tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layout {
    /// `[batch, seqlen, num_heads, head_dim]`.
    #[default]
    Bsnd,
    /// `[batch, num_heads, seqlen, head_dim]`.
    Bnsd,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layout::Bsnd => "bsnd",
            Layout::Bnsd => "bnsd",
        })
    }
}

impl Layout {
    fn strides(self, seqlen: u32, heads: u32, dim: u32) -> [u64; 3] {
        match self {
            Layout::Bsnd => dense_strides(seqlen, heads, dim),
            Layout::Bnsd => {
                let [batch, head, row] = dense_strides(heads, seqlen, dim);
                [batch, row, head]
            }
        }
    }
}

/// A problem of the forward operator: `o = softmax(softmax_scale * q k^T, masked) v`.
///
/// | field | default | meaning |
/// | --- | --- | --- |
/// | `spec.dtype` | | of q, k, v and o: f16 or bf16; sums are in f32 |
/// | `batch`, `seqlen_q`, `spec.num_heads`, `spec.head_dim` | | shape of q; `head_dim` is a multiple of 16 up to 256 |
/// | `seqlen_k` | `seqlen_q` | rows of k and v; 0 is legal and gives `o = 0`, `lse = -inf` |
/// | `spec.num_heads_k` | `num_heads` | heads of k and v; head `h` of q reads head `h / (num_heads / num_heads_k)` |
/// | `spec.head_dim_v` | `head_dim` | row of v and o |
/// | `spec.score_dtype` | f32 | type in which scores go from the Cube to the vector cores, see [`Problem::with_score_dtype`] |
/// | `spec.mask` | [`Mask::None`] | a description, never a tensor |
/// | `spec.softmax_scale` | `1 / sqrt(head_dim)` | factor of the scores; it does not bring back a `q k^T` that left the range of f32 |
/// | `layout` | [`Layout::Bsnd`] | order of dense tensors |
/// | `q_stride` ... `o_stride` | by `layout` | elements between batches, rows, heads; a row's elements are contiguous |
/// | `want_lse` | `false` | also write `lse`, f32 `[batch, num_heads, seqlen_q]`, natural logarithm |
/// | `shift_keys` | `false` | with scores in f16: subtract the mean of the keys first, see [`Problem::with_shifted_keys`] |
///
/// ```
/// use fastattention::attention::{Mask, Problem};
/// use fastattention::{DType, Soc};
///
/// let problem = Problem::new(DType::F16, [1, 2048, 32, 128]).with_num_heads_k(8).with_mask(Mask::Causal);
/// let plan = fastattention::attention::plan(&problem, Soc::by_name("Ascend910B2")?)?;
/// println!("{plan}");
/// # Ok::<(), fastattention::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Problem {
    /// Types, heads, mask and scale.
    pub spec: AttentionSpec,
    /// Batch size.
    pub batch: u32,
    /// Rows of q and o.
    pub seqlen_q: u32,
    /// Rows of k and v.
    pub seqlen_k: u32,
    /// Order of tensors without strides of their own.
    pub layout: Layout,
    /// Strides of q, unless dense.
    pub q_stride: Option<[u64; 3]>,
    /// Strides of k, unless dense.
    pub k_stride: Option<[u64; 3]>,
    /// Strides of v, unless dense.
    pub v_stride: Option<[u64; 3]>,
    /// Strides of o, unless dense.
    pub o_stride: Option<[u64; 3]>,
    /// Whether `lse` is written.
    pub want_lse: bool,
    /// Whether the mean of the keys is subtracted from them before the scores are made.
    pub shift_keys: bool,
}

impl Problem {
    /// Self-attention on a dense q of shape `[batch, seqlen_q, num_heads, head_dim]`; the rest by default.
    pub fn new(dtype: DType, [batch, seqlen_q, num_heads, head_dim]: [u32; 4]) -> Self {
        Self {
            spec: AttentionSpec::new(dtype, num_heads, head_dim),
            batch,
            seqlen_q,
            seqlen_k: seqlen_q,
            layout: Layout::Bsnd,
            q_stride: None,
            k_stride: None,
            v_stride: None,
            o_stride: None,
            want_lse: false,
            shift_keys: false,
        }
    }

    spec_builders!();

    /// Sets the rows of k and v.
    #[must_use]
    pub fn with_seqlen_k(self, seqlen_k: u32) -> Self {
        Self { seqlen_k, ..self }
    }

    /// Sets the order of dense tensors.
    #[must_use]
    pub fn with_layout(self, layout: Layout) -> Self {
        Self { layout, ..self }
    }

    /// Asks for `lse`.
    #[must_use]
    pub fn with_lse(self) -> Self {
        Self { want_lse: true, ..self }
    }

    /// Widens the range in which scores of f16 are safe ([`Problem::with_score_dtype`]): the mean of the keys
    /// of a head over the sequence is subtracted from each of them before the scores are made. What all keys
    /// have in common adds the same number to every score of a row. The softmax does not see it, but it can
    /// drive scores beyond 65504. The idea is PASA's (arXiv 2503.01873).
    ///
    /// * Exact but for rounding: `o` is that of the given keys, and `lse` gets `softmax_scale` times `q`
    ///   times the mean back, summed in f32.
    /// * A shifted key is rounded to f16. That changes a score by at most `2^-11` times the sum of `|q (k -
    ///   mean)|` over the row's elements, about what the rounding of the score itself costs. Where keys lie
    ///   within half and twice the mean, the difference is exact.
    /// * All `seqlen_k` keys of a head count, whatever the mask hides. In a column where their mean is not
    ///   finite nothing is subtracted.
    /// * It costs a launch that reads k and writes it to the workspace, before that of the attention:
    ///   [`Plan::shift`](super::Plan::shift).
    #[must_use]
    pub fn with_shifted_keys(self) -> Self {
        Self { shift_keys: true, ..self }
    }

    /// Every reason why `soc` cannot run this problem, before anything is allocated; empty when it can.
    pub fn refusals(&self, soc: &Soc) -> Vec<Reason> {
        self.shape().reasons(soc)
    }

    /// The planner's input: every default filled in.
    pub fn shape(&self) -> Shape {
        let AttentionSpec {
            dtype,
            num_heads,
            num_heads_k,
            head_dim,
            head_dim_v,
            score_dtype,
            mask,
            softmax_scale: _,
        } = self.spec;
        let dense = |seqlen, heads, dim| self.layout.strides(seqlen, heads, dim);
        Shape {
            batch: self.batch,
            num_heads,
            num_heads_k,
            head_dim,
            head_dim_v,
            seqlen_q: self.seqlen_q,
            seqlen_k: self.seqlen_k,
            dtype,
            score_dtype,
            mask,
            softmax_scale: self.spec.softmax_scale_or_default(MAX_HEAD_DIM),
            want_lse: self.want_lse,
            shift_keys: self.shift_keys,
            q_stride: self.q_stride.unwrap_or_else(|| dense(self.seqlen_q, num_heads, head_dim)),
            k_stride: self.k_stride.unwrap_or_else(|| dense(self.seqlen_k, num_heads_k, head_dim)),
            v_stride: self.v_stride.unwrap_or_else(|| dense(self.seqlen_k, num_heads_k, head_dim_v)),
            o_stride: self.o_stride.unwrap_or_else(|| dense(self.seqlen_q, num_heads, head_dim_v)),
        }
    }
}

impl From<&Problem> for Shape {
    fn from(problem: &Problem) -> Self {
        problem.shape()
    }
}
