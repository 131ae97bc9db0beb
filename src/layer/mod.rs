//! What a transformer layer needs beside attention and products, for the vector cores: used like the other
//! operators, a problem is planned once and launched as often as wanted.
//!
//! | operator | result |
//! | --- | --- |
//! | [`norm`] | RMSNorm or LayerNorm of rows, with the sum of the residual stream in front of it |
//! | [`activation`] | SiLU or GELU, times a second tensor if wanted (SwiGLU, GeGLU) |
//! | [`embedding`] | rows of a table by the ids of tokens |
//! | [`argmax`] | the index of the largest element of each row |
//!
//! Rotary embedding is part of [`append`](crate::append). Rows have any length, and any distance from each
//! other. Everything is computed in f32 and rounded once to the type of the result. The design and figures:
//! `docs/layer.md`. Never run on an NPU.

pub mod activation;
pub mod argmax;
mod cost;
pub mod embedding;
pub mod norm;
mod rows;
mod tiling_data;

pub use tiling_data::{ActivationTilingData, ArgmaxTilingData, EmbeddingTilingData, NormTilingData};

pub use crate::runtime::Operand;
