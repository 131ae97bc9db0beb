//! What is normalised, and whether it can be.

use serde::{Deserialize, Serialize};

use super::super::rows::{tensor, wrong_sizes, wrong_tensors};
use crate::spec::{Reason, Tensor};
use crate::{DType, Soc};

/// Which norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// Root mean square: nothing is subtracted.
    Rms,
    /// `LayerNorm`: the mean is subtracted.
    Layer,
}

/// Rows that are normalised; sizes are elements. Without rows nothing is launched.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Problem {
    /// Which norm.
    pub kind: Kind,
    /// Type of x and y.
    pub dtype: DType,
    /// Type of weight and bias: that of x, or f32.
    pub weight_dtype: DType,
    /// Type of r and h: that of x, or f32.
    pub residual_dtype: DType,
    /// Rows.
    pub rows: u32,
    /// Elements of each.
    pub dim: u32,
    /// Added to the mean square; finite, at least 0.
    pub eps: f32,
    /// Whether r is added to x, and the sum goes to h.
    pub has_residual: bool,
    /// Whether a bias is added.
    pub has_bias: bool,
    /// Elements between rows of x; dense unless given, and so for the others.
    pub x_stride: Option<u64>,
    /// Of r.
    pub r_stride: Option<u64>,
    /// Of h.
    pub h_stride: Option<u64>,
    /// Of y.
    pub y_stride: Option<u64>,
}

impl Problem {
    /// `RMSNorm` of `[rows, dim]`, with dense rows and weights of the same type.
    pub fn rms(dtype: DType, [rows, dim]: [u32; 2], eps: f32) -> Self {
        Self {
            kind: Kind::Rms,
            dtype,
            weight_dtype: dtype,
            residual_dtype: dtype,
            rows,
            dim,
            eps,
            has_residual: false,
            has_bias: false,
            x_stride: None,
            r_stride: None,
            h_stride: None,
            y_stride: None,
        }
    }

    /// `LayerNorm` of `[rows, dim]`, without a bias yet.
    pub fn layer(dtype: DType, shape: [u32; 2], eps: f32) -> Self {
        Self { kind: Kind::Layer, ..Self::rms(dtype, shape, eps) }
    }

    /// Sets the type of weight and bias.
    #[must_use]
    pub fn with_weight_dtype(self, weight_dtype: DType) -> Self {
        Self { weight_dtype, ..self }
    }

    /// Adds r to x, and writes the sum to h.
    #[must_use]
    pub fn with_residual(self) -> Self {
        Self { has_residual: true, ..self }
    }

    /// As [`Self::with_residual`], with r and h of this type: a residual stream in f32 loses nothing from
    /// layer to layer.
    #[must_use]
    pub fn with_residual_dtype(self, residual_dtype: DType) -> Self {
        Self { has_residual: true, residual_dtype, ..self }
    }

    /// Adds a bias.
    #[must_use]
    pub fn with_bias(self) -> Self {
        Self { has_bias: true, ..self }
    }

    /// Sets the elements between rows of x and y.
    #[must_use]
    pub fn with_strides(self, x: u64, y: u64) -> Self {
        Self { x_stride: Some(x), y_stride: Some(y), ..self }
    }

    /// Sets the elements between rows of r and h.
    #[must_use]
    pub fn with_residual_strides(self, r: u64, h: u64) -> Self {
        Self { r_stride: Some(r), h_stride: Some(h), ..self }
    }

    /// Types of x and y, of weight and bias, of r and h.
    pub(super) fn types(&self) -> [DType; 3] {
        [self.dtype, self.weight_dtype, self.residual_dtype]
    }

    /// What is read, and what is written where.
    fn pair(&self, dtype: DType, names: [&'static str; 2], strides: [Option<u64>; 2]) -> [Tensor; 2] {
        let of = |at: usize| tensor(names[at], dtype, [self.rows, self.dim], strides[at], at == 1);
        [of(0), of(1)]
    }

    /// x and y.
    pub(super) fn in_and_out(&self) -> [Tensor; 2] {
        self.pair(self.dtype, ["x", "y"], [self.x_stride, self.y_stride])
    }

    /// r and h, if there are any.
    pub(super) fn residuals(&self) -> Option<[Tensor; 2]> {
        let strides = [self.r_stride, self.h_stride];
        self.has_residual.then(|| self.pair(self.residual_dtype, ["r", "h"], strides))
    }

    /// weight, and bias if there is one.
    pub(super) fn weights(&self) -> impl Iterator<Item = Tensor> + '_ {
        let names = ["weight", "bias"].into_iter().take(1 + usize::from(self.has_bias));
        names.map(|name| tensor(name, self.weight_dtype, [1, self.dim], None, false))
    }

    pub(super) fn tensors(&self) -> Vec<Tensor> {
        let residuals = self.residuals().into_iter().flatten();
        self.in_and_out().into_iter().chain(residuals).chain(self.weights()).collect()
    }

    /// Bytes of the elements of x, y, r and h.
    pub(super) fn bytes_of_rows(&self) -> u64 {
        let residual = if self.has_residual { self.residual_dtype.size_bytes() } else { 0 };
        let pair = 2 * (self.dtype.size_bytes() + residual) as u64;
        (pair * u64::from(self.dim)).saturating_mul(self.rows.into())
    }

    /// Bytes that the buffers of x and y must hold.
    pub fn operand_bytes(&self) -> [u64; 2] {
        self.in_and_out().map(|tensor| tensor.span_bytes())
    }

    /// Bytes that the buffers of r and h must hold; 0 without a residual.
    pub fn residual_bytes(&self) -> [u64; 2] {
        self.residuals().map_or([0; 2], |both| both.map(|tensor| tensor.span_bytes()))
    }

    /// Bytes of the weight, and of the bias if there is one.
    pub fn weight_bytes(&self) -> u64 {
        u64::from(self.dim) * self.weight_dtype.size_bytes() as u64
    }

    /// Every reason why `soc` cannot normalise these; empty when it can.
    pub fn refusals(&self, soc: &Soc) -> Vec<Reason> {
        let mut found = wrong_sizes(&[("rows", self.rows), ("dim", self.dim)]);
        if let Err(error) = super::index_of(self.types()) {
            found.push(Reason::unsupported(error.to_string().trim_start_matches("norm: ").to_owned()));
        }
        if !self.eps.is_finite() || self.eps < 0.0 {
            found.push(Reason::invalid(format!("eps = {}, a finite number from 0 wanted", self.eps)));
        }
        if !self.has_residual && (self.r_stride.is_some() || self.h_stride.is_some()) {
            found.push(Reason::invalid("r_stride or h_stride given without a residual"));
        }
        if !self.has_residual && self.residual_dtype != self.dtype {
            found.push(Reason::invalid(format!(
                "residual_dtype = {} given without a residual",
                self.residual_dtype
            )));
        }
        if found.is_empty() {
            found = wrong_tensors(&self.tensors(), soc);
        }
        if found.is_empty() {
            found.extend(super::plan::too_long(self, soc));
        }
        found
    }
}
