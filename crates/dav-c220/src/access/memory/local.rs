//! One on-chip memory of one core.

use bytemuck::allocation::try_zeroed_slice_box;

use super::InitMap;

/// Bytes and initialisation state of an on-chip memory.
#[derive(Debug)]
pub(crate) struct LocalMem {
    pub(crate) bytes: Vec<u8>,
    pub(crate) init: InitMap,
    /// Bytes at the end that kernels must not touch.
    pub(crate) reserved: usize,
}

impl LocalMem {
    /// `None` when the host has no memory for it.
    pub(crate) fn new(size: usize, reserved: usize) -> Option<Self> {
        let bytes = try_zeroed_slice_box(size).ok()?.into_vec();
        Some(Self { bytes, init: InitMap::new(size)?, reserved })
    }

    /// As at kernel entry: nothing written. The bytes keep old data, as on the chip; reading them is a fault.
    pub(crate) fn reset(&mut self) {
        self.init.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}
