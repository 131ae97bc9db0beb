//! One group (block): issue and execution of instructions on its cores.

use std::sync::Arc;

use super::clocks::{Clocks, Dispatched, Standing};
use super::core::{at_site, cores_of, is_under_unit_flag, Action, Core, CoreKind, Entry, Traits, Wait};
use super::flags::{decode_cross_config, decode_cross_flag, FlagId};
use super::timed::transfers;
use super::Launch;
use crate::access::{Dispatch, Elem, Exec, Fault, FaultKind, Instr, Pipe, Stop};
use crate::access::{OrderHandle, QUEUE_DEPTH};
use crate::machine::abi::{FasimInstr, KernelType};
use crate::time::clock::Moment;
use crate::time::Cause;

/// CANN's value of PIPE_ALL (dav-c220.md 4.1).
const PIPE_ALL: u64 = 6;
/// With a seed: one in this many instructions lets another core go first.
const TURN_ODDS: u32 = 24;

/// The cores of one block.
pub(super) struct Group {
    pub(super) launch: Arc<Launch>,
    pub(super) block: u32,
    pub(super) cores: Vec<Core>,
    pub(super) rng: Option<fastrand::Rng>,
    /// Why the group stopped. Every entry of the machine then tells the kernel to stop.
    pub(super) stop: Option<Stop>,
    pub(super) clocks: Clocks,
}

/// What remains of an instruction after its issue.
pub(super) enum Issue {
    Done,
    /// To be queued, when there is room.
    Queue(Pipe, Box<Entry>),
    /// The scalar unit waits.
    Wait(Wait),
}

impl Group {
    /// # Errors
    /// When the host has no memory for its cores.
    pub(super) fn new(launch: &Arc<Launch>) -> Result<Self, Stop> {
        let cores = cores_of(launch.kernel_type).iter().map(|index| Core::new(*index, &launch.config));
        let cores = cores.collect::<Result<Vec<_>, _>>()?;
        let clocks = Clocks::new(&cores);
        Ok(Self { launch: Arc::clone(launch), block: 0, cores, rng: None, stop: None, clocks })
    }

    /// As at the start of `block`.
    pub(super) fn reset(&mut self, block: u32) {
        self.block = block;
        self.stop = None;
        // Each block has its own generator: the order in which host threads take blocks does not matter.
        self.rng =
            self.launch.config.seed.map(|seed| fastrand::Rng::with_seed(seed.wrapping_add(u64::from(block))));
        for core in &mut self.cores {
            core.reset(&self.launch.config);
        }
        self.clocks.reset(&self.cores);
    }

    /// Decodes, checks and dispatches one intrinsic.
    pub(super) fn issue(&mut self, c: usize, raw: &FasimInstr) -> Result<Issue, Stop> {
        let number = self.cores[c].next_number();
        let Some(op) = self.launch.ops.get(usize::from(raw.op)).copied() else {
            let count = self.launch.ops.len();
            let detail = format!("operation {} of an image that has {count}", raw.op);
            let site = self.cores[c].site(self.block, Pipe::S, number, "issue");
            return Err(at_site(Stop::fault(FaultKind::Operand, detail), site));
        };
        let pipe_hint = if let Dispatch::Queued(pipe, _) = op.dispatch { pipe } else { Pipe::S };
        let decoded = self.decode(c, raw, number).and_then(|instr| {
            if let Some(recorder) = &self.launch.config.recorder {
                recorder.push(self.block, self.cores[c].name(), &instr);
            }
            self.dispatch(c, &instr)
        });
        decoded.map_err(|stop| at_site(stop, self.cores[c].site(self.block, pipe_hint, number, op.mnemonic)))
    }

    fn decode(&self, c: usize, raw: &FasimInstr, number: u64) -> Result<Instr, Stop> {
        let op = self.launch.ops[usize::from(raw.op)];
        let elem = |name: &str, tag: u8| {
            Elem::from_abi(tag).ok_or_else(|| {
                let detail = format!("{name} element type {tag} is not one of the interface's");
                Stop::fault(FaultKind::Operand, detail)
            })
        };
        let num_args = raw.num_args;
        // Some names have overloads with more operands than are listed; the family that executes them knows.
        if num_args as usize > raw.args.len() {
            let detail = format!("{num_args} operands given; an instruction has at most {}", raw.args.len());
            return Err(Stop::fault(FaultKind::Operand, detail));
        }
        Ok(Instr {
            op,
            elem: elem("source", raw.elem)?,
            elem_dst: elem("destination", raw.elem_dst)?,
            args: raw.args,
            num_args,
            regs: self.cores[c].regs,
            number,
        })
    }

    // One arm for each kind of dispatch.
    fn dispatch(&mut self, c: usize, instr: &Instr) -> Result<Issue, Stop> {
        let core = &mut self.cores[c];
        let number = instr.number;
        let (pipe, action) = match instr.op.dispatch {
            Dispatch::Register(apply) => {
                apply(&mut core.regs, instr);
                self.clocks.register(c);
                return Ok(Issue::Done);
            }
            Dispatch::NoEffect => {
                self.clocks.register(c);
                return Ok(Issue::Done);
            }
            Dispatch::Queued(pipe, run) => {
                core.require_pipe("the instruction", pipe)?;
                (pipe, Action::Run(run))
            }
            Dispatch::SetFlag => {
                let flag = flag_operands(core, instr)?;
                core.flags.issue_set(flag, number)?;
                (flag.src, Action::Set(flag))
            }
            Dispatch::WaitFlag => {
                let flag = flag_operands(core, instr)?;
                core.flags.issue_wait(flag);
                if flag.dst == Pipe::S {
                    return Ok(Issue::Wait(Wait::Flag(flag)));
                }
                (flag.dst, Action::Wait(flag))
            }
            Dispatch::PipeBarrier if instr.args[0] == PIPE_ALL => return Ok(Issue::Wait(Wait::Idle)),
            Dispatch::PipeBarrier => {
                let why_not = "the scalar unit has no barrier of its own, use PIPE_ALL";
                (pipe_but_scalar(core, instr, why_not)?, Action::Barrier)
            }
            Dispatch::CrossCoreSet => {
                let why_not = "a cross-core flag is set by V, M, MTE1, MTE2, MTE3 or FIX";
                let pipe = pipe_but_scalar(core, instr, why_not)?;
                let (mode, flag) = decode_cross_config(instr.args[1])?;
                (pipe, Action::CrossSet(mode, flag))
            }
            Dispatch::CrossCoreWait => {
                let flag = decode_cross_flag("flag_id", instr.args[0])?;
                return Ok(Issue::Wait(Wait::Cross(flag)));
            }
        };
        if pipe == Pipe::S {
            let issued = self.clocks.dispatch_now(c, pipe);
            self.execute(c, pipe, instr, action, issued)?;
            self.settle(c, action)?;
            return Ok(Issue::Done);
        }
        self.enqueue(c, pipe, instr, action)
    }

    /// In the default order, what a set lets go on does so at once.
    fn settle(&mut self, c: usize, action: Action) -> Result<(), Stop> {
        if matches!(action, Action::Set(flag) if self.rng.is_none() && self.cores[c].is_ready(flag.dst)) {
            while self.run_queues(c)? {}
        }
        Ok(())
    }

    /// In the default order an instruction that nothing blocks executes now, without a copy in the queue.
    fn enqueue(&mut self, c: usize, pipe: Pipe, instr: &Instr, action: Action) -> Result<Issue, Stop> {
        let needs_grant =
            self.clocks.time.is_some() && matches!(action, Action::Run(_)) && transfers(pipe, instr);
        let core = &mut self.cores[c];
        let traits =
            Traits { has_unit_flag: pipe == Pipe::Fix && is_under_unit_flag(pipe, instr), needs_grant };
        let free = core.queues[pipe as usize].is_empty()
            && core.is_unblocked(pipe, action, instr.number, traits.has_unit_flag);
        if self.rng.is_none() && free && !needs_grant {
            let issued = self.clocks.dispatch_now(c, pipe);
            self.execute(c, pipe, instr, action, issued)?;
            self.settle(c, action)?;
            return Ok(Issue::Done);
        }
        let is_full = core.queues[pipe as usize].len() == QUEUE_DEPTH;
        let entry = Entry { instr: *instr, action, dispatched: Dispatched::default(), traits };
        if is_full {
            return Ok(Issue::Queue(pipe, Box::new(entry)));
        }
        self.push(c, pipe, entry)
    }

    /// Queues an instruction; there is room. With a seed, some pipes run and another core may go first.
    pub(super) fn push(&mut self, c: usize, pipe: Pipe, mut entry: Entry) -> Result<Issue, Stop> {
        entry.dispatched = self.clocks.dispatch(c, pipe);
        self.cores[c].queues[pipe as usize].push_back(entry);
        self.shake(c)?;
        let turn = self.rng.as_mut().is_some_and(|rng| rng.u32(..TURN_ODDS) == 0);
        Ok(if turn { Issue::Wait(Wait::Turn) } else { Issue::Done })
    }

    /// With a seed: a random number of queued instructions executes.
    pub(super) fn shake(&mut self, c: usize) -> Result<(), Stop> {
        while self.rng.as_mut().is_some_and(|rng| rng.u32(..3) != 0) {
            if !self.step_random(c)? {
                break;
            }
        }
        Ok(())
    }

    /// Executes the head of a random ready queue; false when none is ready.
    fn step_random(&mut self, c: usize) -> Result<bool, Stop> {
        let mut ready = Pipe::ALL;
        let mut count = 0;
        for pipe in Pipe::ALL {
            if self.cores[c].is_ready(pipe) {
                ready[count] = pipe;
                count += 1;
            }
        }
        if count == 0 {
            return Ok(false);
        }
        let at = self.rng.as_mut().map_or(0, |rng| rng.usize(..count));
        self.step(c, ready[at])?;
        Ok(true)
    }

    /// Executes the head of a queue, which is ready.
    pub(super) fn step(&mut self, c: usize, pipe: Pipe) -> Result<(), Stop> {
        let Some(entry) = self.cores[c].queues[pipe as usize].pop_front() else { return Ok(()) };
        self.clocks.begin(c, pipe, &entry.dispatched);
        self.execute(c, pipe, &entry.instr, entry.action, entry.dispatched.issued)
    }

    /// Runs queues as far as they go: in the default order all, with a seed one instruction at random.
    /// False when nothing could run.
    pub(super) fn run_queues(&mut self, c: usize) -> Result<bool, Stop> {
        if self.rng.is_some() {
            return self.step_random(c);
        }
        let mut ran = false;
        for pipe in Pipe::ALL {
            while self.cores[c].is_ready(pipe) {
                self.step(c, pipe)?;
                ran = true;
            }
        }
        Ok(ran)
    }

    fn execute(
        &mut self,
        c: usize,
        pipe: Pipe,
        instr: &Instr,
        action: Action,
        issued: Moment,
    ) -> Result<(), Stop> {
        let done = match action {
            Action::Run(run) if self.clocks.time.is_some() => self.run_timed(c, pipe, instr, run, issued),
            Action::Run(run) => {
                let standing = self.clocks.standing(c, pipe);
                run(&mut self.exec(c, pipe, instr, standing), instr)
            }
            Action::Set(flag) => {
                let message = self.clocks.set(c, pipe, issued, None);
                self.cores[c].flags.set(flag, message);
                Ok(())
            }
            Action::Wait(flag) => {
                if let Some(message) = self.cores[c].flags.take(flag) {
                    self.clocks.wait(c, pipe, issued, &message, Cause::Flag(flag.src));
                }
                Ok(())
            }
            Action::Barrier => {
                self.clocks.barrier(c, pipe, issued);
                Ok(())
            }
            Action::CrossSet(mode, flag) => self.cross_set(c, pipe, instr, mode, flag, issued),
        };
        done.map_err(|stop| {
            at_site(stop, self.cores[c].site(self.block, pipe, instr.number, instr.op.mnemonic))
        })
    }

    /// What an instruction on `pipe` of core `c` sees.
    pub(super) fn exec<'a>(
        &'a mut self,
        c: usize,
        pipe: Pipe,
        instr: &'a Instr,
        (slot, epoch): Standing,
    ) -> Exec<'a> {
        let launch = &*self.launch;
        let core = &mut self.cores[c];
        let order = launch.config.check_races.then(|| OrderHandle {
            clock: self.clocks.known(c, pipe),
            epoch,
            slot,
            block: self.block,
            local: &mut core.shadow,
            gm: &launch.gm_shadow,
        });
        Exec {
            instr,
            mode: launch.mode,
            gm: &launch.gm,
            local: &mut core.local,
            vector: &mut core.vector,
            order,
            touched: None,
        }
    }

    /// Tries to end a wait of the scalar unit; runs the core's own queues as far as that helps.
    pub(super) fn try_wait(&mut self, c: usize, wait: Wait) -> Result<bool, Stop> {
        while !self.is_over(c, wait) {
            if !self.run_queues(c)? {
                return Ok(false);
            }
        }
        match wait {
            Wait::Flag(flag) => {
                if let Some(message) = self.cores[c].flags.take(flag) {
                    self.clocks.scalar_wait(c, &message, Cause::Flag(flag.src));
                }
            }
            Wait::Cross(flag) => self.cross_take(c, flag),
            Wait::Idle => self.clocks.barrier_all(c),
            Wait::Room(_) | Wait::Turn => {}
        }
        Ok(true)
    }

    /// Would this wait end now?
    pub(super) fn is_over(&self, c: usize, wait: Wait) -> bool {
        let core = &self.cores[c];
        match wait {
            Wait::Flag(flag) => core.flags.is_set(flag),
            Wait::Cross(flag) => core.cross.is_set(flag) || self.is_round_complete(c, flag),
            Wait::Room(pipe) => core.queues[pipe as usize].len() < QUEUE_DEPTH,
            Wait::Idle => core.is_idle(),
            Wait::Turn => true,
        }
    }

    /// The kernel function of core `c` has returned: its queues run to their end.
    pub(super) fn finish(&mut self, c: usize) -> Result<(), Stop> {
        self.cores[c].finished = true;
        while self.run_queues(c)? {}
        self.require_ended(c)
    }

    /// Requires the queues of a core whose function has returned to be empty, or to be on their way in model
    /// time.
    pub(super) fn require_ended(&self, c: usize) -> Result<(), Stop> {
        if self.cores[c].is_idle() || self.next_transfer().is_some() {
            return Ok(());
        }
        let waits = self.blocked(c).join("; ");
        let detail = format!("the kernel has returned, but {waits}");
        Err(Stop::Fault(Box::new(Fault { kind: FaultKind::Deadlock, site: None, detail })))
    }

    /// Flags and counters of a group whose cores have all finished.
    pub(super) fn check_leaks(&self) -> Result<(), Stop> {
        for core in &self.cores {
            if let Some((flag, number)) = core.flags.leaked() {
                let site = core.site(self.block, flag.src, number, "set_flag");
                let detail = format!("{flag} is still set when the kernel ends");
                return Err(at_site(Stop::fault(FaultKind::LeakedFlag, detail), site));
            }
        }
        for core in &self.cores {
            if let Some((flag, text)) = core.cross.leaked() {
                let name = core.name();
                let detail = format!("cross-core flag {flag} of {name} of block {}: {text}", self.block);
                return Err(Stop::fault(FaultKind::LeakedFlag, detail));
            }
        }
        Ok(())
    }

    /// The AIVs of this group, as indices into `cores`.
    pub(super) fn aivs(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.cores.len()).filter(|i| self.cores[*i].kind == CoreKind::Aiv)
    }

    /// Cores of the SoC that a kernel of this type can occupy at once, in blocks.
    pub(super) fn resident_limit(&self) -> u32 {
        match self.launch.kernel_type {
            KernelType::AivOnly => self.launch.config.soc.vector_cores,
            _ => self.launch.config.soc.cube_cores,
        }
    }
}

fn pipe_operand(core: &Core, name: &str, value: u64) -> Result<Pipe, Stop> {
    let pipe = Pipe::from_cann(value).ok_or_else(|| {
        let detail = format!("{name} = {value}; pipes are S 0, V 1, M 2, MTE1 3, MTE2 4, MTE3 5, FIX 10");
        Stop::fault(FaultKind::Operand, detail)
    })?;
    core.require_pipe(name, pipe)?;
    Ok(pipe)
}

/// The first operand, a pipe; the text says why it cannot be the scalar unit.
fn pipe_but_scalar(core: &Core, instr: &Instr, why_not: &str) -> Result<Pipe, Stop> {
    match pipe_operand(core, "pipe", instr.args[0])? {
        Pipe::S => Err(Stop::fault(FaultKind::Operand, format!("pipe = S; {why_not}"))),
        pipe => Ok(pipe),
    }
}

fn flag_operands(core: &Core, instr: &Instr) -> Result<FlagId, Stop> {
    let src = pipe_operand(core, "pipe", instr.args[0])?;
    let dst = pipe_operand(core, "tpipe", instr.args[1])?;
    FlagId::new(src, dst, instr.args[2])
}
