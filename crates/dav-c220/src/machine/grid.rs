//! What the groups of a launch share: which block is next, mode 0 cross-core flags, and when nobody can go
//! on.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::clocks::Message;
use super::core::CoreKind;
use super::flags::CROSS_FLAGS;
use crate::access::{Clock, GlobalClock};
use crate::time::clock::Moment;

/// The k-th mode 0 set of a flag by every core of one kind.
#[derive(Debug)]
struct Round {
    arrived: u32,
    taken: u32,
    clock: Arc<GlobalClock>,
    moment: Moment,
}

/// Rounds of one flag and core kind. Rounds that everybody has taken are forgotten.
#[derive(Debug, Default)]
struct Rounds {
    forgotten: u64,
    open: VecDeque<Round>,
}

impl Rounds {
    fn at(&mut self, round: u64) -> Option<&mut Round> {
        self.open.get_mut(usize::try_from(round.checked_sub(self.forgotten)?).ok()?)
    }
}

#[derive(Debug, Default)]
struct GridState {
    next_block: u32,
    rounds: HashMap<(bool, usize), Rounds>,
    /// Counts completed rounds: the only thing through which one group lets another go on.
    version: u64,
    /// Host threads, and those of them that wait for a round later than `version`.
    workers: usize,
    idle: usize,
    failed: bool,
    stuck: bool,
}

/// Shared state of a launch.
#[derive(Debug)]
pub(super) struct Grid {
    state: Mutex<GridState>,
    changed: Condvar,
    blocks: u32,
    aivs_per_block: u32,
}

/// A host thread that works on the launch.
#[derive(Debug)]
pub(super) struct Entered<'a>(&'a Grid);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.lock().workers -= 1;
        self.0.changed.notify_all();
    }
}

/// What a host thread learns when it has nothing left to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Idle {
    /// Some round was completed.
    Changed,
    /// No group can go on.
    Stuck { failed: bool },
}

impl Grid {
    pub(super) fn new(blocks: u32, aivs_per_block: u32) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), blocks, aivs_per_block }
    }

    fn lock(&self) -> MutexGuard<'_, GridState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn participants(&self, kind: CoreKind) -> u32 {
        match kind {
            CoreKind::Aic => self.blocks,
            CoreKind::Aiv => self.blocks * self.aivs_per_block,
        }
    }

    /// The next block to run; `None` when all have been given out or one has failed.
    pub(super) fn next_block(&self) -> Option<u32> {
        let mut state = self.lock();
        if state.failed || state.next_block == self.blocks {
            return None;
        }
        state.next_block += 1;
        Some(state.next_block - 1)
    }

    /// A group was stopped: no further block starts.
    pub(super) fn fail(&self) {
        self.lock().failed = true;
    }

    /// A core of `group` sets `flag` in mode 0 for the `round`-th time.
    pub(super) fn set(&self, kind: CoreKind, flag: usize, round: u64, group: u32, message: &Message) {
        debug_assert!(flag < CROSS_FLAGS);
        let wanted = self.participants(kind);
        let mut state = self.lock();
        let rounds = state.rounds.entry((kind == CoreKind::Aic, flag)).or_default();
        let groups = self.blocks as usize;
        while rounds.at(round).is_none() {
            let clock = Arc::new(GlobalClock::new(groups));
            rounds.open.push_back(Round { arrived: 0, taken: 0, clock, moment: Moment::default() });
        }
        let Some(entry) = rounds.at(round) else { return };
        Arc::make_mut(&mut entry.clock).join_clock(group, &message.clock);
        entry.moment.join(&message.moment);
        entry.arrived += 1;
        if entry.arrived == wanted {
            state.version += 1;
            // Whoever waits is at work again from now on, not only from when its thread wakes.
            state.idle = 0;
            self.changed.notify_all();
        }
    }

    /// Has everybody set this round?
    pub(super) fn is_complete(&self, kind: CoreKind, flag: usize, round: u64) -> bool {
        let wanted = self.participants(kind);
        let mut state = self.lock();
        let rounds = state.rounds.get_mut(&(kind == CoreKind::Aic, flag));
        rounds.and_then(|r| r.at(round)).is_some_and(|r| r.arrived == wanted)
    }

    /// A core of `group` waits for a complete round: what it learns.
    pub(super) fn take(&self, kind: CoreKind, flag: usize, round: u64, group: u32) -> Option<Message> {
        let wanted = self.participants(kind);
        let mut state = self.lock();
        let rounds = state.rounds.get_mut(&(kind == CoreKind::Aic, flag))?;
        let entry = rounds.at(round).filter(|r| r.arrived == wanted)?;
        entry.taken += 1;
        let message = Message { clock: Clock::from_global(&entry.clock, group), moment: entry.moment };
        while rounds.open.front().is_some_and(|r| r.taken == wanted) {
            rounds.open.pop_front();
            rounds.forgotten += 1;
        }
        Some(message)
    }

    pub(super) fn version(&self) -> u64 {
        self.lock().version
    }

    /// A host thread will work, until what is returned is dropped: also when it panics, or could not be
    /// started.
    pub(super) fn enter(&self) -> Entered<'_> {
        self.lock().workers += 1;
        Entered(self)
    }

    /// Waits until a round is completed after `version` was read, or until every host thread waits here.
    pub(super) fn wait(&self, version: u64) -> Idle {
        let mut state = self.lock();
        if state.version == version {
            state.idle += 1;
        }
        loop {
            if state.version != version {
                return Idle::Changed;
            }
            if state.stuck || state.idle == state.workers {
                state.stuck = true;
                self.changed.notify_all();
                return Idle::Stuck { failed: state.failed };
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
