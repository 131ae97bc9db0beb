//! Arithmetic of all lanes. What lanes outside of the mask compute is dropped by the caller.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    reason = "PTX truncates, extends and reinterprets registers"
)]

use std::array::from_fn;

use half::f16;

use super::{Lanes, Mask};
use crate::op::{Bin32, Bin64, Compare, Number, Tri32, Un32};

fn map(a: &Lanes<u32>, f: impl Fn(u32) -> u32) -> Lanes<u32> {
    from_fn(|lane| f(a[lane]))
}

fn map2(a: &Lanes<u32>, b: &Lanes<u32>, f: impl Fn(u32, u32) -> u32) -> Lanes<u32> {
    from_fn(|lane| f(a[lane], b[lane]))
}

fn floats(a: &Lanes<u32>, b: &Lanes<u32>, f: impl Fn(f32, f32) -> f32) -> Lanes<u32> {
    map2(a, b, |x, y| f(f32::from_bits(x), f32::from_bits(y)).to_bits())
}

fn signed(a: &Lanes<u32>, b: &Lanes<u32>, f: impl Fn(i32, i32) -> i32) -> Lanes<u32> {
    map2(a, b, |x, y| f(x as i32, y as i32) as u32)
}

pub(super) fn un32(op: Un32, a: &Lanes<u32>) -> Lanes<u32> {
    let float = |f: fn(f32) -> f32| map(a, |x| f(f32::from_bits(x)).to_bits());
    match op {
        Un32::Mov => *a,
        Un32::Not => map(a, |x| !x),
        Un32::NegS => map(a, u32::wrapping_neg),
        Un32::NegF => map(a, |x| x ^ 1 << 31),
        Un32::AbsF => map(a, |x| x & !(1 << 31)),
        Un32::Ex2 { ftz: false } => float(exp2),
        Un32::Ex2 { ftz: true } => float(|x| flush(exp2(flush(x)))),
        Un32::Lg2 => float(|x| f64::from(x).log2() as f32),
        // The quotient of 1 is the exact value rounded once.
        Un32::Rcp => float(|x| 1.0 / x),
        Un32::HalfFromFloat => map(a, |x| u32::from(f16::from_f32(f32::from_bits(x)).to_bits())),
        Un32::FloatFromHalf => map(a, |x| f16::from_bits(x as u16).to_f32().to_bits()),
        Un32::FloatFromS => map(a, |x| (x as i32 as f32).to_bits()),
        Un32::SFromFloat => map(a, |x| f32::from_bits(x) as i32 as u32),
        Un32::FloatFromU => map(a, |x| (x as f32).to_bits()),
    }
}

fn exp2(x: f32) -> f32 {
    f64::from(x).exp2() as f32
}

/// Subnormal numbers become a zero of their sign.
fn flush(x: f32) -> f32 {
    if x.is_subnormal() {
        0_f32.copysign(x)
    } else {
        x
    }
}

/// Divisors of the lanes in use are not zero: the caller has looked.
pub(super) fn bin32(op: Bin32, a: &Lanes<u32>, b: &Lanes<u32>) -> Lanes<u32> {
    match op {
        Bin32::Add => map2(a, b, u32::wrapping_add),
        Bin32::Sub => map2(a, b, u32::wrapping_sub),
        Bin32::MulLo => map2(a, b, u32::wrapping_mul),
        Bin32::And => map2(a, b, |x, y| x & y),
        Bin32::Or => map2(a, b, |x, y| x | y),
        Bin32::Xor => map2(a, b, |x, y| x ^ y),
        // Shifts by more than the width are shifts by the width.
        Bin32::Shl => map2(a, b, |x, by| x.checked_shl(by).unwrap_or(0)),
        Bin32::ShrU => map2(a, b, |x, by| x.checked_shr(by).unwrap_or(0)),
        Bin32::ShrS => map2(a, b, |x, by| (x as i32 >> by.min(31)) as u32),
        Bin32::MinS => signed(a, b, i32::min),
        Bin32::MaxS => signed(a, b, i32::max),
        Bin32::MinU => map2(a, b, u32::min),
        Bin32::MaxU => map2(a, b, u32::max),
        Bin32::DivS => signed(a, b, |x, y| if y == 0 { 0 } else { x.wrapping_div(y) }),
        Bin32::DivU => map2(a, b, |x, y| x.checked_div(y).unwrap_or(0)),
        Bin32::RemS => signed(a, b, |x, y| if y == 0 { 0 } else { x.wrapping_rem(y) }),
        Bin32::RemU => map2(a, b, |x, y| x.checked_rem(y).unwrap_or(0)),
        Bin32::AddF => floats(a, b, |x, y| x + y),
        Bin32::SubF => floats(a, b, |x, y| x - y),
        Bin32::MulF => floats(a, b, |x, y| x * y),
        Bin32::MinF => floats(a, b, |x, y| lesser(x, y, true)),
        Bin32::MaxF => floats(a, b, |x, y| lesser(x, y, false)),
    }
}

/// `min` or `max` of PTX: of a number and a NaN the number, and -0 is below +0.
fn lesser(x: f32, y: f32, min: bool) -> f32 {
    if x.is_nan() {
        y
    } else if y.is_nan() || (x == y && x.is_sign_negative() == min) || (x != y && (x < y) == min) {
        x
    } else {
        y
    }
}

pub(super) fn tri32(op: Tri32, a: &Lanes<u32>, b: &Lanes<u32>, c: &Lanes<u32>) -> Lanes<u32> {
    match op {
        Tri32::MadLo => from_fn(|lane| a[lane].wrapping_mul(b[lane]).wrapping_add(c[lane])),
        Tri32::Fma => from_fn(|lane| {
            let [x, y, z] = [a, b, c].map(|source| f32::from_bits(source[lane]));
            x.mul_add(y, z).to_bits()
        }),
        Tri32::Prmt => from_fn(|lane| permute(a[lane], b[lane], c[lane])),
        Tri32::Lop3(table) => from_fn(|lane| logic(table, a[lane], b[lane], c[lane])),
    }
}

/// Bytes of `b:a` chosen by the nibbles of `selector`; bit 3 of a nibble replicates the sign.
fn permute(a: u32, b: u32, selector: u32) -> u32 {
    let bytes = (u64::from(b) << 32 | u64::from(a)).to_le_bytes();
    u32::from_le_bytes(from_fn(|n| {
        let nibble = selector >> (4 * n) & 15;
        let byte = bytes[(nibble & 7) as usize];
        if nibble & 8 == 0 {
            byte
        } else {
            (byte as i8 >> 7) as u8
        }
    }))
}

fn logic(table: u8, a: u32, b: u32, c: u32) -> u32 {
    (0..8).filter(|bit| table >> bit & 1 == 1).fold(0, |found, bit| {
        let pick = |value: u32, of: u32| if bit >> of & 1 == 1 { value } else { !value };
        found | pick(a, 2) & pick(b, 1) & pick(c, 0)
    })
}

/// `into` with the low `length` bits of `field` from bit `start` on.
pub(super) fn bfi(
    field: &Lanes<u32>,
    into: &Lanes<u32>,
    start: &Lanes<u32>,
    length: &Lanes<u32>,
) -> Lanes<u32> {
    from_fn(|lane| {
        let (start, length) = (start[lane] & 255, length[lane] & 255);
        let ones = ((1_u64 << length.min(32)) - 1) as u32;
        let mask = ones.checked_shl(start).unwrap_or(0);
        into[lane] & !mask | field[lane].checked_shl(start).unwrap_or(0) & mask
    })
}

pub(super) fn bin64(op: Bin64, a: &Lanes<u64>, b: &Lanes<u64>) -> Lanes<u64> {
    let of = |f: fn(u64, u64) -> u64| from_fn(|lane| f(a[lane], b[lane]));
    match op {
        Bin64::Add => of(u64::wrapping_add),
        Bin64::Sub => of(u64::wrapping_sub),
        Bin64::MulLo => of(u64::wrapping_mul),
        Bin64::And => of(|x, y| x & y),
        Bin64::Or => of(|x, y| x | y),
        Bin64::Xor => of(|x, y| x ^ y),
        Bin64::Shl => of(|x, by| x.checked_shl(by as u32).unwrap_or(0)),
        Bin64::ShrU => of(|x, by| x.checked_shr(by as u32).unwrap_or(0)),
        Bin64::ShrS => of(|x, by| (x as i64 >> by.min(63)) as u64),
    }
}

pub(super) fn mul_wide(is_signed: bool, a: &Lanes<u32>, b: &Lanes<u32>) -> Lanes<u64> {
    from_fn(|lane| widen(is_signed, a[lane]).wrapping_mul(widen(is_signed, b[lane])))
}

pub(super) fn widen(is_signed: bool, a: u32) -> u64 {
    if is_signed {
        i64::from(a as i32) as u64
    } else {
        u64::from(a)
    }
}

pub(super) fn narrow(a: &Lanes<u64>) -> Lanes<u32> {
    from_fn(|lane| a[lane] as u32)
}

/// Bits of the lanes for which `f` holds.
pub(super) fn mask_of(f: impl Fn(usize) -> bool) -> Mask {
    (0..32).fold(0, |mask, lane| mask | u32::from(f(lane)) << lane)
}

/// With a NaN, nothing holds: what PTX has for floats, where `ne` is "both are numbers and differ".
fn ordered<T: PartialOrd>(compare: Compare, x: &T, y: &T) -> bool {
    match compare {
        Compare::Eq => x == y,
        Compare::Ne => x.partial_cmp(y).is_some_and(std::cmp::Ordering::is_ne),
        Compare::Lt => x < y,
        Compare::Le => x <= y,
        Compare::Gt => x > y,
        Compare::Ge => x >= y,
    }
}

pub(super) fn compare32(compare: Compare, number: Number, a: &Lanes<u32>, b: &Lanes<u32>) -> Mask {
    match number {
        Number::Signed => mask_of(|n| ordered(compare, &(a[n] as i32), &(b[n] as i32))),
        Number::Unsigned => mask_of(|n| ordered(compare, &a[n], &b[n])),
        Number::Float => mask_of(|n| ordered(compare, &f32::from_bits(a[n]), &f32::from_bits(b[n]))),
    }
}

pub(super) fn compare64(compare: Compare, is_signed: bool, a: &Lanes<u64>, b: &Lanes<u64>) -> Mask {
    if is_signed {
        mask_of(|n| ordered(compare, &(a[n] as i64), &(b[n] as i64)))
    } else {
        mask_of(|n| ordered(compare, &a[n], &b[n]))
    }
}
