//! Decoded instructions.

/// Number of a register of 32 bits (`.b32 .u32 .s32 .f32`, and `.b16` in its low half).
pub(crate) type R32 = u32;
/// Number of a register of 64 bits.
pub(crate) type R64 = u32;
/// Number of a predicate.
pub(crate) type P = u32;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Src32 {
    Reg(R32),
    Imm(u32),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Src64 {
    Reg(R64),
    Imm(u64),
}

/// A predicate that may be negated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guard {
    pub(crate) p: P,
    pub(crate) negated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Axis {
    X,
    Y,
    Z,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    Tid(Axis),
    Ntid(Axis),
    Ctaid(Axis),
    Nctaid(Axis),
    LaneId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Un32 {
    Mov,
    Not,
    NegS,
    NegF,
    AbsF,
    Ex2 {
        ftz: bool,
    },
    Lg2,
    Rcp,
    HalfFromFloat,
    FloatFromHalf,
    FloatFromS,
    FloatFromU,
    /// Towards zero, clamped to the range; NaN gives 0.
    SFromFloat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bin32 {
    Add,
    Sub,
    MulLo,
    And,
    Or,
    Xor,
    Shl,
    ShrU,
    ShrS,
    MinS,
    MaxS,
    MinU,
    MaxU,
    DivS,
    DivU,
    RemS,
    RemU,
    AddF,
    SubF,
    MulF,
    MinF,
    MaxF,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tri32 {
    MadLo,
    Fma,
    Prmt,
    /// The truth table as in PTX: 0xF0 is a, 0xCC is b, 0xAA is c.
    Lop3(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bin64 {
    Add,
    Sub,
    MulLo,
    And,
    Or,
    Xor,
    Shl,
    ShrU,
    ShrS,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PredOp {
    And,
    Or,
    Xor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    Signed,
    Unsigned,
    Float,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    Shared,
    Global,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Address {
    /// None: `offset` is the address.
    pub(crate) base: Option<R64>,
    pub(crate) offset: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShuffleMode {
    Bfly,
    Up,
    Down,
    Idx,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VoteMode {
    Any,
    All,
    Uni,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Mma {
    pub(crate) b_is_row: bool,
    pub(crate) d: [R32; 8],
    pub(crate) a: [Src32; 2],
    pub(crate) b: [Src32; 2],
    pub(crate) c: [Src32; 8],
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Special {
        d: R32,
        what: Special,
    },
    Un32 {
        op: Un32,
        d: R32,
        a: Src32,
    },
    Bin32 {
        op: Bin32,
        d: R32,
        a: Src32,
        b: Src32,
    },
    Tri32 {
        op: Tri32,
        d: R32,
        a: Src32,
        b: Src32,
        c: Src32,
    },
    Bfi {
        d: R32,
        field: Src32,
        into: Src32,
        start: Src32,
        length: Src32,
    },
    Select32 {
        d: R32,
        yes: Src32,
        no: Src32,
        p: P,
    },
    /// `mov.b32 d, {low, high}`.
    Pack {
        d: R32,
        low: R32,
        high: R32,
    },
    /// `mov.b32 {low, high}, a`.
    Unpack {
        low: R32,
        high: R32,
        a: R32,
    },
    Mov64 {
        d: R64,
        a: Src64,
    },
    Bin64 {
        op: Bin64,
        d: R64,
        a: Src64,
        b: Src64,
    },
    Shift64 {
        op: Bin64,
        d: R64,
        a: Src64,
        by: Src32,
    },
    Select64 {
        d: R64,
        yes: Src64,
        no: Src64,
        p: P,
    },
    MulWide {
        signed: bool,
        d: R64,
        a: Src32,
        b: Src32,
    },
    Widen {
        signed: bool,
        d: R64,
        a: Src32,
    },
    Narrow {
        d: R32,
        a: Src64,
    },
    Compare32 {
        compare: Compare,
        number: Number,
        d: P,
        a: Src32,
        b: Src32,
    },
    Compare64 {
        compare: Compare,
        signed: bool,
        d: P,
        a: Src64,
        b: Src64,
    },
    PredBin {
        op: PredOp,
        d: P,
        a: P,
        b: P,
    },
    PredUn {
        negated: bool,
        d: P,
        a: P,
    },
    LoadParam32 {
        d: R32,
        offset: u32,
    },
    LoadParam64 {
        d: R64,
        offset: u32,
    },
    /// The first `words` of `d` are meant.
    Load {
        space: Space,
        words: u8,
        d: [R32; 4],
        from: Address,
    },
    Store {
        space: Space,
        words: u8,
        to: Address,
        a: [Src32; 4],
    },
    Shuffle {
        mode: ShuffleMode,
        d: R32,
        p: Option<P>,
        a: Src32,
        by: Src32,
        clamp: Src32,
        members: Src32,
    },
    Vote {
        mode: VoteMode,
        d: P,
        a: Guard,
        members: Src32,
    },
    Mma(Mma),
    Barrier {
        id: u32,
    },
    Branch {
        target: u32,
    },
    Exit,
}

/// An instruction with its place in the text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instruction {
    pub(crate) guard: Option<Guard>,
    pub(crate) op: Op,
    /// Line of the PTX, from 1.
    pub(crate) line: u32,
    /// File number and line of the `.loc` before it; line 0: none.
    pub(crate) loc: (u32, u32),
}
