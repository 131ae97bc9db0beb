//! Element-wise instructions of one vector (`dav-c220.md` 3.7).

use super::vec_float::{approximate, exp, ln, maximum, to_f32, to_f32_odd};
use super::vec_operand::{check_overlap, no_such_type, Accumulate, F32s, Ints, Lanes, Operand, LANES};
use super::{Dispatch, OpInfo};
use crate::sim::instr::{Elem, Instr, Pipe};
use crate::sim::machine::Exec;
use crate::sim::Stop;

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
    fn takes(self) -> &'static str {
        match self {
            Op::Relu => "F16, F32, S32",
            Op::Not => "S16, U16",
            _ => "F16, F32",
        }
    }

    /// The operation on float lanes. Results of a 16-bit type are rounded once, so f64 results pass through a
    /// rounding to odd.
    fn float(self, elem: Elem, d: &mut [f32], s: &[f32]) {
        match (self, elem) {
            (Op::Exp, Elem::F32) => super::vec_float::exp_f32(d, s),
            (Op::Exp, _) => map(d, s, |x| to_f32_odd(exp(f64::from(x)))),
            (Op::Ln, Elem::F32) => map(d, s, |x| to_f32(ln(f64::from(x)))),
            (Op::Ln, _) => map(d, s, |x| to_f32_odd(ln(f64::from(x)))),
            (Op::Abs, _) => map(d, s, f32::abs),
            (Op::Sqrt, _) => map(d, s, f32::sqrt),
            (Op::ReciprocalSqrt, _) => map(d, s, |x| approximate(to_f32(1.0 / f64::from(x).sqrt()))),
            (Op::Reciprocal, _) => map(d, s, |x| approximate(1.0 / x)),
            (Op::Relu, _) => map(d, s, |x| maximum(x, 0.0)),
            (Op::Not, _) => unreachable!("the type check refused floats"),
        }
    }
}

#[inline(always)]
fn map(d: &mut [f32], s: &[f32], f: impl Fn(f32) -> f32) {
    for (d, s) in d.iter_mut().zip(s) {
        *d = f(*s);
    }
}

fn run(exec: &mut Exec<'_>, instr: &Instr, op: Op) -> Result<(), Stop> {
    let elem = instr.elem;
    let is_float = matches!(elem, Elem::F16 | Elem::F32);
    let known = match op {
        Op::Relu => is_float || elem == Elem::S32,
        Op::Not => matches!(elem, Elem::S16 | Elem::U16),
        _ => is_float,
    };
    if !known {
        return Err(no_such_type(instr, op.takes()));
    }
    let a = &instr.args;
    let lanes = Lanes::new(instr, elem, 2);
    let dst = Operand::new(exec, 0, elem, a[3], a[5])?;
    let src = Operand::new(exec, 1, elem, a[4], a[6])?;
    check_overlap(&dst, &src, &lanes, Accumulate::No)?;
    src.check_read(exec, &lanes)?;
    dst.check_write(exec, &lanes)?;
    if is_float {
        let n = lanes.per_repeat;
        let (mut d, mut s): (F32s, F32s) = ([0.0; LANES], [0.0; LANES]);
        for r in 0..lanes.repeats {
            src.load_f32(exec, &lanes, r, &mut s);
            op.float(elem, &mut d[..n], &s[..n]);
            dst.store_f32(exec, &lanes, r, &d);
        }
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

const OPERANDS: &[&str] =
    &["dst", "src", "repeat", "dstBlockStride", "srcBlockStride", "dstRepeatStride", "srcRepeatStride"];

const fn op(mnemonic: &'static str, run: fn(&mut Exec<'_>, &Instr) -> Result<(), Stop>) -> OpInfo {
    OpInfo {
        mnemonic,
        dispatch: Dispatch::Queued(Pipe::V, run),
        operands: OPERANDS,
        source: "dav-c220.md 3.7, 2.2, 2.3, 6.2",
    }
}

pub(crate) static OPS: &[OpInfo] = &[
    op("vexp", |e, i| run(e, i, Op::Exp)),
    op("vln", |e, i| run(e, i, Op::Ln)),
    op("vabs", |e, i| run(e, i, Op::Abs)),
    op("vsqrt", |e, i| run(e, i, Op::Sqrt)),
    op("vrsqrt", |e, i| run(e, i, Op::ReciprocalSqrt)),
    op("vrec", |e, i| run(e, i, Op::Reciprocal)),
    op("vrelu", |e, i| run(e, i, Op::Relu)),
    op("vnot", |e, i| run(e, i, Op::Not)),
];
