//! Operators in model time: what the commands `trace` and `bench` run.

use anyhow::{Context, Result};
use clap::ValueEnum;
use fastattention::attention::{self, Args, FlashAttention, Problem};
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
}

impl std::fmt::Display for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Op::FlashFwd => "flash_fwd",
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
    /// Floating-point operations that the result needs: those of pairs that no mask hides.
    pub(crate) fn flops(&self) -> f64 {
        let shape = self.problem.shape();
        let pairs: f64 = (0..shape.seqlen_q).map(|row| shape.visible_keys(row..row + 1).len() as f64).sum();
        let heads = f64::from(shape.batch) * f64::from(shape.num_heads);
        2.0 * pairs * heads * (f64::from(shape.head_dim) + f64::from(shape.head_dim_v))
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
        }
    }

    fn flash_fwd(&self, device: &Device, model_time: &ModelTime, rounds: u32) -> Result<Vec<LaunchReport>> {
        let plan = attention::plan(&self.problem, self.soc)?;
        let operator = FlashAttention::new(device)?;
        let stream = Stream::new(device)?;
        let [q, k, v, o, _] = plan.shape().operand_bytes().map(|bytes| alloc(device, bytes));
        let (q, k, v, o) = (q?, k?, v?, o?);
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
