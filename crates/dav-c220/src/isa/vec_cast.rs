//! Conversions between element types: `vconv_<from>2<to><mode>` and `vconv_deq` (`dav-c220.md` 2.3, 3.7,
//! 6.3).

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "saturating float to integer conversions are the operation; integers are reduced to 53 bits before they become f64"
)]

use super::vec_float::{to_f32, to_f32_odd};
use super::vec_forms::{UNARY, UNARY_OPERANDS};
use super::vec_lanes::Lanes;
use super::vec_operand::{F32s, Ints, Operand, LANES};
use super::vec_overlap::{check_overlap, Accumulate};
use super::vec_value::int_range;
use crate::access::{Elem, Exec, Instr, OpInfo, Semantic, Stop};

/// AscendC's `RoundMode`, from the last letter of the mnemonic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// No letter: exact where the types allow it, else as `Rint`.
    None,
    /// r: to nearest, ties to even.
    Rint,
    /// f: towards -inf.
    Floor,
    /// c: towards +inf.
    Ceil,
    /// a: to nearest, ties away from zero.
    Round,
    /// z: towards zero.
    Trunc,
    /// o: towards zero, then the last bit set if that was inexact.
    Odd,
}

impl Mode {
    /// Rounds to an integral value.
    fn round(self, x: f64) -> f64 {
        match self {
            Mode::None | Mode::Rint => x.round_ties_even(),
            Mode::Floor => x.floor(),
            Mode::Ceil => x.ceil(),
            Mode::Round => x.round(),
            Mode::Trunc => x.trunc(),
            Mode::Odd => {
                let t = x.trunc();
                if t != x && t % 2.0 == 0.0 {
                    t + 1f64.copysign(x)
                } else {
                    t
                }
            }
        }
    }
}

/// Digits of a float format: bits of precision and exponent of the smallest normal number.
const fn format(elem: Elem) -> (i32, i32, f64) {
    match elem {
        Elem::F16 => (11, -14, 65504.0),
        Elem::Bf16 => (8, -126, 3.389_531_389_251_535_5e38),
        _ => (24, -126, 340_282_346_638_528_859_811_704_183_484_516_925_440.0),
    }
}

/// 2^e for a normal f64.
fn power(e: i32) -> f64 {
    f64::from_bits(u64::from((e + 1023).unsigned_abs()) << 52)
}

/// `x` rounded to the float format of `elem`, as f64.
///
/// ASSUMPTION(cast-directed-overflow): a magnitude that exceeds the largest finite number after rounding with
/// unbounded exponent becomes inf in every mode; the documents say only "overflow gives inf".
fn round_to_format(x: f64, elem: Elem, mode: Mode) -> f64 {
    if !x.is_finite() || x == 0.0 {
        return x;
    }
    let (precision, min_exponent, max) = format(elem);
    let exponent = (x.to_bits() >> 52 & 0x7ff) as i32 - 1023;
    let quantum = exponent.max(min_exponent) - (precision - 1);
    let y = mode.round(x * power(-quantum)) * power(quantum);
    if y.abs() > max {
        f64::INFINITY.copysign(x)
    } else {
        y
    }
}

/// An i64 as f64; inexact values are rounded to odd, so that a following rounding is the only one.
fn odd_f64(x: i64) -> f64 {
    if x.unsigned_abs() < 1 << 53 {
        return x as f64;
    }
    let m = x.unsigned_abs();
    let cut = m >> 11 | u64::from(m & 0x7ff != 0);
    ((cut << 11) as f64).copysign(if x < 0 { -1.0 } else { 1.0 })
}

/// A float as integer: saturates, NaN gives 0 (`dav-c220.md` 6.3).
fn to_int(x: f32, elem: Elem, mode: Mode) -> i64 {
    let (min, max) = int_range(elem);
    // `as` saturates at the range of i64 and takes NaN to 0.
    (mode.round(f64::from(x)) as i64).clamp(min, max)
}

/// -0 becomes +0 (`dav-c220.md` 6.2). ASSUMPTION(cast-negative-zero): a negative number that rounds to zero
/// keeps its sign; the table names -0 only.
fn to_float(x: f32, elem: Elem, mode: Mode) -> f32 {
    let x = x + 0.0;
    match (elem, mode) {
        // The store rounds to nearest even.
        (Elem::F16 | Elem::Bf16, Mode::None | Mode::Rint) => x,
        (Elem::F16 | Elem::Bf16, _) => to_f32(round_to_format(f64::from(x), elem, mode)),
        (_, Mode::None) => x,
        _ => to_f32(mode.round(f64::from(x))),
    }
}

fn is_float(elem: Elem) -> bool {
    matches!(elem, Elem::F16 | Elem::Bf16 | Elem::F32)
}

fn run(exec: &mut Exec<'_>, instr: &Instr, from: Elem, to: Elem, mode: Mode) -> Result<(), Stop> {
    let (lanes, dst, src) = operands(exec, instr, from, to)?;
    let n = lanes.per_repeat;
    let (mut f, mut i): (F32s, Ints) = ([0.0; LANES], [0; LANES]);
    for r in 0..lanes.repeats {
        match (is_float(from), is_float(to)) {
            (true, true) => {
                src.load_f32(exec, &lanes, r, &mut f);
                convert_floats(&mut f[..n], to, mode);
                dst.store_f32(exec, &lanes, r, &f);
            }
            (true, false) => {
                src.load_f32(exec, &lanes, r, &mut f);
                for (i, f) in i.iter_mut().zip(&f).take(n) {
                    *i = to_int(*f, to, mode);
                }
                dst.store_int(exec, &lanes, r, &i);
            }
            (false, true) => {
                src.load_int(exec, &lanes, r, &mut i);
                for (i, f) in i.iter().zip(&mut f).take(n) {
                    *f = to_f32(round_to_format(odd_f64(*i), to, mode));
                }
                dst.store_f32(exec, &lanes, r, &f);
            }
            (false, false) => {
                src.load_int(exec, &lanes, r, &mut i);
                let (min, max) = int_range(to);
                // ASSUMPTION(int-narrowing-saturates): CTRL[59] chooses truncation on other chips; A2 exposes
                // CTRL[48] only.
                for i in &mut i {
                    *i = (*i).clamp(min, max);
                }
                dst.store_int(exec, &lanes, r, &i);
            }
        }
    }
    Ok(())
}

/// The common conversions are one branch per repeat, not per lane.
fn convert_floats(f: &mut [f32], to: Elem, mode: Mode) {
    if matches!((to, mode), (_, Mode::None) | (Elem::F16 | Elem::Bf16, Mode::Rint)) {
        for f in f {
            *f += 0.0;
        }
        return;
    }
    for f in f {
        *f = to_float(*f, to, mode);
    }
}

fn operands(
    exec: &mut Exec<'_>,
    instr: &Instr,
    from: Elem,
    to: Elem,
) -> Result<(Lanes, Operand, Operand), Stop> {
    let wider = if from.bytes() > to.bytes() { from } else { to };
    let lanes = Lanes::new(instr, wider);
    let dst = Operand::of(exec, UNARY[0], to)?;
    let src = Operand::of(exec, UNARY[1], from)?;
    src.check_read(exec, &lanes)?;
    check_overlap(&dst, &src, &lanes, Accumulate::No)?;
    dst.check_write(exec, &lanes)?;
    Ok((lanes, dst, src))
}

/// s32 to f16: each value times the scale of `set_deqscale`, rounded once.
fn run_deq(exec: &mut Exec<'_>, instr: &Instr) -> Result<(), Stop> {
    let (lanes, dst, src) = operands(exec, instr, Elem::S32, Elem::F16)?;
    let scale = f64::from(f32::from_bits(instr.regs.deqscale as u32));
    let (mut f, mut i): (F32s, Ints) = ([0.0; LANES], [0; LANES]);
    for r in 0..lanes.repeats {
        src.load_int(exec, &lanes, r, &mut i);
        for (i, f) in i.iter().zip(&mut f).take(lanes.per_repeat) {
            *f = to_f32_odd(*i as f64 * scale);
        }
        dst.store_f32(exec, &lanes, r, &f);
    }
    Ok(())
}

const fn op(mnemonic: &'static str, run: Semantic) -> OpInfo {
    OpInfo::vector(mnemonic, UNARY_OPERANDS, "dav-c220.md 2.3, 3.7, 6.3", run).like("vconv")
}

/// Mnemonic, source type, destination type, mode.
macro_rules! casts {
    ($($name:literal $from:ident $to:ident $mode:ident;)*) => {
        &[
            $(op($name, |e, i| run(e, i, Elem::$from, Elem::$to, Mode::$mode)),)*
            op("vconv_deq", run_deq),
        ]
    };
}

pub(crate) static OPS: &[OpInfo] = casts! {
    "vconv_f322f16" F32 F16 None;
    "vconv_f322f16r" F32 F16 Rint;
    "vconv_f322f16f" F32 F16 Floor;
    "vconv_f322f16c" F32 F16 Ceil;
    "vconv_f322f16a" F32 F16 Round;
    "vconv_f322f16z" F32 F16 Trunc;
    "vconv_f322f16o" F32 F16 Odd;
    "vconv_f322bf16r" F32 Bf16 Rint;
    "vconv_f322bf16f" F32 Bf16 Floor;
    "vconv_f322bf16c" F32 Bf16 Ceil;
    "vconv_f322bf16a" F32 Bf16 Round;
    "vconv_f322bf16z" F32 Bf16 Trunc;
    "vconv_f322f32r" F32 F32 Rint;
    "vconv_f322f32f" F32 F32 Floor;
    "vconv_f322f32c" F32 F32 Ceil;
    "vconv_f322f32a" F32 F32 Round;
    "vconv_f322f32z" F32 F32 Trunc;
    "vconv_f162f32" F16 F32 None;
    "vconv_bf162f32" Bf16 F32 None;
    "vconv_f322s32r" F32 S32 Rint;
    "vconv_f322s32f" F32 S32 Floor;
    "vconv_f322s32c" F32 S32 Ceil;
    "vconv_f322s32a" F32 S32 Round;
    "vconv_f322s32z" F32 S32 Trunc;
    "vconv_f322s16r" F32 S16 Rint;
    "vconv_f322s16f" F32 S16 Floor;
    "vconv_f322s16c" F32 S16 Ceil;
    "vconv_f322s16a" F32 S16 Round;
    "vconv_f322s16z" F32 S16 Trunc;
    "vconv_f322s64r" F32 S64 Rint;
    "vconv_f322s64f" F32 S64 Floor;
    "vconv_f322s64c" F32 S64 Ceil;
    "vconv_f322s64a" F32 S64 Round;
    "vconv_f322s64z" F32 S64 Trunc;
    "vconv_f162s32r" F16 S32 Rint;
    "vconv_f162s32f" F16 S32 Floor;
    "vconv_f162s32c" F16 S32 Ceil;
    "vconv_f162s32a" F16 S32 Round;
    "vconv_f162s32z" F16 S32 Trunc;
    "vconv_f162s16r" F16 S16 Rint;
    "vconv_f162s16f" F16 S16 Floor;
    "vconv_f162s16c" F16 S16 Ceil;
    "vconv_f162s16a" F16 S16 Round;
    "vconv_f162s16z" F16 S16 Trunc;
    "vconv_f162s8" F16 S8 None;
    "vconv_f162s8r" F16 S8 Rint;
    "vconv_f162s8f" F16 S8 Floor;
    "vconv_f162s8c" F16 S8 Ceil;
    "vconv_f162s8a" F16 S8 Round;
    "vconv_f162s8z" F16 S8 Trunc;
    "vconv_f162u8" F16 U8 None;
    "vconv_f162u8r" F16 U8 Rint;
    "vconv_f162u8f" F16 U8 Floor;
    "vconv_f162u8c" F16 U8 Ceil;
    "vconv_f162u8a" F16 U8 Round;
    "vconv_f162u8z" F16 U8 Trunc;
    "vconv_bf162s32r" Bf16 S32 Rint;
    "vconv_bf162s32f" Bf16 S32 Floor;
    "vconv_bf162s32c" Bf16 S32 Ceil;
    "vconv_bf162s32a" Bf16 S32 Round;
    "vconv_bf162s32z" Bf16 S32 Trunc;
    "vconv_s82f16" S8 F16 None;
    "vconv_u82f16" U8 F16 None;
    "vconv_s162f16" S16 F16 None;
    "vconv_s162f16r" S16 F16 Rint;
    "vconv_s162f16f" S16 F16 Floor;
    "vconv_s162f16c" S16 F16 Ceil;
    "vconv_s162f16a" S16 F16 Round;
    "vconv_s162f16z" S16 F16 Trunc;
    "vconv_s162f32" S16 F32 None;
    "vconv_s322f32" S32 F32 None;
    "vconv_s322f32r" S32 F32 Rint;
    "vconv_s322f32f" S32 F32 Floor;
    "vconv_s322f32c" S32 F32 Ceil;
    "vconv_s322f32a" S32 F32 Round;
    "vconv_s322f32z" S32 F32 Trunc;
    "vconv_s322s16" S32 S16 None;
    "vconv_s322s64" S32 S64 None;
    "vconv_s642s32" S64 S32 None;
    "vconv_s642f32r" S64 F32 Rint;
    "vconv_s642f32f" S64 F32 Floor;
    "vconv_s642f32c" S64 F32 Ceil;
    "vconv_s642f32a" S64 F32 Round;
    "vconv_s642f32z" S64 F32 Trunc;
};
