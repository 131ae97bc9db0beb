//! Weights on a device.

use fastattention::runtime::{Buffer, Device};
use fastattention::{Error, Result};
use half::f16;

use super::bytes;
use crate::files::{Config, Model, Part};

/// Of a layer, f16 unless said otherwise, `[outputs, inputs]`.
#[derive(Debug)]
pub(super) struct Layer {
    /// f32.
    pub(super) attention_norm: Buffer,
    /// Those of q, k and v, one below the other.
    pub(super) qkv: Buffer,
    pub(super) output: Buffer,
    /// f32.
    pub(super) feed_forward_norm: Buffer,
    /// Those of the gate, then those that it multiplies.
    pub(super) gate_up: Buffer,
    pub(super) down: Buffer,
}

/// Of a model.
#[derive(Debug)]
pub(super) struct Weights {
    pub(super) embedding: Buffer,
    pub(super) layers: Vec<Layer>,
    /// f32.
    pub(super) last_norm: Buffer,
    /// Unless the embedding serves.
    logits: Option<Buffer>,
}

impl Weights {
    pub(super) fn load(device: &Device, model: &Model<'_>) -> Result<Self> {
        let load = Loader { device, model };
        let layer = |layer| {
            Ok::<_, Error>(Layer {
                attention_norm: load.norm(Part::AttentionNorm(layer))?,
                qkv: load.joined(&[Part::Query(layer), Part::Key(layer), Part::Value(layer)])?,
                output: load.joined(&[Part::Output(layer)])?,
                feed_forward_norm: load.norm(Part::FeedForwardNorm(layer))?,
                gate_up: load.joined(&[Part::Gate(layer), Part::Up(layer)])?,
                down: load.joined(&[Part::Down(layer)])?,
            })
        };
        let has_logits = model.tensors.has(Part::Logits);
        Ok(Self {
            embedding: load.joined(&[Part::Embedding])?,
            layers: (0..model.config.layers).map(layer).collect::<Result<_>>()?,
            last_norm: load.norm(Part::LastNorm)?,
            logits: if has_logits { Some(load.joined(&[Part::Logits])?) } else { None },
        })
    }

    /// `[vocabulary, hidden]`.
    pub(super) fn logits(&self) -> &Buffer {
        self.logits.as_ref().unwrap_or(&self.embedding)
    }
}

struct Loader<'a> {
    device: &'a Device,
    model: &'a Model<'a>,
}

impl Loader<'_> {
    fn norm(&self, part: Part) -> Result<Buffer> {
        Buffer::from_slice(self.device, &self.model.tensors.load(part, &self.model.config)?)
    }

    /// Tensors one below the other, as f16.
    fn joined(&self, parts: &[Part]) -> Result<Buffer> {
        let (config, mut offset) = (&self.model.config, 0);
        let all: u64 = parts.iter().map(|part| elements(*part, config)).sum();
        let buffer = Buffer::alloc(self.device, bytes(2 * all)?)?;
        for part in parts {
            let values: Vec<f16> = self.model.tensors.load_f16(*part, config)?;
            buffer.copy_from_host_at(offset, &values)?;
            offset += size_of_val(values.as_slice());
        }
        Ok(buffer)
    }
}

fn elements(part: Part, config: &Config) -> u64 {
    part.shape(config).into_iter().map(u64::from).product()
}
