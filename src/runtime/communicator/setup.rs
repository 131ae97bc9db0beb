//! What ranks need before they have a communicator: a root info, and settings.

#![allow(unsafe_code, reason = "calls C functions of the HCCL table")]

use std::ffi::c_char;
use std::fmt;

use super::call;
use crate::driver::hccl::{HcclCommConfig, HcclRootInfo, COMM_NAME_BYTES, ROOT_INFO_BYTES};
use crate::runtime::Device;
use crate::{Error, Result};

/// What one rank makes and gives to the others, over any channel (a file, TCP, MPI), so that they find each
/// other. It serves for one communicator.
#[derive(Clone)]
pub struct RootInfo {
    pub(super) inner: Box<HcclRootInfo>,
}

impl RootInfo {
    /// Bytes of a root info.
    pub const BYTES: usize = ROOT_INFO_BYTES;

    /// Makes a root info, in the process of the rank that owns `device`.
    ///
    /// # Errors
    /// `LibraryNotFound` without HCCL; `Driver` when HCCL fails.
    pub fn new(device: &Device) -> Result<RootInfo> {
        let table = device.hccl()?;
        let mut inner = Box::<HcclRootInfo>::default();
        call(device, "HcclGetRootInfo", || {
            // SAFETY: the pointer is to a live structure of this type.
            unsafe { (table.HcclGetRootInfo)(&raw mut *inner) }
        })?;
        Ok(RootInfo { inner })
    }

    /// The bytes to send to the other ranks.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.inner.internal.iter().map(|c| c.to_ne_bytes()[0]).collect()
    }

    /// A root info from the bytes of [`Self::to_bytes`].
    ///
    /// # Errors
    /// `InvalidArgument` when there are not [`Self::BYTES`] of them.
    pub fn from_bytes(bytes: &[u8]) -> Result<RootInfo> {
        if bytes.len() != Self::BYTES {
            return Err(Error::invalid(format!(
                "RootInfo::from_bytes: {} bytes given, {} wanted",
                bytes.len(),
                Self::BYTES
            )));
        }
        let mut inner = Box::<HcclRootInfo>::default();
        for (to, from) in inner.internal.iter_mut().zip(bytes) {
            *to = c_char::from_ne_bytes([*from]);
        }
        Ok(RootInfo { inner })
    }
}

impl fmt::Debug for RootInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootInfo").finish_non_exhaustive()
    }
}

/// Settings of a communicator; what is `None` is left to HCCL and its environment variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommunicatorOptions {
    /// Size of each of the two transfer buffers in MB, at least 1 (`HCCL_BUFFSIZE`, 200). Of no effect on
    /// the simulator.
    pub buffer_size_mb: Option<u32>,
    /// Reductions in a fixed order, with the same bits every time (`HCCL_DETERMINISTIC`, no).
    pub is_deterministic: Option<bool>,
    /// Name, at most 127 bytes, the same on all ranks.
    pub name: Option<String>,
}

impl CommunicatorOptions {
    /// The structure of CANN 8.1, which newer libraries accept too (acl-runtime.md 4.1).
    pub(super) fn config(&self) -> Result<HcclCommConfig> {
        let mut config = HcclCommConfig::unset();
        if let Some(size) = self.buffer_size_mb {
            if size == 0 || size == HcclCommConfig::NOT_SET {
                return Err(Error::invalid(format!(
                    "CommunicatorOptions: buffer_size_mb = {size} given, 1 to 2^32 - 2 wanted"
                )));
            }
            config.hcclBufferSize = size;
        }
        if let Some(is_deterministic) = self.is_deterministic {
            config.hcclDeterministic = u32::from(is_deterministic);
        }
        let name = self.name.as_deref().unwrap_or_default();
        if name.len() >= COMM_NAME_BYTES || name.contains('\0') || (name.is_empty() && self.name.is_some()) {
            return Err(Error::invalid(format!(
                "CommunicatorOptions: name = {name:?} of {} bytes given, 1 to {} bytes without NUL wanted",
                name.len(),
                COMM_NAME_BYTES - 1
            )));
        }
        for (to, from) in config.hcclCommName.iter_mut().zip(name.bytes()) {
            *to = c_char::from_ne_bytes([from]);
        }
        Ok(config)
    }
}
