//! Model time of streams, events and ranks on one clock.
//!
//! Streams of simulated devices tell what they did, each in its own order ([`log`]); afterwards the whole is given times
//! ([`solve`]). Nothing of it depends on when host threads ran.

mod log;
mod schedule;
mod solve;
mod state;
#[cfg(test)]
mod tests;
mod trace;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(in crate::sim) use log::{RecordId, Step, Transfer};
pub use schedule::{DeviceTime, Edge, Point, Schedule, Span, SpanKind};

use crate::{Error, Result, Soc};
use log::Log;

/// Gives the work of several simulated devices times on one clock. Clones are the same: set one in the
/// [`Config`](crate::sim::Config) of every device, beside a model time, which knows how long kernels take.
///
/// Devices are numbered from 0 in the order in which they are made, streams of a device in the order in which they are created, as far
/// as they had work.
///
/// ```
/// use fastattention::runtime::{Buffer, CommDType, Communicator, Device, ReduceOp, Stream};
/// use fastattention::sim::time::{ModelTime, Timeline};
/// use fastattention::{sim::Config, Soc};
///
/// let timeline = Timeline::new();
/// let open = |_| {
///     let mut config = Config::new(Soc::by_name("Ascend910B2")?);
///     config.model_time = Some(ModelTime::only());
///     config.timeline = Some(timeline.clone());
///     Device::simulated(config)
/// };
/// let devices = (0..2).map(open).collect::<fastattention::Result<Vec<_>>>()?;
/// let comms = Communicator::init_all(&devices)?;
/// let streams = devices.iter().map(Stream::new).collect::<fastattention::Result<Vec<_>>>()?;
/// for (comm, stream) in comms.iter().zip(&streams) {
///     let data = Buffer::alloc(comm.device(), 8 << 20)?;
///     comm.all_reduce(stream, &data, &data, (4 << 20, CommDType::F16), ReduceOp::Sum)?;
/// }
/// streams.iter().try_for_each(Stream::synchronize)?;
/// let schedule = timeline.solve()?;
/// assert_eq!(schedule.devices[1].transferring_us, schedule.makespan_us);
/// schedule.write_trace(&mut Vec::new()).unwrap();
/// # Ok::<(), fastattention::Error>(())
/// ```
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

    /// Gives times to all work since the last [`Self::clear`], which begins at 0. Synchronise every stream before.
    ///
    /// # Errors
    /// `InvalidArgument` when a rank has not reached a collective that another one has carried out, `Unsupported` when
    /// no order of the work is possible: an event was recorded by two streams at once.
    pub fn solve(&self) -> Result<Schedule> {
        let contention = self.lock().socs().map(|soc| soc.links.contention).fold(1.0, f64::max);
        self.solve_with_contention(contention)
    }

    /// As [`Self::solve`], with another factor on the time of a kernel and of a transfer while both run on a device; 1: they
    /// do not slow each other down.
    ///
    /// # Errors
    /// As [`Self::solve`], and `InvalidArgument` for a factor that is not from 1 to 1000.
    pub fn solve_with_contention(&self, contention: f64) -> Result<Schedule> {
        if !(1.0..=1000.0).contains(&contention) {
            return Err(Error::invalid(format!("contention = {contention} given, 1 to 1000 wanted")));
        }
        solve::solve(&self.lock(), contention)
    }

    /// Forgets all work, not the devices. A wait for an event that was recorded before is then no wait.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Makes a device known.
    pub(in crate::sim) fn add_device(&self, id: i32, soc: &'static Soc) {
        self.lock().add_device(id, soc);
    }

    /// A stream of a device has done `step`. Whoever waits for it must not have gone on.
    pub(in crate::sim) fn add_step(&self, device: i32, stream: u64, step: Step) {
        self.lock().add_step(device, stream, step);
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
