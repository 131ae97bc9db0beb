//! Graphs: work that streams capture once and that is launched many times.

#![allow(unsafe_code, reason = "calls C functions of the ACL table")]

use std::collections::HashMap;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallvec::smallvec;

use super::handle::{Entered, Handle};
use super::keep::{Keep, Keeps};
use super::stream::RecordedStream;
use super::{Device, Stream};
use crate::driver::{capture_mode, capture_status, codes, AclError, AclTable};
use crate::{DriverCode, Error, ErrorKind, Result};

/// Which threads may call functions that touch memory at once while a stream is captured, as copies of
/// [`Buffer`](super::Buffer) do. A call that is not allowed is an error, and the capture fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CaptureMode {
    /// None.
    Global,
    /// All but the thread that captures.
    ThreadLocal,
    /// All.
    Relaxed,
}

impl CaptureMode {
    fn code(self) -> u32 {
        match self {
            Self::Global => capture_mode::GLOBAL,
            Self::ThreadLocal => capture_mode::THREAD_LOCAL,
            Self::Relaxed => capture_mode::RELAXED,
        }
    }
}

/// What the work of a capture uses, and the streams that take part.
pub(super) struct Recording {
    things: Mutex<HashMap<usize, Keep>>,
    /// `None` when the capture is over. Locked behind what a stream keeps, never before it.
    streams: Mutex<Option<Vec<RecordedStream>>>,
}

impl Recording {
    fn new() -> Arc<Recording> {
        Arc::new(Recording { things: Mutex::default(), streams: Mutex::new(Some(Vec::new())) })
    }

    fn streams(&self) -> MutexGuard<'_, Option<Vec<RecordedStream>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what captured work uses.
    pub(super) fn keep(&self, things: &[Keep]) {
        let mut kept = self.things.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(things.iter().map(|thing| (Arc::as_ptr(thing).addr(), Arc::clone(thing))));
    }

    /// A stream takes part from now on; false when the capture is over.
    pub(super) fn add(&self, stream: RecordedStream) -> bool {
        self.streams().as_mut().map(|streams| streams.push(stream)).is_some()
    }

    pub(super) fn is_over(&self) -> bool {
        self.streams().is_none()
    }

    /// The streams are plain ones again. Returns what the work uses.
    fn finish(&self) -> Vec<Keep> {
        let streams = self.streams().take();
        streams.iter().flatten().for_each(|stream| stream.stop_recording(self));
        let things = std::mem::take(&mut *self.things.lock().unwrap_or_else(PoisonError::into_inner));
        things.into_values().collect()
    }
}

/// A function of graphs, which a library may lack.
fn function<F>(found: Option<F>, name: &str) -> Result<F> {
    found.ok_or_else(|| {
        let text =
            format!("Stream::begin_capture: the ACL library has no {name}, that of CANN 8.1 or later wanted");
        Error::new(ErrorKind::Unsupported, text)
    })
}

/// A driver whose release declares the functions and does not have the feature says so with 207000.
fn explained(error: Error) -> Error {
    if error.driver_code() != Some(DriverCode::Acl(codes::RT_FEATURE_NOT_SUPPORT)) {
        return error;
    }
    let code = DriverCode::Acl(codes::RT_FEATURE_NOT_SUPPORT);
    let text = format!(
        "Stream::begin_capture: this release of CANN or of the driver declares graph capture and refuses it; a later \
         one, or launches without a graph, wanted: {error}"
    );
    Error::driver(ErrorKind::Unsupported, code, text)
}

impl Stream {
    /// Captures what is queued from now on, instead of running it, until [`Capture::end`].
    ///
    /// Launches, fills, copies between buffers, records of events and waits for events are captured. Another
    /// stream takes part from the moment when it waits for an event that was recorded in the capture; before
    /// the end its work has to be joined by an event for which this stream waits. Synchronising a stream that
    /// takes part, asking whether it is done, and copies from or to host memory are refused.
    ///
    /// A launch is captured with the addresses of its buffers and with its tiling data. What is in the
    /// buffers is read each time that the graph runs.
    ///
    /// # Errors
    /// `Unsupported` when the library has no graphs or its driver refuses them; `Driver` for a default stream
    /// and for a stream that is being captured.
    ///
    /// ```
    /// use fastattention::runtime::{Buffer, CaptureMode, Device, Stream};
    ///
    /// let device = Device::open("sim")?;
    /// let (from, to) = (Buffer::from_slice(&device, &[1.0f32; 4])?, Buffer::alloc(&device, 16)?);
    /// let stream = Stream::new(&device)?;
    /// let capture = stream.begin_capture(CaptureMode::ThreadLocal)?;
    /// stream.copy(&from, &to)?;
    /// let graph = capture.end()?;
    /// from.copy_from_host(&[2.0f32; 4])?;
    /// graph.launch(&stream)?;
    /// stream.synchronize()?;
    /// assert_eq!(to.to_vec::<f32>()?, [2.0; 4]);
    /// # Ok::<(), fastattention::Error>(())
    /// ```
    ///
    /// Not verified on hardware.
    pub fn begin_capture(&self, mode: CaptureMode) -> Result<Capture> {
        let table = self.device().driver().acl.table;
        let begin = function(table.aclmdlRICaptureBegin, "aclmdlRICaptureBegin")?;
        let end = function(table.aclmdlRICaptureEnd, "aclmdlRICaptureEnd")?;
        function(table.aclmdlRIExecuteAsync, "aclmdlRIExecuteAsync")?;
        function(table.aclmdlRIDestroy, "aclmdlRIDestroy")?;
        let recording = Recording::new();
        let begun = self.start_recording(&recording, |stream| {
            // SAFETY: the stream lives as long as `self`.
            unsafe { begin(stream, mode.code()) }
        });
        begun.map_err(explained)?;
        Ok(Capture { stream: self.clone(), recording, end, is_over: false, not_send: PhantomData })
    }
}

/// The C function that ends a capture.
type End = unsafe extern "C" fn(*mut c_void, *mut *mut c_void) -> AclError;

/// A capture that goes on. Dropping it gives up what was captured. It belongs to the thread that began it.
#[must_use = "`end` makes the graph"]
pub struct Capture {
    stream: Stream,
    recording: Arc<Recording>,
    end: End,
    is_over: bool,
    /// The driver ends a capture in the thread that began it.
    not_send: PhantomData<*const ()>,
}

impl Capture {
    /// Ends the capture.
    ///
    /// # Errors
    /// `Driver` with code 507903 when something illegal was called meanwhile, and with 107025 when a stream
    /// takes part whose work was not joined. Nothing is left of the capture then.
    pub fn end(mut self) -> Result<Graph> {
        let (handle, things) = self.stop()?;
        let device = self.stream.device().clone();
        Ok(Graph { inner: Arc::new(Inner { device, handle, things }) })
    }

    fn stop(&mut self) -> Result<(Handle, Vec<Keep>)> {
        self.is_over = true;
        let (mut handle, stream) = (Handle::NULL, self.stream.as_raw());
        let ended = self.stream.device().driver().attempt("aclmdlRICaptureEnd", |_| {
            // SAFETY: the stream lives as long as `self.stream`, and the pointer is to a live handle.
            unsafe { (self.end)(stream, &raw mut handle.0) }
        });
        let things = self.recording.finish();
        ended.map(|()| (handle, things))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // Work that was illegal has been told as the error of its call; a graph that was made is given back.
        if let Ok((handle, things)) = self.stop() {
            drop(Inner { device: self.stream.device().clone(), handle, things });
        }
    }
}

impl std::fmt::Debug for Capture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capture").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// Captured work. Clones are the same graph, and may be launched on several streams and from several threads.
///
/// It keeps the buffers, kernels and events that its work uses, and each stream keeps it until its launches
/// are done.
#[derive(Clone)]
pub struct Graph {
    inner: Arc<Inner>,
}

struct Inner {
    device: Device,
    handle: Handle,
    things: Vec<Keep>,
}

impl Graph {
    /// Queues the captured work on a stream, and returns at once: no device memory is allocated, nothing is
    /// copied or waited for. Work behind it comes after all of the graph.
    ///
    /// # Errors
    /// `InvalidArgument` for a stream of another device, `Unsupported` for one that is being captured, whose
    /// capture goes on, `Driver` when the stream cannot take it. What goes wrong while the work runs is told
    /// by [`Stream::synchronize`].
    pub fn launch(&self, stream: &Stream) -> Result<()> {
        self.device().require_same(stream.device(), "a stream")?;
        stream.refuse_own_recording("Graph::launch")?;
        stream.submit("aclmdlRIExecuteAsync", self.keeps(), |t, stream| {
            // A graph was made, so the library has it.
            let execute = t.aclmdlRIExecuteAsync;
            execute.map_or(codes::RT_FEATURE_NOT_SUPPORT, |execute| {
                // SAFETY: `submit` keeps the graph until the stream is done with it.
                unsafe { execute(self.inner.handle.0, stream.0) }
            })
        })
    }

    fn keeps(&self) -> Keeps {
        let inner: Keep = self.inner.clone();
        smallvec![inner]
    }

    /// The device of the graph.
    pub fn device(&self) -> &Device {
        &self.inner.device
    }
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").field("device", &self.device().name()).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let handle = self.handle.0;
        let destroyed = self.device.driver().release("aclmdlRIDestroy", |t| destroy(t, handle));
        if !destroyed {
            // The graph may still run: what it uses is lost rather than freed.
            std::mem::forget(std::mem::take(&mut self.things));
        }
    }
}

fn destroy(table: &AclTable, graph: *mut c_void) -> AclError {
    let destroy = table.aclmdlRIDestroy;
    // SAFETY: the last use of the graph: streams that run it keep it.
    destroy.map_or(codes::SUCCESS, |destroy| unsafe { destroy(graph) })
}

/// What the driver says of captures of a stream, of a library that can tell.
pub(super) fn capture_status_of(entered: &Entered<'_>, stream: Handle) -> Result<u32> {
    let mut status = capture_status::NONE;
    entered.call("aclmdlRICaptureGetInfo", |t| {
        t.aclmdlRICaptureGetInfo.map_or(codes::RT_FEATURE_NOT_SUPPORT, |info| {
            // SAFETY: the owner keeps the stream, and the pointer is to a live integer; the other one may be
            // null.
            unsafe { info(stream.0, &raw mut status, std::ptr::null_mut()) }
        })
    })?;
    Ok(status)
}

#[cfg(all(test, feature = "sim"))]
mod tests;
