//! The machine: cores, pipes, flags, and the launch of a function over many groups of cores.
//!
//! A launch is a set of groups (blocks): an AIC with its AIVs, or a single core. Each core runs the kernel
//! function as a coroutine. Its intrinsics enter through [`HOOKS`], and [`group`] dispatches them to the
//! queues of the core's pipes. [`clocks`] keeps what is known to be complete, by which `access` finds
//! accesses that nothing orders, whatever order the pipes happened to run in.

#[doc(hidden)]
pub mod abi;
mod clocks;
mod config;
mod core;
mod cross;
mod flags;
mod grid;
mod group;
mod hooks;
mod places;
mod record;
mod scalar;
mod schedule;
#[cfg(test)]
mod tests;
mod timed;

use std::sync::Arc;

pub use record::{CoreId, Issued, Recorder};

pub use config::Config;
pub(crate) use hooks::HOOKS;

use crate::access::{Allocation, DeviceMemory, FaultKind, Gm, GmShadow, Mode, OpInfo, Stop, Used, MAX_ARGS};
use abi::KernelType;
use grid::Grid;

/// Counts of one launch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LaunchStats {
    /// Instructions issued, over all cores: intrinsics, scalar loads and scalar stores.
    pub instructions: u64,
    /// Model time of the task outside its cores in microseconds; 0 when none is kept.
    pub launch_us: f64,
    /// Model time from the start of the first core to the last result in microseconds; 0 when none is kept.
    pub cores_us: f64,
}

/// A kernel function: called once on each core, on the core's coroutine. 0, or 1 when the machine stopped it.
pub(crate) type Body = Arc<dyn Fn() -> i32 + Send + Sync>;

/// What all groups of a launch share.
struct Launch {
    config: Config,
    mode: Mode,
    gm: Gm,
    gm_shadow: GmShadow,
    ops: Arc<[&'static OpInfo]>,
    kernel_type: KernelType,
    body: Body,
    blocks: u32,
    grid: Grid,
}

/// What a launch has touched of device memory.
pub struct Touched(Arc<Launch>);

impl std::fmt::Debug for Touched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Touched").finish_non_exhaustive()
    }
}

impl Touched {
    /// How bytes were used, by allocation; nothing is known without the race check.
    pub fn ranges(&self) -> impl Iterator<Item = (&Arc<Allocation>, Vec<Used>)> {
        let allocations = self.0.gm.allocations().iter().enumerate();
        let used = allocations.map(|(index, a)| (a, self.0.gm_shadow.used(index)));
        used.filter(|(_, ranges)| !ranges.is_empty())
    }
}

/// A kernel function with what the machine has to know of it.
pub(crate) struct Function<'a> {
    /// Name, for reports.
    pub(crate) name: &'a str,
    pub(crate) kernel_type: KernelType,
    /// What the operation numbers of its intrinsics mean.
    pub(crate) ops: Arc<[&'static OpInfo]>,
    pub(crate) body: Body,
    /// What `body` passes it: 8-byte argument slots.
    pub(crate) args: &'a [u64],
}

/// Runs a kernel function to its end on `blocks` groups.
///
/// # Errors
/// The first thing that stopped a core, lowest block first.
pub(crate) fn launch(
    memory: &DeviceMemory,
    config: &Config,
    function: Function<'_>,
    blocks: u32,
) -> Result<(LaunchStats, Touched), Stop> {
    if blocks == 0 {
        let detail = format!("kernel {}: 0 blocks given; a launch has at least 1", function.name);
        return Err(Stop::fault(FaultKind::Operand, detail));
    }
    let allocations = memory.snapshot();
    let shadow_lengths = allocations.iter().map(|a| if config.check_races { a.len() } else { 0 });
    let aivs = core::cores_of(function.kernel_type).iter().filter(|core| **core != 0).count();
    let launch = Arc::new(Launch {
        config: config.clone(),
        mode: config.mode(),
        gm_shadow: GmShadow::new(shadow_lengths)?,
        gm: Gm::new(allocations, function.args),
        ops: function.ops,
        kernel_type: function.kernel_type,
        body: function.body,
        blocks,
        grid: Grid::new(blocks, u32::try_from(aivs).unwrap_or(0)),
    });
    if let Some(model_time) = &config.model_time {
        return Ok((places::run_blocks(&launch, model_time, function.name)?, Touched(launch)));
    }
    let host = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if config.threads == 0 { host() } else { config.threads };
    Ok((schedule::run_blocks(&launch, threads.min(blocks as usize))?, Touched(launch)))
}
