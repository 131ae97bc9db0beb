//! Events: order between streams, and times.

#![allow(unsafe_code, reason = "calls C functions of the ACL table")]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::graph::Recording;
use super::handle::Handle;
use super::keep::Keep;
use super::stream::host::Latches;
use super::stream::Taken;
use super::{Device, Stream};
use crate::driver::{codes, event_flag, recorded_status};
use crate::{DriverCode, Error, ErrorKind, Result};

/// A point in the work of a stream.
#[derive(Clone)]
pub struct Event {
    inner: Arc<Inner>,
}

struct Inner {
    device: Device,
    handle: Handle,
    newest: Mutex<Newest>,
    /// Of the stream of the newest record.
    latches: Mutex<Latches>,
}

/// Where the newest record is.
#[derive(Default)]
enum Newest {
    /// In the queue of a stream, or there is none.
    #[default]
    Queued,
    Recorded(Weak<Recording>),
    /// In a capture of the C functions.
    Elsewhere,
}

impl Event {
    /// An event that orders streams.
    ///
    /// # Errors
    /// `Driver` when the device has no event left.
    pub fn new(device: &Device) -> Result<Event> {
        device.driver().latched()?;
        Self::with_flag(device, event_flag::SYNC)
    }

    /// An event that keeps a time, for [`Self::elapsed_since`].
    ///
    /// # Errors
    /// `Driver` when the device has no event left.
    pub fn timing(device: &Device) -> Result<Event> {
        device.driver().latched()?;
        Self::polled(device)
    }

    /// An event for progress checks only. Recording it takes none of the device's limited events, so it never
    /// waits for one (acl-runtime.md 1.6). It does not report an error kept from a drop; the next call does.
    pub(super) fn polled(device: &Device) -> Result<Event> {
        Self::with_flag(device, event_flag::TIME_LINE)
    }

    /// `aclrtCreateEventExWithFlag`; a driver that does not take the flag has `aclrtCreateEvent`, which does
    /// both.
    fn with_flag(device: &Device, flag: u32) -> Result<Event> {
        let mut handle = Handle::NULL;
        let made = device.driver().attempt("aclrtCreateEventExWithFlag", |t| {
            // SAFETY: the pointer is to a live handle.
            unsafe { (t.aclrtCreateEventExWithFlag)(&raw mut handle.0, flag) }
        });
        let refusals = [codes::RT_FEATURE_NOT_SUPPORT, codes::RT_PARAM_INVALID, codes::INVALID_PARAM];
        match made {
            Err(error) if refusals.iter().any(|&c| error.driver_code() == Some(DriverCode::Acl(c))) => {
                device.driver().attempt("aclrtCreateEvent", |t| {
                    // SAFETY: the pointer is to a live handle.
                    unsafe { (t.aclrtCreateEvent)(&raw mut handle.0) }
                })?;
            }
            other => other?,
        }
        let inner =
            Inner { device: device.clone(), handle, newest: Mutex::default(), latches: Mutex::default() };
        Ok(Event { inner: Arc::new(inner) })
    }

    /// Records the event behind the work queued on `stream` so far. A later record replaces this one.
    ///
    /// # Errors
    /// `InvalidArgument` for a stream of another device, `Driver` when the stream cannot take it.
    pub fn record(&self, stream: &Stream) -> Result<()> {
        self.device().require_same(stream.device(), "a stream")?;
        *self.lock_latches() = stream.latches();
        let taken =
            stream.submit_to("aclrtRecordEvent", smallvec::smallvec![self.keep()], None, |t, stream| {
                // SAFETY: `submit_to` keeps the event until the stream is done with it.
                unsafe { (t.aclrtRecordEvent)(self.handle().0, stream.0) }
            })?;
        *self.newest() = match taken {
            Taken::Queued => Newest::Queued,
            Taken::Recorded(recording) => Newest::Recorded(Arc::downgrade(&recording)),
            Taken::Elsewhere => Newest::Elsewhere,
        };
        Ok(())
    }

    fn lock_latches(&self) -> MutexGuard<'_, Latches> {
        self.inner.latches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where functions of the host before the newest record leave their errors.
    pub(super) fn latches(&self) -> Latches {
        self.lock_latches().clone()
    }

    fn newest(&self) -> MutexGuard<'_, Newest> {
        self.inner.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Can a stream get into a capture of the C functions by waiting for the newest record?
    pub(super) fn is_captured_elsewhere(&self) -> bool {
        matches!(*self.newest(), Newest::Elsewhere)
    }

    /// The capture that has the newest record, while it goes on.
    pub(super) fn recording(&self) -> Option<Arc<Recording>> {
        let recording = match &*self.newest() {
            Newest::Recorded(recording) => recording.upgrade(),
            Newest::Queued | Newest::Elsewhere => None,
        };
        recording.filter(|recording| !recording.is_over())
    }

    /// Refuses what the driver would make a capture fail for.
    fn refuse_recording(&self, what: &str) -> Result<()> {
        if self.recording().is_none() {
            return Ok(());
        }
        let text =
            format!("{what}: the event is recorded in a capture, a call after the end of the capture wanted");
        Err(Error::new(ErrorKind::Unsupported, text))
    }

    /// Was the newest record reached? True for an event that was never recorded.
    ///
    /// # Errors
    /// `Driver` when the driver cannot tell.
    pub fn query(&self) -> Result<bool> {
        self.refuse_recording("Event::query")?;
        let mut status = 0;
        self.device().driver().call("aclrtQueryEventStatus", |t| {
            // SAFETY: the event lives as long as `self`, and the pointer is to a live integer.
            unsafe { (t.aclrtQueryEventStatus)(self.handle().0, &raw mut status) }
        })?;
        Ok(status == recorded_status::COMPLETE)
    }

    /// Waits until the newest record is reached.
    ///
    /// # Errors
    /// What stopped the work before it.
    pub fn synchronize(&self) -> Result<()> {
        self.refuse_recording("Event::synchronize")?;
        self.device().driver().call("aclrtSynchronizeEvent", |t| {
            // SAFETY: the event lives as long as `self`.
            unsafe { (t.aclrtSynchronizeEvent)(self.handle().0) }
        })
    }

    /// Time from `start` to this event, both of [`Self::timing`] and reached. On the simulator this is host
    /// time: how long the simulator took, not how long a chip would.
    ///
    /// # Errors
    /// `Unsupported` while one of them is recorded in a capture; `Driver` with code 107006 when one of them
    /// has no time, 107007 when `start` is the later one.
    pub fn elapsed_since(&self, start: &Event) -> Result<Duration> {
        self.device().require_same(start.device(), "an event")?;
        self.refuse_recording("Event::elapsed_since")?;
        start.refuse_recording("Event::elapsed_since")?;
        let mut ms = 0.0f32;
        self.device().driver().call("aclrtEventElapsedTime", |t| {
            // SAFETY: both events live as long as their owners, and the pointer is to a live number.
            unsafe { (t.aclrtEventElapsedTime)(&raw mut ms, start.handle().0, self.handle().0) }
        })?;
        Ok(Duration::try_from_secs_f32(ms / 1e3).unwrap_or_default())
    }

    /// The device of the event.
    pub fn device(&self) -> &Device {
        &self.inner.device
    }

    pub(super) fn handle(&self) -> Handle {
        self.inner.handle
    }

    pub(super) fn keep(&self) -> Keep {
        self.inner.clone()
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Event").field("device", &self.device().name()).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let event = self.handle.0;
        // SAFETY: the last use of the event: streams that use it keep it.
        self.device.driver().release("aclrtDestroyEvent", |t| unsafe { (t.aclrtDestroyEvent)(event) });
    }
}
