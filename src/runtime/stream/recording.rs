//! Streams whose work a capture takes.

use std::ffi::c_void;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::{Inner, Stream};
use crate::driver::{capture_status, codes, AclError};
use crate::runtime::graph::{capture_status_of, Recording};
use crate::runtime::handle::{Entered, Handle};
use crate::runtime::Device;
use crate::{DriverCode, Error, ErrorKind, Result};

/// What has taken the work that a stream was given.
pub(in crate::runtime) enum Taken {
    Queued,
    Recorded(Arc<Recording>),
    /// By a capture of the C functions.
    Elsewhere,
}

impl Stream {
    /// Begins a capture by a call, from which on `recording` keeps what the stream is given.
    pub(in crate::runtime) fn start_recording(
        &self,
        recording: &Arc<Recording>,
        begin: impl FnOnce(*mut c_void) -> AclError,
    ) -> Result<()> {
        let mut kept = self.inner.kept();
        self.inner.device.driver().call("aclmdlRICaptureBegin", |_| begin(self.inner.handle.0))?;
        if recording.add(RecordedStream(Arc::clone(&self.inner))) {
            kept.recording = Some(Arc::clone(recording));
        }
        Ok(())
    }

    /// The capture that takes what the stream is given.
    pub(in crate::runtime) fn recording(&self) -> Option<Arc<Recording>> {
        self.inner.kept().recording.clone()
    }

    /// Refuses what the driver would make the capture fail for, and work with memory that others may touch
    /// before the graph runs.
    pub(super) fn refuse_recording(&self, what: &str) -> Result<()> {
        self.refuse_own_recording(what)?;
        if self.inner.is_captured_elsewhere() {
            Err(refusal(what))
        } else {
            Ok(())
        }
    }

    /// As [`Self::refuse_recording`], for captures that this crate has begun.
    pub(in crate::runtime) fn refuse_own_recording(&self, what: &str) -> Result<()> {
        self.device().driver().require_own_process()?;
        if self.recording().is_some() {
            Err(refusal(what))
        } else {
            Ok(())
        }
    }
}

fn refusal(what: &str) -> Error {
    let text = format!("{what}: the stream is being captured, a call after the end of the capture wanted");
    Error::new(ErrorKind::Unsupported, text)
}

/// Can the C functions capture such a stream and tell of it? The default one is never captured.
pub(super) fn tells_of_captures(device: &Device, stream: Handle) -> bool {
    stream != Handle::NULL && device.driver().acl.table.aclmdlRICaptureGetInfo.is_some()
}

impl Inner {
    /// Is the stream, which is in no capture of this crate, captured by somebody who called the C functions
    /// himself?
    pub(super) fn is_captured_elsewhere(&self) -> bool {
        self.asks_for_captures.load(Ordering::Relaxed)
            && self
                .device
                .driver()
                .enter_quietly()
                .is_ok_and(|entered| self.is_captured_elsewhere_in(&entered))
    }

    /// As [`Self::is_captured_elsewhere`], with the device's context current.
    pub(super) fn is_captured_elsewhere_in(&self, entered: &Entered<'_>) -> bool {
        if !self.asks_for_captures.load(Ordering::Relaxed) {
            return false;
        }
        match capture_status_of(entered, self.handle) {
            Ok(status) => status != capture_status::NONE,
            Err(error) => {
                // A driver that declares the function and refuses it does so for ever.
                if error.driver_code() == Some(DriverCode::Acl(codes::RT_FEATURE_NOT_SUPPORT)) {
                    self.asks_for_captures.store(false, Ordering::Relaxed);
                }
                false
            }
        }
    }
}

/// A stream that takes part in a capture, which keeps it: the driver refuses to destroy it meanwhile.
pub(in crate::runtime) struct RecordedStream(pub(super) Arc<Inner>);

impl RecordedStream {
    /// Unless another capture has begun meanwhile.
    pub(in crate::runtime) fn stop_recording(&self, recording: &Recording) {
        self.0.kept().recording.take_if(|own| std::ptr::eq(Arc::as_ptr(own), recording));
    }
}
