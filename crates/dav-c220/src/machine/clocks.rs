//! The clocks of a group, which it tells of each action once: what is known to be complete when, in
//! happens-before order and, where the device keeps it, in model time.

use super::core::Core;
use super::flags::CrossMode;
use super::timed::Timed;
use crate::access::{Clock, CoreOrder, Pipe};
use crate::time::clock::Moment;
use crate::time::Cause;

/// What a flag carries from its setter to whoever waits for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Message {
    /// What is known to be complete.
    pub(super) clock: Clock,
    /// When it can be waited for, in model time.
    pub(super) moment: Moment,
}

impl Message {
    pub(super) fn join(&mut self, other: &Message) {
        self.clock.join(&other.clock);
        self.moment.join(&other.moment);
    }
}

/// What the scalar unit gives an instruction on its way to a pipe.
#[derive(Debug, Default)]
pub(super) struct Dispatched {
    /// The scalar unit's clock, where the pipe lacks it.
    clock: Option<Box<Clock>>,
    /// When it was issued, in model time.
    pub(super) issued: Moment,
}

/// Where an access stands in the happens-before order: its slot and the epoch there.
pub(super) type Standing = (usize, u32);

/// The clocks of the cores of a group, by their place in it.
pub(super) struct Clocks {
    order: Vec<CoreOrder>,
    /// Model time, when the device keeps it.
    pub(super) time: Option<Timed>,
}

impl Clocks {
    pub(super) fn new(cores: &[Core]) -> Self {
        Self { order: cores.iter().map(|core| CoreOrder::new(core.index)).collect(), time: None }
    }

    /// As at the start of a block. Model time starts apart: it knows when.
    pub(super) fn reset(&mut self, cores: &[Core]) {
        self.order = cores.iter().map(|core| CoreOrder::new(core.index)).collect();
    }

    /// What pipe `pipe` knows to be complete.
    pub(super) fn known(&self, c: usize, pipe: Pipe) -> &Clock {
        self.order[c].clock(pipe)
    }

    /// Where the instructions that `pipe` executes now stand.
    pub(super) fn standing(&self, c: usize, pipe: Pipe) -> Standing {
        (self.order[c].slot(pipe), self.order[c].epoch(pipe))
    }

    /// The scalar unit sets a register.
    pub(super) fn register(&mut self, c: usize) {
        if let Some(time) = &mut self.time {
            time.register(c);
        }
    }

    /// The scalar unit loads from an address, whose model address is given where it lies in an allocation.
    pub(super) fn scalar_load(&mut self, c: usize, model_address: Option<u64>) -> Standing {
        if let Some(time) = &mut self.time {
            time.scalar_load(c, model_address);
        }
        self.order[c].scalar_load()
    }

    /// The scalar unit stores.
    pub(super) fn scalar_store(&mut self, c: usize) -> Standing {
        self.register(c);
        self.standing(c, Pipe::S)
    }

    /// The scalar unit puts an instruction into a queue.
    pub(super) fn dispatch(&mut self, c: usize, pipe: Pipe) -> Dispatched {
        Dispatched { clock: self.order[c].dispatch(pipe), issued: self.issue(c, pipe) }
    }

    /// The scalar unit issues an instruction that executes at once; returns when.
    pub(super) fn dispatch_now(&mut self, c: usize, pipe: Pipe) -> Moment {
        if pipe != Pipe::S {
            self.order[c].dispatch_now(pipe);
        }
        self.issue(c, pipe)
    }

    fn issue(&mut self, c: usize, pipe: Pipe) -> Moment {
        self.time.as_mut().map_or_else(Moment::default, |time| time.issue(c, pipe))
    }

    /// An instruction leaves its queue.
    pub(super) fn begin(&mut self, c: usize, pipe: Pipe, dispatched: &Dispatched) {
        if let Some(clock) = &dispatched.clock {
            self.order[c].receive(pipe, clock);
        }
    }

    /// A flag set on `pipe`; `cross`: of other cores.
    pub(super) fn set(&mut self, c: usize, pipe: Pipe, issued: Moment, cross: Option<CrossMode>) -> Message {
        let moment = self.time.as_mut().map_or_else(Moment::default, |time| time.set(c, pipe, issued, cross));
        Message { clock: self.order[c].send(pipe), moment }
    }

    /// `pipe` has waited for a flag.
    pub(super) fn wait(&mut self, c: usize, pipe: Pipe, issued: Moment, message: &Message, cause: Cause) {
        self.order[c].receive(pipe, &message.clock);
        if let Some(time) = &mut self.time {
            time.wait(c, pipe, issued, message.moment, cause);
        }
    }

    /// The scalar unit has waited for a flag.
    pub(super) fn scalar_wait(&mut self, c: usize, message: &Message, cause: Cause) {
        self.order[c].receive(Pipe::S, &message.clock);
        if let Some(time) = &mut self.time {
            time.scalar_wait(c, message.moment, cause);
        }
    }

    /// `pipe_barrier(pipe)`.
    pub(super) fn barrier(&mut self, c: usize, pipe: Pipe, issued: Moment) {
        self.order[c].barrier(pipe);
        if let Some(time) = &mut self.time {
            time.barrier(c, pipe, issued);
        }
    }

    /// `pipe_barrier(PIPE_ALL)`, once every queue is empty.
    pub(super) fn barrier_all(&mut self, c: usize) {
        self.order[c].barrier_all();
        if let Some(time) = &mut self.time {
            time.barrier_all(c);
        }
    }
}
