//! Happens-before order: vector clocks of the pipes of one group.
//!
//! Every pipe counts epochs; a new one starts at each event through which others can learn that its
//! instructions are complete. A clock says, for every pipe, the newest epoch that is known to be complete.
//! Cores of other groups are known only through mode 0 cross-core flags; the clock then also carries one
//! clock per group.

use std::sync::Arc;

use crate::access::Pipe;

/// Slots of one core: its seven pipes, and the loads of the scalar unit.
pub(crate) const CORE_SLOTS: usize = 8;
/// Slots of a group: AIC, AIV0, AIV1.
pub(crate) const SLOTS: usize = 3 * CORE_SLOTS;
/// Cores of a group, by their index in the group's clocks: 0 AIC, 1 AIV0, 2 AIV1.
pub(crate) const CORE_NAMES: [&str; 3] = ["AIC", "AIV0", "AIV1"];
/// Slot, within a core, of scalar loads. The scalar unit stops until a load has returned (dav-c220.md 1.4),
/// so instructions issued later come after it; a scalar store is only ordered by a flag from pipe S.
pub(crate) const SCALAR_LOADS: usize = 7;

/// The local clocks of all groups of the launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GlobalClock(Box<[[u32; SLOTS]]>);

impl GlobalClock {
    pub(crate) fn new(groups: usize) -> Self {
        Self(vec![[0; SLOTS]; groups].into_boxed_slice())
    }

    fn covers(&self, other: &GlobalClock) -> bool {
        self.0.iter().flatten().zip(other.0.iter().flatten()).all(|(a, b)| a >= b)
    }

    fn join(&mut self, other: &GlobalClock) {
        for (mine, theirs) in self.0.iter_mut().flatten().zip(other.0.iter().flatten()) {
            *mine = (*mine).max(*theirs);
        }
    }

    /// Adds what a clock of `group` knows.
    pub(crate) fn join_clock(&mut self, group: u32, clock: &Clock) {
        if let Some(global) = &clock.global {
            self.join(global);
        }
        join_slots(&mut self.0[group as usize], &clock.local);
    }
}

fn join_slots(mine: &mut [u32; SLOTS], theirs: &[u32; SLOTS]) {
    for (a, b) in mine.iter_mut().zip(theirs) {
        *a = (*a).max(*b);
    }
}

/// What is known to be complete.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock {
    local: [u32; SLOTS],
    global: Option<Arc<GlobalClock>>,
}

impl Clock {
    /// The clock that `group` takes from a mode 0 flag.
    pub(crate) fn from_global(global: &Arc<GlobalClock>, group: u32) -> Self {
        Self { local: global.0[group as usize], global: Some(Arc::clone(global)) }
    }

    pub(crate) fn join(&mut self, other: &Clock) {
        join_slots(&mut self.local, &other.local);
        let Some(theirs) = &other.global else { return };
        match &mut self.global {
            None => self.global = Some(Arc::clone(theirs)),
            Some(mine) if Arc::ptr_eq(mine, theirs) || mine.covers(theirs) => {}
            Some(mine) if theirs.covers(mine) => *mine = Arc::clone(theirs),
            Some(mine) => Arc::make_mut(mine).join(theirs),
        }
    }

    /// Is epoch `epoch` of a slot of this clock's own group known to be complete?
    pub(crate) fn knows(&self, slot: usize, epoch: u32) -> bool {
        self.local[slot] >= epoch
    }

    /// The same for a slot of another group.
    pub(crate) fn knows_of_group(&self, group: u32, slot: usize, epoch: u32) -> bool {
        self.global.as_ref().is_some_and(|g| g.0[group as usize][slot] >= epoch)
    }
}

#[derive(Debug, Default, Clone)]
struct PipeOrder {
    clock: Clock,
    /// Epoch of the instructions that execute now; epoch 0 is "before the launch".
    epoch: u32,
    /// Version of the scalar unit's clock that this pipe has joined, or that is queued for it.
    seen: u64,
}

/// The clocks of one core.
#[derive(Debug)]
pub(crate) struct CoreOrder {
    core: usize,
    pipes: [PipeOrder; 7],
    load_epoch: u32,
    /// No instruction was dispatched since the last scalar load, so the next load may share its epoch.
    loads_open: bool,
    /// Changes whenever the scalar unit's clock does.
    version: u64,
}

impl CoreOrder {
    pub(crate) fn new(core: usize) -> Self {
        let mut order =
            Self { core, pipes: Default::default(), load_epoch: 0, loads_open: false, version: 0 };
        for pipe in &mut order.pipes {
            pipe.epoch = 1;
        }
        order
    }

    pub(crate) fn slot(&self, pipe: Pipe) -> usize {
        self.core * CORE_SLOTS + pipe as usize
    }

    pub(crate) fn clock(&self, pipe: Pipe) -> &Clock {
        &self.pipes[pipe as usize].clock
    }

    pub(crate) fn epoch(&self, pipe: Pipe) -> u32 {
        self.pipes[pipe as usize].epoch
    }

    /// Slot and epoch of a scalar load that happens now.
    pub(crate) fn scalar_load(&mut self) -> (usize, u32) {
        let slot = self.core * CORE_SLOTS + SCALAR_LOADS;
        if !self.loads_open {
            self.load_epoch += 1;
            self.pipes[Pipe::S as usize].clock.local[slot] = self.load_epoch;
            self.version += 1;
            self.loads_open = true;
        }
        (slot, self.load_epoch)
    }

    /// A flag set on `pipe`: everything earlier on it is complete, and whatever that came after.
    pub(crate) fn send(&mut self, pipe: Pipe) -> Clock {
        if pipe == Pipe::S {
            self.loads_open = false;
        }
        let slot = self.slot(pipe);
        let state = &mut self.pipes[pipe as usize];
        let mut message = state.clock.clone();
        message.local[slot] = state.epoch;
        state.epoch += 1;
        message
    }

    /// A flag waited for on `pipe`.
    pub(crate) fn receive(&mut self, pipe: Pipe, message: &Clock) {
        self.pipes[pipe as usize].clock.join(message);
        if pipe == Pipe::S {
            self.version += 1;
        }
    }

    /// `pipe_barrier(pipe)`.
    pub(crate) fn barrier(&mut self, pipe: Pipe) {
        let slot = self.slot(pipe);
        let state = &mut self.pipes[pipe as usize];
        state.clock.local[slot] = state.epoch;
        state.epoch += 1;
    }

    /// `pipe_barrier(PIPE_ALL)`, once every queue is empty.
    pub(crate) fn barrier_all(&mut self) {
        for pipe in Pipe::ALL {
            let message = self.send(pipe);
            self.pipes[Pipe::S as usize].clock.join(&message);
        }
        self.version += 1;
    }

    /// The scalar unit's clock for an instruction that is queued now; `None` when the pipe has it already.
    pub(crate) fn dispatch(&mut self, pipe: Pipe) -> Option<Box<Clock>> {
        self.loads_open = false;
        if self.pipes[pipe as usize].seen == self.version {
            return None;
        }
        self.pipes[pipe as usize].seen = self.version;
        Some(Box::new(self.pipes[Pipe::S as usize].clock.clone()))
    }

    /// The same for an instruction that executes as it is issued.
    pub(crate) fn dispatch_now(&mut self, pipe: Pipe) {
        self.loads_open = false;
        if self.pipes[pipe as usize].seen == self.version {
            return;
        }
        self.pipes[pipe as usize].seen = self.version;
        let (scalar, others) = self.pipes.split_at_mut(1);
        others[pipe as usize - 1].clock.join(&scalar[0].clock);
    }
}
