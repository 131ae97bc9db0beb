//! The kernels that the build script made, and their loading.
//!
//! The image for the simulator is always there. Images for an NPU are there when the build found a CANN that could compile
//! them; [`npu_build`] tells how they were made, or why there are none.

mod npu_build;

use std::sync::OnceLock;

pub use npu_build::{NpuBuild, NpuImage, NpuKernel};

use crate::runtime::{Device, Kernel, Module};
use crate::{Error, ErrorKind, Result};

/// Shared library built from `ascendc/kernels` by the host compiler.
static SIMULATOR: &[u8] = include_bytes!(env!("FA_BUILD_SIM_KERNELS"));

/// The images for an NPU, or why there are none.
static NPU: std::result::Result<NpuBuild, &str> = include!(concat!(env!("OUT_DIR"), "/npu_kernels.rs"));

/// What the build script made for an NPU.
///
/// # Errors
/// `KernelsNotBuilt`, with the reason (where CANN was looked for, or what it could not do) and what to do about it.
pub fn npu_build() -> Result<&'static NpuBuild> {
    NPU.as_ref().map_err(|why| not_built(why))
}

fn not_built(why: &str) -> Error {
    Error::new(
        ErrorKind::KernelsNotBuilt,
        format!(
            "this build has no kernels for an NPU, only for the simulator (device \"sim\"): when it was built, {why}\nBuild \
             it again where CANN with its compiler is installed and ASCEND_HOME_PATH names its root (docs/ascend.md)"
        ),
    )
}

/// This crate's kernels on one device. An image is loaded with the first of its kernels.
#[derive(Debug)]
pub(crate) struct Kernels {
    device: Device,
    images: Vec<Image>,
}

/// An image, and the module when it is loaded.
#[derive(Debug)]
struct Image {
    /// None for the simulator's image, which holds every kernel.
    npu: Option<&'static NpuImage>,
    module: OnceLock<Module>,
}

/// This crate's kernels for a device.
///
/// # Errors
/// `KernelsNotBuilt` when this build has no kernels for the device.
pub(crate) fn load(device: &Device) -> Result<Kernels> {
    let image = |npu| Image { npu, module: OnceLock::new() };
    let images = if device.is_simulated() {
        vec![image(None)]
    } else {
        npu_build()?.images.iter().map(|npu| image(Some(npu))).collect()
    };
    Ok(Kernels { device: device.clone(), images })
}

impl Kernels {
    /// The kernel of that name, ready to launch.
    ///
    /// # Errors
    /// `KernelsNotBuilt` when no image of this build holds it, `Driver` when the driver does not take the image.
    pub(crate) fn kernel(&self, name: &str) -> Result<Kernel> {
        let image = self.images.iter().find(|image| image.holds(name)).ok_or_else(|| {
            let built: Vec<_> = self.images.iter().filter_map(|i| i.npu).map(|i| i.family).collect();
            Error::new(
                ErrorKind::KernelsNotBuilt,
                format!(
                    "this build has no kernel {name} for an NPU; `kernels.families` in cann.toml chose the families {}",
                    built.join(", ")
                ),
            )
        })?;
        image.module(&self.device)?.kernel(name)
    }
}

impl Image {
    fn holds(&self, name: &str) -> bool {
        self.npu.is_none_or(|npu| npu.kernels.iter().any(|kernel| kernel.name == name))
    }

    fn module(&self, device: &Device) -> Result<&Module> {
        if let Some(module) = self.module.get() {
            return Ok(module);
        }
        let bytes = self.npu.map_or(SIMULATOR, |npu| npu.bytes);
        // Two threads may load it at the same time; one of the modules stays.
        let module = Module::load_trusted(device, bytes.into())?;
        Ok(self.module.get_or_init(|| module))
    }
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
        let image = Image { npu: Some(&IMAGE), module: OnceLock::new() };
        assert!(image.holds("fa_copy") && !image.holds("fa_flash_fwd_f16"));
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

    #[test]
    fn the_simulator_has_every_kernel_in_one_image() {
        let device = Device::open("sim").unwrap();
        let kernels = load(&device).unwrap();
        for name in ["fa_copy", "fa_flash_fwd_f16"] {
            assert_eq!(kernels.kernel(name).unwrap().name(), name);
        }
        assert!(kernels.kernel("fa_no_such_kernel").is_err());
    }
}
