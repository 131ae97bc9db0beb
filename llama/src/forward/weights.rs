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
    /// Those of q, k and v, one below the other. Where there are biases, columns of them are behind the
    /// others.
    pub(super) qkv: Buffer,
    /// Of heads of q and k, f32, where they are normed.
    pub(super) head_norms: Option<[Buffer; 2]>,
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
        let family = model.config.family;
        let layer = |layer| {
            let qkv = [Part::Query(layer), Part::Key(layer), Part::Value(layer)];
            let biases = [Part::QueryBias(layer), Part::KeyBias(layer), Part::ValueBias(layer)];
            let norms =
                || Ok::<_, Error>([load.norm(Part::QueryNorm(layer))?, load.norm(Part::KeyNorm(layer))?]);
            Ok::<_, Error>(Layer {
                attention_norm: load.norm(Part::AttentionNorm(layer))?,
                qkv: if family.has_biases() { load.biased(qkv, biases)? } else { load.joined(&qkv)? },
                head_norms: if family.has_head_norms() { Some(norms()?) } else { None },
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

    /// Weights of products one below the other, as f16, each row with its bias.
    fn biased<const N: usize>(&self, parts: [Part; N], biases: [Part; N]) -> Result<Buffer> {
        let (config, mut all) = (&self.model.config, Vec::new());
        for (part, bias) in parts.into_iter().zip(biases) {
            let (values, of) =
                (self.model.tensors.load_f16(part, config)?, self.model.tensors.load(bias, config)?);
            // Refuses what f16 does not hold.
            self.model.tensors.load_f16(bias, config)?;
            let inputs = part.shape(config)[1] as usize;
            for (row, bias) in values.chunks_exact(inputs).zip(of) {
                all.extend_from_slice(row);
                all.extend(halves(bias));
                all.resize(all.len() + BIAS_COLUMNS as usize - 2, f16::ZERO);
            }
        }
        Buffer::from_slice(self.device, &all)
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

/// Columns behind those of weights: two have the bias, others are zeros for alignment. Rows that are
/// multiplied have ones there ([`bias_ones`]), so that the sum in f32 has the bias before it is rounded.
pub(super) const BIAS_COLUMNS: u32 = 16;

/// What rows have in these columns.
pub(super) fn bias_ones() -> [f16; BIAS_COLUMNS as usize] {
    std::array::from_fn(|column| if column < 2 { f16::ONE } else { f16::ZERO })
}

/// A bias as the sum of two f16: what rounding takes from the first is the second.
fn halves(bias: f32) -> [f16; 2] {
    let first = f16::from_f32(bias);
    [first, f16::from_f32(bias - first.to_f32())]
}

fn elements(part: Part, config: &Config) -> u64 {
    part.shape(config).into_iter().map(u64::from).product()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_columns_hold_a_bias() {
        for bias in [0.0, 1.0 / 3.0, -117.77, 1e-3, 60_001.0, -65_504.0] {
            let [first, second] = halves(bias).map(f32::from);
            assert!((first + second - bias).abs() <= bias.abs() * 2f32.powi(-21) + 2f32.powi(-25), "{bias}");
        }
        assert_eq!(bias_ones().iter().filter(|one| **one == f16::ONE).count(), 2);
    }
}
