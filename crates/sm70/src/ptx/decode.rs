//! Opcodes to [`Op`]. Each family has a table; a new instruction is a line in it.

use super::body::Class;
use super::operand::{Operand, Statement};
use crate::fault::Error;
use crate::op::{
    Axis, Bin32, Bin64, Compare, Mma, Number, Op, PredOp, ShuffleMode, Space, Special, Src32, Tri32, Un32,
    VoteMode,
};

pub(super) fn decode(s: &Statement<'_, '_>) -> Result<Op, Error> {
    if let Some(op) = bin32(s.opcode) {
        s.count(3)?;
        return Ok(Op::Bin32 { op, d: s.r32(0)?, a: s.s32(1)?, b: s.s32(2)? });
    }
    if let Some(op) = un32(s.opcode) {
        s.count(2)?;
        return Ok(Op::Un32 { op, d: s.r32(0)?, a: s.s32(1)? });
    }
    if let Some(op) = bin64(s.opcode) {
        s.count(3)?;
        return Ok(match op {
            Bin64::Shl | Bin64::ShrU | Bin64::ShrS => {
                Op::Shift64 { op, d: s.r64(0)?, a: s.s64(1)?, by: s.s32(2)? }
            }
            _ => Op::Bin64 { op, d: s.r64(0)?, a: s.s64(1)?, b: s.s64(2)? },
        });
    }
    let (head, tail) = s.opcode.split_once('.').unwrap_or((s.opcode, ""));
    match head {
        "mov" => mov(s, tail),
        "cvt" | "cvta" => convert(s),
        "mad" | "fma" | "prmt" | "lop3" => tri32(s),
        "bfi" => bfi(s),
        "mul" => wide(s),
        "setp" => setp(s, tail),
        "selp" => selp(s, tail),
        "and" | "or" | "xor" | "not" => pred(s),
        "ld" => load(s, tail),
        "st" => store(s, tail),
        "shfl" => shuffle(s),
        "vote" => vote(s),
        "bar" | "barrier" => barrier(s),
        "mma" => mma(s),
        "ret" | "exit" => {
            s.count(0)?;
            Ok(Op::Exit)
        }
        _ => Err(Error::unsupported(s.line, s.opcode)),
    }
}

fn bin32(opcode: &str) -> Option<Bin32> {
    Some(match opcode {
        "add.s32" | "add.u32" => Bin32::Add,
        "sub.s32" | "sub.u32" => Bin32::Sub,
        "mul.lo.s32" | "mul.lo.u32" => Bin32::MulLo,
        "and.b32" => Bin32::And,
        "or.b32" => Bin32::Or,
        "xor.b32" => Bin32::Xor,
        "shl.b32" => Bin32::Shl,
        "shr.u32" | "shr.b32" => Bin32::ShrU,
        "shr.s32" => Bin32::ShrS,
        "min.s32" => Bin32::MinS,
        "max.s32" => Bin32::MaxS,
        "min.u32" => Bin32::MinU,
        "max.u32" => Bin32::MaxU,
        "div.s32" => Bin32::DivS,
        "div.u32" => Bin32::DivU,
        "rem.s32" => Bin32::RemS,
        "rem.u32" => Bin32::RemU,
        "add.f32" | "add.rn.f32" => Bin32::AddF,
        "sub.f32" | "sub.rn.f32" => Bin32::SubF,
        "mul.f32" | "mul.rn.f32" => Bin32::MulF,
        "min.f32" => Bin32::MinF,
        "max.f32" => Bin32::MaxF,
        _ => return None,
    })
}

fn un32(opcode: &str) -> Option<Un32> {
    Some(match opcode {
        "not.b32" => Un32::Not,
        "neg.s32" => Un32::NegS,
        "neg.f32" => Un32::NegF,
        "abs.f32" => Un32::AbsF,
        "ex2.approx.f32" => Un32::Ex2 { ftz: false },
        "ex2.approx.ftz.f32" => Un32::Ex2 { ftz: true },
        "lg2.approx.f32" => Un32::Lg2,
        "rcp.approx.f32" => Un32::Rcp,
        "cvt.rn.f32.s32" => Un32::FloatFromS,
        "cvt.rzi.s32.f32" => Un32::SFromFloat,
        "cvt.rn.f32.u32" => Un32::FloatFromU,
        _ => return None,
    })
}

fn bin64(opcode: &str) -> Option<Bin64> {
    Some(match opcode {
        "add.s64" | "add.u64" => Bin64::Add,
        "sub.s64" | "sub.u64" => Bin64::Sub,
        "mul.lo.s64" | "mul.lo.u64" => Bin64::MulLo,
        "and.b64" => Bin64::And,
        "or.b64" => Bin64::Or,
        "xor.b64" => Bin64::Xor,
        "shl.b64" => Bin64::Shl,
        "shr.u64" | "shr.b64" => Bin64::ShrU,
        "shr.s64" => Bin64::ShrS,
        _ => return None,
    })
}

fn special(name: &str) -> Option<Special> {
    let (head, axis) = name.split_once('.').unwrap_or((name, ""));
    let axis = match axis {
        "x" => Axis::X,
        "y" => Axis::Y,
        "z" => Axis::Z,
        _ => return (name == "%laneid").then_some(Special::LaneId),
    };
    Some(match head {
        "%tid" => Special::Tid(axis),
        "%ntid" => Special::Ntid(axis),
        "%ctaid" => Special::Ctaid(axis),
        "%nctaid" => Special::Nctaid(axis),
        _ => return None,
    })
}

fn mov(s: &Statement<'_, '_>, kind: &str) -> Result<Op, Error> {
    s.count(2)?;
    match (kind, &s.operands[0], &s.operands[1]) {
        ("u32" | "s32" | "b32", _, Operand::Name(name)) => match special(name) {
            Some(what) => Ok(Op::Special { d: s.r32(0)?, what }),
            None => Err(Error::unsupported(s.line, format!("mov from {name}"))),
        },
        ("b32", _, Operand::Vector(_)) => {
            let [low, high] = s.registers(1, Class::B16)?;
            Ok(Op::Pack { d: s.r32(0)?, low, high })
        }
        ("b32", Operand::Vector(_), _) => {
            let [low, high] = s.registers(0, Class::B16)?;
            Ok(Op::Unpack { low, high, a: s.r32(1)? })
        }
        ("u32" | "s32" | "b32" | "f32", ..) => Ok(Op::Un32 { op: Un32::Mov, d: s.r32(0)?, a: s.s32(1)? }),
        ("u64" | "s64" | "b64", ..) => Ok(Op::Mov64 { d: s.r64(0)?, a: s.s64(1)? }),
        ("pred", ..) => Ok(Op::PredUn { negated: false, d: s.p(0)?, a: s.p(1)? }),
        _ => s.unsupported(),
    }
}

fn convert(s: &Statement<'_, '_>) -> Result<Op, Error> {
    s.count(2)?;
    Ok(match s.opcode {
        "cvt.u64.u32" => Op::Widen { signed: false, d: s.r64(0)?, a: s.s32(1)? },
        "cvt.s64.s32" => Op::Widen { signed: true, d: s.r64(0)?, a: s.s32(1)? },
        "cvt.u32.u64" => Op::Narrow { d: s.r32(0)?, a: s.s64(1)? },
        "cvt.rn.f16.f32" => Op::Un32 { op: Un32::HalfFromFloat, d: s.register(0, Class::B16)?, a: s.s32(1)? },
        "cvt.f32.f16" => {
            Op::Un32 { op: Un32::FloatFromHalf, d: s.r32(0)?, a: Src32::Reg(s.register(1, Class::B16)?) }
        }
        // Memory of the interpreter has one address space for what is global.
        "cvta.to.global.u64" => Op::Mov64 { d: s.r64(0)?, a: s.s64(1)? },
        _ => return Err(Error::unsupported(s.line, s.opcode)),
    })
}

fn tri32(s: &Statement<'_, '_>) -> Result<Op, Error> {
    let op = match s.opcode {
        "mad.lo.s32" | "mad.lo.u32" => Tri32::MadLo,
        "fma.rn.f32" => Tri32::Fma,
        "prmt.b32" => Tri32::Prmt,
        "lop3.b32" => {
            s.count(5)?;
            let table = u8::try_from(s.immediate(4)?).or_else(|_| s.wrong(4, "a table of 8 bits"))?;
            return Ok(Op::Tri32 {
                op: Tri32::Lop3(table),
                d: s.r32(0)?,
                a: s.s32(1)?,
                b: s.s32(2)?,
                c: s.s32(3)?,
            });
        }
        _ => return Err(Error::unsupported(s.line, s.opcode)),
    };
    s.count(4)?;
    Ok(Op::Tri32 { op, d: s.r32(0)?, a: s.s32(1)?, b: s.s32(2)?, c: s.s32(3)? })
}

fn bfi(s: &Statement<'_, '_>) -> Result<Op, Error> {
    s.count(5)?;
    if s.opcode != "bfi.b32" {
        return Err(Error::unsupported(s.line, s.opcode));
    }
    Ok(Op::Bfi { d: s.r32(0)?, field: s.s32(1)?, into: s.s32(2)?, start: s.s32(3)?, length: s.s32(4)? })
}

fn wide(s: &Statement<'_, '_>) -> Result<Op, Error> {
    s.count(3)?;
    let signed = match s.opcode {
        "mul.wide.s32" => true,
        "mul.wide.u32" => false,
        _ => return Err(Error::unsupported(s.line, s.opcode)),
    };
    Ok(Op::MulWide { signed, d: s.r64(0)?, a: s.s32(1)?, b: s.s32(2)? })
}

fn setp(s: &Statement<'_, '_>, tail: &str) -> Result<Op, Error> {
    s.count(3)?;
    let Some((compare, kind)) = tail.split_once('.') else { return s.unsupported() };
    let compare = match compare {
        "eq" => Compare::Eq,
        "ne" => Compare::Ne,
        "lt" => Compare::Lt,
        "le" => Compare::Le,
        "gt" => Compare::Gt,
        "ge" => Compare::Ge,
        _ => return s.unsupported(),
    };
    let number = match kind {
        "s32" => Number::Signed,
        "u32" | "b32" => Number::Unsigned,
        "f32" => Number::Float,
        "s64" | "u64" | "b64" => {
            return Ok(Op::Compare64 {
                compare,
                signed: kind == "s64",
                d: s.p(0)?,
                a: s.s64(1)?,
                b: s.s64(2)?,
            })
        }
        _ => return s.unsupported(),
    };
    Ok(Op::Compare32 { compare, number, d: s.p(0)?, a: s.s32(1)?, b: s.s32(2)? })
}

fn selp(s: &Statement<'_, '_>, kind: &str) -> Result<Op, Error> {
    s.count(4)?;
    match kind {
        "b32" | "u32" | "s32" | "f32" => {
            Ok(Op::Select32 { d: s.r32(0)?, yes: s.s32(1)?, no: s.s32(2)?, p: s.p(3)? })
        }
        "b64" | "u64" | "s64" => Ok(Op::Select64 { d: s.r64(0)?, yes: s.s64(1)?, no: s.s64(2)?, p: s.p(3)? }),
        _ => s.unsupported(),
    }
}

fn pred(s: &Statement<'_, '_>) -> Result<Op, Error> {
    let op = match s.opcode {
        "not.pred" => {
            s.count(2)?;
            return Ok(Op::PredUn { negated: true, d: s.p(0)?, a: s.p(1)? });
        }
        "and.pred" => PredOp::And,
        "or.pred" => PredOp::Or,
        "xor.pred" => PredOp::Xor,
        _ => return Err(Error::unsupported(s.line, s.opcode)),
    };
    s.count(3)?;
    Ok(Op::PredBin { op, d: s.p(0)?, a: s.p(1)?, b: s.p(2)? })
}

/// Space and number of 32-bit words of `shared.v4.u32`. Narrower and wider elements are not modelled.
fn access(s: &Statement<'_, '_>, tail: &str) -> Result<(Space, u8), Error> {
    let (space, kind) = tail.split_once('.').unwrap_or((tail, ""));
    let space = match space {
        "shared" => Space::Shared,
        "global" => Space::Global,
        _ => return Err(Error::unsupported(s.line, s.opcode)),
    };
    let (words, element) = match kind.split_once('.') {
        Some(("v2", element)) => (2, element),
        Some(("v4", element)) => (4, element),
        _ => (1, kind),
    };
    match element {
        "u32" | "s32" | "b32" | "f32" => Ok((space, words)),
        _ => Err(Error::unsupported(s.line, s.opcode)),
    }
}

fn load(s: &Statement<'_, '_>, tail: &str) -> Result<Op, Error> {
    s.count(2)?;
    match tail {
        "param.u32" | "param.s32" | "param.b32" | "param.f32" => {
            return Ok(Op::LoadParam32 { d: s.r32(0)?, offset: s.param(1, 4)? });
        }
        "param.u64" | "param.s64" | "param.b64" => {
            return Ok(Op::LoadParam64 { d: s.r64(0)?, offset: s.param(1, 8)? });
        }
        _ => {}
    }
    let (space, words) = access(s, tail)?;
    let d = match words {
        1 => [s.r32(0)?, 0, 0, 0],
        2 => s.registers(0, Class::B32).map(|[x, y]| [x, y, 0, 0])?,
        _ => s.registers(0, Class::B32)?,
    };
    Ok(Op::Load { space, words, d, from: s.address(1)? })
}

fn store(s: &Statement<'_, '_>, tail: &str) -> Result<Op, Error> {
    s.count(2)?;
    let (space, words) = access(s, tail)?;
    let none = Src32::Imm(0);
    let a = match words {
        1 => [s.s32(1)?, none, none, none],
        2 => s.sources(1).map(|[x, y]| [x, y, none, none])?,
        _ => s.sources(1)?,
    };
    Ok(Op::Store { space, words, to: s.address(0)?, a })
}

fn shuffle(s: &Statement<'_, '_>) -> Result<Op, Error> {
    s.count(5)?;
    let mode = match s.opcode {
        "shfl.sync.bfly.b32" => ShuffleMode::Bfly,
        "shfl.sync.up.b32" => ShuffleMode::Up,
        "shfl.sync.down.b32" => ShuffleMode::Down,
        "shfl.sync.idx.b32" => ShuffleMode::Idx,
        _ => return Err(Error::unsupported(s.line, s.opcode)),
    };
    let (d, p) = match &s.operands[0] {
        Operand::Pair(d, p) => match (&**d, &**p) {
            (Operand::Register(d), Operand::Register(p))
                if (d.class, p.class) == (Class::B32, Class::Pred) =>
            {
                (d.number, Some(p.number))
            }
            _ => return s.wrong(0, "a register of 32 bits and a predicate"),
        },
        _ => (s.r32(0)?, None),
    };
    Ok(Op::Shuffle { mode, d, p, a: s.s32(1)?, by: s.s32(2)?, clamp: s.s32(3)?, members: s.s32(4)? })
}

fn vote(s: &Statement<'_, '_>) -> Result<Op, Error> {
    s.count(3)?;
    let mode = match s.opcode {
        "vote.sync.any.pred" => VoteMode::Any,
        "vote.sync.all.pred" => VoteMode::All,
        "vote.sync.uni.pred" => VoteMode::Uni,
        _ => return Err(Error::unsupported(s.line, s.opcode)),
    };
    Ok(Op::Vote { mode, d: s.p(0)?, a: s.maybe_not_p(1)?, members: s.s32(2)? })
}

fn barrier(s: &Statement<'_, '_>) -> Result<Op, Error> {
    if !matches!(s.opcode, "bar.sync" | "barrier.sync.aligned") || s.operands.len() != 1 {
        return s.unsupported();
    }
    match s.immediate(0)? {
        id @ 0..16 => Ok(Op::Barrier { id }),
        _ => s.wrong(0, "a barrier of 0 to 15"),
    }
}

fn mma(s: &Statement<'_, '_>) -> Result<Op, Error> {
    let b_is_row = match s.opcode {
        "mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32" => false,
        "mma.sync.aligned.m8n8k4.row.row.f32.f16.f16.f32" => true,
        _ => return Err(Error::unsupported(s.line, s.opcode)),
    };
    s.count(4)?;
    Ok(Op::Mma(Mma {
        b_is_row,
        d: s.registers(0, Class::B32)?,
        a: s.sources(1)?,
        b: s.sources(2)?,
        c: s.sources(3)?,
    }))
}
