//! The plain implementation in the dtype of the operands, whose error sets the tolerance of the kernels.

use super::{Head, Output, Params, Tensor};

/// An element type that a kernel takes.
pub trait Element: Copy + Into<f32> {
    /// Rounds to nearest, ties to even.
    fn round(value: f32) -> Self;
}

impl Element for half::f16 {
    fn round(value: f32) -> Self {
        Self::from_f32(value)
    }
}

impl Element for half::bf16 {
    fn round(value: f32) -> Self {
        Self::from_f32(value)
    }
}

impl Element for f32 {
    fn round(value: f32) -> Self {
        value
    }
}

/// Attention as a framework does it without fusion, every intermediate tensor in the operands' dtype.
///
/// This is `attention_ref(upcast=False, reorder_ops=True)` of FlashAttention's tests
/// (`tests/test_flash_attn.py`), step by step: the scale is multiplied into k and rounded to `T`; scores
/// accumulate in f32 and are rounded to `T`; the softmax is computed in f32 from these and the normalised P
/// is rounded to `T`; `P * v` accumulates in f32 and is rounded to `T`. Sums run in ascending order of the
/// index. `lse` is in f32, from the rounded scores.
///
/// # Panics
/// As [`attention`](super::attention).
#[allow(
    clippy::cast_possible_truncation,
    reason = "a scale is given in f64 and used in f32, as the kernels use it"
)]
pub fn same_precision<T: Element>(
    p: &Params,
    q: Tensor<'_, T>,
    k: Tensor<'_, T>,
    v: Tensor<'_, T>,
) -> Output {
    p.check(&q, &k, &v);
    let rounded = |value: f32| -> f32 { T::round(value).into() };
    let scale = p.softmax_scale as f32;
    let mut out = Output::new(p);
    for (batch, head_k, heads) in p.groups() {
        let own = Head::new(p, [&k, &v], [batch, head_k], [&|k: T| rounded(k.into() * scale), &T::into]);
        for (head, i) in heads.flat_map(|head| (0..p.seqlen_q).map(move |i| (head, i))) {
            let q_row = q.row(batch, i, head, p.head_dim).iter().map(|&q| q.into());
            let products = own.products(q_row, p.visible(i));
            let scores: Vec<f32> = products.into_iter().map(rounded).collect();
            if scores.iter().all(|&s| s == f32::NEG_INFINITY) {
                continue;
            }
            let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let powers: Vec<f32> = scores.iter().map(|&s| (s - max).exp()).collect();
            let sum: f32 = powers.iter().sum();
            let weights: Vec<f32> = powers.iter().map(|power| rounded(power / sum)).collect();
            let o = own.weighted(&weights, p.visible(i));
            let o: Vec<f64> = o.iter().map(|&o| rounded(o).into()).collect();
            out.set_row(p, [batch, head, i], &o, (max + sum.ln()).into());
        }
    }
    out
}
