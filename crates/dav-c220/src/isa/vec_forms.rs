//! Operands that several families of vector instructions share (`dav-c220.md` 3.7, 3.9).

use crate::access::{Strided, VectorOperands};

/// Operands of the instructions with two sources.
pub(super) const BINARY_OPERANDS: &VectorOperands = &VectorOperands {
    names: BINARY_NAMES,
    repeat: Some(3),
    dst: Some(BINARY[0]),
    sources: &[BINARY[1], BINARY[2]],
};

/// dst, src0, src1.
pub(super) const BINARY: [Strided; 3] = [Strided::new(0, 4, 7), Strided::new(1, 5, 8), Strided::new(2, 6, 9)];

pub(super) const BINARY_NAMES: &[&str] = BINARY_AND_MODE_NAMES.split_at(10).0;
pub(super) const BINARY_AND_MODE_NAMES: &[&str] = &[
    "dst",
    "src0",
    "src1",
    "repeat",
    "dstBlockStride",
    "src0BlockStride",
    "src1BlockStride",
    "dstRepeatStride",
    "src0RepeatStride",
    "src1RepeatStride",
    "selectMode",
];

/// Operands of the instructions with one source.
pub(super) const UNARY_OPERANDS: &VectorOperands =
    &VectorOperands { names: &UNARY_NAMES, repeat: Some(2), dst: Some(UNARY[0]), sources: &[UNARY[1]] };

pub(super) const UNARY_NAMES: [&str; 7] =
    ["dst", "src", "repeat", "dstBlockStride", "srcBlockStride", "dstRepeatStride", "srcRepeatStride"];

/// dst, src.
pub(super) const UNARY: [Strided; 2] = [Strided::new(0, 3, 5), Strided::new(1, 4, 6)];

/// dst and src of the instructions with a vector and a scalar.
pub(super) const SCALAR: [Strided; 2] = [Strided::new(0, 4, 6), Strided::new(1, 5, 7)];

pub(super) const SCALAR_NAMES: &[&str] = SCALAR_AND_ROUND_NAMES.split_at(8).0;
pub(super) const SCALAR_AND_ROUND_NAMES: &[&str] = &[
    "dst",
    "src",
    "scalar",
    "repeat",
    "dstBlockStride",
    "srcBlockStride",
    "dstRepeatStride",
    "srcRepeatStride",
    "round",
];
