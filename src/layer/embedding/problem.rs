//! What is looked up, and whether it can be.

use serde::{Deserialize, Serialize};

use super::super::rows::{tensor, wrong_sizes, wrong_tensors};
use super::IdType;
use crate::spec::{Reason, Tensor};
use crate::{DType, Soc};

/// A table, and tokens that have rows of it. Without tokens nothing is launched.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Problem {
    /// Type of the table and of y.
    pub dtype: DType,
    /// Most tokens of a launch.
    pub tokens: u32,
    /// Rows of the table.
    pub num_ids: u32,
    /// Elements of a row.
    pub dim: u32,
    /// Type of the ids.
    pub id_type: IdType,
    /// Whether `status` is written.
    pub is_checked: bool,
    /// Elements between rows of the table; dense unless given.
    pub table_stride: Option<u64>,
    /// Elements between rows of y; dense unless given.
    pub y_stride: Option<u64>,
}

impl Problem {
    /// Rows of a dense `[num_ids, dim]` for `tokens` tokens, with ids in i32.
    pub fn new(dtype: DType, tokens: u32, [num_ids, dim]: [u32; 2]) -> Self {
        Self {
            dtype,
            tokens,
            num_ids,
            dim,
            id_type: IdType::I32,
            is_checked: false,
            table_stride: None,
            y_stride: None,
        }
    }

    /// Sets the type of the ids.
    #[must_use]
    pub fn with_id_type(self, id_type: IdType) -> Self {
        Self { id_type, ..self }
    }

    /// Asks for `status`: which ids the table does not have.
    #[must_use]
    pub fn checked(self) -> Self {
        Self { is_checked: true, ..self }
    }

    /// Sets the elements between rows of the table and of y.
    #[must_use]
    pub fn with_strides(self, table: u64, y: u64) -> Self {
        Self { table_stride: Some(table), y_stride: Some(y), ..self }
    }

    /// The table and y.
    pub(super) fn tensors(&self) -> [Tensor; 2] {
        [
            tensor("table", self.dtype, [self.num_ids, self.dim], self.table_stride, false),
            tensor("y", self.dtype, [self.tokens, self.dim], self.y_stride, true),
        ]
    }

    /// Bytes that the buffers of the table and y must hold.
    pub fn operand_bytes(&self) -> [u64; 2] {
        self.tensors().map(|tensor| tensor.span_bytes())
    }

    /// Bytes of `ids`.
    pub fn id_bytes(&self) -> u64 {
        4 * u64::from(self.id_type.words()) * u64::from(self.tokens)
    }

    /// Every reason why `soc` cannot look these up; empty when it can.
    pub fn refusals(&self, soc: &Soc) -> Vec<Reason> {
        let sizes = [("tokens", self.tokens), ("num_ids", self.num_ids), ("dim", self.dim)];
        let found = wrong_sizes(&sizes);
        if !found.is_empty() {
            return found;
        }
        wrong_tensors(&self.tensors(), soc)
    }
}
