//! The places on the chip in model time: which block runs where, and the schedule that carries out transfers
//! with GM in the order in which they start.
//!
//! Each group runs until all of its cores wait, for a transfer at the latest; then the transfer that starts
//! first in model time is carried out. Whatever comes later starts later: it waits for one of those
//! transfers.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::schedule::{Progress, Runner};
use super::timed::{Start, TimedLaunch};
use super::{Launch, LaunchStats};
use crate::access::{FaultKind, Pipe, Stop};
use crate::machine::abi::KernelType;
use crate::time::clock::{Cycles, Moment};
use crate::time::report::{CoreReport, LaunchReport};
use crate::time::ModelTime;

/// What is resident in one place on the chip: the group that runs there, and what ran there.
struct Resident {
    runner: Runner,
    /// Blocks are given out until none is left.
    is_done: bool,
    can_run: bool,
    /// The transfer here that can start first, when the place has run as far as it goes without one.
    next: Option<(Cycles, usize, Pipe)>,
    cores: BTreeMap<usize, CoreReport>,
    instructions: u64,
}

/// Runs all blocks in model time.
pub(super) fn run_blocks(
    launch: &Arc<Launch>,
    model_time: &ModelTime,
    kernel: &str,
) -> Result<LaunchStats, Stop> {
    if launch.config.seed.is_some() {
        let detail = "the device keeps model time and has a seed; the order of model time leaves no choice";
        return Err(Stop::fault(FaultKind::Operand, detail));
    }
    let soc = launch.config.soc;
    let shared = TimedLaunch::new(&soc.timing, model_time.start(soc)?, model_time.has_trace());
    let shared = Rc::new(RefCell::new(shared));
    let mut places = Vec::new();
    let result = schedule(launch, &shared, &mut places);
    for place in &mut places {
        if let Err(stop) = &result {
            place.runner.abort(stop);
        }
        place.runner.group().borrow_mut().clocks.time = None;
    }
    let instructions = places.iter().map(|p| p.instructions).sum();
    let cores: Vec<CoreReport> = places.into_iter().flat_map(|p| p.cores.into_values()).collect();
    let Ok(shared) = Rc::try_unwrap(shared) else {
        return Err(Stop::Defect("a group of an ended launch is still alive".into()));
    };
    let shared = shared.into_inner();
    let is_mix = matches!(launch.kernel_type, KernelType::MixAic1Aiv1 | KernelType::MixAic1Aiv2);
    let launch_us = soc.timing.control.task_launch_us(is_mix);
    let report = result.is_ok().then(|| LaunchReport {
        kernel: kernel.to_owned(),
        soc,
        blocks: launch.blocks,
        launch_us,
        cycles: cores.iter().map(|c| c.end).fold(0.0, f64::max),
        cores,
        traffic: shared.gm.traffic,
        cube_macs: shared.cube_macs,
        trace: shared.trace.unwrap_or_default(),
    });
    let cores_us = report.as_ref().map_or(0.0, LaunchReport::cores_us);
    model_time.finish(shared.gm, report);
    result.map(|()| LaunchStats { instructions, launch_us, cores_us })
}

fn schedule(
    launch: &Arc<Launch>,
    shared: &Rc<RefCell<TimedLaunch>>,
    places: &mut Vec<Resident>,
) -> Result<(), Stop> {
    let limit = Runner::new(launch)?.group().borrow().resident_limit().min(launch.blocks);
    let soc = launch.config.soc;
    let apart = soc.timing.control.core_start_us * f64::from(soc.clock_mhz);
    for i in 0..limit {
        let runner = Runner::new(launch)?;
        let (cores, instructions) = (BTreeMap::new(), 0);
        let mut place = Resident { runner, is_done: false, can_run: true, next: None, cores, instructions };
        place.next_block(launch, shared, i, Start::First(f64::from(i) * apart))?;
        places.push(place);
    }
    // A transfer below may let a queue go on to a set in mode 0, so this outlives a turn.
    let mut version = launch.grid.version();
    loop {
        for (i, place) in (0..).zip(places.iter_mut()) {
            place.run(launch, shared, i)?;
        }
        if launch.grid.version() != version {
            version = launch.grid.version();
            for place in places.iter_mut() {
                place.can_run = !place.is_done;
            }
            continue;
        }
        let starts = places.iter().enumerate();
        let starts = starts.filter_map(|(i, p)| p.next.map(|(start, c, pipe)| (start, i, c, pipe)));
        let Some((_, i, c, pipe)) = starts.min_by(|a, b| a.0.total_cmp(&b.0)) else { break };
        places[i].runner.group().borrow_mut().transfer_next(c, pipe)?;
        places[i].can_run = true;
    }
    match places.iter().find(|p| !p.is_done) {
        Some(stuck) => Err(stuck.runner.group().borrow().deadlock()),
        None => Ok(()),
    }
}

impl Resident {
    /// Starts the next block here; none is left when `is_done`.
    fn next_block(
        &mut self,
        launch: &Launch,
        shared: &Rc<RefCell<TimedLaunch>>,
        place: u32,
        start: Start,
    ) -> Result<(), Stop> {
        let Some(block) = launch.grid.next_block() else {
            self.is_done = true;
            return Ok(());
        };
        self.runner.start(block)?;
        self.runner.group().borrow_mut().start_timed(shared, place, start);
        self.can_run = true;
        Ok(())
    }

    /// Runs as far as it goes without a transfer, block after block.
    fn run(&mut self, launch: &Launch, shared: &Rc<RefCell<TimedLaunch>>, i: u32) -> Result<(), Stop> {
        while self.can_run && !self.is_done {
            self.can_run = false;
            self.next = None;
            if !matches!(self.runner.run()?, Progress::Finished) {
                self.next = self.runner.group().borrow().next_transfer();
                return Ok(());
            }
            let end = self.collect(i);
            let dispatch = launch.config.soc.timing.control.block_dispatch;
            self.next_block(launch, shared, i, Start::Next(end.after(dispatch)))?;
        }
        Ok(())
    }

    /// Adds the clocks of a finished block to the report; returns when it ended.
    fn collect(&mut self, place: u32) -> Moment {
        self.instructions += self.runner.issued();
        let group = self.runner.group().borrow();
        let mut last = Moment::default();
        let Some(timed) = &group.clocks.time else { return last };
        for (c, clock) in timed.cores.iter().enumerate() {
            let end = clock.end();
            last.join(&end);
            let core = self.cores.entry(c).or_insert_with(|| CoreReport {
                group: place,
                core: group.cores[c].name(),
                start: clock.start(),
                end: 0.0,
                pipes: Default::default(),
            });
            core.end = core.end.max(end.at);
            for (all, one) in core.pipes.iter_mut().zip(clock.reports()) {
                all.add(one);
            }
        }
        last
    }
}
