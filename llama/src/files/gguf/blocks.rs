//! Elements of tensors. Numbers of few bits lie in blocks, each with its own scale.
//!
//! Source of the layouts: `ggml-common.h` and `ggml-quants.c` of ggml (`block_q4_0`, `block_q4_1`,
//! `block_q8_0`).

use fastattention::{Error, ErrorKind, Result};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// Type of the elements of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ElementType {
    /// 32 bits.
    F32,
    /// 16 bits, IEEE 754.
    F16,
    /// 16 bits, the upper half of an f32.
    Bf16,
    /// 32 numbers of 4 bits, of which 8 is taken, times a scale.
    Q4_0,
    /// 32 numbers of 4 bits times a scale, and a minimum added.
    Q4_1,
    /// 32 numbers of 8 bits with a sign times a scale.
    Q8_0,
}

use ElementType::{Bf16, F16, F32, Q4_0, Q4_1, Q8_0};

/// All, with their numbers in the file.
const ALL: [(u32, ElementType); 6] = [(0, F32), (1, F16), (2, Q4_0), (3, Q4_1), (8, Q8_0), (30, Bf16)];

/// Elements of a block of the quantised types.
const BLOCK: usize = 32;

impl ElementType {
    /// The type of this number, of a tensor.
    pub(super) fn of(number: u32, tensor: &str) -> Result<Self> {
        let found = ALL.iter().find(|(own, _)| *own == number);
        found.map(|(_, element)| *element).ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!(
                    "GGUF: tensor {tensor:?} has elements of type {number}; supported: F32 (0), F16 (1), Q4_0 (2), \
                     Q4_1 (3), Q8_0 (8), BF16 (30)"
                ),
            )
        })
    }

    /// Elements of a block; 1 where each stands for itself.
    pub fn block_elements(self) -> usize {
        match self {
            F32 | F16 | Bf16 => 1,
            Q4_0 | Q4_1 | Q8_0 => BLOCK,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            F32 => 4,
            F16 | Bf16 => 2,
            Q4_0 => 2 + BLOCK / 2,
            Q4_1 => 4 + BLOCK / 2,
            Q8_0 => 2 + BLOCK,
        }
    }

    /// Whole blocks as f32. Bytes behind the last whole block are left out.
    pub fn widen(self, bytes: &[u8]) -> Vec<f32> {
        let blocks = bytes.chunks_exact(self.block_bytes());
        let mut out = Vec::with_capacity(blocks.len() * self.block_elements());
        match self {
            F32 => out.extend(blocks.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
            F16 => {
                let elements: Vec<f16> = blocks.map(half_at).collect();
                out.resize(elements.len(), 0.0);
                elements.convert_to_f32_slice(&mut out);
            }
            Bf16 => out.extend(blocks.map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32())),
            Q4_0 => blocks.for_each(|b| {
                let scale = half_at(b).to_f32();
                out.extend(nibbles(&b[2..]).map(|n| (f32::from(n) - 8.0) * scale));
            }),
            Q4_1 => blocks.for_each(|b| {
                let (scale, least) = (half_at(b).to_f32(), half_at(&b[2..]).to_f32());
                out.extend(nibbles(&b[4..]).map(|n| f32::from(n) * scale + least));
            }),
            Q8_0 => blocks.for_each(|b| {
                let scale = half_at(b).to_f32();
                out.extend(b[2..].iter().map(|n| f32::from(n.cast_signed()) * scale));
            }),
        }
        out
    }
}

fn half_at(bytes: &[u8]) -> f16 {
    f16::from_le_bytes([bytes[0], bytes[1]])
}

/// The lower halves of all bytes, then the upper ones.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> + '_ {
    bytes.iter().map(|b| b & 15).chain(bytes.iter().map(|b| b >> 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_become_the_numbers_that_they_stand_for() {
        let half = |x: f32| f16::from_f32(x).to_le_bytes();
        // Byte i of the nibbles: i below, 15 - i above.
        let packed: Vec<u8> = (0..16).map(|i| i | (15 - i) << 4).collect();
        let numbers: Vec<f32> = (0..16u8).chain((0..16).rev()).map(f32::from).collect();
        let q4_0 = [&half(0.5)[..], &packed].concat();
        assert_eq!(Q4_0.widen(&q4_0), numbers.iter().map(|n| (n - 8.0) * 0.5).collect::<Vec<_>>());
        let q4_1 = [&half(0.25)[..], &half(-2.0), &packed].concat();
        assert_eq!(Q4_1.widen(&q4_1), numbers.iter().map(|n| n * 0.25 - 2.0).collect::<Vec<_>>());
        let signed: Vec<i8> = (-16..16).map(|n| n * 8).collect();
        let q8_0 = [&half(2.0)[..], &signed.iter().map(|n| n.cast_unsigned()).collect::<Vec<_>>()].concat();
        assert_eq!(Q8_0.widen(&q8_0), signed.iter().map(|n| f32::from(*n) * 2.0).collect::<Vec<_>>());
        assert_eq!(F32.widen(&1.5f32.to_le_bytes()), [1.5]);
        assert_eq!(F16.widen(&half(1.5)), [1.5]);
        assert_eq!(Bf16.widen(&bf16::from_f32(1.5).to_le_bytes()), [1.5]);
    }
}
