//! Operators in model time: what the commands `trace` and `bench` run.

use anyhow::{ensure, Context, Result};
use clap::ValueEnum;
use fastattention::attention::{self, Args, FlashAttention, Mask, Problem};
use fastattention::baseline::{self, MemoryCopy, StandardArgs, StandardAttention};
use fastattention::matmul::{self, Matmul};
use fastattention::runtime::{Buffer, Device, Stream};
use fastattention::sim::time::{LaunchReport, ModelTime};
use fastattention::sim::Config;
use fastattention::Soc;

/// An operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Op {
    /// Attention forward.
    #[value(name = "flash_fwd")]
    FlashFwd,
    /// Unfused attention in three launches, with scores of the operands' type in device memory.
    Standard,
    /// Matrix product of a linear layer: batch * seqlen_q rows, num_heads * head_dim columns and sums.
    Matmul,
    /// Copy of a tensor of the shape of q.
    Copy,
}

impl std::fmt::Display for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Op::FlashFwd => "flash_fwd",
            Op::Standard => "standard",
            Op::Matmul => "matmul",
            Op::Copy => "copy",
        })
    }
}

/// An operator on a problem and a SoC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) op: Op,
    pub(crate) problem: Problem,
    pub(crate) soc: &'static Soc,
    /// Run once before, so that L2 holds what a run leaves there.
    pub(crate) is_warm: bool,
}

impl std::fmt::Display for Workload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Workload { op, problem: p, soc, .. } = self;
        write!(
            f,
            "{op} on {}: {} q [{}, {}, {}, {}]",
            soc.name, p.dtype, p.batch, p.seqlen_q, p.num_heads, p.head_dim
        )?;
        write!(f, ", seqlen_k {}, num_heads_k {}, mask {}", p.seqlen_k, p.num_heads_k, p.mask)
    }
}

impl Workload {
    /// Refuses what the operator has no use for.
    pub(crate) fn check(&self) -> Result<()> {
        let p = &self.problem;
        if matches!(self.op, Op::FlashFwd | Op::Standard) {
            return Ok(());
        }
        ensure!(p.mask == Mask::None, "{}: mask {} given; it has none, wanted --mask none", self.op, p.mask);
        for (name, given, wanted) in
            [("seqlen_k", p.seqlen_k, p.seqlen_q), ("num_heads_k", p.num_heads_k, p.num_heads)]
        {
            ensure!(given == wanted, "{}: {name} = {given} given; it has no keys, wanted none", self.op);
        }
        Ok(())
    }

    /// Floating-point operations that the result needs: of attention, those of pairs that no mask hides.
    pub(crate) fn flops(&self) -> f64 {
        match self.op {
            Op::FlashFwd | Op::Standard => {
                let shape = self.problem.shape();
                let keys = |row| shape.visible_keys(row..row + 1).len() as f64;
                let pairs: f64 = (0..shape.seqlen_q).map(keys).sum();
                let heads = f64::from(shape.batch) * f64::from(shape.num_heads);
                2.0 * pairs * heads * (f64::from(shape.head_dim) + f64::from(shape.head_dim_v))
            }
            Op::Matmul => self.linear().flops(),
            Op::Copy => 0.0,
        }
    }

    fn linear(&self) -> matmul::Problem {
        let p = &self.problem;
        let width = p.num_heads.saturating_mul(p.head_dim);
        matmul::Problem::new(p.dtype, [p.batch.saturating_mul(p.seqlen_q), width, width])
    }

    /// Runs it on a device of its own, without results; reports of all its launches, in their order.
    pub(crate) fn time(&self, has_trace: bool) -> Result<Vec<LaunchReport>> {
        let model_time = ModelTime::only();
        let model_time = if has_trace { model_time.with_trace() } else { model_time };
        let mut config = Config::new(self.soc);
        // Races are the concern of tests; here they would only cost host time.
        config.check_races = false;
        config.model_time = Some(model_time.clone());
        let device = Device::simulated(config)?;
        let rounds = if self.is_warm { 2 } else { 1 };
        match self.op {
            Op::FlashFwd => self.flash_fwd(&device, &model_time, rounds),
            Op::Standard => self.standard(&device, &model_time, rounds),
            Op::Matmul => self.matmul(&device, &model_time, rounds),
            Op::Copy => self.copy(&device, &model_time, rounds),
        }
    }

    fn flash_fwd(&self, device: &Device, model_time: &ModelTime, rounds: u32) -> Result<Vec<LaunchReport>> {
        let plan = attention::plan(&self.problem, self.soc)?;
        let operator = FlashAttention::new(device)?;
        let stream = Stream::new(device)?;
        let [q, k, v, o, _] = plan.shape().operand_bytes();
        let (q, k, v, o) = (alloc(device, q)?, alloc(device, k)?, alloc(device, v)?, alloc(device, o)?);
        let workspace = alloc(device, plan.workspace_bytes())?;
        let args = Args {
            q: (&q).into(),
            k: (&k).into(),
            v: (&v).into(),
            o: (&o).into(),
            lse: None,
            workspace: (&workspace).into(),
        };
        repeated(model_time, &stream, rounds, || Ok(operator.launch(&stream, &plan, args)?))
    }

    fn standard(&self, device: &Device, model_time: &ModelTime, rounds: u32) -> Result<Vec<LaunchReport>> {
        let plan = baseline::plan(&self.problem, self.problem.dtype, self.soc)?;
        let operator = StandardAttention::new(device)?;
        let stream = Stream::new(device)?;
        let [q, k, v, o, _] = self.problem.shape().operand_bytes();
        let (q, k, v, o) = (alloc(device, q)?, alloc(device, k)?, alloc(device, v)?, alloc(device, o)?);
        let mask = (plan.mask_bytes() > 0).then(|| alloc(device, plan.mask_bytes())).transpose()?;
        let workspace = alloc(device, plan.workspace_bytes())?;
        let args = StandardArgs {
            q: (&q).into(),
            k: (&k).into(),
            v: (&v).into(),
            o: (&o).into(),
            mask: mask.as_ref().map(Into::into),
            workspace: (&workspace).into(),
        };
        repeated(model_time, &stream, rounds, || Ok(operator.launch(&stream, &plan, args)?))
    }

    fn matmul(&self, device: &Device, model_time: &ModelTime, rounds: u32) -> Result<Vec<LaunchReport>> {
        let problem = self.linear();
        let plan = matmul::plan(&problem, self.soc)?;
        let operator = Matmul::new(device)?;
        let stream = Stream::new(device)?;
        let [a, b, c] = problem.operand_bytes();
        let (a, b, c) = (alloc(device, a)?, alloc(device, b)?, alloc(device, c)?);
        let args = matmul::Args { a: (&a).into(), b: (&b).into(), c: (&c).into() };
        repeated(model_time, &stream, rounds, || Ok(operator.launch(&stream, &plan, args)?))
    }

    fn copy(&self, device: &Device, model_time: &ModelTime, rounds: u32) -> Result<Vec<LaunchReport>> {
        let operator = MemoryCopy::new(device)?;
        let stream = Stream::new(device)?;
        let [bytes, ..] = self.problem.shape().operand_bytes();
        let (dst, src) = (alloc(device, bytes)?, alloc(device, bytes)?);
        repeated(model_time, &stream, rounds, || {
            Ok(operator.launch(&stream, self.soc.vector_cores, bytes, (&dst).into(), (&src).into())?)
        })
    }
}

/// Launches `rounds` times; the reports of the last round.
fn repeated(
    model_time: &ModelTime,
    stream: &Stream,
    rounds: u32,
    launch: impl Fn() -> Result<()>,
) -> Result<Vec<LaunchReport>> {
    let mut reports = Vec::new();
    for _ in 0..rounds {
        launch()?;
        stream.synchronize()?;
        reports = model_time.take_reports();
    }
    Ok(reports)
}

fn alloc(device: &Device, bytes: u64) -> Result<Buffer> {
    let bytes = usize::try_from(bytes).with_context(|| format!("{bytes} bytes"))?;
    Ok(Buffer::alloc(device, bytes)?)
}
