//! The attention table of the tests, and its f16 problems once more with scores of f16.

use anyhow::{bail, Result};
use bytemuck::NoUninit;
use fastattention::attention::{kernel_name, plan, Args, FlashAttention};
use fastattention::reference::Element;
use fastattention::runtime::Buffer;
use fastattention::DType;
use fastattention_testkit::cases::{self, Case};
use fastattention_testkit::data;
use half::{bf16, f16};

use super::side_by_side::Bench;

/// Runs every `every`-th case of each kernel.
pub(super) fn run(bench: &mut Bench, every: usize) -> Result<()> {
    let operator = FlashAttention::new(&bench.device)?;
    let operators = bench.both(|module| operator.with_kernels_of(module))?;
    for (dtype, score_dtype) in
        [(DType::F16, DType::F32), (DType::Bf16, DType::F32), (DType::F16, DType::F16)]
    {
        // The planner refuses other factors of f16 scores.
        let has_scale = |case: &Case| score_dtype == DType::F32 || case.softmax_scale.is_none_or(|s| s > 0.0);
        let cases = cases::all().into_iter().filter(|case| case.dtype == dtype && has_scale(case));
        let cases = cases.map(|case| Case { score_dtype, ..case }).step_by(every);
        bench.cases(kernel_name(dtype, score_dtype)?, cases, |bench, case| match dtype {
            DType::Bf16 => attention::<bf16>(bench, &operators, case),
            DType::F16 => attention::<f16>(bench, &operators, case),
            other => bail!("no kernel takes operands of {other}"),
        })?;
    }
    Ok(())
}

fn attention<T: Element + NoUninit>(
    bench: &mut Bench,
    operators: &[FlashAttention; 2],
    case: &Case,
) -> Result<()> {
    let plan = plan(&data::problem(case), bench.device.soc())?;
    let [.., o_bytes, lse_bytes] = plan.shape().operand_bytes();
    // An empty tensor needs an address, too.
    let alloc =
        |bytes: u64| -> Result<Buffer> { Ok(Buffer::alloc(&bench.device, usize::try_from(bytes.max(1))?)?) };
    let [q, k, v] = data::operands::<T>(case);
    let upload = |operand: &data::Operand<T>| -> Result<Buffer> {
        let buffer = alloc(size_of_val(&operand.data[..]) as u64)?;
        buffer.copy_from_host(&operand.data)?;
        Ok(buffer)
    };
    let (q, k, v) = (upload(&q)?, upload(&k)?, upload(&v)?);
    let (o, lse, workspace) = (alloc(o_bytes)?, alloc(lse_bytes)?, alloc(plan.workspace_bytes())?);
    let args = Args::new(&q, &k, &v, &o, &workspace).with_lse(&lse);
    bench.side_by_side(&[&o, &lse], |stream, side| operators[side].launch(stream, &plan, args))
}
