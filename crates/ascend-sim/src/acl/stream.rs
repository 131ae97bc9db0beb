//! Streams: first-in first-out queues, each with a thread of its own that starts with the first piece of
//! work.

mod dispatch;
mod find;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ascend_sys::codes;

use super::border::{catch, refuse, thread_number, Outcome, Refusal};
use super::capture::Member;
use super::device::SimDevice;
use super::flight::Clock;
use super::handles::Handled;
use super::order;
use super::wait::{ended, ring, seen, wait_until};
use crate::engine::Launcher;
use crate::timeline::TimedWork;

pub(crate) use find::of;
pub(super) use find::{explicit, synchronize_device};

/// A piece of work.
pub(crate) trait Work: Send {
    /// Does it, on the stream's thread.
    fn run(self: Box<Self>, stream: &Stream) -> Outcome;
    /// It will never run, because of `why`.
    fn abandon(self: Box<Self>, _why: &Refusal) {}
}

impl<F: FnOnce(&Stream) -> Outcome + Send> Work for F {
    fn run(self: Box<Self>, stream: &Stream) -> Outcome {
        self(stream)
    }
}

/// What a program chose for a stream. It can be asked for and changes nothing here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// 0 (most urgent) to 7.
    pub(super) priority: u32,
    pub(super) flags: u32,
}

pub(crate) struct Stream {
    number: u64,
    settings: Settings,
    context: u64,
    pub(crate) device: Arc<SimDevice>,
    /// Runs its kernels.
    launcher: Box<dyn Launcher>,
    state: Mutex<State>,
    /// What has ended before the work that runs now.
    clock: Mutex<Clock>,
    /// Rings for the worker: work arrived, or the stream closes.
    arrived: Condvar,
    /// The capture that keeps what the stream is given.
    capture: Mutex<Option<Member>>,
    /// Held while work is queued that must not be torn apart.
    turn: Mutex<()>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Box<dyn Work>>,
    /// The stream's thread has been started.
    has_worker: bool,
    /// Its number, once it runs.
    worker: Option<u64>,
    submitted: u64,
    /// Run or abandoned.
    finished: u64,
    /// The least number that a thread waits for; when it is finished, the bell rings.
    awaited: Option<u64>,
    /// Counts aborts; a wait for an event gives up when there was one since it was taken from the queue.
    aborts: u64,
    aborts_at_start: u64,
    /// The first failure; nothing runs after it.
    failed: Option<Refusal>,
    closing: bool,
    has_failure_mode: bool,
}

/// How a wait inside a piece of work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    Ready,
    Aborted,
    TimedOut,
}

impl State {
    /// Has work number `number` ended? If not, its end will ring.
    fn has_finished_or_rings(&mut self, number: u64) -> bool {
        if self.finished >= number {
            return true;
        }
        self.awaited = Some(self.awaited.map_or(number, |other| other.min(number)));
        false
    }

    fn has_nothing_open_or_rings(&mut self) -> bool {
        self.has_finished_or_rings(self.submitted)
    }
}

impl Stream {
    pub(super) fn new(context: u64, device: Arc<SimDevice>) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        Self {
            number,
            settings: Settings::default(),
            context,
            launcher: device.engine().launcher(),
            device,
            state: Mutex::default(),
            clock: Mutex::default(),
            arrived: Condvar::new(),
            capture: Mutex::default(),
            turn: Mutex::default(),
        }
    }

    /// The same stream with other settings than a plain one has.
    pub(super) fn with_settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    pub(super) fn settings(&self) -> Settings {
        self.settings
    }

    pub(super) fn launcher(&self) -> &dyn Launcher {
        self.launcher.as_ref()
    }

    /// Tells the timeline, if the device has one, what work of this stream has done; before anybody who waits
    /// for it goes on.
    pub(crate) fn log(&self, step: impl FnOnce() -> TimedWork) {
        if let Some(timeline) = &self.device.config().timeline {
            timeline.add_step(self.device.id(), self.number, step());
        }
    }

    /// Does its device compute, or only keep time?
    pub(super) fn has_results(&self) -> bool {
        self.device.engine().has_results()
    }

    /// Refuses a function that orders streams in a way that a timeline does not follow.
    pub(super) fn refuse_on_timeline(&self, what: &str) -> Outcome {
        match &self.device.config().timeline {
            None => Ok(()),
            Some(_) => refuse(
                codes::RT_FEATURE_NOT_SUPPORT,
                format!("a wait for {what} given on a device with a timeline; an event or a collective wanted, which alone it can follow"),
            ),
        }
    }

    /// A number that no other stream of this process has.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn context(&self) -> u64 {
        self.context
    }

    /// Queues work at once and returns its number.
    pub(super) fn submit(self: &Arc<Self>, work: impl Work + 'static) -> Outcome<u64> {
        self.submit_box(Box::new(work))
    }

    fn submit_box(self: &Arc<Self>, work: Box<dyn Work>) -> Outcome<u64> {
        let mut state = self.state();
        let refusal = match (&state.failed, state.closing) {
            (Some(failure), _) => Some(failure.clone()),
            (None, true) => {
                Some(Refusal { code: codes::RT_INVALID_HANDLE, text: "the stream was destroyed".into() })
            }
            (None, false) => None,
        };
        if let Some(refusal) = refusal {
            drop(state);
            work.abandon(&refusal);
            return Err(refusal);
        }
        if !state.has_worker {
            let stream = Arc::clone(self);
            let worker = std::thread::Builder::new()
                .name(format!("sim-stream-{}", self.number))
                .spawn(move || stream.work());
            match worker {
                Ok(_) => state.has_worker = true,
                Err(e) => {
                    drop(state);
                    let text = format!("the host cannot start a thread for the stream: {e}");
                    let refusal = Refusal { code: codes::RT_NO_STREAM_RESOURCE, text };
                    work.abandon(&refusal);
                    return Err(refusal);
                }
            }
        }
        order::release(self.as_ref());
        state.queue.push_back(work);
        state.submitted += 1;
        let number = state.submitted;
        drop(state);
        self.arrived.notify_one();
        Ok(number)
    }

    /// The stream's thread.
    fn work(&self) {
        self.state().worker = Some(thread_number());
        loop {
            let mut state = self.state();
            let work = loop {
                if let Some(work) = state.queue.pop_front() {
                    state.aborts_at_start = state.aborts;
                    break work;
                }
                if state.closing {
                    return;
                }
                state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            drop(state);
            order::acquire(self);
            let outcome = catch(|| work.run(self));
            self.finish(outcome);
        }
    }

    /// Books a piece of work that ran; a failure abandons everything behind it.
    fn finish(&self, outcome: Outcome) {
        let mut abandoned = VecDeque::new();
        if let Err(failure) = &outcome {
            let mut state = self.state();
            state.failed = Some(failure.clone());
            abandoned = std::mem::take(&mut state.queue);
            drop(state);
        }
        let count = abandoned.len() as u64;
        if let Err(failure) = &outcome {
            abandoned.into_iter().for_each(|work| work.abandon(failure));
        }
        self.count_finished(1 + count);
    }

    /// Counts pieces of work as finished, and wakes who waits for one of them. Whoever waits for nothing that
    /// has ended sleeps on: most work is followed by more of its stream, and nobody looks in between.
    fn count_finished(&self, count: u64) {
        let mut state = self.state();
        state.finished += count;
        let finished = state.finished;
        let is_awaited = state.awaited.take_if(|number| *number <= finished).is_some();
        drop(state);
        if is_awaited {
            ring();
        } else {
            ended();
        }
    }

    /// Abandons what has not started, and what waits for an event.
    fn drop_queue(&self, why: &Refusal) {
        let mut state = self.state();
        let abandoned = std::mem::take(&mut state.queue);
        state.aborts += 1;
        drop(state);
        let count = abandoned.len() as u64;
        abandoned.into_iter().for_each(|work| work.abandon(why));
        self.state().finished += count;
        // Also for a wait that the abort ends.
        ring();
    }

    pub(super) fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In work of this stream that has waited for something, or has run code of the program: work behind it
    /// may rely on everything that has ended by now.
    pub(super) fn knows_what_has_ended(&self) {
        self.clock().join_now(self.number);
    }

    /// In work of this stream: waits until `ready`, but not beyond `timeout`, nor when the stream is aborted
    /// or destroyed by force.
    pub(crate) fn wait_unless_aborted(&self, timeout: Option<Duration>, ready: impl Fn() -> bool) -> Waited {
        let waited = self.wait_for_event(timeout, ready);
        self.knows_what_has_ended();
        waited
    }

    /// As [`Self::wait_unless_aborted`], when the work knows by itself what it comes behind.
    pub(super) fn wait_for_event(&self, timeout: Option<Duration>, ready: impl Fn() -> bool) -> Waited {
        let ended = wait_until(timeout, || ready() || self.is_aborted());
        match (ready(), ended) {
            (true, _) => Waited::Ready,
            (false, true) => Waited::Aborted,
            (false, false) => Waited::TimedOut,
        }
    }

    fn is_aborted(&self) -> bool {
        let state = self.state();
        state.aborts != state.aborts_at_start
    }

    /// A host function runs on the stream's own thread and must not wait for it.
    fn refuse_own_thread(&self) -> Outcome {
        if self.state().worker == Some(thread_number()) {
            return refuse(
                codes::RT_PARAM_INVALID,
                "called in a function that runs on this stream, where it would wait for itself; another thread wanted",
            );
        }
        Ok(())
    }

    pub(super) fn num_submitted(&self) -> u64 {
        self.state().submitted
    }

    /// Has work number `number` ended, one way or another?
    pub(super) fn has_finished(&self, number: u64) -> bool {
        self.state().finished >= number
    }

    /// As [`Self::has_finished`], for a thread that holds the bell and goes to sleep if not.
    pub(super) fn has_finished_or_rings(&self, number: u64) -> bool {
        self.state().has_finished_or_rings(number)
    }

    fn failure(&self) -> Outcome {
        self.state().failed.clone().map_or(Ok(()), Err)
    }

    /// Waits until work number `number` has ended, one way or another.
    pub(super) fn wait_for(&self, number: u64) -> Outcome {
        self.refuse_own_thread()?;
        wait_until(None, || self.has_finished_or_rings(number));
        self.failure()
    }

    /// Waits for all work queued so far.
    pub(super) fn synchronize(&self, timeout: Option<Duration>) -> Outcome {
        self.refuse_captured("waiting for the stream")?;
        self.refuse_own_thread()?;
        let target = self.state().submitted;
        if !wait_until(timeout, || self.has_finished_or_rings(target)) {
            let open = target - self.state().finished;
            return refuse(
                codes::RT_STREAM_SYNC_TIMEOUT,
                format!(
                    "{open} pieces of work still queued or running after {:?}",
                    timeout.unwrap_or_default()
                ),
            );
        }
        self.failure()
    }

    /// Sets the mode in which nothing runs after a failure. Every simulated stream is in it, so only the rule
    /// that the mode is set once remains (API reference, streams).
    ///
    /// ASSUMPTION(failure-mode-code): 107000 for setting it again.
    pub(super) fn set_failure_mode(&self) -> Outcome {
        if std::mem::replace(&mut self.state().has_failure_mode, true) {
            return refuse(
                codes::RT_PARAM_INVALID,
                "the failure mode of this stream was set before, a stream wanted whose mode was not set",
            );
        }
        Ok(())
    }

    /// Is nothing queued or running?
    pub(super) fn is_idle(&self) -> Outcome<bool> {
        self.refuse_captured("asking whether the stream is done")?;
        self.failure()?;
        let is_idle = self.has_nothing_open();
        if is_idle {
            seen();
        }
        Ok(is_idle)
    }

    fn has_nothing_open(&self) -> bool {
        let state = self.state();
        state.finished == state.submitted
    }

    /// Abandons queued work; work that is running ends first, since a host thread cannot be stopped.
    pub(super) fn abort(&self) -> Outcome {
        self.refuse_captured("aborting the stream")?;
        self.refuse_own_thread()?;
        self.drop_queue(&Refusal { code: codes::RT_STREAM_ABORT, text: "the stream was aborted".into() });
        wait_until(None, || self.state().has_nothing_open_or_rings());
        Ok(())
    }

    /// Ends the stream after its work.
    pub(super) fn close_after_work(&self) -> Outcome {
        self.refuse_captured("destroying the stream")?;
        self.refuse_own_thread()?;
        // A failure was told by the calls before; the stream ends all the same.
        let _ = self.synchronize(None);
        self.let_worker_go();
        Ok(())
    }

    /// Ends the stream without the work that has not started.
    pub(super) fn close_now(&self) {
        self.state().closing = true;
        self.drop_queue(&Refusal {
            code: codes::RT_STREAM_ABORT,
            text: "the stream was destroyed with work in its queue".into(),
        });
        if self.refuse_own_thread().is_ok() {
            wait_until(None, || self.state().has_nothing_open_or_rings());
        }
        self.let_worker_go();
    }

    pub(super) fn let_worker_go(&self) {
        self.state().closing = true;
        self.arrived.notify_all();
    }
}

impl Handled for Stream {
    fn kind() -> &'static str {
        "a stream"
    }

    fn context(&self) -> Option<u64> {
        Some(self.context)
    }

    fn end(&self) {
        if let Some(member) = self.capture() {
            member.graph.invalidate("the context of a stream has ended");
            self.leave_capture();
        }
        self.close_now();
    }
}
