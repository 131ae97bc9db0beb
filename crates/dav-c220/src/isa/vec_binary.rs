//! Element-wise instructions of two vectors (`dav-c220.md` 3.7).

use super::vec_float::{fused, maximum, minimum};
use super::vec_lanes::Lanes;
use super::vec_operand::{F32s, Ints, Operand, BINARY_OPERANDS, LANES};
use super::vec_overlap::{check_overlap, Accumulate};
use super::vec_value::{canonical, extend, finish_int, Types};
use super::vec_wide::{on_widest, Repeated};
use crate::access::{Elem, Exec, Instr, OpInfo, Semantic, Stop};

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
    fn takes(self) -> Types {
        match self {
            Op::Add | Op::Sub | Op::Mul | Op::Max | Op::Min => {
                Types::alike(&[Elem::F16, Elem::F32, Elem::S16, Elem::S32])
            }
            Op::Div | Op::MulDstAdd | Op::MulDstAddRelu => Types::FLOATS,
            Op::And | Op::Or => Types::alike(&[Elem::S16, Elem::U16]),
            Op::AddRelu | Op::SubRelu => Types::alike(&[Elem::F16, Elem::F32, Elem::S16]),
            Op::MulAddDst => Types::FLOATS_OR_WIDENING,
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

fn run(exec: &mut Exec<'_>, instr: &Instr, op: Op) -> Result<(), Stop> {
    let elem = instr.elem;
    let elem_dst = if instr.elem_dst == Elem::None { elem } else { instr.elem_dst };
    let is_float = matches!(elem, Elem::F16 | Elem::F32);
    op.takes().check(instr, elem, elem_dst)?;
    let a = &instr.args;
    let lanes = Lanes::new(instr, elem_dst, 3);
    let dst = Operand::new(exec, 0, elem_dst, a[4], a[7])?;
    let src0 = Operand::new(exec, 1, elem, a[5], a[8])?;
    let src1 = Operand::new(exec, 2, elem, a[6], a[9])?;
    src0.check_read(exec, &lanes)?;
    src1.check_read(exec, &lanes)?;
    check_overlap(&dst, &src0, &lanes, Accumulate::No)?;
    check_overlap(&dst, &src1, &lanes, op.accumulate(elem))?;
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

/// Runs the operation on float lanes; the choice is made once for the whole instruction.
fn run_float(exec: &mut Exec<'_>, op: Op, lanes: &Lanes, operands: [&Operand; 3]) {
    match op {
        Op::Add => on_lanes(exec, op, lanes, operands, |_, a, b| a + b),
        Op::Sub => on_lanes(exec, op, lanes, operands, |_, a, b| a - b),
        Op::Mul => on_lanes(exec, op, lanes, operands, |_, a, b| a * b),
        Op::Div => on_lanes(exec, op, lanes, operands, |_, a, b| a / b),
        Op::Max => on_lanes(exec, op, lanes, operands, |_, a, b| maximum(a, b)),
        Op::Min => on_lanes(exec, op, lanes, operands, |_, a, b| minimum(a, b)),
        Op::AddRelu => on_lanes(exec, op, lanes, operands, |_, a, b| maximum(a + b, 0.0)),
        Op::SubRelu => on_lanes(exec, op, lanes, operands, |_, a, b| maximum(a - b, 0.0)),
        Op::MulAddDst => on_lanes(exec, op, lanes, operands, |d, a, b| fused(a, b, d)),
        Op::MulDstAdd => on_lanes(exec, op, lanes, operands, |d, a, b| fused(a, d, b)),
        Op::MulDstAddRelu => on_lanes(exec, op, lanes, operands, |d, a, b| maximum(fused(a, d, b), 0.0)),
        Op::And | Op::Or => unreachable!("the type check refused floats"),
    }
}

fn on_lanes(
    exec: &mut Exec<'_>,
    op: Op,
    lanes: &Lanes,
    operands: [&Operand; 3],
    f: impl Fn(f32, f32, f32) -> f32,
) {
    on_widest(FloatLanes { exec, reads_dst: op.reads_dst(), lanes, operands, f });
}

/// The repeats of an instruction on floats; `f` gets the destination's old lane and those of the sources.
struct FloatLanes<'a, 'm, F> {
    exec: &'a mut Exec<'m>,
    reads_dst: bool,
    lanes: &'a Lanes,
    operands: [&'a Operand; 3],
    f: F,
}

impl<F: Fn(f32, f32, f32) -> f32> Repeated for FloatLanes<'_, '_, F> {
    #[inline(always)]
    fn run(self) {
        let FloatLanes { exec, reads_dst, lanes, operands: [dst, src0, src1], f } = self;
        let (mut d, mut a, mut b): (F32s, F32s, F32s) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        for r in 0..lanes.repeats {
            if dst.is_whole_f32(lanes, r) && src0.elem == Elem::F32 {
                let mut x = if reads_dst { dst.load_64(exec, r) } else { [0.0; 64] };
                let (a, b) = (src0.load_64(exec, r), src1.load_64(exec, r));
                for i in 0..64 {
                    x[i] = canonical(f(x[i], a[i], b[i]));
                }
                dst.store_64(exec, r, &x);
                continue;
            }
            src0.load_f32(exec, lanes, r, &mut a);
            src1.load_f32(exec, lanes, r, &mut b);
            if reads_dst {
                dst.load_f32(exec, lanes, r, &mut d);
            }
            for ((d, a), b) in d.iter_mut().zip(&a).zip(&b) {
                *d = f(*d, *a, *b);
            }
            dst.store_f32(exec, lanes, r, &d);
        }
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
                *d = extend(dst.elem, d.cast_unsigned()).max(0);
            }
        }
        dst.store_int(exec, lanes, r, &d);
    }
}

const fn op(mnemonic: &'static str, run: Semantic) -> OpInfo {
    OpInfo::vector(mnemonic, BINARY_OPERANDS, "dav-c220.md 3.7, 2.2, 2.3, 6.2", run)
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
    op("vaddrelu", |e, i| run(e, i, Op::AddRelu)).like("vadd"),
    op("vsubrelu", |e, i| run(e, i, Op::SubRelu)).like("vsub"),
    op("vmla", |e, i| run(e, i, Op::MulAddDst)),
    op("vmadd", |e, i| run(e, i, Op::MulDstAdd)),
    op("vmaddrelu", |e, i| run(e, i, Op::MulDstAddRelu)).like("vmadd"),
];
