//! The instruction set: one table, one file per family.
//!
//! A family is an operation enum plus one loop. Decoding of mask, repeat and strides is written once, in
//! `vec_operand`.

mod cube;
mod fixpipe;
mod fixpipe_layout;
mod fixpipe_quant;
#[cfg(test)]
mod harness;
mod img2col;
mod mmad;
mod mmad_pack;
mod mte_gm_l1;
mod mte_gm_ub;
mod mte_l1_l0;
mod registers;
mod sync;
#[cfg(test)]
mod tests;
mod transfer;
mod vec_binary;
mod vec_cast;
mod vec_compare;
mod vec_float;
mod vec_forms;
mod vec_lanes;
mod vec_move;
mod vec_operand;
mod vec_overlap;
mod vec_reduce;
mod vec_scalar;
mod vec_unary;
mod vec_value;
mod vec_wide;

use crate::access::{Dispatch, OpInfo, Pipe};

/// All families. Each lists its instructions in a `pub(crate) static OPS: &[OpInfo]`.
static FAMILIES: &[&[OpInfo]] = &[
    sync::OPS,
    mte_gm_ub::OPS,
    mte_gm_l1::OPS,
    mte_l1_l0::OPS,
    img2col::OPS,
    mmad::OPS,
    fixpipe::OPS,
    registers::OPS,
    vec_binary::OPS,
    vec_cast::OPS,
    vec_compare::OPS,
    vec_move::OPS,
    vec_reduce::OPS,
    vec_scalar::OPS,
    vec_unary::OPS,
];

/// Every instruction of the machine.
pub(crate) fn table() -> impl Iterator<Item = &'static OpInfo> {
    FAMILIES.iter().flat_map(|family| family.iter())
}

/// An instruction that the machine models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Instruction {
    /// CANN's name of the intrinsic.
    pub mnemonic: &'static str,
    /// The pipe that executes it; `None` where an operand says which (flags and barriers).
    pub pipe: Option<Pipe>,
    /// Operands in CANN's order; the last ones may be optional.
    pub operands: &'static [&'static str],
    /// Where the semantics come from.
    pub source: &'static str,
}

/// Every instruction that the machine models, with the source of its semantics.
pub fn instructions() -> Vec<Instruction> {
    let pipe = |dispatch: &Dispatch| match dispatch {
        Dispatch::Queued(pipe, _) => Some(*pipe),
        Dispatch::SetFlag | Dispatch::WaitFlag | Dispatch::PipeBarrier | Dispatch::CrossCoreSet => None,
        Dispatch::Register(_) | Dispatch::CrossCoreWait | Dispatch::NoEffect => Some(Pipe::S),
    };
    table()
        .map(|op| Instruction {
            mnemonic: op.mnemonic,
            pipe: pipe(&op.dispatch),
            operands: op.operands,
            source: op.source,
        })
        .collect()
}

/// The entry of that name.
pub(crate) fn find(mnemonic: &str) -> Option<&'static OpInfo> {
    table().find(|op| op.mnemonic == mnemonic)
}
