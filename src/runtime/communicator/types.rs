//! Element types and reductions of collectives.

use crate::driver::hccl::{data_type, reduce_op, HcclDataType, HcclReduceOp};
use crate::DType;

/// Element type of a collective.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names say it")]
pub enum CommDType {
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F16,
    Bf16,
    F32,
    F64,
}

impl CommDType {
    /// Size of one element in bytes.
    pub const fn size_bytes(self) -> usize {
        match self {
            CommDType::I8 | CommDType::U8 => 1,
            CommDType::I16 | CommDType::U16 | CommDType::F16 | CommDType::Bf16 => 2,
            CommDType::I32 | CommDType::U32 | CommDType::F32 => 4,
            CommDType::I64 | CommDType::U64 | CommDType::F64 => 8,
        }
    }

    pub(super) fn code(self) -> HcclDataType {
        match self {
            CommDType::I8 => data_type::INT8,
            CommDType::I16 => data_type::INT16,
            CommDType::I32 => data_type::INT32,
            CommDType::I64 => data_type::INT64,
            CommDType::U8 => data_type::UINT8,
            CommDType::U16 => data_type::UINT16,
            CommDType::U32 => data_type::UINT32,
            CommDType::U64 => data_type::UINT64,
            CommDType::F16 => data_type::FP16,
            CommDType::Bf16 => data_type::BFP16,
            CommDType::F32 => data_type::FP32,
            CommDType::F64 => data_type::FP64,
        }
    }
}

impl From<DType> for CommDType {
    fn from(dtype: DType) -> Self {
        match dtype {
            DType::F16 => CommDType::F16,
            DType::Bf16 => CommDType::Bf16,
            DType::F32 => CommDType::F32,
        }
    }
}

/// How a reduction combines the elements of the ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReduceOp {
    /// Sum.
    Sum,
    /// Product; on a 910B not of `I16` and `Bf16`.
    Prod,
    /// Maximum.
    Max,
    /// Minimum.
    Min,
}

impl ReduceOp {
    pub(super) fn code(self) -> HcclReduceOp {
        match self {
            ReduceOp::Sum => reduce_op::SUM,
            ReduceOp::Prod => reduce_op::PROD,
            ReduceOp::Max => reduce_op::MAX,
            ReduceOp::Min => reduce_op::MIN,
        }
    }
}
