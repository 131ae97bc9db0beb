//! Element-wise instructions of two vectors (`dav-c220.md` 3.7).

use super::vec_float::{fused, maximum, minimum};
use super::vec_operand::{
    check_overlap, finish_int, no_such_type, Accumulate, F32s, Ints, Lanes, Operand, LANES,
};
use super::{Dispatch, OpInfo};
use crate::sim::instr::{Elem, Instr, Pipe};
use crate::sim::machine::Exec;
use crate::sim::Stop;

/// What is computed in each lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    And,
    Or,
    AddRelu,
    SubRelu,
    /// dst += src0 * src1.
    MulAddDst,
    /// dst = src0 * dst + src1.
    MulDstAdd,
    /// As `MulDstAdd`, negative results to 0.
    MulDstAddRelu,
}

impl Op {
    /// Source types, with 0 to 1 entry where source and destination differ.
    fn takes(self) -> &'static str {
        match self {
            Op::Add | Op::Sub | Op::Mul | Op::Max | Op::Min => "F16, F32, S16, S32",
            Op::Div | Op::MulDstAdd | Op::MulDstAddRelu => "F16, F32",
            Op::And | Op::Or => "S16, U16",
            Op::AddRelu | Op::SubRelu => "F16, F32, S16",
            Op::MulAddDst => "F16, F32, F16 to F32",
        }
    }

    fn reads_dst(self) -> bool {
        matches!(self, Op::MulAddDst | Op::MulDstAdd | Op::MulDstAddRelu)
    }

    /// Does the documented exception to the aliasing rule hold for this operation and type?
    fn accumulate(self, elem: Elem) -> Accumulate {
        let op = matches!(self, Op::Add | Op::Sub | Op::Mul | Op::Max | Op::Min | Op::AddRelu | Op::SubRelu);
        if op && matches!(elem, Elem::F16 | Elem::F32 | Elem::S32) {
            Accumulate::InPlace
        } else {
            Accumulate::No
        }
    }

    /// The operation on float lanes: `d` holds the destination's old values.
    #[inline]
    fn float(self, d: &mut [f32], a: &[f32], b: &[f32]) {
        match self {
            Op::Add => zip(d, a, b, |_, a, b| a + b),
            Op::Sub => zip(d, a, b, |_, a, b| a - b),
            Op::Mul => zip(d, a, b, |_, a, b| a * b),
            Op::Div => zip(d, a, b, |_, a, b| a / b),
            Op::Max => zip(d, a, b, |_, a, b| maximum(a, b)),
            Op::Min => zip(d, a, b, |_, a, b| minimum(a, b)),
            Op::AddRelu => zip(d, a, b, |_, a, b| maximum(a + b, 0.0)),
            Op::SubRelu => zip(d, a, b, |_, a, b| maximum(a - b, 0.0)),
            Op::MulAddDst => zip(d, a, b, |d, a, b| fused(a, b, d)),
            Op::MulDstAdd => zip(d, a, b, |d, a, b| fused(a, d, b)),
            Op::MulDstAddRelu => zip(d, a, b, |d, a, b| maximum(fused(a, d, b), 0.0)),
            Op::And | Op::Or => unreachable!("the type check refused floats"),
        }
    }

    fn int(self, a: i64, b: i64) -> i64 {
        match self {
            Op::Add => a + b,
            Op::Sub => a - b,
            Op::Mul => a * b,
            Op::Max => a.max(b),
            Op::Min => a.min(b),
            Op::And => a & b,
            Op::Or => a | b,
            // Overflow is decided before the ReLU, so that a wrapped negative sum gives 0.
            Op::AddRelu => a + b,
            Op::SubRelu => a - b,
            Op::Div | Op::MulAddDst | Op::MulDstAdd | Op::MulDstAddRelu => {
                unreachable!("the type check refused integers")
            }
        }
    }
}

#[inline(always)]
fn zip(d: &mut [f32], a: &[f32], b: &[f32], f: impl Fn(f32, f32, f32) -> f32) {
    for ((d, a), b) in d.iter_mut().zip(a).zip(b) {
        *d = f(*d, *a, *b);
    }
}

fn run(exec: &mut Exec<'_>, instr: &Instr, op: Op) -> Result<(), Stop> {
    let elem = instr.elem;
    let elem_dst = if instr.elem_dst == Elem::None { elem } else { instr.elem_dst };
    let is_float = matches!(elem, Elem::F16 | Elem::F32);
    let known = match op {
        Op::And | Op::Or => matches!(elem, Elem::S16 | Elem::U16),
        Op::Div | Op::MulAddDst | Op::MulDstAdd | Op::MulDstAddRelu => is_float,
        Op::AddRelu | Op::SubRelu => is_float || elem == Elem::S16,
        Op::Add | Op::Sub | Op::Mul | Op::Max | Op::Min => is_float || matches!(elem, Elem::S16 | Elem::S32),
    };
    let widening = op == Op::MulAddDst && (elem, elem_dst) == (Elem::F16, Elem::F32);
    if !known || elem != elem_dst && !widening {
        return Err(no_such_type(instr, op.takes()));
    }
    let a = &instr.args;
    let lanes = Lanes::new(instr, elem_dst, 3);
    let dst = Operand::new(exec, 0, elem_dst, a[4], a[7])?;
    let src0 = Operand::new(exec, 1, elem, a[5], a[8])?;
    let src1 = Operand::new(exec, 2, elem, a[6], a[9])?;
    check_overlap(&dst, &src0, &lanes, Accumulate::No)?;
    check_overlap(&dst, &src1, &lanes, op.accumulate(elem))?;
    src0.check_read(exec, &lanes)?;
    src1.check_read(exec, &lanes)?;
    if op.reads_dst() {
        dst.check_read(exec, &lanes)?;
    }
    dst.check_write(exec, &lanes)?;
    if is_float {
        run_float(exec, op, &lanes, [&dst, &src0, &src1]);
    } else {
        run_int(exec, op, &lanes, [&dst, &src0, &src1]);
    }
    Ok(())
}

fn run_float(exec: &mut Exec<'_>, op: Op, lanes: &Lanes, [dst, src0, src1]: [&Operand; 3]) {
    let n = lanes.per_repeat;
    let (mut d, mut a, mut b): (F32s, F32s, F32s) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    for r in 0..lanes.repeats {
        src0.load_f32(exec, lanes, r, &mut a);
        src1.load_f32(exec, lanes, r, &mut b);
        if op.reads_dst() {
            dst.load_f32(exec, lanes, r, &mut d);
        }
        op.float(&mut d[..n], &a[..n], &b[..n]);
        dst.store_f32(exec, lanes, r, &d);
    }
}

fn run_int(exec: &mut Exec<'_>, op: Op, lanes: &Lanes, [dst, src0, src1]: [&Operand; 3]) {
    let inf_nan = exec.instr.regs.inf_nan();
    let (mut d, mut a, mut b): (Ints, Ints, Ints) = ([0; LANES], [0; LANES], [0; LANES]);
    for r in 0..lanes.repeats {
        src0.load_int(exec, lanes, r, &mut a);
        src1.load_int(exec, lanes, r, &mut b);
        for ((d, a), b) in d.iter_mut().zip(&a).zip(&b) {
            *d = finish_int(dst.elem, op.int(*a, *b), inf_nan);
            if matches!(op, Op::AddRelu | Op::SubRelu) {
                *d = i64::from(*d as i16).max(0);
            }
        }
        dst.store_int(exec, lanes, r, &d);
    }
}

const OPERANDS: &[&str] = &[
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
];

const fn op(mnemonic: &'static str, run: fn(&mut Exec<'_>, &Instr) -> Result<(), Stop>) -> OpInfo {
    OpInfo {
        mnemonic,
        dispatch: Dispatch::Queued(Pipe::V, run),
        operands: OPERANDS,
        source: "dav-c220.md 3.7, 2.2, 2.3, 6.2",
    }
}

pub(crate) static OPS: &[OpInfo] = &[
    op("vadd", |e, i| run(e, i, Op::Add)),
    op("vsub", |e, i| run(e, i, Op::Sub)),
    op("vmul", |e, i| run(e, i, Op::Mul)),
    op("vdiv", |e, i| run(e, i, Op::Div)),
    op("vmax", |e, i| run(e, i, Op::Max)),
    op("vmin", |e, i| run(e, i, Op::Min)),
    op("vand", |e, i| run(e, i, Op::And)),
    op("vor", |e, i| run(e, i, Op::Or)),
    op("vaddrelu", |e, i| run(e, i, Op::AddRelu)),
    op("vsubrelu", |e, i| run(e, i, Op::SubRelu)),
    op("vmla", |e, i| run(e, i, Op::MulAddDst)),
    op("vmadd", |e, i| run(e, i, Op::MulDstAdd)),
    op("vmaddrelu", |e, i| run(e, i, Op::MulDstAddRelu)),
];
