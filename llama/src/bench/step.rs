//! One step of a model: its launches, and how long they take.

use fastattention::parallel::schedule::{end, follow, Cost};
use fastattention::soc::Collective;
use fastattention::{Error, Result};

use super::clock::Clock;
use super::outcome::{Launch, PartTime, StepTime};
use super::parts::{Part, Parts};
use super::plans::Plans;
use super::rank::Rank;
use super::Run;

/// New rows of each sequence, and keys that the last of them sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StepShape {
    pub(super) rows: u32,
    pub(super) keys: u32,
}

impl StepShape {
    /// Of all sequences. A run's bounds keep it below 2^32 where its memory fits.
    pub(super) fn all_rows(self, batch: u32) -> u32 {
        self.rows.saturating_mul(batch)
    }
}

/// Times a step. A layer with other weights and another cache comes before the one that counts, so that L2
/// holds what a layer leaves there.
pub(super) fn time(run: &Run, rank: &Rank, shape: StepShape) -> Result<StepTime> {
    let clock = Clock::new(run.soc)?;
    let plans = Plans::new(run, rank, shape)?;
    let parts = Parts::new(&clock, run, rank, shape, plans)?;
    let once = |part: Part| timed(&clock, run, part, 1);
    let mut times = vec![once(parts.embedding())?];
    for mut part in parts.layer()? {
        clock.run(&mut part.launch)?;
    }
    for part in parts.layer()? {
        times.push(timed(&clock, run, part, run.model.layers)?);
    }
    let [last_norm, logits, argmax] = parts.last();
    times.extend([once(last_norm)?, once(logits)?]);
    if run.tp > 1 {
        times.push(gathered_logits(run));
    }
    times.push(once(argmax)?);
    Ok(StepTime::new(run, shape, times))
}

/// What a part takes, of which a step has `count`.
fn timed(clock: &Clock, run: &Run, mut part: Part, count: u32) -> Result<PartTime> {
    let reports = clock.run(&mut part.launch)?;
    let launches: Vec<Launch> = reports.iter().map(Launch::of).collect();
    if part.blocks.is_empty() {
        let us = launches.iter().map(|launch| launch.us).sum();
        return Ok(PartTime { name: part.name, count, launches, transfers_us: Vec::new(), us });
    }
    let (mut costs, mut rest) = (Vec::new(), reports.iter());
    for (num_launches, transfer) in &part.blocks {
        let mut cost = Cost { compute_us: 0.0, launch_us: 0.0, ..*transfer };
        for kernel in rest.by_ref().take(*num_launches) {
            cost.compute_us += kernel.task_us();
            cost.launch_us += kernel.launch_us;
        }
        costs.push(cost);
    }
    if rest.next().is_some() {
        return Err(Error::invalid(format!(
            "bench: {} launched more kernels than its blocks have",
            part.name
        )));
    }
    let us = end(&follow(&costs, run.soc.links.contention));
    let transfers_us = costs.iter().map(|cost| cost.transfer_us).collect();
    Ok(PartTime { name: part.name, count, launches, transfers_us, us })
}

/// Every rank has the logits of its part of the vocabulary.
fn gathered_logits(run: &Run) -> PartTime {
    let bytes = 4 * u64::from(run.batch) * u64::from(run.model.vocabulary);
    let us = run.soc.links.microseconds(Collective::AllGather, bytes, run.tp);
    PartTime { name: "gather logits", count: 1, launches: Vec::new(), transfers_us: vec![us], us }
}
