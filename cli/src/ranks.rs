//! Layers on simulated devices, time only.

use std::time::Duration;

use crate::chip::kept;
use crate::progress::Progress;
use anyhow::{ensure, Result};
use fastattention::parallel::schedule::Cost;
use fastattention::parallel::{plan_with, Args, AttentionArgs, LinearArgs, Plan, TilingAllReduce};
use fastattention::runtime::{Buffer, Communicator, Device, Stream};
use fastattention::sim::time::{ModelTime, Schedule, Timeline};
use fastattention::sim::Config;
use fastattention::Soc;

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
        let alloc = |bytes: u64| anyhow::Ok(Buffer::alloc(device, usize::try_from(bytes)?)?);
        let [q, k, v, o, y] = plan.operand_bytes();
        let [q, k, v] = if plan.problem().has_attention { [q, k, v] } else { [0; 3] };
        let (weight, workspace) = (alloc(plan.weight_bytes())?, alloc(plan.workspace_bytes())?);
        let buffers = [alloc(q)?, alloc(k)?, alloc(v)?, alloc(o)?, alloc(y)?, weight, workspace];
        Ok(Self { stream: Stream::new(device)?, buffers, operator })
    }

    fn launch(&mut self, plan: &Plan) -> Result<()> {
        let [q, k, v, o, y, weight, workspace] = &self.buffers;
        let args = Args::new(o, LinearArgs::Weight(weight.into()), y);
        let args = match plan.problem().has_attention {
            true => args.with_attention(AttentionArgs::new(q, k, v, workspace)),
            false => args,
        };
        Ok(self.operator.launch(&self.stream, plan, args)?)
    }
}

fn config(plan: &Plan) -> (Config, ModelTime) {
    let model_time = ModelTime::only();
    let mut config = Config::new(kept(plan.soc().clone()));
    // Races are the concern of tests; here they would only cost host time.
    config.check_races = false;
    config.model_time = Some(model_time.clone());
    (config, model_time)
}

/// The same layer with all rows in one block; with none where it has no rows.
///
/// # Errors
/// It cannot be planned.
pub fn one_block(plan: &Plan, soc: &Soc) -> Result<Plan> {
    let rows: Vec<u32> = plan.blocks().last().map(|block| block.rows.end).into_iter().collect();
    Ok(plan_with(plan.problem(), soc, &rows)?)
}

/// Steps of which [`on_ranks`] tells: for each rank its device, its operator, and its kernels.
pub fn num_steps(plans: &[&Plan]) -> u64 {
    let of_plan = |plan: &&Plan| {
        let kernels: usize = plan.blocks().iter().map(|block| block.num_launches()).sum();
        u64::from(plan.problem().ranks) * (2 + kernels as u64)
    };
    plans.iter().map(of_plan).sum()
}

/// How often finished kernels are counted.
const PERIOD: Duration = Duration::from_millis(50);

/// All ranks with their transfers, on one clock. `progress` goes on with each step.
///
/// # Errors
/// What a rank could not do.
pub fn on_ranks(plan: &Plan, progress: &Progress) -> Result<Schedule> {
    let timeline = Timeline::new();
    let (mut devices, mut times) = (Vec::new(), Vec::new());
    for _ in 0..plan.problem().ranks {
        let (mut config, model_time) = config(plan);
        config.timeline = Some(timeline.clone());
        devices.push(Device::simulated(config)?);
        times.push(model_time);
        progress.add(1);
    }
    let ready = |operator: fastattention::Result<TilingAllReduce>| -> Result<Rank> {
        let rank = Rank::new(operator?, plan)?;
        progress.add(1);
        Ok(rank)
    };
    let mut ranks: Vec<Rank> = match devices.as_slice() {
        [device] => vec![ready(TilingAllReduce::alone(device))?],
        devices => {
            let communicators = Communicator::init_all(devices)?.into_iter();
            communicators.map(|own| ready(TilingAllReduce::new(own))).collect::<Result<_>>()?
        }
    };
    ranks.iter_mut().try_for_each(|rank| rank.launch(plan))?;
    let count = || times.iter().for_each(|time| progress.add(time.take_reports().len() as u64));
    for rank in &ranks {
        // What is wrong with the stream is told when it is synchronised.
        while matches!(rank.stream.query(), Ok(false)) {
            count();
            std::thread::sleep(PERIOD);
        }
        rank.stream.synchronize()?;
    }
    count();
    Ok(timeline.solve()?)
}

/// What every block takes: its kernels in model time on one device, the heads of one rank, and its transfer
/// as the links say. All ranks do the same on other data, so one stands for all.
///
/// # Errors
/// What the device could not do.
pub fn block_costs(plan: &Plan) -> Result<Vec<Cost>> {
    let own = plan.without_transfers();
    let (config, model_time) = config(plan);
    let mut rank = Rank::new(TilingAllReduce::alone(&Device::simulated(config)?)?, &own)?;
    rank.launch(&own)?;
    rank.stream.synchronize()?;
    let mut reports = model_time.take_reports().into_iter();
    let mut costs = Vec::new();
    for block in plan.blocks() {
        let mut cost = Cost { compute_us: 0.0, launch_us: 0.0, ..block.cost };
        for kernel in reports.by_ref().take(block.num_launches()) {
            cost.compute_us += kernel.task_us();
            cost.launch_us += kernel.launch_us;
        }
        costs.push(cost);
    }
    ensure!(reports.next().is_none(), "more kernels were launched than the blocks have");
    Ok(costs)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use fastattention::parallel::{plan, plan_with, Problem};
    use fastattention::{DType, Soc};

    use super::*;

    /// Cores that start one after the other are at work, and a transfer beside them slows them down.
    #[test]
    fn launches_are_what_the_cores_do_not_work_in() {
        let soc = Soc::by_name("Ascend910B2").unwrap();
        let control = &soc.timing.control;
        let problem = Problem::new(DType::F16, [1, 2048, 6, 64], 512, 3);
        let plan = plan_with(&problem, soc, &[1024, 1024]).unwrap();
        for (cost, block) in block_costs(&plan).unwrap().iter().zip(plan.blocks()) {
            assert_eq!(block.num_launches(), 1);
            for cost in [cost, &block.cost] {
                assert_eq!(cost.launch_us, control.task_launch_us(true), "{cost:?}");
            }
        }
    }

    #[test]
    fn every_step_of_every_rank_is_told() {
        let soc = Soc::by_name("Ascend910B2").unwrap();
        let problem = Problem::new(DType::F16, [1, 200, 6, 64], 64, 3);
        let plans = [plan(&problem, soc).unwrap(), plan_with(&problem, soc, &[128, 72]).unwrap()];
        for plan in &plans {
            let progress = Progress::new("ranks");
            on_ranks(plan, &progress).unwrap();
            assert_eq!(progress.done(), num_steps(&[plan]));
        }
        assert_eq!(num_steps(&[&plans[1]]), 3 * (2 + 2));
        assert_eq!(num_steps(&[&plans[0], &plans[1]]), num_steps(&[&plans[0]]) + 12);
    }
}
