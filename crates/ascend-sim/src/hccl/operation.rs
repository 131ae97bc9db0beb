//! One rank's part of a collective or of a transfer: what it asks for, and how two ranks' wishes may differ.
//!
//! An [`Operation`] is plain data, so that it can be compared, sent to another process, or shown to a model
//! of time.

use std::fmt;

use ascend_sys::hccl::{data_type, reduce_op};
use serde::{Deserialize, Serialize};

use super::failure::{refuse, result};
use crate::acl::border::Outcome;
use crate::engine::Collective;
use crate::reduce::{DataType, ReduceOp};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    AllReduce(ReduceOp),
    ReduceScatter(ReduceOp),
    AllGather,
    Broadcast { root: u32 },
    Barrier,
    Send { to: u32 },
    Recv { from: u32 },
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::AllReduce(_) => "AllReduce",
            Kind::ReduceScatter(_) => "ReduceScatter",
            Kind::AllGather => "AllGather",
            Kind::Broadcast { .. } => "Broadcast",
            Kind::Barrier => "Barrier",
            Kind::Send { .. } => "Send",
            Kind::Recv { .. } => "Recv",
        }
    }

    /// The other rank of a transfer; `None` when all ranks take part.
    pub(super) fn peer(self) -> Option<u32> {
        match self {
            Kind::Send { to } => Some(to),
            Kind::Recv { from } => Some(from),
            _ => None,
        }
    }

    /// As the links know it.
    pub(super) fn collective(self) -> Collective {
        match self {
            Kind::AllReduce(_) => Collective::AllReduce,
            Kind::ReduceScatter(_) => Collective::ReduceScatter,
            Kind::AllGather => Collective::AllGather,
            Kind::Broadcast { .. } => Collective::Broadcast,
            Kind::Barrier => Collective::Barrier,
            Kind::Send { .. } | Kind::Recv { .. } => Collective::SendRecv,
        }
    }

    fn reduce_op(self) -> Option<ReduceOp> {
        match self {
            Kind::AllReduce(op) | Kind::ReduceScatter(op) => Some(op),
            _ => None,
        }
    }

    fn root(self) -> Option<u32> {
        match self {
            Kind::Broadcast { root } => Some(root),
            _ => None,
        }
    }
}

impl ReduceOp {
    pub(super) fn from_c(value: u32) -> Outcome<ReduceOp> {
        Ok(match value {
            reduce_op::SUM => ReduceOp::Sum,
            reduce_op::PROD => ReduceOp::Prod,
            reduce_op::MAX => ReduceOp::Max,
            reduce_op::MIN => ReduceOp::Min,
            _ => {
                return refuse(
                    result::PARA,
                    format!("op = {value} given, SUM 0, PROD 1, MAX 2 or MIN 3 wanted"),
                )
            }
        })
    }
}

impl DataType {
    /// INT128 and the types of newer chips are not listed for Atlas A2 (HCCL API reference, AllGather).
    pub(super) fn from_c(value: u32) -> Outcome<DataType> {
        Ok(match value {
            data_type::INT8 => DataType::Int8,
            data_type::INT16 => DataType::Int16,
            data_type::INT32 => DataType::Int32,
            data_type::INT64 => DataType::Int64,
            data_type::UINT8 => DataType::Uint8,
            data_type::UINT16 => DataType::Uint16,
            data_type::UINT32 => DataType::Uint32,
            data_type::UINT64 => DataType::Uint64,
            data_type::FP16 => DataType::Fp16,
            data_type::FP32 => DataType::Fp32,
            data_type::FP64 => DataType::Fp64,
            data_type::BFP16 => DataType::Bfp16,
            _ => {
                return refuse(
                    result::NOT_SUPPORT,
                    format!("dataType = {value} given, 0 to 11 (INT8 to BFP16) wanted on this chip"),
                )
            }
        })
    }

    /// The lists of the HCCL API reference for Atlas A2: AllReduce and ReduceScatter, sections dataType and
    /// op.
    fn check_reducible(self, op: ReduceOp) -> Outcome {
        let known = matches!(
            self,
            DataType::Int8
                | DataType::Int16
                | DataType::Int32
                | DataType::Int64
                | DataType::Fp16
                | DataType::Fp32
                | DataType::Bfp16
        );
        if !known {
            return refuse(
                result::NOT_SUPPORT,
                format!("dataType = {self:?} given, Int8, Int16, Int32, Int64, Fp16, Fp32 or Bfp16 wanted to reduce on this chip"),
            );
        }
        if op == ReduceOp::Prod && matches!(self, DataType::Int16 | DataType::Bfp16) {
            return refuse(
                result::NOT_SUPPORT,
                format!("op = Prod given, Sum, Max or Min wanted for dataType {self:?} on this chip"),
            );
        }
        Ok(())
    }
}

/// What one rank asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Operation {
    pub(super) kind: Kind,
    pub(super) count: u64,
    pub(super) data_type: DataType,
}

/// Upper limit of a count, so that sizes in bytes fit for any number of ranks. A device has 2^36 bytes.
const MAX_COUNT: u64 = 1 << 40;

impl Operation {
    /// Checks what does not depend on the other ranks.
    pub(super) fn new(
        kind: Kind,
        count: u64,
        data_type: DataType,
        ranks: u32,
        rank: u32,
    ) -> Outcome<Operation> {
        if count > MAX_COUNT {
            return refuse(result::PARA, format!("count = {count} given, at most 2^40 wanted"));
        }
        if let Some(op) = kind.reduce_op() {
            data_type.check_reducible(op)?;
        }
        let named = kind.root().map(|root| ("root", root)).or(kind.peer().map(|peer| ("peer rank", peer)));
        if let Some((name, value)) = named.filter(|(_, value)| *value >= ranks) {
            return refuse(result::PARA, format!("{name} = {value} given, a rank below {ranks} wanted"));
        }
        if kind.peer() == Some(rank) {
            return refuse(
                result::PARA,
                format!("peer rank = {rank} given, a rank other than the own wanted"),
            );
        }
        Ok(Operation { kind, count, data_type })
    }

    /// Bytes that this rank sends from and receives into; `None` where the operation has no such buffer.
    pub(super) fn buffer_bytes(&self, ranks: u32, rank: u32) -> (Option<u64>, Option<u64>) {
        let one = self.count * self.data_type.size_bytes();
        let all = one * u64::from(ranks);
        match self.kind {
            Kind::AllReduce(_) => (Some(one), Some(one)),
            Kind::ReduceScatter(_) => (Some(all), Some(one)),
            Kind::AllGather => (Some(one), Some(all)),
            Kind::Broadcast { root } if root == rank => (Some(one), None),
            Kind::Send { .. } => (Some(one), None),
            Kind::Broadcast { .. } | Kind::Recv { .. } => (None, Some(one)),
            Kind::Barrier => (None, None),
        }
    }

    /// Must buffers be aligned to the element? Documented for the reductions only.
    pub(super) fn alignment(&self) -> u64 {
        if self.kind.reduce_op().is_some() {
            self.data_type.size_bytes()
        } else {
            1
        }
    }

    /// The first thing in which two ranks disagree: its name and both values.
    pub(super) fn difference(&self, other: &Operation) -> Option<(&'static str, String, String)> {
        let (a, b) = (self.kind, other.kind);
        let fits = match (a, b) {
            (Kind::Send { .. }, Kind::Recv { .. }) | (Kind::Recv { .. }, Kind::Send { .. }) => true,
            (Kind::Send { .. }, Kind::Send { .. }) | (Kind::Recv { .. }, Kind::Recv { .. }) => false,
            _ => a.name() == b.name(),
        };
        if !fits {
            return Some(("operation", self.to_string(), other.to_string()));
        }
        if a.reduce_op() != b.reduce_op() {
            let text = |kind: Kind| kind.reduce_op().map_or_else(String::new, |op| format!("{op:?}"));
            return Some(("op", text(a), text(b)));
        }
        if a.root() != b.root() {
            let text = |kind: Kind| kind.root().map_or_else(String::new, |root| root.to_string());
            return Some(("root", text(a), text(b)));
        }
        if self.data_type != other.data_type {
            let text = |o: &Operation| format!("{:?}", o.data_type);
            return Some(("dataType", text(self), text(other)));
        }
        (self.count != other.count).then(|| ("count", self.count.to_string(), other.count.to_string()))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Send { to } => write!(f, "Send to rank {to}"),
            Kind::Recv { from } => write!(f, "Recv from rank {from}"),
            kind => f.write_str(kind.name()),
        }
    }
}
