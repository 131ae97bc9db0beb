//! Model time: how long a kernel would take on the chip.
//!
//! Every instruction gets a start, an occupancy of its pipe and a latency of its result; flags, barriers and
//! queues carry times from one pipe to another. Only GM is shared by all cores: transfers are carried out in
//! the order of their starts in model time (`gm.rs`). All rates are in `cann.toml`, with their sources; how
//! well published measurements are met is in `docs/timing.md`. Model time is never measured time.

mod bank;
mod calendar;
pub(super) mod clock;
pub(super) mod cost;
pub(super) mod gm;
pub(super) mod l1;
mod l2;
mod path;
pub(super) mod report;
mod summary;
mod trace;
mod vector;

use crate::access::Stop;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use gm::MemoryTraffic;
use gm::SharedGm;
pub use path::{PathPart, PathStep};
pub use report::{Cause, CoreReport, LaunchReport, PipeReport, TraceEvent};
pub use summary::{Ceiling, Roofline, Summary};
pub use trace::{TraceDialect, TraceOptions, TraceWritten};

use ascend_soc::Soc;

/// Makes a simulated device keep model time, and holds what it finds. Clones are the same.
#[derive(Clone)]
pub struct ModelTime {
    arithmetic: bool,
    trace: bool,
    /// What earlier launches left in L2. A launch has it while it runs.
    gm: Arc<Mutex<Option<SharedGm>>>,
    reports: Arc<Mutex<Vec<LaunchReport>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for ModelTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelTime")
            .field("arithmetic", &self.arithmetic)
            .field("trace", &self.trace)
            .finish_non_exhaustive()
    }
}

impl ModelTime {
    fn new(arithmetic: bool) -> Self {
        Self { arithmetic, trace: false, gm: Arc::default(), reports: Arc::default() }
    }

    /// Time and results.
    pub fn with_results() -> Self {
        Self::new(true)
    }

    /// Time only: no instruction computes or moves data, and outputs hold nothing. Cycles are the same as
    /// with results. A kernel whose control flow depends on data that it computed is refused, unless its
    /// scalar unit has stored a value there before: then this value stands. So `flash_fwd` with bundles takes
    /// the time that it takes when no row's maximum grows beyond the headroom within a bundle.
    pub fn only() -> Self {
        Self::new(false)
    }

    /// Records every instruction.
    #[must_use]
    pub fn with_trace(mut self) -> Self {
        self.trace = true;
        self
    }

    /// Do instructions compute?
    pub fn has_results(&self) -> bool {
        self.arithmetic
    }

    /// Is every instruction recorded?
    pub fn has_trace(&self) -> bool {
        self.trace
    }

    /// Takes the reports of all launches since the last call.
    pub fn take_reports(&self) -> Vec<LaunchReport> {
        std::mem::take(&mut locked(&self.reports))
    }

    /// The same with a cold L2 of its own.
    pub fn with_own_l2(&self) -> Self {
        Self { gm: Arc::default(), ..self.clone() }
    }

    /// L2 and HBM for one launch; give it back with [`ModelTime::finish`].
    ///
    /// # Errors
    /// When the host has no memory for them.
    pub(super) fn start(&self, soc: &'static Soc) -> Result<SharedGm, Stop> {
        let earlier = locked(&self.gm).take();
        let gm = earlier.or_else(|| SharedGm::new(soc));
        let mut gm = gm.ok_or_else(|| Stop::no_memory("the model of L2 and HBM"))?;
        gm.start_launch();
        Ok(gm)
    }

    /// Ends a launch.
    pub(super) fn finish(&self, gm: SharedGm, report: Option<LaunchReport>) {
        *locked(&self.gm) = Some(gm);
        locked(&self.reports).extend(report);
    }
}
