//! Types of the HCCL C interface (acl-runtime.md 4.1). Fields have the names of the C headers.

#![allow(non_snake_case, reason = "the names of the C headers")]

use std::ffi::{c_char, c_void};

/// Return code of an HCCL function, see [`super::codes`].
pub type HcclResult = u32;
/// Handle to a communicator.
pub type HcclComm = *mut c_void;
/// Element type, see [`data_type`]. Its numbers differ from those of `aclDataType`.
pub type HcclDataType = u32;
/// Reduction, see [`reduce_op`].
pub type HcclReduceOp = u32;

/// Bytes of a [`HcclRootInfo`].
pub const ROOT_INFO_BYTES: usize = 4108;
/// Bytes of a communicator's name with its NUL.
pub const COMM_NAME_BYTES: usize = 128;

/// Values of [`HcclDataType`] that this crate sends.
pub mod data_type {
    use super::HcclDataType;

    /// `i8`.
    pub const INT8: HcclDataType = 0;
    /// `i16`.
    pub const INT16: HcclDataType = 1;
    /// `i32`.
    pub const INT32: HcclDataType = 2;
    /// Half precision.
    pub const FP16: HcclDataType = 3;
    /// Single precision.
    pub const FP32: HcclDataType = 4;
    /// `i64`.
    pub const INT64: HcclDataType = 5;
    /// `u64`.
    pub const UINT64: HcclDataType = 6;
    /// `u8`.
    pub const UINT8: HcclDataType = 7;
    /// `u16`.
    pub const UINT16: HcclDataType = 8;
    /// `u32`.
    pub const UINT32: HcclDataType = 9;
    /// Double precision.
    pub const FP64: HcclDataType = 10;
    /// bfloat16.
    pub const BFP16: HcclDataType = 11;
}

/// Values of [`HcclReduceOp`].
pub mod reduce_op {
    use super::HcclReduceOp;

    /// Sum.
    pub const SUM: HcclReduceOp = 0;
    /// Product.
    pub const PROD: HcclReduceOp = 1;
    /// Maximum.
    pub const MAX: HcclReduceOp = 2;
    /// Minimum.
    pub const MIN: HcclReduceOp = 3;
}

/// What the root tells the other ranks, over a channel of the caller's, so that they find each other.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HcclRootInfo {
    /// Opaque.
    pub internal: [c_char; ROOT_INFO_BYTES],
}

impl Default for HcclRootInfo {
    fn default() -> Self {
        Self { internal: [0; ROOT_INFO_BYTES] }
    }
}

/// Settings of one communicator. Newer libraries know more fields; `reserved` tells them where this one ends.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HcclCommConfig {
    /// Size, magic word and version, see [`HcclCommConfig::unset`].
    pub reserved: [c_char; 24],
    /// Size of each of the two transfer buffers in MB.
    pub hcclBufferSize: u32,
    /// 1 for reductions in a fixed order.
    pub hcclDeterministic: u32,
    /// Name of the communicator, NUL-terminated; empty for one that HCCL chooses.
    pub hcclCommName: [c_char; COMM_NAME_BYTES],
    /// Text for the logs, NUL-terminated.
    pub hcclUdi: [c_char; 128],
    /// 0 default, 1 host, 2 AICPU, 3 vector cores.
    pub hcclOpExpansionMode: u32,
    /// RDMA traffic class.
    pub hcclRdmaTrafficClass: u32,
    /// RDMA service level.
    pub hcclRdmaServiceLevel: u32,
}

impl HcclCommConfig {
    /// Marks `reserved` as filled in.
    pub const MAGIC_WORD: u32 = 0xf0f0_f0f0;
    /// Version of the fields above (CANN 8.1).
    pub const VERSION: u32 = 5;
    /// Value of a field that is left to HCCL.
    pub const NOT_SET: u32 = u32::MAX;

    /// Every setting left to HCCL: what the headers' inline function `HcclCommConfigInit` writes.
    pub fn unset() -> Self {
        let mut head = [0u8; 24];
        head[..8].copy_from_slice(&(size_of::<Self>() as u64).to_ne_bytes());
        head[8..12].copy_from_slice(&Self::MAGIC_WORD.to_ne_bytes());
        head[12..16].copy_from_slice(&Self::VERSION.to_ne_bytes());
        Self {
            reserved: head.map(|byte| c_char::from_ne_bytes([byte])),
            hcclBufferSize: Self::NOT_SET,
            hcclDeterministic: Self::NOT_SET,
            hcclCommName: [0; COMM_NAME_BYTES],
            hcclUdi: [0; 128],
            hcclOpExpansionMode: 0,
            hcclRdmaTrafficClass: Self::NOT_SET,
            hcclRdmaServiceLevel: Self::NOT_SET,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn structures_have_the_sizes_of_the_c_headers() {
        assert_eq!((size_of::<HcclRootInfo>(), align_of::<HcclRootInfo>()), (4108, 1));
        assert_eq!((size_of::<HcclCommConfig>(), align_of::<HcclCommConfig>()), (300, 4));
        assert_eq!(offset_of!(HcclCommConfig, hcclOpExpansionMode), 288);
    }
}
