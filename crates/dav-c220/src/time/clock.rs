//! The clocks of one core: its scalar unit and its pipes.
//!
//! Pipes are queues in program order. An instruction starts when its pipe is free, it has been issued, and
//! the flags that it waits for are there; the next one follows after its occupancy, its result is visible
//! after its latency (dav-c220.md 1.4, 5.1).

use super::cost::Cost;
use super::gm::Window;
use super::report::{Cause, InstrSpan, PipeReport};
use crate::access::{Pipe, QUEUE_DEPTH};
use ascend_soc::Timing;

/// A point in model time, in cycles since the launch began.
pub(crate) type Cycles = f64;

/// When something happened, and the span that it was the end of, for the critical path.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Moment {
    pub(crate) at: Cycles,
    pub(crate) span: Option<u32>,
}

impl Moment {
    fn later(self, other: Moment) -> Moment {
        if other.at > self.at {
            other
        } else {
            self
        }
    }

    pub(crate) fn join(&mut self, other: &Moment) {
        *self = self.later(*other);
    }

    pub(crate) fn after(self, cycles: u64) -> Moment {
        Moment { at: self.at + cycles as f64, ..self }
    }
}

#[derive(Debug)]
pub(crate) struct PipeClock {
    /// When it takes the next instruction, and when all results are visible.
    free: Moment,
    done: Moment,
    /// Why `free` is as late as it is.
    cause: Cause,
    starts: [Moment; QUEUE_DEPTH],
    dispatched: usize,
    started: usize,
    pub(crate) window: Window,
    pub(crate) report: PipeReport,
}

/// The clocks of one core.
#[derive(Debug)]
pub(crate) struct CoreClock {
    start: Cycles,
    now: Moment,
    pipes: [PipeClock; 7],
    /// Lines of 64 bytes that the scalar cache holds, by slot.
    scalar_lines: Vec<u64>,
}

/// Scalar data cache: lines of 64 bytes (dav-c220.md 1.2); 16 KiB on an AIC. ASSUMPTION(scalar-cache):
/// direct-mapped, and the same on an AIV.
const SCALAR_LINES: usize = 256;

impl CoreClock {
    pub(crate) fn new(timing: &Timing) -> Self {
        let pipe = || PipeClock {
            free: Moment::default(),
            done: Moment::default(),
            cause: Cause::Issue,
            starts: [Moment::default(); QUEUE_DEPTH],
            dispatched: 0,
            started: 0,
            window: Window::new(timing),
            report: PipeReport::default(),
        };
        Self {
            start: 0.0,
            now: Moment::default(),
            pipes: std::array::from_fn(|_| pipe()),
            scalar_lines: vec![u64::MAX; SCALAR_LINES],
        }
    }

    /// As at the start of a block at `start`, which is after the span that ended the block before. The scalar
    /// unit works for `prologue` cycles before the kernel's own code.
    pub(crate) fn reset(&mut self, timing: &Timing, start: Moment, prologue: u64) {
        *self = Self::new(timing);
        self.start = start.at;
        self.now = start.after(prologue);
        self.pipes[Pipe::S as usize].report.busy = prologue as f64;
        for pipe in &mut self.pipes {
            (pipe.free, pipe.done) = (start, start);
        }
    }

    /// When the block started.
    pub(crate) fn start(&self) -> Cycles {
        self.start
    }

    pub(crate) fn pipe(&mut self, pipe: Pipe) -> &mut PipeClock {
        &mut self.pipes[pipe as usize]
    }

    /// Reports of the pipes, in the order of their numbers.
    pub(crate) fn reports(&self) -> impl Iterator<Item = &PipeReport> {
        self.pipes.iter().map(|p| &p.report)
    }

    /// When the core is idle: all results visible.
    pub(crate) fn end(&self) -> Moment {
        self.pipes.iter().fold(self.now, |end, p| end.later(p.done).later(p.free))
    }

    /// The scalar unit works for `cycles`.
    pub(crate) fn scalar(&mut self, cycles: u64) {
        self.now.at += cycles as f64;
        self.pipes[Pipe::S as usize].report.busy += cycles as f64;
        self.pipes[Pipe::S as usize].report.instructions += 1;
    }

    /// The scalar unit waits for `moment`.
    pub(crate) fn wait(&mut self, moment: Moment, cause: Cause) {
        if moment.at > self.now.at {
            self.pipes[Pipe::S as usize].report.stall(cause, moment.at - self.now.at);
            self.now = moment;
        }
    }

    /// A load by the scalar unit from byte `address` of GM.
    pub(crate) fn scalar_load(&mut self, address: u64, timing: &Timing) {
        let line = address / 64;
        let slot = line as usize % SCALAR_LINES;
        let hit = std::mem::replace(&mut self.scalar_lines[slot], line) == line;
        self.scalar(timing.control.register);
        if !hit {
            let there = self.now.after(timing.control.scalar_miss);
            self.wait(there, Cause::Memory);
        }
    }

    /// An instruction enters the queue of `pipe`; returns when. The queue must have room in model time, too.
    pub(crate) fn dispatch(&mut self, pipe: Pipe, timing: &Timing) -> Moment {
        self.scalar(timing.control.issue);
        let queue = &mut self.pipes[pipe as usize];
        let slot = queue.dispatched % QUEUE_DEPTH;
        let full_until = queue.starts[slot];
        let queued_before = queue.dispatched >= QUEUE_DEPTH;
        queue.dispatched += 1;
        if queued_before {
            self.wait(full_until, Cause::Queue(pipe));
        }
        self.now
    }

    /// As [`PipeClock::ready`].
    pub(crate) fn ready(&self, pipe: Pipe, issued: Moment) -> Cycles {
        self.pipes[pipe as usize].ready(issued)
    }
}

impl PipeClock {
    /// The head of the queue leaves it: when it starts.
    fn start(&mut self, issued: Moment) -> Moment {
        let start = self.free.later(issued);
        self.starts[self.started % QUEUE_DEPTH] = start;
        self.started += 1;
        start
    }

    /// Runs an instruction; returns its span.
    pub(crate) fn run(&mut self, issued: Moment, cost: Cost) -> InstrSpan {
        let start = self.ready(issued);
        self.run_until(issued, start + cost.occupancy, start + cost.occupancy + cost.latency)
    }

    /// When the next instruction, issued at `issued`, can start.
    pub(crate) fn ready(&self, issued: Moment) -> Cycles {
        self.free.at.max(issued.at)
    }

    /// Runs an instruction that frees the pipe at `free` and whose result is visible at `done`.
    pub(crate) fn run_until(&mut self, issued: Moment, free: Cycles, done: Cycles) -> InstrSpan {
        let cause = if issued.at > self.free.at { Cause::Issue } else { self.cause };
        let start = self.start(issued);
        // Idle is what neither this instruction nor the latency of earlier ones fills.
        let covered = self.done.at.max(self.report.covered);
        self.report.busy += done - covered.clamp(start.at, done);
        if start.at > covered {
            self.report.stall(cause, start.at - covered);
        }
        self.report.covered = covered.max(done);
        self.report.occupied += free - start.at;
        self.report.instructions += 1;
        let span = InstrSpan { start: start.at, free, done, before: start.span, cause };
        self.free.at = free;
        self.done.at = self.done.at.max(done);
        self.cause = Cause::Pipe;
        span
    }

    /// The next instruction, issued at `issued`, is in the pipe when the pipe is free and waits there until
    /// `until`: that time counts as busy.
    pub(crate) fn hold(&mut self, issued: Moment, until: Cycles) {
        let covered = self.done.at.max(self.report.covered);
        let from = self.ready(issued);
        if from > covered {
            self.report.stall(Cause::Issue, from - covered);
        }
        let from = from.max(covered);
        if until > from {
            self.report.busy += until - from;
            self.report.covered = until;
        }
    }

    /// Names the span that ends at the pipe's clocks.
    pub(crate) fn mark(&mut self, span: Option<u32>, done: Cycles) {
        self.free.span = span;
        if done >= self.done.at {
            self.done.span = span;
        }
    }

    /// A flag set by the pipe: when everything before it is complete.
    pub(crate) fn complete(&mut self, issued: Moment) -> Moment {
        let start = self.start(issued);
        self.free = start;
        start.later(self.done)
    }

    /// The pipe waits for `moment`.
    pub(crate) fn wait(&mut self, issued: Moment, moment: Moment, cause: Cause) {
        let start = self.start(issued);
        self.free = start.later(moment);
        if moment.at > start.at {
            self.cause = cause;
        }
    }

    /// The pipe waits for its own results.
    pub(crate) fn barrier(&mut self, issued: Moment) {
        let done = self.done;
        self.wait(issued, done, Cause::Barrier);
    }
}
