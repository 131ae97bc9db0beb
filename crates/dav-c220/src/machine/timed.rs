//! Model time in a group: the clocks of its cores, and what each instruction takes.
//!
//! Everything inside a group follows from times that are known when an instruction executes, in whatever
//! order the host gets there. Only GM is shared by all groups (`places.rs`).

use std::cell::RefCell;
use std::rc::Rc;

use super::core::{is_under_unit_flag, CoreKind, Entry};
use super::flags::CrossMode;
use super::group::Group;
use super::Launch;
use crate::access::{Access, Addr, Instr, Pipe, Rate, Semantic, Space, Stop, Touch};
use crate::time::clock::{CoreClock, Cycles, Moment, PipeClock};
use crate::time::cost::{self, Costs};
use crate::time::gm::{GmTransfer, Piece, SharedGm};
use crate::time::l1::L1Banks;
use crate::time::report::{InstrSpan, TraceEvent};
use crate::time::Cause;
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
    pub(super) gm: SharedGm,
    costs: Costs,
    pub(super) trace: Option<Vec<TraceEvent>>,
    pub(super) cube_macs: u64,
    /// Scratch: accesses and bursts of the instruction that executes.
    touched: Vec<Touch>,
    pieces: Vec<Piece>,
}

impl TimedLaunch {
    pub(super) fn new(timing: &'static Timing, gm: SharedGm, has_trace: bool) -> Self {
        Self {
            gm,
            costs: Costs::new(timing),
            trace: has_trace.then(Vec::new),
            cube_macs: 0,
            touched: Vec::new(),
            pieces: Vec::new(),
        }
    }
}

/// When a block starts: as the first one in its place, or after another.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    First(Cycles),
    Next(Moment),
}

impl Start {
    fn moment(self) -> Moment {
        match self {
            Start::First(at) => Moment { at, span: None },
            Start::Next(moment) => moment,
        }
    }
}

/// Model time of one group.
pub(super) struct Timed {
    timing: &'static Timing,
    pub(super) cores: Vec<CoreClock>,
    /// Of each core; those of AIVs have nothing to do.
    l1: Vec<L1Banks>,
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
    // Borrows of the group and of its clocks alternate, which functions of its own would have to repeat.
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
        let issued = {
            let start = timed.unit_flag_wait(c, pipe, instr, issued);
            if pipe == Pipe::Fix && start.at > issued.at {
                timed.cores[c].pipe(pipe).hold(issued, start.at);
            }
            start
        };
        let span = if shared.pieces.is_empty() {
            let mut cost = shared.costs.of(instr, &shared.touched)?;
            if instr.op.rate == Rate::Cube {
                shared.cube_macs += cost::cube_extents(instr).iter().product::<u64>();
            }
            if pipe == Pipe::Mte1 {
                let start = timed.cores[c].ready(pipe, issued);
                cost.occupancy += timed.l1[c].load(&shared.touched, start, start + cost.occupancy);
            }
            timed.cores[c].pipe(pipe).run(issued, cost)
        } else {
            let place = timed.place as usize;
            let site = TransferSite { place, core: place * timed.cores.len() + c };
            shared.transfer(timed.timing, timed.cores[c].pipe(pipe), instr, issued, site)
        };
        timed.l1[c].write(&shared.touched, span.start, span.free);
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
    pub(super) fn transfer_next(&mut self, c: usize, pipe: Pipe) -> Result<(), Stop> {
        self.step(c, pipe)?;
        while self.run_queues(c)? {}
        Ok(())
    }

    /// Starts model time of a block. The first one in a place begins with the prologue of its cores.
    pub(super) fn start_timed(&mut self, shared: &Rc<RefCell<TimedLaunch>>, place: u32, start: Start) {
        let timing = &self.launch.config.soc.timing;
        let cores = self.cores.len();
        let mut timed = self.clocks.time.take().unwrap_or_else(|| Timed {
            timing,
            cores: (0..cores).map(|_| CoreClock::new(timing)).collect(),
            l1: Vec::new(),
            shared: Rc::clone(shared),
            place,
            unit_flag: vec![Default::default(); cores],
        });
        for (clock, core) in timed.cores.iter_mut().zip(&self.cores) {
            let prologue = match start {
                Start::Next(_) => 0,
                Start::First(_) => timing.control.prologue(core.kind == CoreKind::Aic),
            };
            clock.reset(timing, start.moment(), prologue);
        }
        timed.l1.clear();
        timed.l1.resize_with(cores, || L1Banks::new(timing.local.l1_row_bytes));
        timed.unit_flag.fill(Default::default());
        self.clocks.time = Some(timed);
    }
}

impl Timed {
    /// ASSUMPTION(unit-flag-time): under unitFlag FIX starts behind the result of the Mmad that fills the
    /// accumulator, and the next such Mmad behind the start of FIX; the units in between are not followed one
    /// by one. FIX is busy while it waits for the Cube: the counters of [mm-asc-005..020] and of
    /// [mm-asc-045..047], all under unitFlag, show the six to ten steps that the queue of M is long, those of
    /// [mm-asc-025..040] the transfer alone.
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

/// Where a transfer has its end on the chip: the place of the group and a number of the core.
#[derive(Clone, Copy)]
struct TransferSite {
    place: usize,
    core: usize,
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
        site: TransferSite,
    ) -> InstrSpan {
        let write = self.touched.iter().any(|t| t.addr.space == Space::Gm && t.access != Access::Read);
        let local = self.touched.iter().find(|t| t.addr.space != Space::Gm);
        let mut way = cost::gm_way(timing, instr, write, local.map_or(Space::Ub, |t| t.addr.space));
        let drained: u64 =
            self.touched.iter().filter(|t| t.addr.space == Space::L0c).map(|t| t.len * t.count).sum();
        if drained > 0 {
            // The fixpipe's rate counts what it takes from L0C, which a smaller type shrinks on the way.
            let stored: u64 = self.pieces.iter().map(|p| p.len * p.count).sum();
            way.path.bytes_per_cycle *= stored as f64 / drained as f64;
        }
        let start = clock.ready(issued);
        let (core, ai_core) = (site.core, site.place);
        let transfer = GmTransfer { way, pieces: &self.pieces, core, ai_core };
        let done = self.gm.transfer(&mut clock.window, start, &transfer);
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
