//! Streams whose work a capture takes.

use std::ffi::c_void;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::{Inner, Stream};
use crate::driver::AclError;
use crate::runtime::graph::{is_captured_elsewhere, Recording};
use crate::{Error, ErrorKind, Result};

impl Stream {
    /// Begins a capture by a call, from which on `recording` keeps what the stream is given.
    pub(in crate::runtime) fn start_recording(
        &self,
        recording: &Arc<Recording>,
        begin: impl FnOnce(*mut c_void) -> AclError,
    ) -> Result<()> {
        let mut kept = self.inner.kept();
        self.inner.device.driver().call("aclmdlRICaptureBegin", |_| begin(self.inner.handle.0))?;
        recording.add(RecordedStream(Arc::clone(&self.inner)));
        kept.recording = Some(Arc::clone(recording));
        Ok(())
    }

    /// Is it captured by somebody who called the C functions himself?
    pub(in crate::runtime) fn is_captured_elsewhere(&self) -> bool {
        let asks = self.inner.asks_for_captures.load(Ordering::Relaxed) && self.recording().is_none();
        asks && is_captured_elsewhere(self.inner.device.driver(), self.inner.handle)
    }

    /// The capture that takes what the stream is given.
    pub(in crate::runtime) fn recording(&self) -> Option<Arc<Recording>> {
        self.inner.kept().recording.clone()
    }

    /// Refuses what the driver would make the capture fail for, and work with memory that others may touch
    /// before the graph runs.
    pub(super) fn refuse_recording(&self, what: &str) -> Result<()> {
        if self.recording().is_none() && !self.is_captured_elsewhere() {
            return Ok(());
        }
        let text =
            format!("{what}: the stream is being captured, a call after the end of the capture wanted");
        Err(Error::new(ErrorKind::Unsupported, text))
    }
}

/// A stream that takes part in a capture, which keeps it: the driver refuses to destroy it meanwhile.
pub(in crate::runtime) struct RecordedStream(pub(super) Arc<Inner>);

impl RecordedStream {
    pub(in crate::runtime) fn stop_recording(&self) {
        self.0.kept().recording = None;
    }
}
