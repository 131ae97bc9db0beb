//! The kernels that `build.rs` made, one image per target, and their loading.
//!
//! The image for the simulator is always there. The image for an NPU is there when the build found a CANN toolchain.

use crate::runtime::{Device, Module};
use crate::{Error, ErrorKind, Result};

/// Shared library built from `ascendc/kernels` by the host compiler.
static SIMULATOR: &[u8] = include_bytes!(env!("FA_BUILD_SIM_KERNELS"));

/// Loads this crate's kernels on a device.
///
/// # Errors
/// `KernelsNotBuilt` when this build has no kernels for the device, `Driver` when the driver does not take them.
pub(crate) fn load(device: &Device) -> Result<Module> {
    if device.is_simulated() {
        return Module::load_trusted(device, SIMULATOR.into());
    }
    Err(Error::new(
        ErrorKind::KernelsNotBuilt,
        format!(
            "this build has no kernels for {} ({}); it has them for the simulator (\"sim\")",
            device.name(),
            device.soc().name
        ),
    ))
}
