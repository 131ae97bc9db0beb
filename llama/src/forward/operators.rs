//! The operators of a step.

use fastattention::append::Append;
use fastattention::layer::activation::Activation;
use fastattention::layer::embedding::Embedding;
use fastattention::layer::norm::Norm;
use fastattention::matmul::Matmul;
use fastattention::runtime::Device;
use fastattention::serving::ServingAttention;
use fastattention::Result;

/// On one device.
#[derive(Debug)]
pub(super) struct Operators {
    pub(super) embedding: Embedding,
    pub(super) norm: Norm,
    pub(super) matmul: Matmul,
    pub(super) append: Append,
    pub(super) attention: ServingAttention,
    pub(super) activation: Activation,
}

impl Operators {
    pub(super) fn new(device: &Device) -> Result<Self> {
        Ok(Self {
            embedding: Embedding::new(device)?,
            norm: Norm::new(device)?,
            matmul: Matmul::new(device)?,
            append: Append::new(device)?,
            attention: ServingAttention::new(device)?,
            activation: Activation::new(device)?,
        })
    }
}
