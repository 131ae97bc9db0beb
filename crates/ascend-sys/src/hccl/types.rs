//! Types and values of the HCCL C interface (acl-runtime.md 4.1).

use std::ffi::c_char;

use crate::bindings::hccl as c;
pub use crate::bindings::hccl::{
    HcclComm, HcclCommConfig, HcclDataType, HcclReduceOp, HcclResult, HcclRootInfo,
};

/// Bytes of a [`HcclRootInfo`].
pub const ROOT_INFO_BYTES: usize = c::HCCL_ROOT_INFO_BYTES as usize;
/// Bytes of a communicator's name with its NUL.
pub const COMM_NAME_BYTES: usize = c::COMM_NAME_MAX_LENGTH as usize;

/// Values of [`HcclDataType`]. Its numbers differ from those of `aclDataType`.
pub mod data_type {
    use super::{c::*, HcclDataType};

    /// `i8`.
    pub const INT8: HcclDataType = HCCL_DATA_TYPE_INT8;
    /// `i16`.
    pub const INT16: HcclDataType = HCCL_DATA_TYPE_INT16;
    /// `i32`.
    pub const INT32: HcclDataType = HCCL_DATA_TYPE_INT32;
    /// Half precision.
    pub const FP16: HcclDataType = HCCL_DATA_TYPE_FP16;
    /// Single precision.
    pub const FP32: HcclDataType = HCCL_DATA_TYPE_FP32;
    /// `i64`.
    pub const INT64: HcclDataType = HCCL_DATA_TYPE_INT64;
    /// `u64`.
    pub const UINT64: HcclDataType = HCCL_DATA_TYPE_UINT64;
    /// `u8`.
    pub const UINT8: HcclDataType = HCCL_DATA_TYPE_UINT8;
    /// `u16`.
    pub const UINT16: HcclDataType = HCCL_DATA_TYPE_UINT16;
    /// `u32`.
    pub const UINT32: HcclDataType = HCCL_DATA_TYPE_UINT32;
    /// Double precision.
    pub const FP64: HcclDataType = HCCL_DATA_TYPE_FP64;
    /// bfloat16.
    pub const BFP16: HcclDataType = HCCL_DATA_TYPE_BFP16;
}

/// Values of [`HcclReduceOp`].
pub mod reduce_op {
    use super::{c::*, HcclReduceOp};

    /// Sum.
    pub const SUM: HcclReduceOp = HCCL_REDUCE_SUM;
    /// Product.
    pub const PROD: HcclReduceOp = HCCL_REDUCE_PROD;
    /// Maximum.
    pub const MAX: HcclReduceOp = HCCL_REDUCE_MAX;
    /// Minimum.
    pub const MIN: HcclReduceOp = HCCL_REDUCE_MIN;
}

impl HcclCommConfig {
    /// Says that the structure begins with a size and a version.
    pub const MAGIC_WORD: u32 = c::HCCL_COMM_CONFIG_MAGIC_WORD;
    /// CANN 8.1's version of the structure. Newer libraries take it, and leave alone what came after.
    pub const VERSION: u32 = 5;
    /// Size of that version in bytes.
    pub const BYTES: usize = 300;
    /// Value of a field that is left to HCCL.
    pub const NOT_SET: u32 = u32::MAX;

    /// Every setting left to HCCL: what the headers' inline function `HcclCommConfigInit` writes in CANN 8.1.
    pub fn unset() -> Self {
        let mut head = [0u8; 24];
        head[..8].copy_from_slice(&(Self::BYTES as u64).to_ne_bytes());
        head[8..12].copy_from_slice(&Self::MAGIC_WORD.to_ne_bytes());
        head[12..16].copy_from_slice(&Self::VERSION.to_ne_bytes());
        Self {
            reserved: head.map(|byte| c_char::from_ne_bytes([byte])),
            hcclBufferSize: c::HCCL_COMM_BUFFSIZE_CONFIG_NOT_SET,
            hcclDeterministic: c::HCCL_COMM_DETERMINISTIC_CONFIG_NOT_SET,
            hcclOpExpansionMode: c::HCCL_COMM_DEFAULT_OP_EXPANSION_MODE,
            hcclRdmaTrafficClass: c::HCCL_COMM_TRAFFIC_CLASS_CONFIG_NOT_SET,
            hcclRdmaServiceLevel: c::HCCL_COMM_SERVICE_LEVEL_CONFIG_NOT_SET,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn a_configuration_says_that_it_ends_with_version_5() {
        let config = HcclCommConfig::unset();
        let head = config.reserved.map(|byte| byte.to_ne_bytes()[0]);
        assert_eq!(head[..8], 300u64.to_ne_bytes());
        assert_eq!(head[8..16], [0xf0, 0xf0, 0xf0, 0xf0, 5, 0, 0, 0]);
        assert_eq!(offset_of!(HcclCommConfig, hcclRdmaServiceLevel) + 4, HcclCommConfig::BYTES);
        assert_eq!((config.hcclBufferSize, config.hcclCommName[0]), (HcclCommConfig::NOT_SET, 0));
    }
}
