//! 2^x.

use super::Simd;

/// 1.5 * 2^23 + 127: a f32 added to it is rounded to a whole number, whose sum with the bias of exponents
/// then lies in the low bits.
const ROUNDER: f32 = 12_582_912.0 + 127.0;

/// Where 2^x becomes 0.
const LEAST: f32 = -127.0;

/// Of 2^f = 1 + f * (C[0] + f * (C[1] + ...)) for |f| <= 1/2, fitted for the least relative error (2.0e-9
/// before rounding).
const C: [f32; 6] =
    [std::f32::consts::LN_2, 0.240_226_48, 0.055_503_324, 0.009_618_437, 0.001_339_887_5, 0.000_153_533_62];

/// 2^x for x <= 0. The relative error is at most 1.5 * 2^-23 (`tests.rs`) down to x =
/// -126.5; below that the result is 0. It is 1 for 0 and NaN for NaN.
#[inline(always)]
pub(crate) fn exp2<S: Simd>(s: S, x: S::V) -> S::V {
    let x = s.max(s.splat(LEAST), x);
    let rounder = s.splat(ROUNDER);
    let bits = s.add(x, rounder);
    let f = s.sub(x, s.sub(bits, rounder));
    let mut p = s.splat(C[5]);
    p = s.fma(p, f, s.splat(C[4]));
    p = s.fma(p, f, s.splat(C[3]));
    p = s.fma(p, f, s.splat(C[2]));
    p = s.fma(p, f, s.splat(C[1]));
    p = s.fma(p, f, s.splat(C[0]));
    p = s.fma(p, f, s.splat(1.0));
    s.mul(p, s.exponent(bits))
}
