//! Layers on simulated devices, time only.

use anyhow::{ensure, Result};
use fastattention::parallel::schedule::Cost;
use fastattention::parallel::{Args, AttentionArgs, LinearArgs, Plan, TilingAllReduce};
use fastattention::runtime::{Buffer, Communicator, Device, Stream};
use fastattention::sim::time::{ModelTime, Schedule, Timeline};
use fastattention::sim::Config;

/// One rank.
struct Rank {
    operator: TilingAllReduce,
    stream: Stream,
    /// q, k, v, o, y, weight, workspace.
    buffers: [Buffer; 7],
}

impl Rank {
    fn new(operator: TilingAllReduce, plan: &Plan) -> Result<Self> {
        let device = operator.device();
        let alloc = |bytes: u64| anyhow::Ok(Buffer::alloc(device, usize::try_from(bytes.max(1))?)?);
        let [q, k, v, o, y] = plan.operand_bytes();
        let (weight, workspace) = (alloc(plan.weight_bytes())?, alloc(plan.workspace_bytes())?);
        let buffers = [alloc(q)?, alloc(k)?, alloc(v)?, alloc(o)?, alloc(y)?, weight, workspace];
        Ok(Self { stream: Stream::new(device)?, buffers, operator })
    }

    fn launch(&mut self, plan: &Plan) -> Result<()> {
        let [q, k, v, o, y, weight, workspace] = &self.buffers;
        let attention = AttentionArgs { q: q.into(), k: k.into(), v: v.into(), workspace: workspace.into() };
        let linear = LinearArgs::Weight(weight.into());
        let args = Args { attention: Some(attention), o: o.into(), linear, y: y.into() };
        Ok(self.operator.launch(&self.stream, plan, args)?)
    }
}

fn config(plan: &Plan) -> Result<(Config, ModelTime)> {
    let model_time = ModelTime::only();
    let mut config = Config::new(fastattention::Soc::by_name(&plan.soc().name)?);
    // Races are the concern of tests; here they would only cost host time.
    config.check_races = false;
    config.model_time = Some(model_time.clone());
    Ok((config, model_time))
}

/// All ranks with their transfers, on one clock.
pub(super) fn on_ranks(plan: &Plan) -> Result<Schedule> {
    let timeline = Timeline::new();
    let mut devices = Vec::new();
    for _ in 0..plan.problem().ranks {
        let (mut config, _) = config(plan)?;
        config.timeline = Some(timeline.clone());
        devices.push(Device::simulated(config)?);
    }
    let operators = match devices.as_slice() {
        [device] => vec![TilingAllReduce::alone(device)?],
        devices => Communicator::init_all(devices)?
            .into_iter()
            .map(TilingAllReduce::new)
            .collect::<Result<_, _>>()?,
    };
    let mut ranks: Vec<Rank> =
        operators.into_iter().map(|operator| Rank::new(operator, plan)).collect::<Result<_>>()?;
    ranks.iter_mut().try_for_each(|rank| rank.launch(plan))?;
    for rank in &ranks {
        rank.stream.synchronize()?;
    }
    Ok(timeline.solve()?)
}

/// What every block takes: its kernels in model time on one device, the heads of one rank, and its transfer as the links say. All ranks do the same
/// on other data, so one stands for all.
pub(super) fn block_costs(plan: &Plan) -> Result<Vec<Cost>> {
    let own = plan.without_transfers();
    let (config, model_time) = config(plan)?;
    let mut rank = Rank::new(TilingAllReduce::alone(&Device::simulated(config)?)?, &own)?;
    rank.launch(&own)?;
    rank.stream.synchronize()?;
    let mut reports = model_time.take_reports().into_iter();
    let mut costs = Vec::new();
    for block in plan.blocks() {
        let mut cost = Cost { compute_us: 0.0, launch_us: 0.0, ..block.cost };
        for kernel in reports.by_ref().take(block.num_launches()) {
            cost.compute_us += kernel.task_us();
            cost.launch_us += kernel.task_us() - kernel.core_us();
        }
        costs.push(cost);
    }
    ensure!(reports.next().is_none(), "more kernels were launched than the blocks have");
    Ok(costs)
}
