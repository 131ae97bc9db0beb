//! Kernel images: shared libraries built for the host that export `fasim_image` (see [`super::abi`]).

use std::path::Path;
use std::sync::Arc;

/// A loaded kernel library.
#[derive(Debug)]
pub(crate) struct Image {
    kernels: Vec<Kernel>,
}

/// A kernel of an image; keeps its library loaded through the `Arc<Image>` it was found in.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// Name as `aclrtBinaryGetFunction` takes it.
    pub(crate) name: String,
    /// Arguments that the kernel takes, one 8-byte slot each.
    pub(crate) num_args: u32,
}

impl Image {
    /// Loads a shared library. The error says what the loader said, or which part of the interface does not match.
    pub(crate) fn load_file(_path: &Path) -> Result<Arc<Image>, String> {
        Err("not written yet".into())
    }

    /// Loads a shared library from memory.
    pub(crate) fn load_bytes(_data: &[u8]) -> Result<Arc<Image>, String> {
        Err("not written yet".into())
    }

    /// The kernels of the image.
    pub(crate) fn kernels(&self) -> &[Kernel] {
        &self.kernels
    }

    /// The kernel of that name.
    pub(crate) fn find(self: &Arc<Self>, name: &str) -> Option<Kernel> {
        self.kernels.iter().find(|k| k.name == name).cloned()
    }
}
