//! Streams.

#![allow(unsafe_code, reason = "calls C functions of the ACL table")]

pub(super) mod host;
mod pending;
mod recording;

use std::ffi::c_void;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use smallvec::{smallvec, SmallVec};

use super::event::Event;
use super::graph::Recording;
use super::handle::{Entered, Handle};
use super::keep::{Keep, Keeps, Kept};
use super::memory::{Buffer, HostBuffer};
use super::{refuse, Device, Named, Operand};
use crate::driver::{memcpy_kind, progress_status, recorded_status, AclError, AclTable};
use crate::Result;

pub(crate) use host::Rows;
pub(super) use host::TellTime;
use host::{Latch, Latches};
pub use pending::PendingCopy;
use recording::tells_of_captures;
pub(super) use recording::{RecordedStream, Taken};

/// A queue of work. Work of one stream runs in order; streams run side by side unless events order them.
///
/// Clones are the same stream and may queue work from several threads; whose work comes first is then up to
/// the threads. Dropping the last one waits for its work: after a wait that timed out, [`Self::abandon`] does
/// not.
///
/// A stream keeps what its work uses until the work is done. It looks for finished work at every submission,
/// and when it is synchronised. So a program that never synchronises needs the memory of unfinished steps,
/// and of the few submitted since the last look.
#[derive(Clone)]
pub struct Stream {
    inner: Arc<Inner>,
}

struct Inner {
    device: Device,
    handle: Handle,
    /// Is the stream this crate's to destroy?
    is_owned: bool,
    /// Dropped without waiting.
    is_abandoned: AtomicBool,
    kept: Mutex<Kept>,
    /// May somebody capture it with the C functions, and can the driver tell? Its owner, or the owner of a
    /// stream whose captured event it has waited for.
    asks_for_captures: AtomicBool,
    /// Of functions of the host that this stream comes behind.
    latches: Mutex<Latches>,
    own_latch: OnceLock<Latch>,
}

impl Stream {
    /// A new stream.
    ///
    /// # Errors
    /// `Driver` when the device has no stream left.
    pub fn new(device: &Device) -> Result<Stream> {
        let mut handle = Handle::NULL;
        device.driver().call("aclrtCreateStream", |t| {
            // SAFETY: the pointer is to a live handle.
            unsafe { (t.aclrtCreateStream)(&raw mut handle.0) }
        })?;
        Ok(Self::with_handle(device, handle, true))
    }

    /// An `aclrtStream` of another owner; null is the default stream of the device's context. It is never
    /// destroyed here.
    ///
    /// Keep the value rather than make one for each launch: dropping it waits for the work that was queued
    /// or captured through it, unless [`Self::synchronize`] was called or there was none.
    ///
    /// # Safety
    /// The stream is one of this device, in its context ([`Device::as_raw_context`]), and is alive until this
    /// value and its clones are dropped.
    pub unsafe fn from_raw(device: &Device, stream: *mut c_void) -> Stream {
        Self::with_handle(device, Handle(stream), false)
    }

    fn with_handle(device: &Device, handle: Handle, is_owned: bool) -> Stream {
        let inner = Inner {
            device: device.clone(),
            handle,
            is_owned,
            is_abandoned: AtomicBool::new(false),
            kept: Mutex::default(),
            asks_for_captures: AtomicBool::new(!is_owned && tells_of_captures(device, handle)),
            latches: Mutex::default(),
            own_latch: OnceLock::new(),
        };
        Stream { inner: Arc::new(inner) }
    }

    /// The `aclrtStream`, for other code that calls ACL. It is in the context [`Device::as_raw_context`];
    /// destroying it is undefined behaviour of the driver.
    pub fn as_raw(&self) -> *mut c_void {
        self.inner.handle.0
    }

    /// Gives the stream up without waiting for its work, which may never end. Everything that the work may
    /// still use is lost rather than freed: buffers, the kernel image, and the device itself stay until
    /// the process ends.
    pub fn abandon(self) {
        self.inner.is_abandoned.store(true, Ordering::Relaxed);
    }

    /// Those of all functions of the host that it comes behind.
    pub(super) fn latches(&self) -> Latches {
        self.inner.latches().clone()
    }

    /// The device of the stream.
    pub fn device(&self) -> &Device {
        &self.inner.device
    }

    /// Waits for all work queued so far.
    ///
    /// # Errors
    /// What stopped the work: `SimFault` or `SimUnsupported` for a kernel on the simulator, else `Driver`.
    /// From then on the stream takes no more work.
    pub fn synchronize(&self) -> Result<()> {
        self.synchronize_for(-1)
    }

    /// Waits for all work queued so far, but not longer than `timeout` (rounded up to milliseconds).
    ///
    /// # Errors
    /// As [`Self::synchronize`], and `Timeout` when the time has passed; the work goes on.
    pub fn synchronize_timeout(&self, timeout: Duration) -> Result<()> {
        self.synchronize_for(i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX))
    }

    fn synchronize_for(&self, timeout_ms: i32) -> Result<()> {
        self.refuse_recording("Stream::synchronize")?;
        let submissions = self.inner.kept().submissions;
        let stream = self.inner.handle.0;
        let outcome = self.inner.device.driver().call("aclrtSynchronizeStreamWithTimeout", |t| {
            // SAFETY: the stream lives as long as `self`.
            unsafe { (t.aclrtSynchronizeStreamWithTimeout)(stream, timeout_ms) }
        });
        // After a failure the work may still be running, so what it uses stays.
        if outcome.is_ok() {
            let done = self.inner.kept().take(submissions);
            drop(done);
        }
        outcome?;
        self.inner.host_failure()
    }

    /// Is all work done?
    ///
    /// # Errors
    /// What stopped the work.
    pub fn query(&self) -> Result<bool> {
        self.refuse_recording("Stream::query")?;
        self.inner.host_failure()?;
        self.inner.is_idle()
    }

    /// Makes work queued from now on wait for the newest record of `event`.
    ///
    /// # Errors
    /// `InvalidArgument` for an event of another device, `Driver` when the stream cannot take it.
    pub fn wait_event(&self, event: &Event) -> Result<()> {
        self.device().require_same(event.device(), "an event")?;
        if event.is_captured_elsewhere() && tells_of_captures(self.device(), self.inner.handle) {
            self.inner.asks_for_captures.store(true, Ordering::Relaxed);
        }
        host::add(&mut self.inner.latches(), &event.latches());
        let joins = event.recording();
        self.submit_to("aclrtStreamWaitEvent", smallvec![event.keep()], joins, |t, stream| {
            // SAFETY: `submit_to` keeps the event until the stream is done with it.
            unsafe { (t.aclrtStreamWaitEvent)(stream.0, event.handle().0) }
        })
        .map(drop)
    }

    /// Queues a copy of `host` to the start of `buffer`. The token keeps the memory until the copy is done.
    ///
    /// # Errors
    /// `InvalidArgument` when the buffer is too small or of another device, `Driver` when the stream cannot
    /// take it.
    pub fn copy_to_device(&self, host: HostBuffer, buffer: &Buffer) -> Result<PendingCopy> {
        self.device().require_same(buffer.device(), "a buffer")?;
        self.device().require_same(host.device(), "host memory")?;
        buffer.require_room("Stream::copy_to_device", 0, host.len())?;
        self.refuse_recording("Stream::copy_to_device")?;
        if host.is_empty() {
            return Ok(PendingCopy { stream: self.clone(), host });
        }
        let (dst, src, len) = (buffer.handle().0, host.address().0, host.len());
        self.submit("aclrtMemcpyAsync", smallvec![host.keep(), buffer.keep()], |t, stream| {
            // SAFETY: both ranges have `len` bytes, checked above; `submit` keeps both until the stream is
            // done, and the token keeps everybody else from the host memory.
            unsafe { (t.aclrtMemcpyAsync)(dst, len, src, len, memcpy_kind::HOST_TO_DEVICE, stream.0) }
        })?;
        Ok(PendingCopy { stream: self.clone(), host })
    }

    /// Queues a copy of the start of `buffer` to `host`, as many bytes as `host` has. The token gives `host`
    /// back.
    ///
    /// # Errors
    /// As [`Self::copy_to_device`].
    pub fn copy_to_host(&self, buffer: &Buffer, host: HostBuffer) -> Result<PendingCopy> {
        self.device().require_same(buffer.device(), "a buffer")?;
        self.device().require_same(host.device(), "host memory")?;
        buffer.require_room("Stream::copy_to_host", 0, host.len())?;
        self.refuse_recording("Stream::copy_to_host")?;
        if host.is_empty() {
            return Ok(PendingCopy { stream: self.clone(), host });
        }
        let (dst, src, len) = (host.address().0, buffer.handle().0, host.len());
        self.submit("aclrtMemcpyAsync", smallvec![host.keep(), buffer.keep()], |t, stream| {
            // SAFETY: as in `copy_to_device`.
            unsafe { (t.aclrtMemcpyAsync)(dst, len, src, len, memcpy_kind::DEVICE_TO_HOST, stream.0) }
        })?;
        Ok(PendingCopy { stream: self.clone(), host })
    }

    /// Queues a copy of all of `src` to the start of `dst`.
    ///
    /// # Errors
    /// As [`Self::copy_to_device`]; `InvalidArgument` for ranges that overlap, unless a buffer is copied to
    /// itself.
    pub fn copy(&self, src: &Buffer, dst: &Buffer) -> Result<()> {
        self.device().require_same(src.device(), "a source buffer")?;
        self.device().require_same(dst.device(), "a destination buffer")?;
        dst.require_room("Stream::copy", 0, src.len_bytes())?;
        let (to, from, len) = (dst.handle().0, src.handle().0, src.len_bytes());
        if len == 0 {
            return Ok(());
        }
        let bytes = len as u64;
        let ranges = [
            Named::written("dst", Operand::from(dst), bytes, 1),
            Named::read("src", Operand::from(src), bytes, 1),
        ];
        if to != from {
            refuse("Stream::copy", &ranges)?;
        }
        self.submit("aclrtMemcpyAsync", smallvec![src.keep(), dst.keep()], |t, stream| {
            // SAFETY: both ranges have `len` bytes, checked above; `submit` keeps both until the stream is
            // done.
            unsafe { (t.aclrtMemcpyAsync)(to, len, from, len, memcpy_kind::DEVICE_TO_DEVICE, stream.0) }
        })
    }

    /// Queues filling `buffer` with zeros.
    ///
    /// # Errors
    /// `InvalidArgument` for a buffer of another device, `Driver` when the stream cannot take it.
    pub fn zero(&self, buffer: &Buffer) -> Result<()> {
        self.zero_part(buffer.into(), buffer.len_bytes())
    }

    /// As [`Self::zero`], of the first `len` bytes of an operand.
    pub(crate) fn zero_part(&self, operand: Operand<'_>, len: usize) -> Result<()> {
        self.device().require_same(operand.device(), "a buffer")?;
        operand.require_room("Stream::zero", len)?;
        if len == 0 {
            return Ok(());
        }
        let ptr = operand.pointer();
        self.submit("aclrtMemsetAsync", SmallVec::from_iter(operand.keep()), |t, stream| {
            // SAFETY: the range has `len` bytes, checked above. `submit`, or the caller of
            // `Operand::from_raw`, keeps it until the stream is done.
            unsafe { (t.aclrtMemsetAsync)(ptr, len, 0, len, stream.0) }
        })
    }

    /// Queues work that uses `keep`. `f` makes the one call that queues it.
    pub(super) fn submit(
        &self,
        name: &str,
        keep: Keeps,
        f: impl FnOnce(&AclTable, Handle) -> AclError,
    ) -> Result<()> {
        self.submit_to(name, keep, None, f).map(drop)
    }

    /// As [`Self::submit`], and says what has taken the work. The call takes the stream into the capture
    /// `joins`, unless it is in one, or that one has ended meanwhile.
    pub(super) fn submit_to(
        &self,
        name: &str,
        keep: Keeps,
        joins: Option<Arc<Recording>>,
        f: impl FnOnce(&AclTable, Handle) -> AclError,
    ) -> Result<Taken> {
        self.inner.host_failure()?;
        let entered = self.device().driver().enter()?;
        // Held over the call, so that submissions are numbered in the order in which they are queued.
        let mut kept = self.inner.kept();
        if kept.recording.is_none() && self.inner.is_captured_elsewhere_in(&entered) {
            // Nobody tells when that graph is destroyed.
            std::mem::forget(keep);
            return entered.call(name, |t| f(t, self.inner.handle)).map(|()| Taken::Elsewhere);
        }
        let done = self.inner.look(&mut kept, &entered);
        let outcome = entered.call(name, |t| f(t, self.inner.handle));
        if let (Some(joins), None, Ok(())) = (joins, &kept.recording, &outcome) {
            if joins.add(RecordedStream(Arc::clone(&self.inner))) {
                kept.recording = Some(joins);
            }
        }
        // Kept even when the call failed: an error may come from work before this one.
        let taken = kept.recording.clone().map_or(Taken::Queued, Taken::Recorded);
        if let Taken::Recorded(recording) = &taken {
            recording.keep(&keep);
        }
        // Of a capture, too: another thread may just have ended it, and then the work was queued.
        kept.keep(keep);
        drop(kept);
        // Without the lock: memory is given back here.
        drop(done);
        outcome.map(|()| taken)
    }
}

impl Inner {
    pub(super) fn latches(&self) -> MutexGuard<'_, Latches> {
        self.latches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That of the functions of this stream.
    fn own_latch(&self) -> Latch {
        let own = self.own_latch.get_or_init(|| {
            let latch = Latch::default();
            self.latches().push(Arc::clone(&latch));
            latch
        });
        Arc::clone(own)
    }

    /// What went wrong in a function of the host that this stream comes behind.
    fn host_failure(&self) -> Result<()> {
        host::failure(&self.latches())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks how far the stream is: returns what only work that is done used, and marks what is queued now.
    ///
    /// A mark that cannot be made or looked at changes nothing: everything then stays until the stream is
    /// synchronised, and what is wrong with the stream is told by the call that follows.
    fn look(&self, kept: &mut Kept, entered: &Entered<'_>) -> Vec<Keep> {
        let mut done = Vec::new();
        // A record would be captured, and a question is illegal.
        if kept.recording.is_some() {
            return done;
        }
        if let (Some(number), Some(mark)) = (kept.marked, &kept.mark) {
            match is_reached(mark, entered) {
                Ok(false) => return done,
                Ok(true) => done = kept.take(number),
                Err(_) => {}
            }
            kept.marked = None;
        }
        if kept.is_worth_a_mark() {
            kept.marked = self.mark(kept, entered).ok();
        }
        done
    }

    /// Records the event behind all that is queued, and returns the number of the last submission.
    fn mark(&self, kept: &mut Kept, entered: &Entered<'_>) -> Result<u64> {
        let mark = match kept.mark.take() {
            Some(mark) => mark,
            None => Event::polled(&self.device)?,
        };
        let (event, stream) = (mark.handle().0, self.handle.0);
        let recorded = entered.call("aclrtRecordEvent", |t| {
            // SAFETY: the event lives as long as the stream, which `Drop` ends first.
            unsafe { (t.aclrtRecordEvent)(event, stream) }
        });
        kept.mark = Some(mark);
        recorded.map(|()| kept.submissions)
    }

    fn is_idle(&self) -> Result<bool> {
        let mut status = 0;
        let stream = self.handle.0;
        self.device.driver().call("aclrtStreamQuery", |t| {
            // SAFETY: the stream lives as long as `self`, and the pointer is to a live integer.
            unsafe { (t.aclrtStreamQuery)(stream, &raw mut status) }
        })?;
        Ok(status == progress_status::COMPLETE)
    }
}

fn is_reached(mark: &Event, entered: &Entered<'_>) -> Result<bool> {
    let (event, mut status) = (mark.handle().0, 0);
    entered.call("aclrtQueryEventStatus", |t| {
        // SAFETY: the event lives as long as `mark`, and the pointer is to a live integer.
        unsafe { (t.aclrtQueryEventStatus)(event, &raw mut status) }
    })?;
    Ok(status == recorded_status::COMPLETE)
}

impl Inner {
    /// Ends the use of the stream; true when its work is known to be done.
    fn finish(&self) -> bool {
        let (driver, stream) = (self.device.driver(), self.handle.0);
        // A forked child has no such stream, and a wait or an end would make somebody else's capture fail.
        if driver.require_own_process().is_err() || self.is_captured_elsewhere() {
            return false;
        }
        let is_abandoned = self.is_abandoned.load(Ordering::Relaxed);
        match (self.is_owned, is_abandoned) {
            (true, false) => {
                // SAFETY: the last use of the stream; it waits for its work.
                driver.release("aclrtDestroyStream", |t| unsafe { (t.aclrtDestroyStream)(stream) })
            }
            (true, true) => {
                // SAFETY: the last use of the stream; what its work may still use is not freed.
                driver.release("aclrtDestroyStreamForce", |t| unsafe { (t.aclrtDestroyStreamForce)(stream) });
                false
            }
            (false, true) => false,
            (false, false) if self.kept().is_empty() => true,
            (false, false) => driver.release("aclrtSynchronizeStream", |t| {
                // SAFETY: the owner keeps the stream until this value is dropped.
                unsafe { (t.aclrtSynchronizeStream)(stream) }
            }),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.finish() {
            // Work may still use these, and the mark may be under way; memory is lost rather than freed under
            // a running kernel.
            let kept = self.kept.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(std::mem::take(kept));
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("device", &self.device().name()).finish_non_exhaustive()
    }
}
