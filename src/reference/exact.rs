//! Attention in f64.

use super::{Head, Output, Params, Tensor};

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
    for (batch, head_k, heads) in p.groups() {
        let own = Head::new(p, [&k, &v], [batch, head_k], [&T::into, &T::into]);
        for (head, i) in heads.flat_map(|head| (0..p.seqlen_q).map(move |i| (head, i))) {
            let q_row = q.row(batch, i, head, p.head_dim).iter().map(|&q| q.into());
            let products = own.products(q_row, p.visible(i));
            let scores: Vec<f64> = products.iter().map(|product| p.softmax_scale * product).collect();
            if scores.iter().all(|&s| s == f64::NEG_INFINITY) {
                continue;
            }
            // f64::max drops NaN; the NaN comes back through exp below.
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|&s| (s - max).exp()).collect();
            let sum: f64 = weights.iter().sum();
            let mut o = own.weighted(&weights, p.visible(i));
            o.iter_mut().for_each(|o| *o /= sum);
            out.set_row(p, [batch, head, i], &o, max + sum.ln());
        }
    }
    out
}
