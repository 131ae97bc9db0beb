//! Events (table of acl-runtime.md 1.6).

mod captured;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ascend_sys::{codes, event_flag};

use super::border::{refuse, Outcome, Refusal};
use super::flight::Clock;
use super::handles::Handled;
use super::stream::{Stream, Waited, Work};
use super::wait;
use crate::timeline::{RecordId, TimedWork};
use captured::Captured;

/// Which function created an event; it decides what the event may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Plain,
    WithFlag,
    ExWithFlag,
}

pub(crate) struct Event {
    /// No other event of this process has it.
    number: u64,
    origin: Origin,
    flags: u32,
    context: u64,
    state: Mutex<State>,
    /// Held from taking a number to queueing what has it. Otherwise a wait could enter a stream before the
    /// record that it waits for, which another thread is about to queue behind it.
    numbering: Mutex<()>,
    /// The record of a capture that is the newest one.
    captured: Mutex<Option<Captured>>,
}

/// Each record has a number. A wait that is queued waits for the newest record at that moment.
#[derive(Default)]
struct State {
    recorded: u64,
    reached: u64,
    waits: u64,
    waits_done: u64,
    stamp: Option<Stamp>,
    failed: Option<Refusal>,
    /// Of the newest record.
    reached_clock: ReachedClock,
}

/// What had ended before a record; set when the record is reached or abandoned.
type ReachedClock = Arc<OnceLock<Clock>>;

#[derive(Clone, Copy)]
struct Stamp {
    ticks: u64,
    at: Instant,
}

/// Flags that this simulator knows. The last is accepted and has no effect here.
const KNOWN_FLAGS: u32 = event_flag::SYNC | event_flag::TIME_LINE | event_flag::CAPTURE_STREAM_PROGRESS;

struct Record {
    event: Arc<Event>,
    number: u64,
    clock: ReachedClock,
}

impl Work for Record {
    fn run(self: Box<Self>, stream: &Stream) -> Outcome {
        let stamp = Stamp { ticks: stream.device.tick(), at: Instant::now() };
        stream.log(|| TimedWork::Record(self.event.record_id(self.number)));
        let mut state = self.event.state();
        state.reached = state.reached.max(self.number);
        state.stamp = Some(stamp);
        state.failed = None;
        drop(state);
        self.clock.get_or_init(|| stream.clock().clone());
        wait::ring();
        Ok(())
    }

    /// ASSUMPTION(event-abandoned): an abandoned record ends the waits for it with the reason; they do not
    /// hang.
    fn abandon(self: Box<Self>, why: &Refusal) {
        let mut state = self.event.state();
        state.reached = state.reached.max(self.number);
        state.stamp = None;
        state.failed = Some(why.clone());
        drop(state);
        self.clock.get_or_init(Clock::default);
        wait::ring();
    }
}

struct Wait {
    event: Arc<Event>,
    number: u64,
    clock: ReachedClock,
}

impl Work for Wait {
    fn run(self: Box<Self>, stream: &Stream) -> Outcome {
        // Of this record, not of a later one that another stream has reached before.
        let waited = stream.wait_for_event(None, || self.number == 0 || self.clock.get().is_some());
        if let Some(clock) = self.clock.get() {
            stream.clock().join(clock, stream.number());
        }
        if waited == Waited::Ready && self.number > 0 {
            stream.log(|| TimedWork::Wait(self.event.record_id(self.number)));
        }
        let mut state = self.event.state();
        state.waits_done += 1;
        // ASSUMPTION(event-failure): a failed producer fails the streams that wait for it; they would read
        // garbage.
        match &state.failed {
            Some(why) if why.code != codes::RT_STREAM_ABORT && self.number > 0 => Err(why.clone()),
            _ => Ok(()),
        }
    }

    fn abandon(self: Box<Self>, _why: &Refusal) {
        self.event.state().waits_done += 1;
    }
}

impl Handled for Event {
    fn kind() -> &'static str {
        "an event"
    }

    fn context(&self) -> Option<u64> {
        Some(self.context)
    }
}

impl Event {
    pub(super) fn new(origin: Origin, flags: u32, context: u64) -> Outcome<Arc<Event>> {
        if flags & !KNOWN_FLAGS != 0 || (origin != Origin::Plain && flags == 0) {
            return refuse(
                codes::RT_PARAM_INVALID,
                format!("flag = {flags:#x} given, SYNC 0x1, CAPTURE_STREAM_PROGRESS 0x2, TIME_LINE 0x8 or a sum wanted"),
            );
        }
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let (state, numbering) = (Mutex::default(), Mutex::default());
        let captured = Mutex::default();
        Ok(Arc::new(Event { number, origin, flags, context, state, numbering, captured }))
    }

    fn record_id(&self, record: u64) -> RecordId {
        RecordId { event: self.number, record }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn orders(&self) -> bool {
        self.origin == Origin::Plain || self.flags & event_flag::SYNC != 0
    }

    fn keeps_time(&self) -> bool {
        self.origin == Origin::Plain || self.flags & event_flag::TIME_LINE != 0
    }

    /// ASSUMPTION(event-flag-code): 107000 for what the table forbids.
    fn forbid<T>(&self, what: &str) -> Outcome<T> {
        let flags = self.flags;
        let origin = match self.origin {
            Origin::Plain => "aclrtCreateEvent",
            Origin::WithFlag => "aclrtCreateEventWithFlag",
            Origin::ExWithFlag => "aclrtCreateEventExWithFlag",
        };
        refuse(
            codes::RT_PARAM_INVALID,
            format!("an event of {origin} with flags {flags:#x} given, which cannot {what}"),
        )
    }

    pub(super) fn record(self: &Arc<Self>, stream: &Arc<Stream>) -> Outcome {
        match stream.capture() {
            Some(member) => self.capture_record(&member),
            None => {
                let _turn = stream.turn();
                self.queue_record(stream)
            }
        }
    }

    pub(super) fn queue_record(self: &Arc<Self>, stream: &Arc<Stream>) -> Outcome {
        let _numbering = self.numbering.lock().unwrap_or_else(PoisonError::into_inner);
        let clock = ReachedClock::default();
        let number = {
            let mut state = self.state();
            state.recorded += 1;
            state.reached_clock = Arc::clone(&clock);
            state.recorded
        };
        stream.submit(Record { event: Arc::clone(self), number, clock }).map(drop)
    }

    /// Queues a wait for the newest record; an event without one is complete.
    pub(super) fn wait_on(self: &Arc<Self>, stream: &Arc<Stream>) -> Outcome {
        if !self.orders() {
            return self.forbid("order streams (it lacks SYNC)");
        }
        if self.capture_wait(stream)? {
            return Ok(());
        }
        let _turn = stream.turn();
        self.queue_wait(stream)
    }

    pub(super) fn queue_wait(self: &Arc<Self>, stream: &Arc<Stream>) -> Outcome {
        let _numbering = self.numbering.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, clock) = {
            let mut state = self.state();
            state.waits += 1;
            (state.recorded, Arc::clone(&state.reached_clock))
        };
        stream.submit(Wait { event: Arc::clone(self), number, clock }).map(drop)
    }

    /// A wait names the record it is for, so a reset has nothing to clear; it only takes its place in the
    /// queue.
    pub(super) fn reset(self: &Arc<Self>, stream: &Arc<Stream>) -> Outcome {
        if self.origin != Origin::WithFlag || !self.orders() {
            return self.forbid("be reset");
        }
        stream.submit_once("a reset of an event", |_: &Stream| Ok(()))
    }

    pub(super) fn is_complete(&self) -> Outcome<bool> {
        self.refuse_captured("asking whether it is reached")?;
        let state = self.state();
        let is_complete = state.reached >= state.recorded;
        drop(state);
        if is_complete {
            wait::seen();
        }
        Ok(is_complete)
    }

    pub(super) fn waits_are_done(&self) -> Outcome<bool> {
        if self.origin == Origin::ExWithFlag || !self.orders() {
            return self.forbid("be asked for its waits");
        }
        self.refuse_captured("asking for its waits")?;
        let state = self.state();
        Ok(state.waits_done == state.waits)
    }

    pub(super) fn synchronize(&self, timeout: Option<Duration>) -> Outcome {
        self.refuse_captured("waiting for it")?;
        let target = self.state().recorded;
        if !wait::wait_until(timeout, || self.state().reached >= target) {
            return refuse(
                codes::RT_EVENT_SYNC_TIMEOUT,
                format!("the event was not reached within {:?}", timeout.unwrap_or_default()),
            );
        }
        self.state().failed.clone().map_or(Ok(()), Err)
    }

    fn stamp(&self, name: &str) -> Outcome<Stamp> {
        self.refuse_captured("asking for its time")?;
        if !self.keeps_time() {
            return refuse(
                codes::RT_EVENT_TIMESTAMP_INVALID,
                format!("{name}: the event was created without TIME_LINE (flags {:#x})", self.flags),
            );
        }
        let state = self.state();
        match state.stamp {
            Some(stamp) if state.reached >= state.recorded => Ok(stamp),
            _ => refuse(
                codes::RT_EVENT_TIMESTAMP_INVALID,
                format!("{name}: the event was not recorded, or its record is not reached yet"),
            ),
        }
    }

    /// The device counter when the record was reached: an order, not a time.
    pub(super) fn timestamp(&self) -> Outcome<u64> {
        Ok(self.stamp("event")?.ticks)
    }

    /// Milliseconds of host time from `start` to `end`: how long the simulator took, not how long a chip
    /// would.
    pub(super) fn elapsed_ms(start: &Event, end: &Event) -> Outcome<f32> {
        let (start, end) = (start.stamp("startEvent")?, end.stamp("endEvent")?);
        match end.at.checked_duration_since(start.at) {
            Some(time) => Ok(time.as_secs_f32() * 1e3),
            None => refuse(
                codes::RT_EVENT_TIMESTAMP_REVERSED,
                format!("endEvent (tick {}) was reached before startEvent (tick {})", end.ticks, start.ticks),
            ),
        }
    }
}
