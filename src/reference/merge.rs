//! Merging of partial results, in f64 and as a framework does it in the dtype of the parts.

use super::{rows, Element, Output, Params, Tensor};

/// A partial result: o, and lse as a tensor with rows of one element.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a, T> {
    /// `[batch, seqlen_q, num_heads, head_dim_v]`.
    pub o: Tensor<'a, T>,
    /// `[batch, seqlen_q, num_heads]`, natural logarithm.
    pub lse: Tensor<'a, f32>,
}

impl<T: Copy> Part<'_, T> {
    fn check(&self, p: &Params) {
        self.o.check("o", [p.batch, p.seqlen_q, p.num_heads, p.head_dim_v]);
        self.lse.check("lse", [p.batch, p.seqlen_q, p.num_heads, 1]);
    }
}

/// Merges in f64: `lse = ln sum_i exp(lse_i)`, `o = sum_i exp(lse_i - lse) o_i`.
///
/// A part whose lse is -inf takes no part, whatever its o holds; without any other, o = 0 and lse = -inf. An
/// lse of NaN or +inf makes both NaN. Of `p` batch, seqlen_q, num_heads and head_dim_v count.
///
/// # Panics
/// A slice is too short for its strides.
pub fn merge<T: Element>(p: &Params, parts: &[Part<'_, T>]) -> Output {
    let mut out = Output::new(p);
    parts.iter().for_each(|part| part.check(p));
    for [batch, head, i] in rows(p) {
        let lse_of = |part: &Part<'_, T>| f64::from(part.lse.row(batch, i, head, 1)[0]);
        let counted: Vec<(f64, &[T])> = parts
            .iter()
            .map(|part| (lse_of(part), part.o.row(batch, i, head, p.head_dim_v)))
            .filter(|(lse, _)| *lse != f64::NEG_INFINITY)
            .collect();
        if counted.is_empty() {
            continue;
        }
        let largest = counted.iter().fold(f64::NEG_INFINITY, |m, (lse, _)| m.max(*lse));
        let sum: f64 = counted.iter().map(|(lse, _)| (lse - largest).exp()).sum();
        let lse = largest + sum.ln();
        let mut o = vec![0.0; p.head_dim_v];
        for (own, row) in &counted {
            let weight = (own - lse).exp();
            o.iter_mut().zip(*row).for_each(|(o, &x)| *o += weight * f64::from(x.into()));
        }
        out.set_row(p, [batch, head, i], &o, lse);
    }
    out
}

/// Merges as a framework does without a kernel of its own, every tensor in `T`: weights are computed in f32
/// and rounded to `T`, their products with o are rounded to `T`, and so is each sum. lse is in f32.
///
/// # Panics
/// As [`merge`].
pub fn merge_same_precision<T: Element>(p: &Params, parts: &[Part<'_, T>]) -> Output {
    let rounded = |value: f32| -> f32 { T::round(value).into() };
    let mut out = Output::new(p);
    for [batch, head, i] in rows(p) {
        let own: Vec<f32> = parts.iter().map(|part| part.lse.row(batch, i, head, 1)[0]).collect();
        let largest = own.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if largest == f32::NEG_INFINITY {
            continue;
        }
        let sum: f32 = own.iter().map(|lse| (lse - largest).exp()).sum();
        let mut o = vec![0.0f32; p.head_dim_v];
        for (lse, part) in own.iter().zip(parts) {
            let weight = rounded((lse - largest).exp() / sum);
            for (o, &x) in o.iter_mut().zip(part.o.row(batch, i, head, p.head_dim_v)) {
                *o = rounded(*o + rounded(weight * x.into()));
            }
        }
        let o: Vec<f64> = o.into_iter().map(f64::from).collect();
        out.set_row(p, [batch, head, i], &o, (largest + sum.ln()).into());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Mask;

    /// Weights 1 and 3: a quarter of the one and three of the other.
    #[test]
    fn two_parts_by_hand() {
        let params = Params {
            batch: 1,
            num_heads: 1,
            num_heads_k: 1,
            head_dim: 1,
            head_dim_v: 2,
            seqlen_q: 3,
            seqlen_k: 1,
            softmax_scale: 1.0,
            mask: Mask::None,
        };
        let none = f32::NEG_INFINITY;
        let first = ([8.0f32, 16.0, 8.0, 16.0, f32::NAN, 1.0], [0.0f32, 5.0, none]);
        let second = ([4.0f32, 0.0, 1e30, 1e30, 7.0, 7.0], [3.0f32.ln(), none, none]);
        let part = |(o, lse): &'static ([f32; 6], [f32; 3])| Part {
            o: Tensor::dense(o, 3, 1, 2),
            lse: Tensor::dense(lse, 3, 1, 1),
        };
        let (first, second) = (Box::leak(Box::new(first)), Box::leak(Box::new(second)));
        let exact = merge(&params, &[part(first), part(second)]);
        let wanted = [5.0, 4.0, 8.0, 16.0, 0.0, 0.0];
        assert!(exact.o.iter().zip(wanted).all(|(o, w)| (o - w).abs() < 1e-6), "{exact:?}");
        assert!((exact.lse[0] - 4.0f64.ln()).abs() < 1e-6, "{exact:?}");
        assert_eq!(exact.lse[1..], [5.0, f64::NEG_INFINITY]);
    }
}
