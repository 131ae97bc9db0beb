//! The plain implementation in the dtype of the operands, whose error sets the tolerance of the kernels.

use super::{rows, Output, Params, Tensor};

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
    for [batch, head, i] in rows(p) {
        let head_k = p.head_k(head);
        let q_row = q.row(batch, i, head, p.head_dim);
        let score = |j: usize| {
            let k_row = k.row(batch, j, head_k, p.head_dim);
            let sum: f32 = q_row.iter().zip(k_row).map(|(&q, &k)| q.into() * rounded(k.into() * scale)).sum();
            rounded(sum)
        };
        let visible: Vec<usize> = (0..p.seqlen_k).filter(|&j| p.sees(i, j)).collect();
        let scores: Vec<f32> = visible.iter().map(|&j| score(j)).collect();
        if scores.iter().all(|&s| s == f32::NEG_INFINITY) {
            continue;
        }
        let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = scores.iter().map(|&s| (s - max).exp()).sum();
        let mut o = vec![0.0f32; p.head_dim_v];
        for (&j, &s) in visible.iter().zip(&scores) {
            let weight = rounded((s - max).exp() / sum);
            for (o, &v) in o.iter_mut().zip(v.row(batch, j, head_k, p.head_dim_v)) {
                *o += weight * v.into();
            }
        }
        let o: Vec<f64> = o.iter().map(|&o| rounded(o).into()).collect();
        out.set_row(p, [batch, head, i], &o, (max + sum.ln()).into());
    }
    out
}
