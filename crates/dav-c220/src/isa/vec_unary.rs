//! Element-wise instructions of one vector (`dav-c220.md` 3.7).

use super::vec_float::{approximate, exp, ln, maximum, to_f32, to_f32_odd};
use super::vec_forms::{UNARY, UNARY_OPERANDS};
use super::vec_lanes::Lanes;
use super::vec_operand::{Ints, Operand, LANES};
use super::vec_overlap::{check_overlap, Accumulate};
use super::vec_scalar::FloatLanes;
use super::vec_value::{is_float, Types};
use super::vec_wide::on_widest;
use crate::access::{Elem, Exec, Instr, OpInfo, Semantic, Stop};

/// The operands of an instruction that takes these types, checked.
fn operands(exec: &mut Exec<'_>, instr: &Instr, types: Types) -> Result<(Lanes, Operand, Operand), Stop> {
    let elem = instr.elem;
    types.check(instr, elem, elem)?;
    let lanes = Lanes::new(instr, elem);
    let dst = Operand::of(exec, UNARY[0], elem)?;
    let src = Operand::of(exec, UNARY[1], elem)?;
    src.check_read(exec, &lanes)?;
    check_overlap(&dst, &src, &lanes, Accumulate::No)?;
    dst.check_write(exec, &lanes)?;
    Ok((lanes, dst, src))
}

fn on_lanes(exec: &mut Exec<'_>, lanes: &Lanes, operands: [&Operand; 2], f: impl Fn(f32) -> f32) {
    on_widest(FloatLanes { exec, reads_dst: false, lanes, operands, f: |_, x| f(x) });
}

/// Computes `float` or `int` in each lane, as the type is.
fn run(
    exec: &mut Exec<'_>,
    instr: &Instr,
    types: Types,
    float: impl Fn(f32) -> f32,
    int: impl Fn(i64) -> i64,
) -> Result<(), Stop> {
    let (lanes, dst, src) = operands(exec, instr, types)?;
    if is_float(instr.elem) {
        on_lanes(exec, &lanes, [&dst, &src], float);
        return Ok(());
    }
    let mut x: Ints = [0; LANES];
    for r in 0..lanes.repeats {
        src.load_int(exec, &lanes, r, &mut x);
        for x in &mut x {
            *x = int(*x);
        }
        dst.store_int(exec, &lanes, r, &x);
    }
    Ok(())
}

/// Computes `f` in f64. Results of a 16-bit type are rounded once, so they pass through a rounding to odd.
fn run_f64(exec: &mut Exec<'_>, instr: &Instr, f: impl Fn(f64) -> f64) -> Result<(), Stop> {
    let (lanes, dst, src) = operands(exec, instr, Types::FLOATS)?;
    match instr.elem {
        Elem::F32 => on_lanes(exec, &lanes, [&dst, &src], |x| to_f32(f(f64::from(x)))),
        _ => on_lanes(exec, &lanes, [&dst, &src], |x| to_f32_odd(f(f64::from(x)))),
    }
    Ok(())
}

fn no_floats(_: f32) -> f32 {
    unreachable!("the type check refused floats")
}

fn no_ints(_: i64) -> i64 {
    unreachable!("the type check refused integers")
}

const fn op(mnemonic: &'static str, run: Semantic) -> OpInfo {
    OpInfo::vector(mnemonic, UNARY_OPERANDS, "dav-c220.md 3.7, 2.2, 2.3, 6.2", run)
}

/// Each row is all there is of an instruction: name, types, arithmetic and rate.
pub(crate) static OPS: &[OpInfo] = &[
    op("vexp", |e, i| run_f64(e, i, exp)),
    op("vln", |e, i| run_f64(e, i, ln)),
    op("vabs", |e, i| run(e, i, Types::FLOATS, f32::abs, no_ints)),
    op("vsqrt", |e, i| run(e, i, Types::FLOATS, f32::sqrt, no_ints)),
    op("vrsqrt", |e, i| {
        run(e, i, Types::FLOATS, |x| approximate(to_f32(1.0 / f64::from(x).sqrt())), no_ints)
    }),
    op("vrec", |e, i| run(e, i, Types::FLOATS, |x| approximate(1.0 / x), no_ints)).unpublished(),
    op("vrelu", |e, i| run(e, i, Types::FLOATS_OR_S32, |x| maximum(x, 0.0), |x| x.max(0))),
    op("vnot", |e, i| run(e, i, Types::BITS_16, no_floats, |x| !x)).unpublished(),
];
