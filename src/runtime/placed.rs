//! Tiling data that stays in device memory.

#![allow(unsafe_code, reason = "calls C functions of the ACL table")]

use super::{refuse, Buffer, Device, Named, Operand};
use crate::driver::memcpy_kind;
use crate::Result;

/// Tiling data of a plan, at an address in device memory: what launches read there does not travel with their
/// arguments.
///
/// It keeps a buffer in which the data lie. Nobody writes there as long as launches read it.
#[derive(Clone, Debug)]
pub struct PlacedTilingData {
    device: Device,
    address: u64,
    bytes: Box<[u8]>,
    buffer: Option<Buffer>,
}

impl PlacedTilingData {
    /// Copies `bytes` to the start of `at`, and returns when they are there.
    pub(crate) fn new(what: &str, bytes: &[u8], at: Operand<'_>) -> Result<Self> {
        let len = bytes.len();
        refuse(what, &[Named::written("tiling_data", at, len as u64, TILING_DATA_ALIGNMENT)])?;
        let (device, to) = (at.device().clone(), at.pointer());
        device.driver().call("aclrtMemcpy", |t| {
            let from = bytes.as_ptr().cast();
            // SAFETY: the memory has `len` bytes, checked above, and `bytes` lives during the call.
            unsafe { (t.aclrtMemcpy)(to, len, from, len, memcpy_kind::HOST_TO_DEVICE) }
        })?;
        let (address, buffer) = (at.device_ptr(), at.buffer().cloned());
        Ok(Self { device, address, bytes: bytes.into(), buffer })
    }

    /// The address on the device.
    pub fn device_ptr(&self) -> u64 {
        self.address
    }

    /// The device of the memory.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The data, as an operand of a launch.
    pub(crate) fn named(&self) -> Named {
        let len_bytes = self.bytes.len() as u64;
        let place = super::MemoryRange { address: self.address, offset_bytes: 0, len_bytes };
        Named::read("tiling_data", place, len_bytes, TILING_DATA_ALIGNMENT)
    }

    /// What is wrong when they are of another plan than that with the tiling data `bytes`.
    pub(crate) fn wrong(&self, bytes: &[u8]) -> Option<String> {
        let is_other = *self.bytes != *bytes;
        is_other.then(|| "tiling_data is of another plan, that of the plan of this launch wanted".to_owned())
    }

    pub(super) fn buffer(&self) -> Option<&Buffer> {
        self.buffer.as_ref()
    }
}

/// The largest integers in tiling data have 8 bytes.
const TILING_DATA_ALIGNMENT: u64 = 8;
