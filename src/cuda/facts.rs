//! What a plan has to know of a GPU.

use std::fmt;

/// What a plan has to know of a GPU: a plan needs no device, only these.
///
/// ```
/// use fastattention::cuda::DeviceFacts;
///
/// let v100 = DeviceFacts::v100();
/// assert_eq!((v100.multiprocessors, v100.is_emulated()), (80, false));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceFacts {
    /// The driver's name of the device.
    pub name: String,
    /// Major and minor number.
    pub compute_capability: (u32, u32),
    /// Multiprocessors (SMs).
    pub multiprocessors: u32,
    /// Device memory.
    pub memory_bytes: u64,
    /// Shared memory that a block can ask for.
    pub shared_bytes_per_block: u32,
    /// Shared memory of a multiprocessor.
    pub shared_bytes_per_multiprocessor: u32,
}

impl DeviceFacts {
    /// A Tesla V100-SXM2-16GB: to plan for it where none is.
    pub fn v100() -> Self {
        Self {
            name: "Tesla V100-SXM2-16GB".into(),
            compute_capability: (7, 0),
            multiprocessors: 80,
            memory_bytes: 16 << 30,
            shared_bytes_per_block: 96 << 10,
            shared_bytes_per_multiprocessor: 96 << 10,
        }
    }

    /// Does the device lack the tensor instruction of the kernels? Compute capabilities 7.0, 7.2 and 7.5 have
    /// it. Newer ones call a subroutine in its place: results are right, times say nothing about Volta.
    pub fn is_emulated(&self) -> bool {
        !matches!(self.compute_capability, (7, 0 | 2 | 5))
    }
}

impl fmt::Display for DeviceFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.compute_capability;
        let kind = if self.is_emulated() { "tensor instruction emulated" } else { "native" };
        let Self { name, multiprocessors, memory_bytes, .. } = self;
        write!(
            f,
            "{name}: compute capability {major}.{minor}, {multiprocessors} SMs, {} GiB, {kind}",
            memory_bytes >> 30
        )
    }
}
