//! Each operator on a device, with operands of its own.

use anyhow::{bail, Context, Result};
use fastattention::attention::{Buffers, FlashAttention, Mask};
use fastattention::baseline::{self, MemoryCopy, Read, ReadFrom, ReadTo, StandardArgs, StandardAttention};
use fastattention::matmul::{self, Matmul};
use fastattention::merge::{self, Merge};
use fastattention::runtime::{Buffer, Device, Stream};
use fastattention::DType;

use super::{Workload, PARTS};
use crate::tiling::Tiling;

/// Columns of a mask that a core reads for every head before it goes on, so that L2 still holds them for the
/// next head.
const MASK_SLICE_COLS: u32 = 512;

/// Queues all launches of an operator, with operands of its own.
pub(super) type Launch = Box<dyn Fn(&Stream) -> Result<()>>;

impl Workload {
    pub(super) fn flash_fwd(&self, device: &Device) -> Result<Launch> {
        let plan = self.plan()?;
        let operator = FlashAttention::new(device)?;
        let buffers = Buffers::alloc(device, &plan)?;
        Ok(Box::new(move |stream| Ok(operator.launch(stream, &plan, buffers.args())?)))
    }

    pub(super) fn standard(&self, device: &Device) -> Result<Launch> {
        // The limits of `flash_fwd` on types of scores are not those of the softmax kernel, which has its
        // own.
        let problem = self.problem.with_score_dtype(DType::F32);
        let plan = baseline::plan(&problem, self.problem.spec.score_dtype, self.soc)?;
        let operator = StandardAttention::new(device)?;
        let [q, k, v, o, _] = self.problem.shape().operand_bytes();
        let (q, k, v, o) = (alloc(device, q)?, alloc(device, k)?, alloc(device, v)?, alloc(device, o)?);
        let has_mask = problem.spec.mask == Mask::Causal;
        let mask = has_mask.then(|| alloc(device, plan.mask_bytes())).transpose()?;
        let workspace = alloc(device, plan.workspace_bytes())?;
        Ok(Box::new(move |stream| {
            let args = StandardArgs::new(&q, &k, &v, &o, &workspace);
            let args = mask.iter().fold(args, StandardArgs::with_mask);
            Ok(operator.launch(stream, &plan, args)?)
        }))
    }

    pub(super) fn matmul(&self, device: &Device) -> Result<Launch> {
        let problem = self.linear()?;
        let plan = match self.tiling {
            Some(Tiling::FlashFwd(tiling)) => bail!("matmul: the tiling of flash_fwd given: {tiling}"),
            Some(Tiling::Matmul(tiling)) => matmul::plan_with(&problem, self.soc, tiling)?,
            None => matmul::plan(&problem, self.soc)?,
        };
        let operator = Matmul::new(device)?;
        let [a, b, c] = problem.operand_bytes();
        let (a, b, c) = (alloc(device, a)?, alloc(device, b)?, alloc(device, c)?);
        Ok(Box::new(move |stream| Ok(operator.launch(stream, &plan, matmul::Args::new(&a, &b, &c))?)))
    }

    pub(super) fn merge(&self, device: &Device) -> Result<Launch> {
        let p = &self.problem;
        let shape = [p.batch, p.seqlen_q, p.spec.num_heads, p.spec.head_dim];
        let problem = merge::Problem::new(p.spec.dtype, self.parts.unwrap_or(PARTS), shape);
        let plan = merge::plan(&problem, self.soc)?;
        let operator = Merge::new(device)?;
        let [o, lse] = problem.operand_bytes();
        let (o, lse) = (alloc(device, o)?, alloc(device, lse)?);
        let (mut o_parts, mut lse_parts) = (Vec::new(), Vec::new());
        for [o, lse] in problem.source_bytes() {
            o_parts.push(alloc(device, o)?);
            lse_parts.push(alloc(device, lse)?);
        }
        Ok(Box::new(move |stream| {
            let o_parts: Vec<merge::Operand<'_>> = o_parts.iter().map(Into::into).collect();
            let lse_parts: Vec<merge::Operand<'_>> = lse_parts.iter().map(Into::into).collect();
            Ok(operator.launch(stream, &plan, merge::Args::new(&o_parts, &lse_parts, &o, &lse))?)
        }))
    }

    pub(super) fn copy(&self, device: &Device) -> Result<Launch> {
        let operator = MemoryCopy::new(device)?;
        let bytes = self.copied_bytes()?;
        let (dst, src) = (alloc(device, bytes)?, alloc(device, bytes)?);
        let num_cores = self.soc.vector_cores;
        Ok(Box::new(move |stream| {
            Ok(operator.launch(stream, num_cores, bytes, (&dst).into(), (&src).into())?)
        }))
    }

    pub(super) fn read_mask(&self, device: &Device) -> Result<Launch> {
        let p = &self.problem;
        let passes = self.product(("batch", p.batch), ("num_heads", p.spec.num_heads))?;
        if passes == 0 || p.seqlen_q == 0 || p.seqlen_k == 0 {
            return Ok(Box::new(|_| Ok(())));
        }
        let operator = Read::new(device)?;
        // The kernel counts in elements of two bytes.
        let cols = p.seqlen_k.div_ceil(2);
        let slice_cols = cols.min(MASK_SLICE_COLS);
        let rows_per_core = p.seqlen_q.div_ceil(self.soc.vector_cores);
        let num_cores = p.seqlen_q.div_ceil(rows_per_core);
        let from = ReadFrom {
            slice_cols,
            passes,
            ..ReadFrom::new([p.seqlen_q, cols], [rows_per_core.min(16), slice_cols], num_cores)
        };
        // Before any memory is asked for.
        from.tiling_data(ReadTo::Ub, self.soc)?;
        let mask = alloc(device, from.span_bytes())?;
        Ok(Box::new(move |stream| Ok(operator.launch(stream, &from, ReadTo::Ub, (&mask).into())?)))
    }
}

fn alloc(device: &Device, bytes: u64) -> Result<Buffer> {
    let bytes = usize::try_from(bytes).with_context(|| format!("{bytes} bytes"))?;
    Ok(Buffer::alloc(device, bytes)?)
}
