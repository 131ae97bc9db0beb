//! What to compute, as the caller says it.

use std::fmt;

use crate::spec::{dense_strides, Mask, Reason, Shape};
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
/// | `dtype` | | of q, k, v and o: f16 or bf16; sums are in f32 |
/// | `batch`, `seqlen_q`, `num_heads`, `head_dim` | | shape of q; `head_dim` is a multiple of 16 up to 256 |
/// | `seqlen_k` | `seqlen_q` | rows of k and v; 0 is legal and gives `o = 0`, `lse = -inf` |
/// | `num_heads_k` | `num_heads` | heads of k and v; head `h` of q reads head `h / (num_heads / num_heads_k)` |
/// | `head_dim_v` | `head_dim` | row of v and o |
/// | `score_dtype` | f32 | type in which scores go from the Cube to the vector cores, see [`Problem::with_score_dtype`] |
/// | `mask` | [`Mask::None`] | a description, never a tensor |
/// | `softmax_scale` | `1 / sqrt(head_dim)` | factor of the scores; it does not bring back a `q k^T` that left the range of f32 |
/// | `layout` | [`Layout::Bsnd`] | order of dense tensors |
/// | `q_stride` ... `o_stride` | by `layout` | elements between batches, rows, heads; a row's elements are contiguous |
/// | `want_lse` | `false` | also write `lse`, f32 `[batch, num_heads, seqlen_q]`, natural logarithm |
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
    /// Element type of q, k, v and o.
    pub dtype: DType,
    /// Batch size.
    pub batch: u32,
    /// Rows of q and o.
    pub seqlen_q: u32,
    /// Rows of k and v.
    pub seqlen_k: u32,
    /// Heads of q and o.
    pub num_heads: u32,
    /// Heads of k and v.
    pub num_heads_k: u32,
    /// Elements of a row of q and k.
    pub head_dim: u32,
    /// Elements of a row of v and o.
    pub head_dim_v: u32,
    /// Type in which scores go from the Cube to the vector cores.
    pub score_dtype: DType,
    /// Which keys a row sees.
    pub mask: Mask,
    /// Factor of the scores; `None` is `1 / sqrt(head_dim)`.
    pub softmax_scale: Option<f32>,
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
}

impl Problem {
    /// Self-attention on a dense q of shape `[batch, seqlen_q, num_heads, head_dim]`; the rest by default.
    pub fn new(dtype: DType, [batch, seqlen_q, num_heads, head_dim]: [u32; 4]) -> Self {
        Self {
            dtype,
            batch,
            seqlen_q,
            seqlen_k: seqlen_q,
            num_heads,
            num_heads_k: num_heads,
            head_dim,
            head_dim_v: head_dim,
            score_dtype: DType::F32,
            mask: Mask::None,
            softmax_scale: None,
            layout: Layout::Bsnd,
            q_stride: None,
            k_stride: None,
            v_stride: None,
            o_stride: None,
            want_lse: false,
        }
    }

    /// Sets the rows of k and v.
    #[must_use]
    pub fn with_seqlen_k(self, seqlen_k: u32) -> Self {
        Self { seqlen_k, ..self }
    }

    /// Sets the heads of k and v.
    #[must_use]
    pub fn with_num_heads_k(self, num_heads_k: u32) -> Self {
        Self { num_heads_k, ..self }
    }

    /// Sets the row of v and o.
    #[must_use]
    pub fn with_head_dim_v(self, head_dim_v: u32) -> Self {
        Self { head_dim_v, ..self }
    }

    /// Sets the type in which scores go from the Cube to the vector cores, through L2.
    ///
    /// f32 is exact, and the softmax is computed in f32. f16, for `dtype` f16 and a `softmax_scale` from 2^-11 to 65504 only, halves that
    /// traffic and the work of the softmax, which bound long sequences:
    ///
    /// * Each score `q k^T` is rounded to f16 before it is scaled. One of 65520 or more in size becomes infinite: `+inf` makes its row NaN,
    ///   `-inf` hides its key, and a row of nothing else is a row that sees no key (`o = 0`, `lse = -inf`).
    /// * The maximum is subtracted, and the difference scaled and exponentiated, in f16, each result rounded (`u = 2^-11`; the exponential
    ///   to 1 ulp). A probability is off by at most `2.2 u` of the largest one of its row.
    /// * Row sums add pairs in f16 down to 64 columns, all else is f32: `lse` is off by at most `u (3 ln(seqlen_k) + 5)`, besides
    ///   what the rounding of the scores costs.
    #[must_use]
    pub fn with_score_dtype(self, score_dtype: DType) -> Self {
        Self { score_dtype, ..self }
    }

    /// Sets the mask.
    #[must_use]
    pub fn with_mask(self, mask: Mask) -> Self {
        Self { mask, ..self }
    }

    /// Sets the factor of the scores.
    #[must_use]
    pub fn with_softmax_scale(self, softmax_scale: f32) -> Self {
        Self { softmax_scale: Some(softmax_scale), ..self }
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

    /// Every reason why `soc` cannot run this problem, before anything is allocated; empty when it can.
    pub fn refusals(&self, soc: &Soc) -> Vec<Reason> {
        self.shape().reasons(soc)
    }

    /// The planner's input: every default filled in.
    #[allow(clippy::cast_possible_truncation, reason = "1/sqrt(head_dim) in f64, rounded once to f32")]
    pub fn shape(&self) -> Shape {
        let dense = |seqlen, heads, dim| self.layout.strides(seqlen, heads, dim);
        // A head_dim that is refused brings no refusal of a scale that nobody gave.
        let default_scale = || (1.0 / f64::from(self.head_dim.clamp(1, MAX_HEAD_DIM)).sqrt()) as f32;
        Shape {
            batch: self.batch,
            num_heads: self.num_heads,
            num_heads_k: self.num_heads_k,
            head_dim: self.head_dim,
            head_dim_v: self.head_dim_v,
            seqlen_q: self.seqlen_q,
            seqlen_k: self.seqlen_k,
            dtype: self.dtype,
            score_dtype: self.score_dtype,
            mask: self.mask,
            softmax_scale: self.softmax_scale.unwrap_or_else(default_scale),
            want_lse: self.want_lse,
            q_stride: self.q_stride.unwrap_or_else(|| dense(self.seqlen_q, self.num_heads, self.head_dim)),
            k_stride: self.k_stride.unwrap_or_else(|| dense(self.seqlen_k, self.num_heads_k, self.head_dim)),
            v_stride: self
                .v_stride
                .unwrap_or_else(|| dense(self.seqlen_k, self.num_heads_k, self.head_dim_v)),
            o_stride: self.o_stride.unwrap_or_else(|| dense(self.seqlen_q, self.num_heads, self.head_dim_v)),
        }
    }
}

impl From<&Problem> for Shape {
    fn from(problem: &Problem) -> Self {
        problem.shape()
    }
}
