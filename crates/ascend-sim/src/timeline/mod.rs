//! Model time of streams, events and ranks on one clock.
//!
//! Streams of simulated devices tell what they did, each in its own order (`log`); afterwards the whole is
//! given times (`solve`). Nothing of it depends on when host threads ran.

mod error;
mod host;
mod log;
mod schedule;
mod solve;
mod state;
#[cfg(test)]
mod tests;
mod trace;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use error::{SolveError, SolveErrorKind};
pub use host::{host_function_takes, HostLink};
pub(crate) use host::{time_of, HostPart};
pub(crate) use log::{RecordId, TimedWork, Transfer};
pub use schedule::{DeviceTime, Edge, Point, Schedule, Span, SpanKind};

use log::Log;

/// Gives the work of several simulated devices times on one clock. Clones are the same: set one in the
/// [`Config`](crate::Config) of every device, whose engine knows how long kernels take.
///
/// Devices are numbered from 0 in the order in which they are made, streams of a device in the order in which
/// they are created, as far as they had work.
#[derive(Clone, Default)]
pub struct Timeline {
    log: Arc<Mutex<Log>>,
}

impl fmt::Debug for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeline").finish_non_exhaustive()
    }
}

impl Timeline {
    /// An empty timeline.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives times to all work since the last [`Self::clear`], which begins at 0. Synchronise every stream
    /// before.
    ///
    /// # Errors
    /// `InvalidArgument` when a rank has not reached a collective that another one has carried out,
    /// `Unsupported` when no order of the work is possible: an event was recorded by two streams at once.
    pub fn solve(&self) -> Result<Schedule, SolveError> {
        let contention = self.lock().devices().map(|device| device.contention).fold(1.0, f64::max);
        self.solve_with_contention(contention)
    }

    /// As [`Self::solve`], with another factor on the time of a kernel and of a transfer while both run on a
    /// device; 1: they do not slow each other down.
    ///
    /// # Errors
    /// As [`Self::solve`], and `InvalidArgument` for a factor that is not from 1 to 1000.
    pub fn solve_with_contention(&self, contention: f64) -> Result<Schedule, SolveError> {
        if !(1.0..=1000.0).contains(&contention) {
            return Err(SolveError::invalid(format!("contention = {contention} given, 1 to 1000 wanted")));
        }
        solve::solve(&self.lock(), contention)
    }

    /// Forgets all work, not the devices. A wait for an event that was recorded before is then no wait.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Makes a device known.
    pub(crate) fn add_device(&self, id: i32, soc: &'static str, contention: f64) {
        self.lock().add_device(id, log::Device { soc, contention });
    }

    /// A stream of a device has done `step`. Whoever waits for it must not have gone on.
    pub(crate) fn add_step(&self, device: i32, stream: u64, step: TimedWork) {
        self.lock().add_step(device, stream, step);
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
