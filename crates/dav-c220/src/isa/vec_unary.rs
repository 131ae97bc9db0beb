//! Element-wise instructions of one vector (`dav-c220.md` 3.7).

use super::vec_float::{approximate, exp, ln, maximum, to_f32, to_f32_odd};
use super::vec_lanes::Lanes;
use super::vec_operand::{Ints, Operand, LANES, UNARY_OPERANDS};
use super::vec_overlap::{check_overlap, Accumulate};
use super::vec_scalar::FloatLanes;
use super::vec_value::Types;
use super::vec_wide::on_widest;
use crate::access::{Elem, Exec, Instr, OpInfo, Semantic, Stop};

/// What is computed in each lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Exp,
    Ln,
    Abs,
    Sqrt,
    ReciprocalSqrt,
    Reciprocal,
    Relu,
    Not,
}

impl Op {
    fn takes(self) -> Types {
        match self {
            Op::Relu => Types::alike(&[Elem::F16, Elem::F32, Elem::S32]),
            Op::Not => Types::alike(&[Elem::S16, Elem::U16]),
            _ => Types::FLOATS,
        }
    }
}

/// Runs the operation on float lanes; the choice is made once for the whole instruction. Results of a 16-bit
/// type are rounded once, so f64 results pass through a rounding to odd.
fn run_float(exec: &mut Exec<'_>, op: Op, lanes: &Lanes, operands: [&Operand; 2]) {
    let wide = operands[0].elem == Elem::F32;
    match op {
        Op::Exp if wide => on_lanes(exec, lanes, operands, |x| to_f32(exp(f64::from(x)))),
        Op::Exp => on_lanes(exec, lanes, operands, |x| to_f32_odd(exp(f64::from(x)))),
        Op::Ln if wide => on_lanes(exec, lanes, operands, |x| to_f32(ln(f64::from(x)))),
        Op::Ln => on_lanes(exec, lanes, operands, |x| to_f32_odd(ln(f64::from(x)))),
        Op::Abs => on_lanes(exec, lanes, operands, f32::abs),
        Op::Sqrt => on_lanes(exec, lanes, operands, f32::sqrt),
        Op::ReciprocalSqrt => {
            on_lanes(exec, lanes, operands, |x| approximate(to_f32(1.0 / f64::from(x).sqrt())));
        }
        Op::Reciprocal => on_lanes(exec, lanes, operands, |x| approximate(1.0 / x)),
        Op::Relu => on_lanes(exec, lanes, operands, |x| maximum(x, 0.0)),
        Op::Not => unreachable!("the type check refused floats"),
    }
}

fn on_lanes(exec: &mut Exec<'_>, lanes: &Lanes, operands: [&Operand; 2], f: impl Fn(f32) -> f32) {
    on_widest(FloatLanes { exec, reads_dst: false, lanes, operands, f: |_, x| f(x) });
}

fn run(exec: &mut Exec<'_>, instr: &Instr, op: Op) -> Result<(), Stop> {
    let elem = instr.elem;
    let is_float = matches!(elem, Elem::F16 | Elem::F32);
    op.takes().check(instr, elem, elem)?;
    let a = &instr.args;
    let lanes = Lanes::new(instr, elem, 2);
    let dst = Operand::new(exec, 0, elem, a[3], a[5])?;
    let src = Operand::new(exec, 1, elem, a[4], a[6])?;
    src.check_read(exec, &lanes)?;
    check_overlap(&dst, &src, &lanes, Accumulate::No)?;
    dst.check_write(exec, &lanes)?;
    if is_float {
        run_float(exec, op, &lanes, [&dst, &src]);
    } else {
        let mut x: Ints = [0; LANES];
        for r in 0..lanes.repeats {
            src.load_int(exec, &lanes, r, &mut x);
            for x in &mut x {
                *x = if op == Op::Relu { (*x).max(0) } else { !*x };
            }
            dst.store_int(exec, &lanes, r, &x);
        }
    }
    Ok(())
}

const fn op(mnemonic: &'static str, run: Semantic) -> OpInfo {
    OpInfo::vector(mnemonic, UNARY_OPERANDS, "dav-c220.md 3.7, 2.2, 2.3, 6.2", run)
}

pub(crate) static OPS: &[OpInfo] = &[
    op("vexp", |e, i| run(e, i, Op::Exp)),
    op("vln", |e, i| run(e, i, Op::Ln)),
    op("vabs", |e, i| run(e, i, Op::Abs)),
    op("vsqrt", |e, i| run(e, i, Op::Sqrt)),
    op("vrsqrt", |e, i| run(e, i, Op::ReciprocalSqrt)),
    op("vrec", |e, i| run(e, i, Op::Reciprocal)).unpublished(),
    op("vrelu", |e, i| run(e, i, Op::Relu)),
    op("vnot", |e, i| run(e, i, Op::Not)).unpublished(),
];
