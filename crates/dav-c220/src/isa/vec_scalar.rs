//! Element-wise instructions of a vector and a scalar (`dav-c220.md` 3.7).

use super::vec_float::{fused, maximum, minimum};
use super::vec_forms::{SCALAR, SCALAR_AND_ROUND_NAMES, SCALAR_NAMES};
use super::vec_lanes::Lanes;
use super::vec_operand::{F32s, Ints, Operand, LANES};
use super::vec_overlap::{check_overlap, Accumulate};
use super::vec_value::{canonical, extend, is_float, scalar_f32, Fit, Types};
use super::vec_wide::{on_widest, Repeated};
use crate::access::{Elem, Exec, Instr, OpInfo, Semantic, Stop, VectorOperands};

/// Computes `float(src, scalar)` or `int(fit, src, scalar)` in each lane, as the type is.
fn run(
    exec: &mut Exec<'_>,
    instr: &Instr,
    types: Types,
    float: impl Fn(f32, f32) -> f32,
    int: impl Fn(Fit, i64, i64) -> i64,
) -> Result<(), Stop> {
    let (lanes, dst, src) = operands(exec, instr, types, false)?;
    if is_float(instr.elem) {
        let scalar = scalar_f32(src.elem, exec.arg(2));
        on_lanes(exec, false, &lanes, [&dst, &src], move |_, x| float(x, scalar));
    } else {
        let fit = Fit { elem: src.elem, inf_nan: instr.regs.inf_nan() };
        let scalar = extend(src.elem, exec.arg(2));
        on_ints(exec, &lanes, &dst, &src, move |x| int(fit, x, scalar));
    }
    Ok(())
}

/// dst += scalar * src.
fn run_axpy(exec: &mut Exec<'_>, instr: &Instr) -> Result<(), Stop> {
    let (lanes, dst, src) = operands(exec, instr, Types::FLOATS_OR_WIDENING, true)?;
    let scalar = scalar_f32(src.elem, exec.arg(2));
    on_lanes(exec, true, &lanes, [&dst, &src], move |d, x| fused(x, scalar, d));
    Ok(())
}

/// Computes `shift(src, distance, round)` in each lane.
fn run_shift(exec: &mut Exec<'_>, instr: &Instr, shift: impl Fn(i64, i64, bool) -> i64) -> Result<(), Stop> {
    let types = Types::alike(&[Elem::S16, Elem::U16, Elem::S32, Elem::U32]);
    let (lanes, dst, src) = operands(exec, instr, types, false)?;
    let distance = extend(Elem::U32, exec.arg(2));
    // The `round` operand of `vshr` follows the strides; unsigned data ignore it (asc-devkit, ShiftRight.md).
    let round = exec.arg(8) != 0 && matches!(src.elem, Elem::S16 | Elem::S32);
    on_ints(exec, &lanes, &dst, &src, move |x| shift(x, distance, round));
    Ok(())
}

/// The operands of an instruction that takes these types, checked.
fn operands(
    exec: &mut Exec<'_>,
    instr: &Instr,
    types: Types,
    reads_dst: bool,
) -> Result<(Lanes, Operand, Operand), Stop> {
    let elem = instr.elem;
    let elem_dst = if instr.elem_dst == Elem::None { elem } else { instr.elem_dst };
    types.check(instr, elem, elem_dst)?;
    let lanes = Lanes::new(instr, elem_dst);
    let dst = Operand::of(exec, SCALAR[0], elem_dst)?;
    let src = Operand::of(exec, SCALAR[1], elem)?;
    src.check_read(exec, &lanes)?;
    check_overlap(&dst, &src, &lanes, Accumulate::No)?;
    if reads_dst {
        dst.check_read(exec, &lanes)?;
    }
    dst.check_write(exec, &lanes)?;
    Ok((lanes, dst, src))
}

fn on_lanes(
    exec: &mut Exec<'_>,
    reads_dst: bool,
    lanes: &Lanes,
    operands: [&Operand; 2],
    f: impl Fn(f32, f32) -> f32,
) {
    on_widest(FloatLanes { exec, reads_dst, lanes, operands, f });
}

fn on_ints(exec: &mut Exec<'_>, lanes: &Lanes, dst: &Operand, src: &Operand, f: impl Fn(i64) -> i64) {
    let mut x: Ints = [0; LANES];
    for r in 0..lanes.repeats {
        src.load_int(exec, lanes, r, &mut x);
        for x in &mut x {
            *x = f(*x);
        }
        dst.store_int(exec, lanes, r, &x);
    }
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

fn no_ints(_: Fit, _: i64, _: i64) -> i64 {
    unreachable!("the type check refused integers")
}

const OPERANDS: &VectorOperands =
    &VectorOperands { names: SCALAR_NAMES, repeat: Some(3), dst: Some(SCALAR[0]), sources: &[SCALAR[1]] };
const OPERANDS_AND_ROUND: &VectorOperands = &VectorOperands { names: SCALAR_AND_ROUND_NAMES, ..*OPERANDS };

const fn op(mnemonic: &'static str, operands: &'static VectorOperands, run: Semantic) -> OpInfo {
    OpInfo::vector(mnemonic, operands, "dav-c220.md 3.7, 2.2, 2.3, 6.2", run)
}

/// Each row is all there is of an instruction: name, operands, types, arithmetic and rate.
pub(crate) static OPS: &[OpInfo] = &[
    op("vadds", OPERANDS, |e, i| run(e, i, Types::NUMBERS, |x, s| x + s, |fit, x, s| fit.of(x + s))),
    op("vmuls", OPERANDS, |e, i| run(e, i, Types::NUMBERS, |x, s| x * s, |fit, x, s| fit.of(x * s))),
    op("vmaxs", OPERANDS, |e, i| run(e, i, Types::NUMBERS, maximum, |_, x, s| x.max(s))),
    op("vmins", OPERANDS, |e, i| run(e, i, Types::NUMBERS, minimum, |_, x, s| x.min(s))),
    op("vlrelu", OPERANDS, |e, i| run(e, i, Types::FLOATS, |x, s| if x >= 0.0 { x } else { x * s }, no_ints)),
    op("vaxpy", OPERANDS, run_axpy),
    op("vshl", OPERANDS, |e, i| run_shift(e, i, |x, distance, _| shift_left(x, distance))).unpublished(),
    op("vshr", OPERANDS_AND_ROUND, |e, i| run_shift(e, i, shift_right)).unpublished(),
];
