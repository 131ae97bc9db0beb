//! Instructions as the machine queues them: what the kernel passed, and the register state captured at
//! dispatch.

use std::fmt;

use super::{Rate, VectorOperands};

/// A pipe of a core. `S` is the scalar unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Pipe {
    /// Scalar unit.
    S = 0,
    /// Vector unit (AIV).
    V = 1,
    /// Cube (AIC).
    M = 2,
    /// L1 to L0 (AIC).
    Mte1 = 3,
    /// GM to on-chip.
    Mte2 = 4,
    /// On-chip to GM.
    Mte3 = 5,
    /// Fixpipe (AIC).
    Fix = 6,
}

impl Pipe {
    /// All pipes, in index order.
    pub(crate) const ALL: [Pipe; 7] =
        [Pipe::S, Pipe::V, Pipe::M, Pipe::Mte1, Pipe::Mte2, Pipe::Mte3, Pipe::Fix];

    /// From the value of CANN's `pipe_t` (PIPE_S 0, V 1, M 2, MTE1 3, MTE2 4, MTE3 5, FIX 10); `None` for
    /// others.
    pub(crate) fn from_cann(value: u64) -> Option<Pipe> {
        Some(match value {
            0 => Pipe::S,
            1 => Pipe::V,
            2 => Pipe::M,
            3 => Pipe::Mte1,
            4 => Pipe::Mte2,
            5 => Pipe::Mte3,
            10 => Pipe::Fix,
            _ => return None,
        })
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Pipe::S => "S",
            Pipe::V => "V",
            Pipe::M => "M",
            Pipe::Mte1 => "MTE1",
            Pipe::Mte2 => "MTE2",
            Pipe::Mte3 => "MTE3",
            Pipe::Fix => "FIX",
        })
    }
}

/// Instructions that a pipe's queue holds. Documented for MTE1 and M (dav-c220.md 1.2).
/// ASSUMPTION(queue-depth): the other queues are as deep.
pub(crate) const QUEUE_DEPTH: usize = 32;

/// Element type of an operand, as overloads of an intrinsic distinguish it. Values are shared with
/// `machine_abi.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub(crate) enum Elem {
    None = 0,
    F16 = 1,
    Bf16 = 2,
    F32 = 3,
    S8 = 4,
    U8 = 5,
    S16 = 6,
    U16 = 7,
    S32 = 8,
    U32 = 9,
    S64 = 10,
    U64 = 11,
}

impl Elem {
    pub(crate) fn from_abi(value: u8) -> Option<Elem> {
        use Elem::*;
        [None, F16, Bf16, F32, S8, U8, S16, U16, S32, U32, S64, U64].get(usize::from(value)).copied()
    }

    /// Bytes of one element.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Elem::None => 0,
            Elem::S8 | Elem::U8 => 1,
            Elem::F16 | Elem::Bf16 | Elem::S16 | Elem::U16 => 2,
            Elem::F32 | Elem::S32 | Elem::U32 => 4,
            Elem::S64 | Elem::U64 => 8,
        }
    }
}

/// Most operands an intrinsic has (img2colv2 has 17).
pub(crate) const MAX_ARGS: usize = 20;

/// Scalar-set registers that travel with each instruction: captured when the scalar unit dispatches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Registers {
    /// `set_vector_mask(hi, lo)` as [lo, hi].
    pub(crate) mask: [u64; 2],
    /// Counter mode (`set_mask_count`): `mask[0]` is the number of elements.
    pub(crate) counter_mode: bool,
    /// Atomic mode of stores to GM.
    pub(crate) atomic: Option<(AtomicOp, Elem)>,
    /// Atomic operation chosen while the element type is not yet, and the reverse (two intrinsics set them).
    pub(crate) atomic_op: Option<AtomicOp>,
    pub(crate) atomic_elem: Elem,
    pub(crate) nd_para: u64,
    pub(crate) quant_pre: u64,
    pub(crate) fpc: u64,
    pub(crate) fmatrix: u64,
    pub(crate) l3d_rpt: u64,
    pub(crate) padding: u64,
    pub(crate) mov_pad_val: u64,
    pub(crate) deqscale: u64,
    pub(crate) ctrl: u64,
}

/// Read-modify-write of stores to GM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtomicOp {
    Add,
    Max,
    Min,
}

impl Registers {
    /// State at kernel entry (`init_soc_state` of the C API): no atomics, mask normal and full.
    pub(crate) fn at_entry(inf_nan: bool) -> Self {
        Self {
            mask: [u64::MAX; 2],
            counter_mode: false,
            atomic: None,
            atomic_op: None,
            atomic_elem: Elem::None,
            nd_para: 0,
            quant_pre: 0,
            fpc: 0,
            fmatrix: 0,
            l3d_rpt: 0,
            padding: 0,
            mov_pad_val: 0,
            deqscale: 0,
            ctrl: u64::from(inf_nan) << 48,
        }
    }

    /// CTRL\[48\]: INF/NAN (true) or saturating arithmetic for 16-bit floats.
    pub(crate) fn inf_nan(&self) -> bool {
        self.ctrl >> 48 & 1 == 1
    }
}

/// One dispatched instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instr {
    /// Entry of the ISA table.
    pub(crate) op: &'static super::OpInfo,
    /// Element type of the overload: source (or only) type.
    pub(crate) elem: Elem,
    /// Destination type where it differs, else `Elem::None`.
    pub(crate) elem_dst: Elem,
    /// Operands in CANN's order: addresses tagged, integers zero- or sign-extended, scalars as raw bits.
    pub(crate) args: [u64; MAX_ARGS],
    pub(crate) num_args: u32,
    pub(crate) regs: Registers,
    /// Number in the core's program order.
    pub(crate) number: u64,
}

impl Instr {
    /// Operand at that place; `None` for one that was not given.
    pub(crate) fn given(&self, at: usize) -> Option<u64> {
        (at < self.num_args as usize).then(|| self.args[at])
    }

    /// How many repeats the operands of a vector instruction ask for.
    pub(crate) fn repeats(&self) -> u64 {
        match self.op.rate {
            Rate::Vector { operands: VectorOperands { repeat: Some(at), .. }, .. } => self.args[*at],
            _ => 1,
        }
    }
}
