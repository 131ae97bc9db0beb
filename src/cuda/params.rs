//! What the driver gets for a launch.

use super::kernels::{Text, THREADS};

/// Parameters of a kernel, packed in their order, each aligned to its size: what `cuLaunchKernel` takes as
/// `CU_LAUNCH_PARAM_BUFFER_POINTER`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Params(Vec<u8>);

impl Params {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn u64s(self, values: impl IntoIterator<Item = u64>) -> Self {
        values.into_iter().fold(self, |params, value| params.push(&value.to_le_bytes()))
    }

    pub(super) fn u32s(self, values: impl IntoIterator<Item = u32>) -> Self {
        values.into_iter().fold(self, |params, value| params.push(&value.to_le_bytes()))
    }

    pub(super) fn f32(self, value: f32) -> Self {
        self.push(&value.to_le_bytes())
    }

    fn push(mut self, bytes: &[u8]) -> Self {
        self.0.resize(self.0.len().next_multiple_of(bytes.len()), 0);
        self.0.extend_from_slice(bytes);
        self
    }
}

/// One kernel of a plan as the driver gets it, for programs that launch with a layer of their own
/// ([`Plan::launches`](super::Plan::launches)).
#[derive(Clone, Debug)]
pub struct Launch {
    pub(super) text: &'static Text,
    pub(super) grid: [u32; 3],
    pub(super) shared_bytes: u32,
    pub(super) params: Params,
}

impl Launch {
    /// Name of the kernel in its text.
    pub fn kernel(&self) -> &'static str {
        self.text.name
    }

    /// Its text, PTX 6.4 for sm_70.
    pub fn ptx(&self) -> &'static str {
        self.text.ptx
    }

    /// Blocks along x, y, z; never 0.
    pub fn grid(&self) -> [u32; 3] {
        self.grid
    }

    /// Threads of a block.
    pub fn threads(&self) -> u32 {
        THREADS
    }

    /// Dynamic shared memory of a block, which the function must be allowed
    /// (`CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`).
    pub fn shared_bytes(&self) -> u32 {
        self.shared_bytes
    }

    /// The parameters, packed in their order, each aligned to its size.
    pub fn params(&self) -> &[u8] {
        self.params.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_parameter_is_aligned_to_its_size() {
        let params = Params::default().u32s([1]).u64s([2, 3]).f32(1.0);
        let mut want = [0; 28];
        (want[0], want[8], want[16]) = (1, 2, 3);
        want[24..].copy_from_slice(&1.0f32.to_le_bytes());
        assert_eq!(params.bytes(), want);
    }
}
