//! Model time in the machine: the clocks of a group's cores, and the schedule that carries out transfers with
//! GM in the order in which they start.
//!
//! Everything inside a group follows from times that are known when an instruction executes, in whatever
//! order the host gets there. Only GM is shared by all groups. So each group runs until all of its cores
//! wait, for a transfer at the latest; then the transfer that starts first in model time is carried out.
//! Whatever comes later starts later: it waits for one of those transfers.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::core::{is_under_unit_flag, Entry};
use super::flags::CrossMode;
use super::group::Group;
use super::schedule::{Progress, Runner};
use super::{Launch, LaunchStats};
use crate::access::{Access, Addr, FaultKind, Instr, Pipe, Rate, Semantic, Space, Stop, Touch};
use crate::time::clock::{CoreClock, Cycles, Moment, PipeClock};
use crate::time::cost::{self, Costs};
use crate::time::gm::{GmTransfer, Piece, SharedGm};
use crate::time::report::{CoreReport, InstrSpan, LaunchReport, TraceEvent};
use crate::time::{Cause, ModelTime};
use ascend_soc::Timing;

/// Does the instruction move data between GM and the core?
pub(super) fn transfers(pipe: Pipe, instr: &Instr) -> bool {
    let is_gm = |i: usize| Addr::decode(instr.args[i]).is_some_and(|a| a.space == Space::Gm);
    let looks = matches!(pipe, Pipe::Mte2 | Pipe::Mte3 | Pipe::Fix);
    // Destination or source, the first two operands of every transfer. A fill has a number there, which names
    // GM, too.
    looks && instr.num_args > 3 && (is_gm(0) || is_gm(1))
}

/// What the groups of a launch share in model time.
pub(super) struct TimedLaunch {
    gm: SharedGm,
    costs: Costs,
    trace: Option<Vec<TraceEvent>>,
    cube_macs: u64,
    /// Scratch: accesses and bursts of the instruction that executes.
    touched: Vec<Touch>,
    pieces: Vec<Piece>,
}

/// Model time of one group.
pub(super) struct Timed {
    timing: &'static Timing,
    cores: Vec<CoreClock>,
    shared: Rc<RefCell<TimedLaunch>>,
    /// Place of the group on the chip.
    place: u32,
    /// Last Mmad and fixpipe under unitFlag, by core: the result of the one, the start of the other.
    unit_flag: Vec<(Moment, Moment)>,
}

impl Timed {
    pub(super) fn register(&mut self, c: usize) {
        self.cores[c].scalar(self.timing.control.register);
    }

    pub(super) fn scalar_load(&mut self, c: usize, model_address: Option<u64>) {
        match model_address {
            Some(address) => self.cores[c].scalar_load(address, self.timing),
            None => self.register(c),
        }
    }

    pub(super) fn issue(&mut self, c: usize, pipe: Pipe) -> Moment {
        self.cores[c].dispatch(pipe, self.timing)
    }

    pub(super) fn set(&mut self, c: usize, pipe: Pipe, issued: Moment, cross: Option<CrossMode>) -> Moment {
        let control = &self.timing.control;
        let latency = match cross {
            None => control.flag,
            Some(CrossMode::Grid) => control.cross_all,
            Some(CrossMode::AivPair | CrossMode::Group) => control.cross_group,
        };
        self.cores[c].pipe(pipe).complete(issued).after(latency)
    }

    pub(super) fn wait(&mut self, c: usize, pipe: Pipe, issued: Moment, moment: Moment, cause: Cause) {
        self.cores[c].pipe(pipe).wait(issued, moment, cause);
    }

    pub(super) fn scalar_wait(&mut self, c: usize, moment: Moment, cause: Cause) {
        self.cores[c].wait(moment, cause);
    }

    pub(super) fn barrier(&mut self, c: usize, pipe: Pipe, issued: Moment) {
        self.cores[c].pipe(pipe).barrier(issued);
    }

    pub(super) fn barrier_all(&mut self, c: usize) {
        let end = self.cores[c].end();
        self.cores[c].wait(end, Cause::AllPipes);
    }
}

impl Group {
    /// Executes an instruction and gives it its time.
    pub(super) fn run_timed(
        &mut self,
        c: usize,
        pipe: Pipe,
        instr: &Instr,
        run: Semantic,
        issued: Moment,
    ) -> Result<(), Stop> {
        let Some(shared) = self.clocks.time.as_ref().map(|t| Rc::clone(&t.shared)) else { return Ok(()) };
        let shared = &mut *shared.borrow_mut();
        shared.touched.clear();
        let is_moving = !matches!(pipe, Pipe::V | Pipe::M);
        // Without results, what M and V would do is told by their operands alone.
        if is_moving || !self.launch.mode.is_dry {
            let mut exec = self.exec(c, pipe, instr, self.clocks.standing(c, pipe));
            exec.touched = is_moving.then_some(&mut shared.touched);
            run(&mut exec, instr)?;
        }
        shared.find_pieces(&self.launch);
        let Some(timed) = &mut self.clocks.time else { return Ok(()) };
        let issued = timed.unit_flag_wait(c, pipe, instr, issued);
        let span = if shared.pieces.is_empty() {
            let cost = shared.costs.of(instr, &shared.touched)?;
            if instr.op.rate == Rate::Cube {
                shared.cube_macs += cost::cube_extents(instr).iter().product::<u64>();
            }
            timed.cores[c].pipe(pipe).run(issued, cost)
        } else {
            shared.transfer(timed.timing, timed.cores[c].pipe(pipe), instr, issued)
        };
        let gm_bytes = shared.pieces.iter().map(|p| p.len * p.count).sum();
        timed.cores[c].pipe(pipe).report.gm_bytes += gm_bytes;
        let number = shared.record(&Executing { group: self, c, pipe }, instr, &span, gm_bytes)?;
        if let Some(timed) = &mut self.clocks.time {
            timed.cores[c].pipe(pipe).mark(number, span.done);
            timed.unit_flag_note(c, pipe, instr, &span, number);
        }
        Ok(())
    }

    /// The transfer of this group that can start first: when, core and pipe.
    pub(super) fn next_transfer(&self) -> Option<(Cycles, usize, Pipe)> {
        let timed = self.clocks.time.as_ref()?;
        let mut first: Option<(Cycles, usize, Pipe)> = None;
        for (c, core) in self.cores.iter().enumerate() {
            for pipe in [Pipe::Mte2, Pipe::Mte3, Pipe::Fix] {
                let is_waiting = |e: &&Entry| e.traits.needs_grant && core.may_execute(pipe, e);
                let Some(head) = core.queues[pipe as usize].front().filter(is_waiting) else { continue };
                let start = timed.cores[c].ready(pipe, head.dispatched.issued);
                if first.is_none_or(|(best, ..)| start < best) {
                    first = Some((start, c, pipe));
                }
            }
        }
        first
    }

    /// Carries out the transfer at the head of a queue, and what it lets go on.
    fn transfer_next(&mut self, c: usize, pipe: Pipe) -> Result<(), Stop> {
        self.step(c, pipe)?;
        while self.run_queues(c)? {}
        Ok(())
    }

    /// Starts model time of a block.
    fn start_timed(&mut self, shared: &Rc<RefCell<TimedLaunch>>, place: u32, start: Moment) {
        let timing = &self.launch.config.soc.timing;
        let cores = self.cores.len();
        let mut timed = self.clocks.time.take().unwrap_or_else(|| Timed {
            timing,
            cores: (0..cores).map(|_| CoreClock::new(timing)).collect(),
            shared: Rc::clone(shared),
            place,
            unit_flag: vec![Default::default(); cores],
        });
        for clock in &mut timed.cores {
            clock.reset(timing, start);
        }
        timed.unit_flag.fill(Default::default());
        self.clocks.time = Some(timed);
    }
}

impl Timed {
    /// ASSUMPTION(unit-flag-time): under unitFlag FIX starts behind the result of the Mmad that fills the
    /// accumulator, and the next such Mmad behind the start of FIX; the units in between are not followed one
    /// by one.
    fn unit_flag_wait(&self, c: usize, pipe: Pipe, instr: &Instr, issued: Moment) -> Moment {
        let (mmad, fixpipe) = self.unit_flag[c];
        let mut start = issued;
        if is_under_unit_flag(pipe, instr) {
            match pipe {
                Pipe::Fix => start.join(&mmad),
                Pipe::M => start.join(&fixpipe),
                _ => {}
            }
        }
        start
    }

    /// Keeps what later instructions under unitFlag wait for; `number` is that of the instruction in the
    /// trace.
    fn unit_flag_note(&mut self, c: usize, pipe: Pipe, instr: &Instr, span: &InstrSpan, number: Option<u32>) {
        if is_under_unit_flag(pipe, instr) {
            match pipe {
                Pipe::M => self.unit_flag[c].0 = Moment { at: span.done, span: number },
                Pipe::Fix => self.unit_flag[c].1 = Moment { at: span.start, span: number },
                _ => {}
            }
        }
    }
}

/// Where an instruction executes.
struct Executing<'a> {
    group: &'a Group,
    c: usize,
    pipe: Pipe,
}

impl TimedLaunch {
    /// The bursts in GM of the instruction that executed. Rows that follow each other without a gap are one
    /// burst. ASSUMPTION(gm-merge): the documents only say that transfers are cut into requests of up to 512
    /// bytes (dav-c220.md 1.6).
    fn find_pieces(&mut self, launch: &Launch) {
        self.pieces.clear();
        for touch in self.touched.iter().filter(|t| t.addr.space == Space::Gm) {
            let at = touch.addr.offset.cast_unsigned();
            if let Some((_, a)) = launch.gm.find(at) {
                let at = a.model_address(at);
                let is_dense = u64::try_from(touch.stride) == Ok(touch.len);
                self.pieces.push(match is_dense {
                    true => Piece { at, len: touch.len * touch.count, stride: 0, count: 1 },
                    false => Piece { at, len: touch.len, stride: touch.stride, count: touch.count },
                });
            }
        }
    }

    fn transfer(
        &mut self,
        timing: &Timing,
        clock: &mut PipeClock,
        instr: &Instr,
        issued: Moment,
    ) -> InstrSpan {
        let write = self.touched.iter().any(|t| t.addr.space == Space::Gm && t.access != Access::Read);
        let local = self.touched.iter().find(|t| t.addr.space != Space::Gm);
        let mut path = cost::gm_path(timing, instr, write, local.map_or(Space::Ub, |t| t.addr.space));
        let drained: u64 =
            self.touched.iter().filter(|t| t.addr.space == Space::L0c).map(|t| t.len * t.count).sum();
        if drained > 0 {
            // The fixpipe's rate counts what it takes from L0C, which a smaller type shrinks on the way.
            let stored: u64 = self.pieces.iter().map(|p| p.len * p.count).sum();
            path.bytes_per_cycle *= stored as f64 / drained as f64;
        }
        let start = clock.ready(issued);
        let done =
            self.gm.transfer(&mut clock.window, start, &GmTransfer { path, write, pieces: &self.pieces });
        clock.report.stall(Cause::Memory, (done.complete - done.alone).max(0.0));
        clock.run_until(issued, done.sent, done.complete)
    }

    /// Adds the instruction to the trace; its number there.
    fn record(
        &mut self,
        site: &Executing<'_>,
        instr: &Instr,
        span: &InstrSpan,
        gm_bytes: u64,
    ) -> Result<Option<u32>, Stop> {
        let Some(trace) = &mut self.trace else { return Ok(None) };
        let Ok(number) = u32::try_from(trace.len()) else { return Ok(None) };
        trace.try_reserve(1).map_err(|_| Stop::no_memory("the trace"))?;
        trace.push(TraceEvent {
            group: site.group.clocks.time.as_ref().map_or(0, |t| t.place),
            block: site.group.block,
            core: site.group.cores[site.c].name(),
            pipe: site.pipe,
            mnemonic: instr.op.mnemonic,
            number: instr.number,
            start: span.start,
            free: span.free,
            done: span.done,
            cause: span.cause,
            before: span.before,
            gm_bytes,
        });
        Ok(Some(number))
    }
}

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
    let shared = Rc::new(RefCell::new(TimedLaunch {
        gm: model_time.start(soc)?,
        costs: Costs::new(&soc.timing),
        trace: model_time.has_trace().then(Vec::new),
        cube_macs: 0,
        touched: Vec::new(),
        pieces: Vec::new(),
    }));
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
    let report = result.is_ok().then(|| LaunchReport {
        kernel: kernel.to_owned(),
        soc,
        blocks: launch.blocks,
        cycles: cores.iter().map(|c| c.end).fold(0.0, f64::max),
        cores,
        traffic: shared.gm.traffic,
        cube_macs: shared.cube_macs,
        trace: shared.trace.unwrap_or_default(),
    });
    let core_us = report.as_ref().map_or(0.0, LaunchReport::core_us);
    model_time.finish(shared.gm, report);
    result.map(|()| LaunchStats { instructions, core_us })
}

fn schedule(
    launch: &Arc<Launch>,
    shared: &Rc<RefCell<TimedLaunch>>,
    places: &mut Vec<Resident>,
) -> Result<(), Stop> {
    let limit = Runner::new(launch)?.group().borrow().resident_limit().min(launch.blocks);
    for i in 0..limit {
        let runner = Runner::new(launch)?;
        let (cores, instructions) = (BTreeMap::new(), 0);
        let mut place = Resident { runner, is_done: false, can_run: true, next: None, cores, instructions };
        place.next_block(launch, shared, i, Moment::default())?;
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
        start: Moment,
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
            self.next_block(launch, shared, i, end.after(dispatch))?;
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
