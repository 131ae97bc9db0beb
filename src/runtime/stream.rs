//! Streams, and the things that queued work keeps alive.

#![allow(unsafe_code, reason = "calls C functions of the ACL table")]

use std::any::Any;
use std::collections::HashMap;
use std::ffi::c_void;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::event::Event;
use super::handle::Handle;
use super::memory::{Buffer, HostBuffer};
use super::Device;
use crate::driver::{memcpy_kind, progress_status};
use crate::{Error, Result};

/// Something that must outlive queued work.
pub(super) type Keep = Arc<dyn Any + Send + Sync>;

/// From so many kept things on, a stream looks whether its work is done before it keeps more.
const PRUNE_FROM: usize = 64;

/// A queue of work. Work of one stream runs in order; streams run side by side unless events order them.
///
/// Clones are the same stream and may queue work from several threads; whose work comes first is then up to the threads.
/// Dropping the last one waits for its work: after a wait that timed out, [`Self::abandon`] does not.
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
    /// What work that was queued since the last synchronisation uses, by address.
    kept: Mutex<HashMap<usize, Keep>>,
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

    /// An `aclrtStream` of another owner; null is the default stream of the device's context. It is never destroyed here.
    ///
    /// Keep the value rather than make one for each launch: dropping it waits for the work that was queued through it,
    /// unless [`Self::synchronize`] was called or nothing was queued.
    ///
    /// # Safety
    /// The stream is one of this device, in its context ([`Device::as_raw_context`]), and is alive until this value and its
    /// clones are dropped.
    pub unsafe fn from_raw(device: &Device, stream: *mut c_void) -> Stream {
        Self::with_handle(device, Handle(stream), false)
    }

    fn with_handle(device: &Device, handle: Handle, is_owned: bool) -> Stream {
        let (is_abandoned, kept) = (AtomicBool::new(false), Mutex::default());
        Stream { inner: Arc::new(Inner { device: device.clone(), handle, is_owned, is_abandoned, kept }) }
    }

    /// The `aclrtStream`, for other code that calls ACL. It is in the context [`Device::as_raw_context`]; destroying it is
    /// undefined behaviour of the driver.
    pub fn as_raw(&self) -> *mut c_void {
        self.inner.handle.0
    }

    /// Gives the stream up without waiting for its work, which may never end. Everything that the work may still use is
    /// lost rather than freed: buffers, the kernel image, and the device itself stay until the process ends.
    pub fn abandon(self) {
        self.inner.is_abandoned.store(true, Ordering::Relaxed);
    }

    /// The device of the stream.
    pub fn device(&self) -> &Device {
        &self.inner.device
    }

    /// Waits for all work queued so far.
    ///
    /// # Errors
    /// What stopped the work: `SimFault` or `SimUnsupported` for a kernel on the simulator, else `Driver`. From then on
    /// the stream takes no more work.
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
        self.device().driver().require_own_process()?;
        let kept = std::mem::take(&mut *self.inner.kept());
        let stream = self.inner.handle.0;
        let outcome = self.inner.device.driver().call("aclrtSynchronizeStreamWithTimeout", |t| {
            // SAFETY: the stream lives as long as `self`.
            unsafe { (t.aclrtSynchronizeStreamWithTimeout)(stream, timeout_ms) }
        });
        if outcome.is_err() {
            // The work may still be running, so what it uses stays.
            self.inner.kept().extend(kept);
        }
        outcome
    }

    /// Is all work done?
    ///
    /// # Errors
    /// What stopped the work.
    pub fn query(&self) -> Result<bool> {
        self.inner.is_idle()
    }

    /// Makes work queued from now on wait for the newest record of `event`.
    ///
    /// # Errors
    /// `InvalidArgument` for an event of another device, `Driver` when the stream cannot take it.
    pub fn wait_event(&self, event: &Event) -> Result<()> {
        self.device().require_same(event.device(), "an event")?;
        self.submit("aclrtStreamWaitEvent", vec![event.keep()], |t, stream| {
            // SAFETY: `submit` keeps the event until the stream is done with it.
            unsafe { (t.aclrtStreamWaitEvent)(stream.0, event.handle().0) }
        })
    }

    /// Queues a copy of `host` to the start of `buffer`. The token keeps the memory until the copy is done.
    ///
    /// # Errors
    /// `InvalidArgument` when the buffer is too small or of another device, `Driver` when the stream cannot take it.
    pub fn copy_to_device(&self, host: HostBuffer, buffer: &Buffer) -> Result<PendingCopy> {
        self.device().require_same(buffer.device(), "a buffer")?;
        self.device().require_same(host.device(), "host memory")?;
        buffer.require_room("Stream::copy_to_device", 0, host.len())?;
        let (dst, src, len) = (buffer.handle().0, host.address().0, host.len());
        self.submit("aclrtMemcpyAsync", vec![host.keep(), buffer.keep()], |t, stream| {
            // SAFETY: both ranges have `len` bytes, checked above; `submit` keeps both until the stream is done, and
            // the token keeps everybody else from the host memory.
            unsafe { (t.aclrtMemcpyAsync)(dst, len, src, len, memcpy_kind::HOST_TO_DEVICE, stream.0) }
        })?;
        Ok(PendingCopy { stream: self.clone(), host })
    }

    /// Queues a copy of the start of `buffer` to `host`, as many bytes as `host` has. The token gives `host` back.
    ///
    /// # Errors
    /// As [`Self::copy_to_device`].
    pub fn copy_to_host(&self, buffer: &Buffer, host: HostBuffer) -> Result<PendingCopy> {
        self.device().require_same(buffer.device(), "a buffer")?;
        self.device().require_same(host.device(), "host memory")?;
        buffer.require_room("Stream::copy_to_host", 0, host.len())?;
        let (dst, src, len) = (host.address().0, buffer.handle().0, host.len());
        self.submit("aclrtMemcpyAsync", vec![host.keep(), buffer.keep()], |t, stream| {
            // SAFETY: as in `copy_to_device`.
            unsafe { (t.aclrtMemcpyAsync)(dst, len, src, len, memcpy_kind::DEVICE_TO_HOST, stream.0) }
        })?;
        Ok(PendingCopy { stream: self.clone(), host })
    }

    /// Queues a copy of all of `src` to the start of `dst`.
    ///
    /// # Errors
    /// As [`Self::copy_to_device`].
    pub fn copy(&self, src: &Buffer, dst: &Buffer) -> Result<()> {
        self.device().require_same(src.device(), "a source buffer")?;
        self.device().require_same(dst.device(), "a destination buffer")?;
        dst.require_room("Stream::copy", 0, src.len_bytes())?;
        let (to, from, len) = (dst.handle().0, src.handle().0, src.len_bytes());
        self.submit("aclrtMemcpyAsync", vec![src.keep(), dst.keep()], |t, stream| {
            // SAFETY: both ranges have `len` bytes, checked above; `submit` keeps both until the stream is done.
            unsafe { (t.aclrtMemcpyAsync)(to, len, from, len, memcpy_kind::DEVICE_TO_DEVICE, stream.0) }
        })
    }

    /// Queues filling `buffer` with zeros.
    ///
    /// # Errors
    /// `InvalidArgument` for a buffer of another device, `Driver` when the stream cannot take it.
    pub fn zero(&self, buffer: &Buffer) -> Result<()> {
        self.device().require_same(buffer.device(), "a buffer")?;
        let (ptr, len) = (buffer.handle().0, buffer.len_bytes());
        self.submit("aclrtMemsetAsync", vec![buffer.keep()], |t, stream| {
            // SAFETY: the buffer has `len` bytes, and `submit` keeps it until the stream is done.
            unsafe { (t.aclrtMemsetAsync)(ptr, len, 0, len, stream.0) }
        })
    }

    /// Queues work that uses `keep`. `f` makes the one call that queues it.
    pub(super) fn submit(
        &self,
        name: &str,
        keep: Vec<Keep>,
        f: impl FnOnce(&crate::driver::AclTable, Handle) -> crate::driver::AclError,
    ) -> Result<()> {
        self.device().driver().require_own_process()?;
        // Held over the call: whoever finds the stream idle under this lock knows that all kept things are unused.
        let mut kept = self.inner.kept();
        let mut done = HashMap::new();
        if kept.len() >= PRUNE_FROM && self.inner.is_idle()? {
            done = std::mem::take(&mut *kept);
        }
        let outcome = self.inner.device.driver().call(name, |t| f(t, self.inner.handle));
        // Kept even when the call failed: an error may come from work before this one.
        kept.extend(keep.into_iter().map(|k| (Arc::as_ptr(&k).addr(), k)));
        drop(kept);
        drop(done);
        outcome
    }
}

impl Inner {
    fn kept(&self) -> MutexGuard<'_, HashMap<usize, Keep>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Inner {
    /// Ends the use of the stream; true when its work is known to be done.
    fn finish(&self) -> bool {
        let (driver, stream) = (self.device.driver(), self.handle.0);
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
            // Work may still use these; memory is lost rather than freed under a running kernel.
            std::mem::forget(std::mem::take(&mut *self.kept()));
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("device", &self.device().name()).finish_non_exhaustive()
    }
}

/// A queued copy between a buffer and pinned host memory. Dropping it lets the copy go on; the memory is then freed by
/// the stream.
#[derive(Debug)]
#[must_use = "`wait` gives the host memory back"]
pub struct PendingCopy {
    stream: Stream,
    host: HostBuffer,
}

impl PendingCopy {
    /// Waits for the stream and gives the host memory back.
    ///
    /// # Errors
    /// As [`Stream::synchronize`]. The memory then stays with the stream.
    pub fn wait(self) -> Result<HostBuffer, Error> {
        self.stream.synchronize()?;
        Ok(self.host)
    }
}
