//! The attention table of the tests, and its f16 problems once more with scores of f16, and of shifted keys.

use anyhow::{bail, Result};
use bytemuck::NoUninit;
use fastattention::attention::{kernel_name, plan, Args, FlashAttention, Problem};
use fastattention::reference::Element;
use fastattention::runtime::Buffer;
use fastattention::DType;
use fastattention_testkit::cases::{self, Case};
use fastattention_testkit::data;
use half::{bf16, f16};

use super::side_by_side::Twins;

/// Runs every `every`-th case of each kernel.
pub(super) fn run(twins: &mut Twins, every: usize) -> Result<()> {
    let operator = FlashAttention::new(&twins.device)?;
    let operators = twins.both(|module| operator.with_kernels_of(module))?;
    for (dtype, score_dtype) in
        [(DType::F16, DType::F32), (DType::Bf16, DType::F32), (DType::F16, DType::F16)]
    {
        let cases = table(dtype, score_dtype).step_by(every);
        twins.cases(kernel_name(dtype, score_dtype)?, cases, |twins, case| {
            let problem = data::problem(case);
            match dtype {
                DType::Bf16 => attention::<bf16>(twins, &operators, case, problem),
                DType::F16 => attention::<f16>(twins, &operators, case, problem),
                other => bail!("no kernel takes operands of {other}"),
            }
        })?;
    }
    // Before each launch of attention, one of the kernel that shifts keys.
    let cases = table(DType::F16, DType::F16).step_by(every);
    twins.cases("fa_shift_keys_f16", cases, |twins, case| {
        attention::<f16>(twins, &operators, case, data::problem(case).with_shifted_keys())
    })
}

/// The cases that the planner takes: it refuses some factors of f16 scores.
fn table(dtype: DType, score_dtype: DType) -> impl Iterator<Item = Case> {
    let has_scale =
        move |case: &Case| score_dtype == DType::F32 || case.softmax_scale.is_none_or(|s| s > 0.0);
    let cases = cases::all().into_iter().filter(move |case| case.dtype == dtype && has_scale(case));
    cases.map(move |case| Case { score_dtype, ..case })
}

fn attention<T: Element + NoUninit>(
    twins: &mut Twins,
    operators: &[FlashAttention; 2],
    case: &Case,
    problem: Problem,
) -> Result<()> {
    let plan = plan(&problem, twins.device.soc())?;
    let [.., o_bytes, lse_bytes] = plan.shape().operand_bytes();
    // An empty tensor needs an address, too.
    let alloc =
        |bytes: u64| -> Result<Buffer> { Ok(Buffer::alloc(&twins.device, usize::try_from(bytes.max(1))?)?) };
    let [q, k, v] = data::operands::<T>(case);
    let upload = |operand: &data::Operand<T>| -> Result<Buffer> {
        let buffer = alloc(size_of_val(&operand.data[..]) as u64)?;
        buffer.copy_from_host(&operand.data)?;
        Ok(buffer)
    };
    let (q, k, v) = (upload(&q)?, upload(&k)?, upload(&v)?);
    let (o, lse, workspace) = (alloc(o_bytes)?, alloc(lse_bytes)?, alloc(plan.workspace_bytes())?);
    let args = Args::new(&q, &k, &v, &o, &workspace).with_lse(&lse);
    twins.side_by_side(&[&o, &lse], |stream, side| operators[side].launch(stream, &plan, args))
}
