//! Attention on host slices in one call: opens a device, plans, copies, launches and waits.
//!
//! For first steps and tests. A program that calls the operator more than once keeps a [`FlashAttention`] and
//! its buffers.

use bytemuck::Pod;

use super::{plan, Buffers, FlashAttention, Plan, Problem};
use crate::runtime::{Buffer, Device, Stream};
use crate::spec::Shape;
use crate::{DType, Error, Result, Soc};

/// An element type of host slices.
pub trait Element: Pod {
    /// Its name on the device.
    const DTYPE: DType;
}

impl Element for half::f16 {
    const DTYPE: DType = DType::F16;
}

impl Element for half::bf16 {
    const DTYPE: DType = DType::Bf16;
}

/// Result of [`attention`].
#[derive(Clone, Debug, PartialEq)]
pub struct Output<T> {
    /// Output, in the problem's layout; elements that its strides step over are 0.
    pub o: Vec<T>,
    /// Log-sum-exp, `[batch, num_heads, seqlen_q]`, natural logarithm.
    pub lse: Vec<f32>,
}

/// Attention of host slices on the simulator's default device.
///
/// ```
/// use fastattention::attention::{host, Mask, Problem};
/// use fastattention::DType;
/// use half::f16;
///
/// // One head, 2 queries, 3 keys. Equal scores: each row is the mean of the v rows that it sees.
/// let problem = Problem::new(DType::F16, [1, 2, 1, 16]).with_seqlen_k(3).with_mask(Mask::Causal);
/// let (q, k) = ([f16::ZERO; 2 * 16], [f16::ZERO; 3 * 16]);
/// let v: Vec<f16> = [1.0, 3.0, 8.0].iter().flat_map(|&x| [f16::from_f32(x); 16]).collect();
/// let out = host::attention(&problem, &q, &k, &v)?;
/// assert_eq!((out.o[0].to_f32(), out.o[16].to_f32()), (2.0, 4.0));
/// # Ok::<(), fastattention::Error>(())
/// ```
///
/// # Errors
/// As [`attention_on`].
pub fn attention<T: Element>(problem: &Problem, q: &[T], k: &[T], v: &[T]) -> Result<Output<T>> {
    let device = Device::open("sim")?;
    let plan = prepare(problem, device.soc(), [q, k, v])?;
    run(&FlashAttention::new(&device)?, &plan, [q, k, v])
}

/// Attention of host slices on the device of `operator`. `lse` is returned whether the problem asks for it or
/// not.
///
/// # Errors
/// `InvalidArgument` for slices of another type or shorter than the problem's shapes and strides need; what
/// [`plan`] refuses; `SimFault`, `SimUnsupported`, `Driver` or `OutOfMemory` of the run.
pub fn attention_on<T: Element>(
    operator: &FlashAttention,
    problem: &Problem,
    q: &[T],
    k: &[T],
    v: &[T],
) -> Result<Output<T>> {
    let plan = prepare(problem, operator.device().soc(), [q, k, v])?;
    run(operator, &plan, [q, k, v])
}

/// Plans, and checks the slices.
fn prepare<T: Element>(problem: &Problem, soc: &Soc, [q, k, v]: [&[T]; 3]) -> Result<Plan> {
    if problem.spec.dtype != T::DTYPE {
        return Err(Error::invalid(format!(
            "attention: dtype = {} given with slices q, k and v of {slices}, dtype = {slices} wanted",
            problem.spec.dtype,
            slices = T::DTYPE
        )));
    }
    let plan = plan(&problem.with_lse(), soc)?;
    require_elements(plan.shape(), [q, k, v])?;
    Ok(plan)
}

/// Refuses slices that are shorter than a shape and its strides need.
pub(crate) fn require_elements<T: Element>(shape: &Shape, [q, k, v]: [&[T]; 3]) -> Result<()> {
    let [q_bytes, k_bytes, v_bytes, ..] = shape.operand_bytes();
    for (name, slice, needed) in [("q", q, q_bytes), ("k", k, k_bytes), ("v", v, v_bytes)] {
        let needed = needed / T::DTYPE.size_bytes() as u64;
        if (slice.len() as u64) < needed {
            return Err(Error::invalid(format!(
                "attention: {name} has {} elements, its shape and strides need {needed}",
                slice.len()
            )));
        }
    }
    Ok(())
}

fn run<T: Element>(operator: &FlashAttention, plan: &Plan, inputs: [&[T]; 3]) -> Result<Output<T>> {
    let device = operator.device();
    let buffers = Buffers::from_slices(device, plan, inputs)?;
    buffers.o.zero()?;
    let stream = Stream::new(device)?;
    operator.launch(&stream, plan, buffers.args())?;
    stream.synchronize()?;
    let lse = buffers.lse.as_ref().map_or(Ok(Vec::new()), Buffer::to_vec)?;
    Ok(Output { o: buffers.o.to_vec()?, lse })
}
