//! Copies between host and device that are under way.

use super::Stream;
use crate::runtime::memory::HostBuffer;
use crate::Result;

/// A queued copy between a buffer and pinned host memory. Dropping it lets the copy go on; the memory is then
/// freed by the stream.
#[derive(Debug)]
#[must_use = "`wait` gives the host memory back"]
pub struct PendingCopy {
    pub(super) stream: Stream,
    pub(super) host: HostBuffer,
}

impl PendingCopy {
    /// Waits for the stream and gives the host memory back.
    ///
    /// # Errors
    /// As [`Stream::synchronize`]. The memory then stays with the stream.
    pub fn wait(self) -> Result<HostBuffer> {
        self.stream.synchronize()?;
        Ok(self.host)
    }
}
