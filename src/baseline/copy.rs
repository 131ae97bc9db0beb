//! Copying device memory with the vector cores.

use crate::attention::Operand;
use crate::kernels;
use crate::kernels::operands::CopyOperands;
use crate::runtime::{refuse, Device, Kernel, Module, Named, Stream};
use crate::Result;

/// `dst = src`, through UB with double buffering (`ascendc/kernels/copy.cpp`).
#[derive(Clone, Debug)]
pub struct MemoryCopy {
    kernel: Kernel,
}

impl MemoryCopy {
    /// Loads the kernel.
    ///
    /// # Errors
    /// `KernelsNotBuilt` when this build has no kernels for the device, `Driver`.
    pub fn new(device: &Device) -> Result<Self> {
        Self::from_module(&kernels::load(device)?)
    }

    /// As [`Self::new`], with the kernels of an image that was built elsewhere.
    ///
    /// # Errors
    /// `Driver` when the image lacks a kernel.
    pub fn from_module(module: &Module) -> Result<Self> {
        Ok(Self { kernel: module.kernel("fa_copy")? })
    }

    /// Queues the copy of `bytes` bytes on `num_cores` vector cores. The operands do not overlap.
    ///
    /// # Errors
    /// `InvalidArgument` for operands that are too small, of another device, or overlap, `Driver`.
    pub fn launch(
        &self,
        stream: &Stream,
        num_cores: u32,
        bytes: u64,
        dst: Operand<'_>,
        src: Operand<'_>,
    ) -> Result<()> {
        refuse("copy launch", &[Named::written("dst", dst, bytes, 1), Named::read("src", src, bytes, 1)])?;
        if bytes == 0 {
            return Ok(());
        }
        self.kernel.launch(stream, num_cores, &CopyOperands { dst, src, bytes }.args()?)
    }
}
