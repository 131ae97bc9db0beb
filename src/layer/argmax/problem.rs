//! Whose largest element is looked for, and whether it can be.

use serde::{Deserialize, Serialize};

use super::super::rows::{tensor, wrong_sizes, wrong_tensors};
use crate::spec::{Reason, Tensor};
use crate::{DType, Soc};

/// Rows of elements. Without rows nothing is launched.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Problem {
    /// Type of x.
    pub dtype: DType,
    /// Rows.
    pub rows: u32,
    /// Elements of each.
    pub dim: u32,
    /// Elements between rows of x; dense unless given.
    pub x_stride: Option<u64>,
}

impl Problem {
    /// Dense `[rows, dim]`.
    pub fn new(dtype: DType, [rows, dim]: [u32; 2]) -> Self {
        Self { dtype, rows, dim, x_stride: None }
    }

    /// Sets the elements between rows.
    #[must_use]
    pub fn with_stride(self, x: u64) -> Self {
        Self { x_stride: Some(x), ..self }
    }

    pub(super) fn x(&self) -> Tensor {
        tensor("x", self.dtype, [self.rows, self.dim], self.x_stride, false)
    }

    /// Bytes that the buffer of x must hold.
    pub fn x_bytes(&self) -> u64 {
        self.x().span_bytes()
    }

    /// Bytes of `index`.
    pub fn index_bytes(&self) -> u64 {
        4 * u64::from(self.rows)
    }

    /// Every reason why `soc` cannot do this; empty when it can.
    pub fn refusals(&self, soc: &Soc) -> Vec<Reason> {
        let mut found = wrong_sizes(&[("rows", self.rows), ("dim", self.dim)]);
        if found.is_empty() {
            found = wrong_tensors(&[self.x()], soc);
        }
        if found.is_empty() && self.dim > super::plan::MAX_DIM {
            let most = super::plan::MAX_DIM;
            found.push(Reason::unsupported(format!("dim = {}; at most {most} supported", self.dim)));
        }
        found
    }
}
