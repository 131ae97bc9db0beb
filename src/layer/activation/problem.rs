//! What is activated, and whether it can be.

use serde::{Deserialize, Serialize};

use super::super::rows::{tensor, wrong_sizes, wrong_tensors};
use super::Function;
use crate::spec::{Reason, Tensor};
use crate::{DType, Soc};

/// Rows of elements. Without rows nothing is launched.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Problem {
    /// Which function.
    pub function: Function,
    /// Type of x, up and y.
    pub dtype: DType,
    /// Rows.
    pub rows: u32,
    /// Elements of each.
    pub dim: u32,
    /// Whether the result is multiplied with up.
    pub is_gated: bool,
    /// Elements between rows of x; dense unless given, and so for the others.
    pub x_stride: Option<u64>,
    /// Of up.
    pub up_stride: Option<u64>,
    /// Of y.
    pub y_stride: Option<u64>,
}

impl Problem {
    /// f of dense `[rows, dim]`.
    pub fn new(function: Function, dtype: DType, [rows, dim]: [u32; 2]) -> Self {
        Self { function, dtype, rows, dim, is_gated: false, x_stride: None, up_stride: None, y_stride: None }
    }

    /// Multiplies the result with up.
    #[must_use]
    pub fn gated(self) -> Self {
        Self { is_gated: true, ..self }
    }

    /// Sets the elements between rows of x and y.
    #[must_use]
    pub fn with_strides(self, x: u64, y: u64) -> Self {
        Self { x_stride: Some(x), y_stride: Some(y), ..self }
    }

    /// Sets the elements between rows of up.
    #[must_use]
    pub fn with_up_stride(self, up: u64) -> Self {
        Self { up_stride: Some(up), ..self }
    }

    /// x and up are the halves of rows of `2 * dim` elements ([`Args::of_halves`](super::Args::of_halves)).
    #[must_use]
    pub fn with_halves(self) -> Self {
        let row = Some(2 * u64::from(self.dim));
        Self { x_stride: row, up_stride: row, ..self }
    }

    fn rows_of(&self, name: &'static str, stride: Option<u64>, is_output: bool) -> Tensor {
        tensor(name, self.dtype, [self.rows, self.dim], stride, is_output)
    }

    /// x and y.
    pub(super) fn in_and_out(&self) -> [Tensor; 2] {
        [self.rows_of("x", self.x_stride, false), self.rows_of("y", self.y_stride, true)]
    }

    /// up, if there is one.
    pub(super) fn up(&self) -> Option<Tensor> {
        self.is_gated.then(|| self.rows_of("up", self.up_stride, false))
    }

    pub(super) fn tensors(&self) -> Vec<Tensor> {
        self.in_and_out().into_iter().chain(self.up()).collect()
    }

    /// Bytes that the buffers of x and y must hold.
    pub fn operand_bytes(&self) -> [u64; 2] {
        self.in_and_out().map(|tensor| tensor.span_bytes())
    }

    /// Bytes that the buffer of up must hold; 0 without it.
    pub fn up_bytes(&self) -> u64 {
        self.up().map_or(0, |tensor| tensor.span_bytes())
    }

    /// Every reason why `soc` cannot compute these; empty when it can.
    pub fn refusals(&self, soc: &Soc) -> Vec<Reason> {
        let mut found = wrong_sizes(&[("rows", self.rows), ("dim", self.dim)]);
        if !self.is_gated && self.up_stride.is_some() {
            found.push(Reason::invalid("up_stride given without up"));
        }
        if found.is_empty() {
            found = wrong_tensors(&self.tensors(), soc);
        }
        found
    }
}
