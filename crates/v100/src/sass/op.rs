//! Instructions, decoded.

use super::operand::{Address, Operand, Pred};
use super::text::Control;

/// The predicate that guards an instruction.
pub(crate) type Guard = Pred;

/// What issues an instruction, and what it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Unit {
    /// Tensor cores.
    Tensor,
    /// Float sums and products, and integer products.
    Fma,
    Alu,
    /// Special functions and conversions.
    Special,
    /// The same, from f32 to f16.
    ToHalf,
    SharedLoad,
    SharedStore,
    GlobalLoad,
    GlobalStore,
    LocalLoad,
    LocalStore,
    Shuffle,
    /// Special registers, indexed constants.
    Slow,
    /// Branches and what belongs to them.
    Branch,
    Barrier,
}

#[derive(Debug)]
pub(crate) struct Instruction {
    pub(crate) pc: u32,
    pub(crate) text: String,
    pub(crate) control: Control,
    pub(crate) guard: Guard,
    pub(crate) unit: Unit,
    pub(crate) op: Op,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    Lt,
    Le,
    Gt,
    Ge,
    Eq,
    Ne,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Combine {
    And,
    Or,
    Xor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Exp2,
    Log2,
    Reciprocal,
    ReciprocalRoot,
    Root,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    Nearest,
    Down,
    Up,
    Zero,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Convert {
    FloatToHalf,
    IntToFloat { signed: bool, round: Round },
    FloatToInt { signed: bool, round: Round },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShuffleMode {
    Index,
    Up,
    Down,
    Butterfly,
}

/// Bytes of a lane's access, and whether a narrow one is extended by its sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Width {
    pub(crate) bytes: u32,
    pub(crate) signed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    Tid(u8),
    Ctaid(u8),
    LaneId,
    EqMask,
    Zero,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Float {
    Add([Operand; 2]),
    Mul([Operand; 2]),
    Fma([Operand; 3]),
    /// The least if the predicate holds, else the largest.
    MinMax([Operand; 2], Pred),
    Select([Operand; 2], Pred),
    /// `HADD2.F32`: the low or high half of a register as f32, times 1 or -1.
    OfHalf {
        from: Operand,
        high: bool,
    },
}

/// `LEA`: the low or high word of a shifted value, plus a word.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lea {
    pub(crate) carry_out: u8,
    pub(crate) low: Operand,
    pub(crate) add: Operand,
    /// Upper word; none: the sign of `low`.
    pub(crate) high: Option<Operand>,
    pub(crate) shift: u32,
    pub(crate) is_high: bool,
    pub(crate) carry: Option<Pred>,
}

/// `SHF`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shift {
    pub(crate) low: Operand,
    pub(crate) count: Operand,
    pub(crate) high: Operand,
    pub(crate) left: bool,
    pub(crate) wraps: bool,
    pub(crate) is_high: bool,
    pub(crate) signed: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Hmma {
        to: u8,
        a: u8,
        b: u8,
        c: u8,
        step: u8,
        a_row: bool,
        b_col: bool,
    },
    /// x y + z + carry
    Imad {
        to: u8,
        sources: [Operand; 3],
        carry: Option<Pred>,
    },
    ImadWide {
        to: u8,
        sources: [Operand; 2],
        add: [Operand; 2],
        signed: bool,
        high: bool,
    },
    Iadd3 {
        to: u8,
        carries_out: [u8; 2],
        sources: [Operand; 3],
        extra: u32,
        carries: [Option<Pred>; 2],
    },
    Lea {
        to: u8,
        lea: Lea,
    },
    Shift {
        to: u8,
        shift: Shift,
    },
    Lop3 {
        to: u8,
        out: u8,
        sources: [Operand; 3],
        table: u8,
        also: Option<Pred>,
    },
    Plop3 {
        to: [u8; 2],
        sources: [Pred; 3],
        tables: [u8; 2],
    },
    Isetp {
        to: [u8; 2],
        sources: [Operand; 2],
        with: Pred,
        low: Option<Pred>,
        compare: Compare,
        signed: bool,
        combine: Combine,
    },
    /// `compare` none: is one not a number (true for `NAN`)?
    Fsetp {
        to: [u8; 2],
        sources: [Operand; 2],
        with: Pred,
        compare: Option<Compare>,
        unordered: bool,
        combine: Combine,
    },
    Select {
        to: u8,
        sources: [Operand; 2],
        with: Pred,
    },
    MinMax {
        to: u8,
        sources: [Operand; 2],
        with: Pred,
        signed: bool,
    },
    Abs {
        to: u8,
        from: Operand,
    },
    Popc {
        to: u8,
        from: Operand,
    },
    Permute {
        to: u8,
        low: Operand,
        selector: Operand,
        high: Operand,
    },
    Move {
        to: u8,
        from: Operand,
    },
    Clear {
        to: u8,
        wide: bool,
    },
    Special {
        to: u8,
        from: Special,
    },
    PredicatesToRegister {
        to: u8,
        keep: Operand,
        bits: u32,
    },
    RegisterToPredicates {
        from: Operand,
        bits: u32,
    },
    Vote {
        to: u8,
        out: u8,
        of: Pred,
        all: bool,
    },
    Float {
        to: u8,
        float: Float,
    },
    Function {
        to: u8,
        from: Operand,
        function: Function,
    },
    /// From f32 to the pair of registers of an f64.
    Widen {
        to: u8,
        from: Operand,
    },
    Convert {
        to: u8,
        from: Operand,
        convert: Convert,
    },
    Shuffle {
        out: u8,
        to: u8,
        from: Operand,
        by: Operand,
        within: Operand,
        mode: ShuffleMode,
    },
    Shared {
        register: u8,
        at: Address,
        width: Width,
        load: bool,
    },
    Global {
        register: u8,
        at: Address,
        width: Width,
        load: bool,
    },
    Local {
        register: u8,
        at: Address,
        width: Width,
        load: bool,
    },
    LoadConstant {
        to: u8,
        bank: u8,
        register: u8,
        offset: u32,
        bytes: u32,
    },
    /// The least or largest in shared memory.
    AtomicShared {
        at: Address,
        from: Operand,
        largest: bool,
        signed: bool,
    },
    Barrier {
        number: Operand,
        threads: Option<Operand>,
        arrives_only: bool,
    },
    Branch {
        target: Option<u32>,
        also: Option<Pred>,
    },
    Exit {
        also: Option<Pred>,
    },
    /// Convergence barriers.
    Gather {
        barrier: u8,
    },
    Meet {
        barrier: u8,
    },
    Leave {
        barrier: u8,
    },
    Return {
        to: u8,
    },
    /// What costs its time only.
    Nothing,
    /// What the interpreter lacks, if it is reached.
    Lacking(&'static str),
}
