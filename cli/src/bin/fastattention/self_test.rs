//! A small attention problem on a device, compared with attention in f64.

use std::fmt;

use anyhow::{ensure, Result};
use fastattention::attention::{plan, Buffers, FlashAttention, Mask, Problem};
use fastattention::reference::{attention, same_precision, Params, Tensor};
use fastattention::runtime::Stream;
use fastattention::DType;
use half::f16;

const SEQLEN_Q: usize = 80;
const SEQLEN_K: usize = 150;
const NUM_HEADS: usize = 2;
const HEAD_DIM: usize = 64;

/// Half the distance of neighbouring f16 numbers below 1, where all elements of o lie.
const ROUNDING: f64 = 1.0 / 4096.0;

/// What was compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Comparison {
    /// Largest difference of an element of o from f64.
    pub(crate) error: f64,
    /// What FlashAttention's tests allow: twice the error of a plain implementation in f16, and the rounding
    /// of o.
    pub(crate) bound: f64,
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "largest error against f64 {:.2e}, bound {:.2e}", self.error, self.bound)
    }
}

/// Runs two query heads on one key head with a causal mask.
///
/// # Errors
/// What failed, or that the result is wrong.
pub(crate) fn run(operator: &FlashAttention) -> Result<Comparison> {
    run_with(|problem, inputs| on_device(operator, problem, inputs))
}

/// As [`run`], with what computes o.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_with(
    compute: impl FnOnce(&Problem, [&[f16]; 3]) -> Result<Vec<f64>>,
) -> Result<Comparison> {
    let shape = [1, SEQLEN_Q, NUM_HEADS, HEAD_DIM].map(|size| u32::try_from(size).unwrap_or(u32::MAX));
    let mut problem = Problem::new(DType::F16, shape)
        .with_seqlen_k(u32::try_from(SEQLEN_K)?)
        .with_num_heads_k(1)
        .with_mask(Mask::Causal);
    problem.spec.softmax_scale = Some(0.125);
    let [q, k, v] = operands();
    let o = compute(&problem, [&q, &k, &v])?;

    let params = Params {
        batch: 1,
        num_heads: NUM_HEADS,
        num_heads_k: 1,
        head_dim: HEAD_DIM,
        head_dim_v: HEAD_DIM,
        seqlen_q: SEQLEN_Q,
        seqlen_k: SEQLEN_K,
        softmax_scale: 0.125,
        mask: Mask::Causal,
    };
    let q = Tensor::dense(&q, SEQLEN_Q, NUM_HEADS, HEAD_DIM);
    let k = Tensor::dense(&k, SEQLEN_K, 1, HEAD_DIM);
    let v = Tensor::dense(&v, SEQLEN_K, 1, HEAD_DIM);
    let exact = attention(&params, q, k, v).o;
    let plain = same_precision(&params, q, k, v).o;
    let bound = 2.0 * largest_difference(&plain, &exact) + ROUNDING;
    compared(&o, &exact, bound)
}

/// The difference, if it is within the bound.
fn compared(o: &[f64], exact: &[f64], bound: f64) -> Result<Comparison> {
    let error = largest_difference(o, exact);
    ensure!(error <= bound, "o differs from attention in f64 by {error:.2e}, at most {bound:.2e} wanted");
    Ok(Comparison { error, bound })
}

/// q, k, v of numbers from -1 to 1, always the same.
fn operands() -> [Vec<f16>; 3] {
    let mut random = fastrand::Rng::with_seed(1);
    [SEQLEN_Q * NUM_HEADS, SEQLEN_K, SEQLEN_K]
        .map(|rows| (0..rows * HEAD_DIM).map(|_| f16::from_f32(2.0 * random.f32() - 1.0)).collect())
}

fn on_device(operator: &FlashAttention, problem: &Problem, inputs: [&[f16]; 3]) -> Result<Vec<f64>> {
    let device = operator.device();
    let plan = plan(problem, device.soc())?;
    let stream = Stream::new(device)?;
    let buffers = Buffers::from_slices(device, &plan, inputs)?;
    operator.launch(&stream, &plan, buffers.args())?;
    stream.synchronize()?;
    Ok(buffers.o.to_vec::<f16>()?.into_iter().map(f64::from).collect())
}

/// NaN if any difference is, so that no bound holds.
fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    let larger = |m: f64, d: f64| if m.is_nan() || d <= m { m } else { d };
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, larger)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn the_simulator_passes_with_an_error_that_is_not_zero() {
        let device = fastattention::runtime::Device::open("sim").unwrap();
        let passed = run(&FlashAttention::new(&device).unwrap()).unwrap();
        assert!(passed.error > 0.0 && passed.error <= passed.bound, "{passed:?}");
        // The largest |o| is about 1: a bound near it would let anything pass.
        assert!(passed.bound < 0.01, "{passed:?}");
    }

    #[test]
    fn a_wrong_result_or_nan_does_not_pass() {
        assert!(compared(&[0.5, 0.25], &[0.5, 0.25], 0.01).is_ok());
        assert!(compared(&[0.5, 0.25], &[0.5, 0.27], 0.01).is_err());
        for o in [[f64::NAN, 0.25], [0.5, f64::NAN]] {
            assert!(compared(&o, &[0.5, 0.25], 0.01).is_err());
        }
    }
}
