//! The kernels that the build script made, and their loading.
//!
//! The image for the simulator is there with the cargo feature `sim`. Images for an NPU are there when the
//! build found a CANN that could compile them; [`npu_build`] tells how they were made, or why there are none.

mod npu_build;
pub mod operands;
mod tiling_data;

pub use npu_build::{NpuBuild, NpuImage, NpuKernel};
pub use tiling_data::SelfTestTilingData;

use crate::runtime::{Device, Kernels, Module};
use crate::{Error, ErrorKind, Result};

/// Shared library built from `ascendc/kernels` by the host compiler.
#[cfg(feature = "sim")]
static SIMULATOR: &[u8] = include_bytes!(env!("FA_BUILD_SIM_KERNELS"));

/// Files of kernel text with their paths below `ascendc`.
static SOURCES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/kernel_sources.rs"));

/// The images for an NPU, or why there are none.
static NPU: std::result::Result<NpuBuild, &str> = include!(concat!(env!("OUT_DIR"), "/npu_kernels.rs"));

/// The text of the kernels: each file with its path below `ascendc`, sorted.
pub fn sources() -> &'static [(&'static str, &'static str)] {
    SOURCES
}

/// The image for the simulator: a shared library, which [`Module::load`] takes.
#[cfg(feature = "sim")]
pub fn simulator_image() -> &'static [u8] {
    SIMULATOR
}

/// What the build script made for an NPU.
///
/// # Errors
/// `KernelsNotBuilt`, with the reason (where CANN was looked for, or what it could not do) and what to do
/// about it.
pub fn npu_build() -> Result<&'static NpuBuild> {
    NPU.as_ref().map_err(|why| not_built(why))
}

fn not_built(why: &str) -> Error {
    let others = if cfg!(feature = "sim") { ", only for the simulator (device \"sim\")" } else { "" };
    Error::new(
        ErrorKind::KernelsNotBuilt,
        format!(
            "this build has no kernels for an NPU{others}: when it was built, {why}\nBuild \
             it again where CANN with its compiler is installed and ASCEND_HOME_PATH names its root (docs/ascend.md)"
        ),
    )
}

#[cfg(feature = "sim")]
fn for_simulator() -> Result<&'static [u8]> {
    Ok(SIMULATOR)
}

/// An ACL library can be the simulator (`dropin/`) also where this crate is built without it.
#[cfg(not(feature = "sim"))]
fn for_simulator() -> Result<&'static [u8]> {
    let text =
        "this build has no kernels for the simulator, which the cargo feature `sim` of fastattention adds";
    Err(Error::new(ErrorKind::KernelsNotBuilt, text))
}

/// Loads this crate's kernels on a device. An image for an NPU is loaded with the first of its kernels.
///
/// # Errors
/// `KernelsNotBuilt` when this build has no kernels for the device, `Driver` when the driver does not take
/// them.
pub(crate) fn load(device: &Device) -> Result<Module> {
    match device.kernels() {
        Kernels::Simulator => return Module::load_trusted(device, for_simulator()?),
        #[cfg(feature = "cpu")]
        Kernels::Native => return Module::load_trusted(device, crate::cpu::image()),
        Kernels::Npu => {}
    }
    let images = npu_build()?.images.iter();
    let named = images.map(|image| (image.kernels.iter().map(|k| k.name).collect(), image.bytes));
    Ok(Module::of_images(device, named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_found_by_the_name_of_its_kernel() {
        const COPY: NpuKernel =
            NpuKernel { name: "fa_copy", kernel_type: "KERNEL_TYPE_AIV_ONLY", symbols: &["fa_copy"] };
        const IMAGE: NpuImage =
            NpuImage { family: "copy", kernels: &[COPY], patches_ffts_address: false, bytes: &[1, 2, 3] };
        let build = NpuBuild {
            route: "asc",
            cann_root: "/cann",
            cann_version: "9.1.0",
            flags: &["-O3"],
            sources_sha256: "",
            images: &[IMAGE],
        };
        assert_eq!(build.image_of("fa_copy").map(|image| image.family), Some("copy"));
        assert!(build.image_of("fa_cop").is_none());
        assert!(format!("{build:?}").contains("bytes: 3 bytes"));
    }

    #[test]
    fn a_build_without_kernels_for_an_npu_says_why_and_what_to_do() {
        let error =
            not_built("no CANN with a compiler was found; tried:\n  /opt/Ascend/cann: no such folder");
        assert_eq!(error.kind(), ErrorKind::KernelsNotBuilt);
        let text = error.to_string();
        assert!(text.contains("\n  /opt/Ascend/cann: no such folder\nBuild it again"), "{text}");
        assert!(text.contains("ASCEND_HOME_PATH"), "{text}");
    }

    /// The simulator stands for an NPU here: it takes any number of images.
    #[cfg(feature = "sim")]
    #[test]
    fn a_kernel_is_taken_from_the_image_that_holds_it() {
        let device = Device::open("sim").unwrap();
        let images = [(vec!["fa_none"], &b"not an image"[..]), (vec!["fa_copy", "fa_absent"], SIMULATOR)];
        let module = Module::of_images(&device, images.into_iter());
        assert_eq!(module.kernel("fa_copy").unwrap().name(), "fa_copy");
        assert_eq!(module.kernel("fa_none").unwrap_err().kind(), ErrorKind::Driver, "the image is refused");
        assert_eq!(module.kernel("fa_absent").unwrap_err().kind(), ErrorKind::Driver);
        let error = module.kernel("fa_flash_fwd_f16").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KernelsNotBuilt);
        assert_eq!(
            error.to_string(),
            "kernel fa_flash_fwd_f16 wanted, of sim:0 this build has only: fa_none, fa_copy, fa_absent"
        );
    }
}
