//! Element-wise instructions of a vector and a scalar (`dav-c220.md` 3.7).

use super::vec_float::{fused, maximum, minimum};
use super::vec_lanes::Lanes;
use super::vec_operand::{F32s, Ints, Operand, LANES};
use super::vec_overlap::{check_overlap, Accumulate};
use super::vec_value::{canonical, extend, finish_int, scalar_f32, Types};
use super::vec_wide::{on_widest, Repeated};
use crate::access::{Elem, Exec, Instr, OpInfo, Semantic, Stop};

/// What is computed in each lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Add,
    Mul,
    Max,
    Min,
    LeakyRelu,
    /// dst += scalar * src.
    Axpy,
    ShiftLeft,
    ShiftRight,
}

impl Op {
    fn takes(self) -> Types {
        match self {
            Op::Add | Op::Mul | Op::Max | Op::Min => {
                Types::alike(&[Elem::F16, Elem::F32, Elem::S16, Elem::S32])
            }
            Op::LeakyRelu => Types::FLOATS,
            Op::Axpy => Types::FLOATS_OR_WIDENING,
            Op::ShiftLeft | Op::ShiftRight => Types::alike(&[Elem::S16, Elem::U16, Elem::S32, Elem::U32]),
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
    let dst = Operand::new(exec, 0, elem_dst, a[4], a[6])?;
    let src = Operand::new(exec, 1, elem, a[5], a[7])?;
    src.check_read(exec, &lanes)?;
    check_overlap(&dst, &src, &lanes, Accumulate::No)?;
    if op == Op::Axpy {
        dst.check_read(exec, &lanes)?;
    }
    dst.check_write(exec, &lanes)?;
    if is_float {
        run_float(exec, op, &lanes, [&dst, &src]);
    } else {
        run_int(exec, op, &lanes, [&dst, &src]);
    }
    Ok(())
}

/// Runs the operation on float lanes; the choice is made once for the whole instruction.
fn run_float(exec: &mut Exec<'_>, op: Op, lanes: &Lanes, operands: [&Operand; 2]) {
    let scalar = scalar_f32(operands[1].elem, exec.arg(2));
    match op {
        Op::Add => on_lanes(exec, op, lanes, operands, |_, s| s + scalar),
        Op::Mul => on_lanes(exec, op, lanes, operands, |_, s| s * scalar),
        Op::Max => on_lanes(exec, op, lanes, operands, |_, s| maximum(s, scalar)),
        Op::Min => on_lanes(exec, op, lanes, operands, |_, s| minimum(s, scalar)),
        Op::LeakyRelu => {
            on_lanes(exec, op, lanes, operands, |_, s| if s >= 0.0 { s } else { s * scalar });
        }
        Op::Axpy => on_lanes(exec, op, lanes, operands, |d, s| fused(s, scalar, d)),
        Op::ShiftLeft | Op::ShiftRight => unreachable!("the type check refused floats"),
    }
}

fn on_lanes(
    exec: &mut Exec<'_>,
    op: Op,
    lanes: &Lanes,
    operands: [&Operand; 2],
    f: impl Fn(f32, f32) -> f32,
) {
    on_widest(FloatLanes { exec, reads_dst: op == Op::Axpy, lanes, operands, f });
}

/// The repeats of an instruction on floats; `f` gets the destination's old lane and that of the source.
pub(super) struct FloatLanes<'a, 'm, F> {
    pub(super) exec: &'a mut Exec<'m>,
    pub(super) reads_dst: bool,
    pub(super) lanes: &'a Lanes,
    pub(super) operands: [&'a Operand; 2],
    pub(super) f: F,
}

impl<F: Fn(f32, f32) -> f32> Repeated for FloatLanes<'_, '_, F> {
    #[inline(always)]
    fn run(self) {
        let FloatLanes { exec, reads_dst, lanes, operands: [dst, src], f } = self;
        let (mut d, mut s): (F32s, F32s) = ([0.0; LANES], [0.0; LANES]);
        for r in 0..lanes.repeats {
            if dst.is_whole_f32(lanes, r) && src.elem == Elem::F32 {
                let mut x = if reads_dst { dst.load_64(exec, r) } else { [0.0; 64] };
                let s = src.load_64(exec, r);
                for i in 0..64 {
                    x[i] = canonical(f(x[i], s[i]));
                }
                dst.store_64(exec, r, &x);
                continue;
            }
            src.load_f32(exec, lanes, r, &mut s);
            if reads_dst {
                dst.load_f32(exec, lanes, r, &mut d);
            }
            for (d, s) in d.iter_mut().zip(&s) {
                *d = f(*d, *s);
            }
            dst.store_f32(exec, lanes, r, &d);
        }
    }
}

fn run_int(exec: &mut Exec<'_>, op: Op, lanes: &Lanes, [dst, src]: [&Operand; 2]) {
    let inf_nan = exec.instr.regs.inf_nan();
    let elem = src.elem;
    let scalar = match op {
        Op::ShiftLeft | Op::ShiftRight => extend(Elem::U32, exec.arg(2)),
        _ => extend(elem, exec.arg(2)),
    };
    // The `round` operand of `vshr` follows the strides; unsigned data ignore it (asc-devkit, ShiftRight.md).
    let round = exec.arg(8) != 0 && matches!(elem, Elem::S16 | Elem::S32);
    let mut x: Ints = [0; LANES];
    for r in 0..lanes.repeats {
        src.load_int(exec, lanes, r, &mut x);
        for x in &mut x {
            *x = match op {
                Op::Add => finish_int(elem, *x + scalar, inf_nan),
                Op::Mul => finish_int(elem, *x * scalar, inf_nan),
                Op::Max => (*x).max(scalar),
                Op::Min => (*x).min(scalar),
                Op::ShiftLeft => shift_left(*x, scalar),
                _ => shift_right(*x, scalar, round),
            };
        }
        dst.store_int(exec, lanes, r, &x);
    }
}

/// Bits shifted out are lost, a distance beyond the width gives 0.
fn shift_left(x: i64, distance: i64) -> i64 {
    if distance >= 32 {
        0
    } else {
        x << distance
    }
}

/// Arithmetic for sign-extended, logical for zero-extended values. Rounding adds the last bit shifted out.
fn shift_right(x: i64, distance: i64, round: bool) -> i64 {
    let distance = distance.min(63);
    let last_out = if round && distance > 0 { x >> (distance - 1) & 1 } else { 0 };
    (x >> distance) + last_out
}

const OPERANDS: &[&str] = &[
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

/// `operands` is the length of the operand list: only `vshr` has `round`.
const fn op(mnemonic: &'static str, operands: usize, run: Semantic) -> OpInfo {
    OpInfo::vector(mnemonic, OPERANDS.split_at(operands).0, "dav-c220.md 3.7, 2.2, 2.3, 6.2", run)
}

pub(crate) static OPS: &[OpInfo] = &[
    op("vadds", 8, |e, i| run(e, i, Op::Add)),
    op("vmuls", 8, |e, i| run(e, i, Op::Mul)),
    op("vmaxs", 8, |e, i| run(e, i, Op::Max)),
    op("vmins", 8, |e, i| run(e, i, Op::Min)),
    op("vlrelu", 8, |e, i| run(e, i, Op::LeakyRelu)),
    op("vaxpy", 8, |e, i| run(e, i, Op::Axpy)),
    op("vshl", 8, |e, i| run(e, i, Op::ShiftLeft)).unpublished(),
    op("vshr", 9, |e, i| run(e, i, Op::ShiftRight)).unpublished(),
];
