//! What attention computes, apart from lengths and places.

use serde::{Deserialize, Serialize};

use super::{DType, Mask};

/// One kind of attention, as an operator or a layer says it: types, heads, mask and scale.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AttentionSpec {
    /// Element type of q, k, v and o.
    pub dtype: DType,
    /// Heads of q and o.
    pub num_heads: u32,
    /// Heads of k and v; head `h` of q reads head `h / (num_heads / num_heads_k)`.
    pub num_heads_k: u32,
    /// Elements of a row of q and k.
    pub head_dim: u32,
    /// Elements of a row of v and o.
    pub head_dim_v: u32,
    /// Type in which scores are handed on to the softmax.
    pub score_dtype: DType,
    /// Which keys a row sees.
    pub mask: Mask,
    /// Factor of the scores; `None` is `1 / sqrt(head_dim)`.
    pub softmax_scale: Option<f32>,
}

impl AttentionSpec {
    /// Heads of q, k and v alike, no mask, f32 scores, the default scale.
    pub fn new(dtype: DType, num_heads: u32, head_dim: u32) -> Self {
        Self {
            dtype,
            num_heads,
            num_heads_k: num_heads,
            head_dim,
            head_dim_v: head_dim,
            score_dtype: DType::F32,
            mask: Mask::None,
            softmax_scale: None,
        }
    }

    /// Factor of the scores. A head dimension above the largest is refused, and so is 0: neither brings a
    /// refusal of a scale that nobody gave.
    #[allow(clippy::cast_possible_truncation, reason = "1/sqrt(head_dim) in f64, rounded once to f32")]
    pub(crate) fn softmax_scale_or_default(&self, largest_head_dim: u32) -> f32 {
        let dim = f64::from(self.head_dim.clamp(1, largest_head_dim));
        self.softmax_scale.unwrap_or((1.0 / dim.sqrt()) as f32)
    }
}

/// Builders of a problem that has a `spec`: one text for all of them.
macro_rules! spec_builders {
    () => {
        /// Sets the heads of k and v.
        #[must_use]
        pub fn with_num_heads_k(mut self, num_heads_k: u32) -> Self {
            self.spec.num_heads_k = num_heads_k;
            self
        }

        /// Sets the row of v and o.
        #[must_use]
        pub fn with_head_dim_v(mut self, head_dim_v: u32) -> Self {
            self.spec.head_dim_v = head_dim_v;
            self
        }

        /// Sets the type in which scores go from the Cube to the vector cores, through L2.
        ///
        /// f32 is exact, and the softmax is computed in f32. f16, for `dtype` f16 and a `softmax_scale` from
        /// 2^-11 to 65504 only, halves that traffic and the work of the softmax, which bound long sequences:
        ///
        /// * Each score `q k^T` is rounded to f16 before it is scaled. One of 65520 or more in size becomes
        ///   infinite: `+inf` makes its row NaN, `-inf` hides its key, and a row of nothing else is a row
        ///   that sees no key (`o = 0`, `lse = -inf`).
        /// * The maximum is subtracted, and the difference scaled and exponentiated, in f16, each result
        ///   rounded (`u = 2^-11`; the exponential to 1 ulp). A probability is off by at most `2.2 u` of the
        ///   largest one of its row.
        /// * Row sums add pairs in f16 down to 64 columns, all else is f32: `lse` is off by at most `u (3
        ///   ln(seqlen_k) + 5)`, besides what the rounding of the scores costs.
        #[must_use]
        pub fn with_score_dtype(mut self, score_dtype: DType) -> Self {
            self.spec.score_dtype = score_dtype;
            self
        }

        /// Sets the mask.
        #[must_use]
        pub fn with_mask(mut self, mask: Mask) -> Self {
            self.spec.mask = mask;
            self
        }

        /// Sets the factor of the scores.
        #[must_use]
        pub fn with_softmax_scale(mut self, softmax_scale: f32) -> Self {
            self.spec.softmax_scale = Some(softmax_scale);
            self
        }
    };
}
pub(crate) use spec_builders;
