//! The machine: cores, pipes, flags, order, and the launch of a kernel over many groups.

mod exec;

#[cfg(test)]
pub(crate) use exec::harness;
pub(crate) use exec::{Access, Exec, Gm, VectorState};

use super::image::Kernel;
use super::memory::DeviceMemory;
use super::{Config, Stop};

/// Counts of one launch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LaunchStats {
    /// Instructions issued, over all cores.
    pub(crate) instructions: u64,
}

/// Runs a kernel to its end on `blocks` groups. `args` are its 8-byte argument slots.
///
/// # Errors
/// The first thing that stopped a core, lowest block first.
pub(crate) fn launch(
    _memory: &DeviceMemory,
    _config: &Config,
    _kernel: &Kernel,
    _args: &[u64],
    _blocks: u32,
) -> Result<LaunchStats, Stop> {
    Err(Stop::Defect("not written yet".into()))
}
