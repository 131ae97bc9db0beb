//! Attention in f64.

use super::{rows, Output, Params, Tensor};

/// Attention in f64 from operands of any float type; see the [module](super) for the formula and the special
/// rows.
///
/// # Panics
/// When a slice is shorter than its shape and strides need, or `num_heads_k` does not divide `num_heads`.
pub fn attention<T: Copy + Into<f64>>(
    p: &Params,
    q: Tensor<'_, T>,
    k: Tensor<'_, T>,
    v: Tensor<'_, T>,
) -> Output {
    p.check(&q, &k, &v);
    let mut out = Output::new(p);
    for [batch, head, i] in rows(p) {
        let head_k = p.head_k(head);
        let q_row = q.row(batch, i, head, p.head_dim);
        let visible: Vec<usize> = (0..p.seqlen_k).filter(|&j| p.sees(i, j)).collect();
        let scores: Vec<f64> = visible
            .iter()
            .map(|&j| p.softmax_scale * dot(q_row, k.row(batch, j, head_k, p.head_dim)))
            .collect();
        // f64::max drops NaN; the NaN comes back through exp below.
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if scores.iter().all(|&s| s == f64::NEG_INFINITY) {
            continue;
        }
        let weights: Vec<f64> = scores.iter().map(|&s| (s - max).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let mut o = vec![0.0; p.head_dim_v];
        for (&j, &weight) in visible.iter().zip(&weights) {
            for (o, &v) in o.iter_mut().zip(v.row(batch, j, head_k, p.head_dim_v)) {
                *o += weight * v.into();
            }
        }
        o.iter_mut().for_each(|o| *o /= sum);
        out.set_row(p, [batch, head, i], &o, max + sum.ln());
    }
    out
}

fn dot<T: Copy + Into<f64>>(a: &[T], b: &[T]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| a.into() * b.into()).sum()
}
