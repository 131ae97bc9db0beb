//! What the build script made for an NPU.

use std::fmt;

/// The device images of this build and how they were made.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct NpuBuild {
    /// How: `asc` is `bisheng -x asc`, `fatbin` is `ascendc_fatbin_library` of CANN's CMake package.
    pub route: &'static str,
    /// Root of the CANN that compiled.
    pub cann_root: &'static str,
    /// What that CANN calls itself.
    pub cann_version: &'static str,
    /// Flags of the compiler that `cann.toml` decided.
    pub flags: &'static [&'static str],
    /// SHA-256 of the kernel text, in hexadecimal: `cat include/fa/* kernels/* | sha256sum` in the folder
    /// `ascendc`.
    pub sources_sha256: &'static str,
    /// One for each family of kernels.
    pub images: &'static [NpuImage],
}

/// A device image: an ELF file with the kernels of one family.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct NpuImage {
    /// Name of the family: the file in `ascendc/kernels`, without `.cpp`.
    pub family: &'static str,
    /// Its kernels.
    pub kernels: &'static [NpuKernel],
    /// Does the loader write the address of the cross-core flags into this image (acl-runtime.md 3.3)? If
    /// not, the address is the first argument of its MIX kernels.
    pub patches_ffts_address: bool,
    /// The file.
    pub bytes: &'static [u8],
}

/// A kernel in a device image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NpuKernel {
    /// Name as `aclrtBinaryGetFunction` takes it.
    pub name: &'static str,
    /// Which cores it runs on, as `KERNEL_TASK_TYPE_DEFAULT` names it.
    pub kernel_type: &'static str,
    /// Its symbols in the file.
    pub symbols: &'static [&'static str],
}

impl NpuBuild {
    /// The image that holds the kernel `name`.
    pub fn image_of(&self, name: &str) -> Option<&'static NpuImage> {
        self.images.iter().find(|image| image.kernels.iter().any(|kernel| kernel.name == name))
    }
}

impl fmt::Debug for NpuImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NpuImage")
            .field("family", &self.family)
            .field("kernels", &self.kernels)
            .field("patches_ffts_address", &self.patches_ffts_address)
            .field("bytes", &format_args!("{} bytes", self.bytes.len()))
            .finish()
    }
}
