//! What the examples share: random operands, and the check of a result against attention in f64.

use anyhow::{ensure, Context, Result};
use bytemuck::Pod;
use fastattention::attention::{Buffers, Plan};
use fastattention::reference::{attention, same_precision, Element, Output, Params, Tensor};
use fastattention::runtime::Buffer;
use fastattention::DType;

/// Normally distributed elements (Box-Muller), the same for the same seed.
pub(crate) fn normal<T: Element>(len: usize, seed: u64) -> Vec<T> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut next = || {
        let radius = (-2.0 * (1.0 - random.f32()).ln()).sqrt();
        T::round(radius * (std::f32::consts::TAU * random.f32()).cos())
    };
    (0..len).map(|_| next()).collect()
}

/// Compares o and lse, which a launch has written, with attention in f64, for dense operands.
#[allow(dead_code, reason = "each example uses what it needs")]
pub(crate) fn against_f64<T: Element + Into<f64> + Pod>(
    plan: &Plan,
    [q, k, v]: [&[T]; 3],
    buffers: &Buffers,
) -> Result<()> {
    let s = plan.shape();
    let params = Params {
        batch: s.batch as usize,
        num_heads: s.num_heads as usize,
        num_heads_k: s.num_heads_k as usize,
        head_dim: s.head_dim as usize,
        head_dim_v: s.head_dim_v as usize,
        seqlen_q: s.seqlen_q as usize,
        seqlen_k: s.seqlen_k as usize,
        softmax_scale: f64::from(s.softmax_scale),
        mask: s.mask,
    };
    let q = Tensor::dense(q, params.seqlen_q, params.num_heads, params.head_dim);
    let k = Tensor::dense(k, params.seqlen_k, params.num_heads_k, params.head_dim);
    let v = Tensor::dense(v, params.seqlen_k, params.num_heads_k, params.head_dim_v);
    let lse = buffers.lse.as_ref().context("the plan writes no lse")?;
    results(&params, s.dtype, [q, k, v], [&buffers.o, lse])
}

/// Compares o and lse, both dense, with attention in f64. The bound of o is that of FlashAttention's tests:
/// twice the error of a plain implementation in the operands' dtype, and the rounding of o itself. The bound
/// of lse is 1e-5, of the larger of 1 and the largest |lse|.
#[allow(dead_code, reason = "each example uses what it needs")]
pub(crate) fn results<T: Element + Into<f64> + Pod>(
    params: &Params,
    dtype: DType,
    [q, k, v]: [Tensor<'_, T>; 3],
    [o, lse]: [&Buffer; 2],
) -> Result<()> {
    let exact = output(params, dtype, [q, k, v], o)?;
    let lse_bound = 1e-5 * largest(&exact.lse).max(1.0);
    let lse: Vec<f64> = lse.to_vec::<f32>()?.into_iter().map(f64::from).collect();
    let lse_error = largest_error(&lse, &exact.lse);
    println!("lse: largest error against f64 {lse_error:.2e}, bound {lse_bound:.2e}");

    ensure!(lse_error <= lse_bound, "lse is wrong");
    Ok(())
}

/// As [`results`], of o alone. Returns what is exact.
#[allow(dead_code, reason = "each example uses what it needs")]
pub(crate) fn output<T: Element + Into<f64> + Pod>(
    params: &Params,
    dtype: DType,
    [q, k, v]: [Tensor<'_, T>; 3],
    o: &Buffer,
) -> Result<Output> {
    let exact = attention(params, q, k, v);
    let plain = same_precision(params, q, k, v);

    // Half the distance of neighbours at 1.
    let unit = if dtype == DType::F16 { 2f64.powi(-11) } else { 2f64.powi(-8) };
    let bound = 2.0 * largest_error(&plain.o, &exact.o) + unit * largest(&exact.o);
    let o: Vec<f64> = o.to_vec::<T>()?.into_iter().map(Into::into).collect();
    let error = largest_error(&o, &exact.o);
    println!("o:   largest error against f64 {error:.2e}, bound {bound:.2e}");
    ensure!(error <= bound, "o is wrong");
    Ok(exact)
}

fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |m, x| m.max(x.abs()))
}

/// NaN if any difference is, so that no bound holds.
fn largest_error(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let larger = |m: f64, e: f64| if m.is_nan() || e <= m { m } else { e };
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, larger)
}
