//! Float functions of the vector unit that the host's own instructions do not give directly.
//!
//! All are branch-free in their lanes, so that loops over them vectorise, and use no fused multiply-add, so
//! that every host computes the same bits.

use super::vec_value::canonical;

/// Maximum: NaN propagates, `max(0, -0) = 0` (`dav-c220.md` 6.2).
#[inline(always)]
pub(super) fn maximum(a: f32, b: f32) -> f32 {
    let equal = f32::from_bits(a.to_bits() & b.to_bits());
    let ordered = if a > b { a } else { b };
    let x = if a == b { equal } else { ordered };
    if a.is_nan() | b.is_nan() {
        f32::NAN
    } else {
        x
    }
}

/// Minimum: NaN propagates. ASSUMPTION(min-zero): `min(0, -0) = -0`, the mirror of the documented maximum.
#[inline(always)]
pub(super) fn minimum(a: f32, b: f32) -> f32 {
    let equal = f32::from_bits(a.to_bits() | b.to_bits());
    let ordered = if a < b { a } else { b };
    let x = if a == b { equal } else { ordered };
    if a.is_nan() | b.is_nan() {
        f32::NAN
    } else {
        x
    }
}

/// `a * b + c`, rounded once.
///
/// ASSUMPTION(fused-multiply-add): whether `vmla`, `vmadd`, `vaxpy` round the product is not published. The
/// product of two f32 is exact in f64; the sum is rounded to odd there, which makes the second rounding
/// harmless (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums", 2008).
#[inline(always)]
pub(super) fn fused(a: f32, b: f32, c: f32) -> f32 {
    let (p, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = p + c;
    // Knuth's TwoSum: what the rounding of the sum lost.
    let c_part = sum - p;
    let lost = (p - (sum - c_part)) + (c - c_part);
    let bits = sum.to_bits();
    let outwards = (lost > 0.0) == (sum > 0.0);
    let odd = if outwards { bits.wrapping_add(1) } else { bits.wrapping_sub(1) };
    let keep = lost == 0.0 || bits & 1 == 1 || !sum.is_finite();
    to_f32(f64::from_bits(if keep { bits } else { odd }))
}

#[allow(clippy::cast_possible_truncation, reason = "the narrowing is the rounding that is wanted")]
#[inline(always)]
pub(super) fn to_f32(x: f64) -> f32 {
    x as f32
}

/// f64 to f32, rounded to odd: a following rounding to 16 bits then equals one rounding from f64.
#[inline(always)]
pub(super) fn to_f32_odd(x: f64) -> f32 {
    let y = to_f32(x);
    let back = f64::from(y);
    let bits = y.to_bits();
    let truncated = if back.abs() > x.abs() { bits.wrapping_sub(1) } else { bits };
    let inexact = back != x;
    let odd = f32::from_bits(if inexact { truncated | 1 } else { bits });
    // An f64 above the f32 range is inf for any 16-bit type; NaN stays.
    if y.is_finite() {
        odd
    } else {
        y
    }
}

/// 2^52 + 2^51: adding it rounds an f64 to an integer that stands in its low bits.
const TO_INT: f64 = 6_755_399_441_055_744.0;

/// e^x with a relative error of about 1e-15, for x converted from f32 or f16.
///
/// `x = k ln2 + r`, `|r| <= ln2 / 2`, ln2 in two parts, and Taylor's polynomial of degree 12 for `e^r`
/// (remainder `0.3466^13 / 13! < 2e-16`).
#[inline(always)]
pub(super) fn exp(x: f64) -> f64 {
    const LN2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
    const LN2_LOW: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);
    // Beyond these the f32 result is 0 or inf; the clamp keeps 2^k a normal number.
    let clamped = if x < -200.0 { -200.0 } else { x };
    let clamped = if clamped > 200.0 { 200.0 } else { clamped };
    let shifted = clamped * std::f64::consts::LOG2_E + TO_INT;
    let k = shifted - TO_INT;
    let r = (clamped - k * LN2_HIGH) - k * LN2_LOW;
    const C: [f64; 13] = inverse_factorials();
    let (r2, r4) = (r * r, (r * r) * (r * r));
    // Estrin's scheme: short chains.
    let p0 = (C[0] + C[1] * r) + (C[2] + C[3] * r) * r2;
    let p1 = (C[4] + C[5] * r) + (C[6] + C[7] * r) * r2;
    let p2 = (C[8] + C[9] * r) + (C[10] + C[11] * r) * r2;
    let p = p0 + (p1 + (p2 + C[12] * r4) * r4) * r4;
    let scale = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1023 << 52));
    let y = p * scale;
    let y = if x < -200.0 { 0.0 } else { y };
    if x.is_nan() {
        f64::NAN
    } else {
        y
    }
}

const fn inverse_factorials() -> [f64; 13] {
    let (mut list, mut factorial, mut i) = ([1.0; 13], 1.0, 1);
    while i < 13 {
        factorial *= i as f64;
        list[i] = 1.0 / factorial;
        i += 1;
    }
    list
}

/// ASSUMPTION(approximate-reciprocal): `vrec` and `vrsqrt` are documented as approximate (they miss 1e-4 for
/// f32); their bits are not published. Modelled as the exact value with the mantissa cut to 11 bits: a
/// relative error up to 2^-11, so that a kernel that relies on them for softmax is seen.
#[inline(always)]
pub(super) fn approximate(x: f32) -> f32 {
    f32::from_bits(canonical(x).to_bits() & !0xfff)
}

/// The natural logarithm with a relative error of about 1e-15, for x converted from f32 or f16.
///
/// `x = m 2^k`, `m` in `[sqrt(1/2), sqrt(2))`, and `ln m = 2 atanh(s)`, `s = (m - 1) / (m + 1)`, by its
/// series (remainder below `2e-17 s`).
#[inline(always)]
pub(super) fn ln(x: f64) -> f64 {
    const LN2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
    const LN2_LOW: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);
    const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
    // Every f32 is a normal f64, so the exponent field is that of the value.
    let shifted = x.to_bits().wrapping_sub(SQRT_HALF);
    let m = f64::from_bits((shifted & 0x000f_ffff_ffff_ffff).wrapping_add(SQRT_HALF));
    // The exponent as f64, by the same trick as in `exp`: it stands in the low bits of TO_INT's mantissa.
    let biased = (shifted >> 52).wrapping_add(2048) & 0xfff;
    let k = f64::from_bits(TO_INT.to_bits() | biased) - TO_INT - 2048.0;
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let mut series = 0.0;
    let mut i = 11;
    while i > 0 {
        series = series * z + 1.0 / f64::from(2 * i + 1);
        i -= 1;
    }
    let y = k * LN2_HIGH + (2.0 * s + (2.0 * s * z * series + k * LN2_LOW));
    let y = if x == 0.0 { f64::NEG_INFINITY } else { y };
    let y = if x == f64::INFINITY { f64::INFINITY } else { y };
    if x < 0.0 || x.is_nan() {
        f64::NAN
    } else {
        y
    }
}
