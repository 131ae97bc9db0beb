//! Runs groups: each core's kernel function is a coroutine, each host thread takes one group after another.
#![allow(unsafe_code, reason = "a stack is taken back from a coroutine that has returned")]

use std::cell::{Cell, RefCell};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::grid::{Entered, Idle};
use super::group::Group;
use super::hooks::{panic_text, set_current, Current, YielderCell};
use super::{Launch, LaunchStats};
use crate::access::{Stop, CORE_NAMES};

/// Host stack of one core: the kernel's scalar code and the machine's instructions run on it.
const STACK_BYTES: usize = 512 << 10;

type CoreCoroutine = Coroutine<(), (), i32, DefaultStack>;

/// A core of a group that runs.
struct Task {
    coroutine: CoreCoroutine,
    yielder: YielderCell,
}

/// How far a group got.
pub(super) enum Progress {
    Finished,
    /// It waits for a mode 0 flag of other groups.
    Parked,
    /// It waits for a transfer whose turn comes in model time.
    Transferring,
}

/// A group and the coroutines of its cores.
pub(super) struct Runner {
    group: Rc<RefCell<Group>>,
    /// By core; `None` when its function has returned.
    tasks: Vec<Option<Task>>,
    stacks: Vec<DefaultStack>,
    /// Where the next round starts.
    turn: usize,
}

impl Runner {
    /// # Errors
    /// When the host has no memory for the cores.
    pub(super) fn new(launch: &Arc<Launch>) -> Result<Self, Stop> {
        let group = Rc::new(RefCell::new(Group::new(launch)?));
        Ok(Self { group, tasks: Vec::new(), stacks: Vec::new(), turn: 0 })
    }

    pub(super) fn start(&mut self, block: u32) -> Result<(), Stop> {
        self.turn = 0;
        self.group.borrow_mut().reset(block);
        let cores = self.group.borrow().cores.len();
        let body = Arc::clone(&self.group.borrow().launch.body);
        for _ in 0..cores {
            let stack = match self.stacks.pop() {
                Some(stack) => stack,
                None => DefaultStack::new(STACK_BYTES).map_err(|e| {
                    Stop::no_memory(&format!("the stack of a core, {STACK_BYTES} bytes: {e}"))
                })?,
            };
            let yielder: YielderCell = Rc::new(Cell::new(None));
            let (cell, body, group) = (Rc::clone(&yielder), Arc::clone(&body), Rc::clone(&self.group));
            let coroutine = Coroutine::with_stack(stack, move |me: &Yielder<(), ()>, ()| {
                cell.set(Some(NonNull::from(me)));
                catch_unwind(AssertUnwindSafe(|| body())).unwrap_or_else(|payload| {
                    let defect = Stop::Defect(panic_text(&*payload));
                    group.borrow_mut().stop.get_or_insert(defect);
                    1
                })
            });
            self.tasks.push(Some(Task { coroutine, yielder }));
        }
        Ok(())
    }

    /// Runs the group until it ends, waits for other groups, or stops.
    pub(super) fn run(&mut self) -> Result<Progress, Stop> {
        loop {
            let next = self.next_core();
            if let Some(stop) = self.group.borrow().stop.clone() {
                return Err(stop);
            }
            if let Some(core) = next {
                self.resume(core);
                continue;
            }
            let is_transferring = self.group.borrow().next_transfer().is_some();
            if self.tasks.iter().all(Option::is_none) && !is_transferring {
                self.tasks.clear();
                let group = self.group.borrow();
                (0..group.cores.len()).try_for_each(|c| group.require_ended(c))?;
                group.check_leaks()?;
                return Ok(Progress::Finished);
            }
            if is_transferring {
                return Ok(Progress::Transferring);
            }
            if self.group.borrow().waits_for_groups() {
                return Ok(Progress::Parked);
            }
            return Err(self.group.borrow().deadlock());
        }
    }

    /// A core that can go on: in turn, or with a seed any.
    fn next_core(&mut self) -> Option<usize> {
        let group = &mut *self.group.borrow_mut();
        let count = self.tasks.len();
        let start = match &mut group.rng {
            Some(rng) if count > 0 => rng.usize(..count),
            _ => self.turn,
        };
        let can_go = |core: &usize| {
            let wait = group.cores[*core].waiting;
            self.tasks[*core].is_some() && wait.is_none_or(|(w, ..)| group.is_over(*core, w))
        };
        (0..count).map(|i| (start + i) % count).find(can_go)
    }

    fn resume(&mut self, core: usize) {
        let Some(task) = &mut self.tasks[core] else { return };
        let current = Current { group: Rc::clone(&self.group), core, yielder: Rc::clone(&task.yielder) };
        set_current(Some(current));
        let result = task.coroutine.resume(());
        set_current(None);
        self.turn = (core + 1) % self.tasks.len();
        let CoroutineResult::Return(code) = result else { return };
        if let Some(task) = self.tasks[core].take() {
            self.stacks.push(task.coroutine.into_stack());
        }
        let group = &mut *self.group.borrow_mut();
        if group.stop.is_some() {
            group.cores[core].finished = true;
            return;
        }
        let ended = if code == 0 {
            catch_unwind(AssertUnwindSafe(|| group.finish(core)))
                .unwrap_or_else(|payload| Err(Stop::Defect(panic_text(&*payload))))
        } else {
            Err(Stop::Defect(format!("the kernel returned {code}, but nothing stopped it")))
        };
        if let Err(stop) = ended {
            group.stop = Some(stop);
        }
    }

    /// Lets every core that is suspended return, and takes the stacks back.
    pub(super) fn abort(&mut self, stop: &Stop) {
        self.group.borrow_mut().stop.get_or_insert_with(|| stop.clone());
        for core in 0..self.tasks.len() {
            let started = self.tasks[core].as_ref().is_some_and(|t| t.coroutine.started());
            if !started {
                self.tasks[core] = None;
            }
            while self.tasks[core].is_some() {
                self.resume(core);
            }
        }
        self.tasks.clear();
    }

    pub(super) fn issued(&self) -> u64 {
        self.group.borrow().cores.iter().map(|c| c.issued).sum()
    }

    pub(super) fn group(&self) -> &RefCell<Group> {
        &self.group
    }
}

/// What the groups of a launch came to.
#[derive(Default)]
struct Outcome {
    stats: LaunchStats,
    /// The stop of the lowest block, with the block, core and text that it is ranked by.
    first: Option<((u32, usize, String), Stop)>,
}

impl Outcome {
    fn add(&mut self, block: u32, stop: Stop) {
        let site = match &stop {
            Stop::Fault(f) => f.site.as_ref(),
            Stop::Unsupported(u) => u.site.as_ref(),
            Stop::Host(_) | Stop::Defect(_) => None,
        };
        let core = site.and_then(|s| CORE_NAMES.iter().position(|n| *n == s.core)).unwrap_or(0);
        let rank = (site.map_or(block, |s| s.block), core, stop.to_string());
        if self.first.as_ref().is_none_or(|(best, _)| rank < *best) {
            self.first = Some((rank, stop));
        }
    }
}

/// Runs all blocks on up to `threads` host threads: this one, and as many others as the host starts.
pub(super) fn run_blocks(launch: &Arc<Launch>, threads: usize) -> Result<LaunchStats, Stop> {
    let outcome = Mutex::new(Outcome::default());
    // Entered first: the others may wait for each other before all are started, but not give up without this
    // one.
    let own = launch.grid.enter();
    std::thread::scope(|scope| {
        for _ in 1..threads {
            let (entered, outcome) = (launch.grid.enter(), &outcome);
            let thread = std::thread::Builder::new().name("sim-launch".into());
            if thread.spawn_scoped(scope, move || work(launch, entered, outcome)).is_err() {
                break;
            }
        }
        work(launch, own, &outcome);
    });
    let outcome = outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
    match outcome.first {
        Some((_, stop)) => Err(stop),
        None => Ok(outcome.stats),
    }
}

/// One host thread.
// The loop reads as one: start a group, go on with those that wait, give up where none can.
fn work(launch: &Arc<Launch>, entered: Entered<'_>, outcome: &Mutex<Outcome>) {
    let outcome = || outcome.lock().unwrap_or_else(PoisonError::into_inner);
    let mut parked: Vec<Runner> = Vec::new();
    let mut free: Vec<Runner> = Vec::new();
    let advance = |mut runner: Runner, parked: &mut Vec<Runner>, free: &mut Vec<Runner>| {
        match runner.run() {
            Ok(Progress::Parked) => return parked.push(runner),
            // Only a device that keeps model time has transfers that wait.
            Ok(Progress::Finished | Progress::Transferring) => {}
            Err(stop) => {
                launch.grid.fail();
                runner.abort(&stop);
                outcome().add(runner.group.borrow().block, stop);
            }
        }
        outcome().stats.instructions += runner.issued();
        free.push(runner);
    };
    loop {
        let version = launch.grid.version();
        if let Some(block) = launch.grid.next_block() {
            let runner = free.pop().map_or_else(|| Runner::new(launch), Ok);
            let started = runner.and_then(|mut runner| runner.start(block).map(|()| runner));
            match started {
                Ok(runner) => advance(runner, &mut parked, &mut free),
                Err(stop) => {
                    launch.grid.fail();
                    outcome().add(block, stop);
                }
            }
            continue;
        }
        for runner in std::mem::take(&mut parked) {
            advance(runner, &mut parked, &mut free);
        }
        if parked.is_empty() {
            break;
        }
        if let Idle::Stuck { failed } = launch.grid.wait(version) {
            for mut runner in parked.drain(..) {
                let stop = runner.group.borrow().deadlock();
                let block = runner.group.borrow().block;
                runner.abort(&stop);
                // After a fault elsewhere, waiting for the group that it stopped is only a consequence.
                if !failed {
                    outcome().add(block, stop);
                }
            }
            break;
        }
    }
    drop(entered);
}
