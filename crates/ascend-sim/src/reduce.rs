//! The arithmetic of reductions, of collectives and of `aclrtReduceAsync`.
//!
//! Values are taken in the order that the caller gives. ASSUMPTION(hccl-reduce-arithmetic): integers wrap;
//! overflow of floats gives infinity; a NaN on any side gives the positive quiet NaN, in the maximum and
//! minimum too; of two zeros the maximum is 0 and the minimum -0.

use half::{bf16, f16};

use serde::{Deserialize, Serialize};

/// When a reduction in f16, bf16 or f32 rounds to that type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ReduceRounding {
    /// ASSUMPTION(hccl-reduce-rounding): after each rank's value, as an engine does that adds in memory in
    /// the data's type.
    EachStep,
    /// Once, at the end: f16 and bf16 are accumulated in f32, f32 in f64.
    Once,
}

/// What is done with two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ReduceOp {
    Sum,
    Prod,
    Max,
    Min,
}

/// Element type, with the names of the C header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum DataType {
    Int8,
    Int16,
    Int32,
    Int64,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Fp16,
    Fp32,
    Fp64,
    Bfp16,
}

impl DataType {
    /// Bytes of an element.
    pub(crate) fn size_bytes(self) -> u64 {
        match self {
            DataType::Int8 | DataType::Uint8 => 1,
            DataType::Int16 | DataType::Uint16 | DataType::Fp16 | DataType::Bfp16 => 2,
            DataType::Int32 | DataType::Uint32 | DataType::Fp32 => 4,
            DataType::Int64 | DataType::Uint64 | DataType::Fp64 => 8,
        }
    }
}

/// An element and the type that holds its sums exactly enough: a sum or product of two elements is rounded in
/// `Wide` and then to the element as if it were rounded once (`Wide` has at least twice the bits of the
/// element plus two).
trait Element: bytemuck::Pod {
    type Wide: Copy;
    fn widen(self) -> Self::Wide;
    fn narrow(wide: Self::Wide) -> Self;
    fn combine(op: ReduceOp, a: Self::Wide, b: Self::Wide) -> Self::Wide;
}

macro_rules! integer {
    ($($type:ty)*) => {$(
        impl Element for $type {
            type Wide = $type;
            fn widen(self) -> $type {
                self
            }
            fn narrow(wide: $type) -> $type {
                wide
            }
            fn combine(op: ReduceOp, a: $type, b: $type) -> $type {
                match op {
                    ReduceOp::Sum => a.wrapping_add(b),
                    ReduceOp::Prod => a.wrapping_mul(b),
                    ReduceOp::Max => a.max(b),
                    ReduceOp::Min => a.min(b),
                }
            }
        }
    )*};
}
integer!(i8 i16 i32 i64);

macro_rules! float {
    ($($type:ty, $wide:ty, $narrow:expr;)*) => {$(
        impl Element for $type {
            type Wide = $wide;
            fn widen(self) -> $wide {
                <$wide>::from(self)
            }
            fn narrow(wide: $wide) -> $type {
                if wide.is_nan() {
                    <$type>::NAN
                } else {
                    $narrow(wide)
                }
            }
            fn combine(op: ReduceOp, a: $wide, b: $wide) -> $wide {
                let take_a = |a_is_beyond: bool, sign_is_wanted: bool| if a == b { sign_is_wanted } else { a_is_beyond };
                match op {
                    ReduceOp::Sum => a + b,
                    ReduceOp::Prod => a * b,
                    _ if a.is_nan() || b.is_nan() => <$wide>::NAN,
                    ReduceOp::Max if take_a(a > b, a.is_sign_positive()) => a,
                    ReduceOp::Min if take_a(a < b, a.is_sign_negative()) => a,
                    ReduceOp::Max | ReduceOp::Min => b,
                }
            }
        }
    )*};
}
#[allow(clippy::cast_possible_truncation, reason = "rounding to f32 is what is wanted")]
mod floats {
    use super::*;

    float! {
        f16, f32, f16::from_f32;
        bf16, f32, bf16::from_f32;
        f32, f64, |wide: f64| wide as f32;
    }
}

/// The elements of a range of device memory, whose bytes have no alignment on the host.
fn elements<E: Element>(bytes: &[u8]) -> impl Iterator<Item = E::Wide> + '_ {
    bytes.chunks_exact(size_of::<E>()).map(|chunk| bytemuck::pod_read_unaligned::<E>(chunk).widen())
}

/// Elements that are summed at a time: a small block of memory, where a whole collective can have more than
/// the host gives.
const BLOCK: usize = 4096;

fn typed<E: Element>(op: ReduceOp, rounding: ReduceRounding, inputs: &[&[u8]], out: &mut [u8]) {
    let Some((first, rest)) = inputs.split_first() else { return };
    let block = BLOCK * size_of::<E>();
    let mut sums: Vec<E::Wide> = Vec::with_capacity(BLOCK);
    for (at, out) in (0..).step_by(block).zip(out.chunks_mut(block)) {
        let range = at..at + out.len();
        sums.clear();
        sums.extend(elements::<E>(&first[range.clone()]));
        for input in rest {
            for (sum, value) in sums.iter_mut().zip(elements::<E>(&input[range.clone()])) {
                *sum = E::combine(op, *sum, value);
                if rounding == ReduceRounding::EachStep {
                    *sum = E::narrow(*sum).widen();
                }
            }
        }
        for (place, sum) in out.chunks_exact_mut(size_of::<E>()).zip(&sums) {
            place.copy_from_slice(bytemuck::bytes_of(&E::narrow(*sum)));
        }
    }
}

/// Reduces the inputs, in their order, to `out`. All have the same length, a multiple of the element. What
/// one rank has alone is copied.
pub(crate) fn reduce(
    data_type: DataType,
    op: ReduceOp,
    rounding: ReduceRounding,
    inputs: &[&[u8]],
    out: &mut [u8],
) {
    if let [only] = inputs {
        out.copy_from_slice(only);
        return;
    }
    let run = match data_type {
        DataType::Int8 => typed::<i8>,
        DataType::Int16 => typed::<i16>,
        DataType::Int32 => typed::<i32>,
        DataType::Int64 => typed::<i64>,
        DataType::Fp16 => typed::<f16>,
        DataType::Bfp16 => typed::<bf16>,
        DataType::Fp32 => typed::<f32>,
        DataType::Uint8 | DataType::Uint16 | DataType::Uint32 | DataType::Uint64 | DataType::Fp64 => {
            unreachable!("`Operation::new` refuses to reduce {data_type:?}")
        }
    };
    run(op, rounding, inputs, out);
}
