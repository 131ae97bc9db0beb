//! Runs a case on a device and on the reference.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use fastattention::attention::{host, plan_with, Args, FlashAttention, Problem};
use fastattention::reference::{self, Element, Tensor};
use fastattention::runtime::{Buffer, Stream};
use fastattention::tiling::Candidate;
use fastattention::DType;
use half::{bf16, f16};

use crate::cases::Case;
use crate::compare::{check_lse, check_o, score_error, softmax_error, unit};
use crate::data::{self, operands, problem, Operand};

/// Results of the device and of both references, o dense `[batch, seqlen_q, heads, head_dim_v]`.
#[derive(Debug)]
pub struct Results {
    /// Of the device.
    pub o: Vec<f64>,
    /// Of the device.
    pub lse: Vec<f64>,
    /// In f64.
    pub exact: reference::Output,
    /// A plain implementation in the operands' type.
    pub plain: reference::Output,
    /// Raw bits of o and lse as the device wrote them.
    pub bits: Vec<u8>,
    unit: f64,
    /// Of each row, in the order of lse.
    score_errors: Vec<f64>,
    shape: [usize; 4],
}

impl Results {
    /// The tolerance rules of [`crate::compare`].
    ///
    /// # Errors
    /// Where and by how much a result is wrong.
    pub fn check(&self) -> Result<(), String> {
        let [batch, seqlen, heads, _] = self.shape;
        check_o(&self.o, &self.exact.o, &self.plain.o, self.unit, self.shape)?;
        check_lse(&self.lse, &self.exact.lse, &self.score_errors, [1, batch, heads, seqlen])
    }
}

/// Runs a case with the planner's tiling, or with a given one.
///
/// # Errors
/// What the operator refuses.
pub fn run(operator: &FlashAttention, case: &Case, tiling: Option<Candidate>) -> Result<Results, String> {
    match case.dtype {
        DType::F16 => run_typed::<f16>(operator, case, &operands(case), tiling),
        DType::Bf16 => run_typed::<bf16>(operator, case, &operands(case), tiling),
        other => Err(format!("no kernel for {other}")),
    }
}

/// As [`run`], on given operands.
///
/// # Errors
/// As [`run`].
pub fn run_typed<T: Element + host::Element>(
    operator: &FlashAttention,
    case: &Case,
    operands: &[Operand<T>; 3],
    tiling: Option<Candidate>,
) -> Result<Results, String> {
    let (problem, [q, k, v]) = (problem(case), operands);
    let out = match tiling {
        None => {
            host::attention_on(operator, &problem, &q.data, &k.data, &v.data).map_err(|e| e.to_string())?
        }
        Some(candidate) => {
            launch_with(operator, &problem, [q, k, v], candidate).map_err(|e| e.to_string())?
        }
    };
    // Scores of f32 are the Cube's own sums.
    let score_unit = if case.score_dtype == DType::F32 { 0.0 } else { unit(case.score_dtype) };
    Ok(compared(case, operands, &out, &|keys| softmax_error(keys, score_unit), score_unit))
}

/// What an engine computed of a case on `operands`, beside both references. `softmax_error`: what its
/// exponentials and their sum may add to the lse of a row of so many keys; `score_unit`: what rounds its
/// scores, relative to themselves.
pub fn compared<T: Element + host::Element>(
    case: &Case,
    [q, k, v]: &[Operand<T>; 3],
    out: &host::Output<T>,
    softmax_error: &dyn Fn(usize) -> f64,
    score_unit: f64,
) -> Results {
    let shape = problem(case).shape();
    let params = data::params(case);
    let widen = |o: &Operand<T>| o.data.iter().map(|&x| f64::from(Into::<f32>::into(x))).collect::<Vec<_>>();
    let [q64, k64, v64] = [q, k, v].map(|o| Operand { data: widen(o), stride: o.stride });
    let exact = reference::attention(&params, q64.tensor(), k64.tensor(), v64.tensor());
    let plain = reference::same_precision(&params, q.tensor(), k.tensor(), v.tensor());
    let mut o = Vec::with_capacity(exact.o.len());
    let stride = shape.o_stride.map(|s| usize::try_from(s).expect("test tensors are small"));
    for b in 0..params.batch {
        for s in 0..params.seqlen_q {
            for h in 0..params.num_heads {
                let at = b * stride[0] + s * stride[1] + h * stride[2];
                o.extend(out.o[at..at + params.head_dim_v].iter().map(|&x| f64::from(Into::<f32>::into(x))));
            }
        }
    }
    let mut bits = bytemuck::cast_slice::<T, u8>(&out.o).to_vec();
    bits.extend_from_slice(bytemuck::cast_slice(&out.lse));
    Results {
        o,
        lse: out.lse.iter().map(|&x| f64::from(x)).collect(),
        exact,
        plain,
        bits,
        unit: unit(case.dtype),
        score_errors: score_errors(&params, q64.tensor(), k64.tensor(), score_unit, softmax_error),
        shape: [params.batch, params.seqlen_q, params.num_heads, params.head_dim_v],
    }
}

/// What the rounding of scores and the softmax may cost the lse of each row.
fn score_errors(
    p: &reference::Params,
    q: Tensor<'_, f64>,
    k: Tensor<'_, f64>,
    unit: f64,
    softmax_error: &dyn Fn(usize) -> f64,
) -> Vec<f64> {
    let norm = |t: &Tensor<'_, f64>, b: usize, s: usize, h: usize| {
        let at = b * t.stride[0] + s * t.stride[1] + h * t.stride[2];
        t.data[at..at + p.head_dim].iter().map(|x| x * x).sum::<f64>().sqrt()
    };
    let mut errors = Vec::new();
    for b in 0..p.batch {
        for h in 0..p.num_heads {
            let head_k = h / (p.num_heads / p.num_heads_k);
            let largest = (0..p.seqlen_k).map(|j| norm(&k, b, j, head_k)).fold(0.0, f64::max);
            errors.extend(
                (0..p.seqlen_q)
                    .map(|i| score_error(p.head_dim, p.softmax_scale, norm(&q, b, i, h), largest, unit))
                    .map(|error| error + softmax_error(p.seqlen_k)),
            );
        }
    }
    errors
}

/// A launch with caller-owned buffers and a given tiling.
fn launch_with<T: host::Element>(
    operator: &FlashAttention,
    problem: &Problem,
    operands: [&Operand<T>; 3],
    candidate: Candidate,
) -> fastattention::Result<host::Output<T>> {
    let device = operator.device();
    let plan = plan_with(problem, device.soc(), candidate)?;
    let [_, _, _, o_bytes, lse_bytes] =
        plan.shape().operand_bytes().map(|b| usize::try_from(b).expect("small"));
    let upload = |data: &[T]| {
        if data.is_empty() {
            Buffer::alloc(device, 1)
        } else {
            Buffer::from_slice(device, data)
        }
    };
    let [q, k, v] = operands.map(|o| upload(&o.data));
    let (q, k, v) = (q?, k?, v?);
    let alloc = |bytes: usize| Buffer::alloc(device, bytes);
    let (o, lse) = (alloc(o_bytes)?, alloc(lse_bytes)?);
    let workspace = alloc(usize::try_from(plan.workspace_bytes()).expect("small"))?;
    o.zero()?;
    let stream = Stream::new(device)?;
    let args = Args::new(&q, &k, &v, &o, &workspace).with_lse(&lse);
    operator.launch(&stream, &plan, args)?;
    stream.synchronize()?;
    let mut out =
        host::Output { o: vec![T::zeroed(); o_bytes / size_of::<T>()], lse: vec![0.0; lse_bytes / 4] };
    o.copy_to_host(&mut out.o)?;
    lse.copy_to_host(&mut out.lse)?;
    Ok(out)
}

/// Checks every case, on each processor with an operator of its own: launches of one device run one after the
/// other.
///
/// # Panics
/// When a check fails; the first ten are shown.
pub fn check_all<C: std::fmt::Debug + Sync, O>(
    cases: &[C],
    operator: impl Fn() -> O + Sync,
    check: impl Fn(&O, &C) -> Result<(), String> + Sync,
) {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let operator = operator();
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = check(&operator, case) {
                        failures
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(format!("{case:?}\n    {why}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    let shown = failures.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {} cases failed:\n{shown}", failures.len(), cases.len());
}
