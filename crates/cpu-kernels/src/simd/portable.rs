//! Plain Rust. What `Vec8` does lane by lane becomes the vectors that every processor of the target has.

use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};

use super::{micro, Left, Op, Simd};

#[derive(Clone, Copy)]
pub(crate) struct Portable;

const LANES: usize = 8;

type Vec8 = [f32; LANES];

#[inline(always)]
fn each(a: Vec8, b: Vec8, f: impl Fn(f32, f32) -> f32) -> Vec8 {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Portable {
    type V = Vec8;
    const LANES: usize = LANES;
    const PANEL: usize = LANES;
    const GROUP: usize = 4;

    #[inline(always)]
    fn vectorize<O: Op>(self, op: O) -> O::Output {
        op.call(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Vec8 {
        [x; LANES]
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> Vec8 {
        let from = &from[..LANES];
        std::array::from_fn(|i| from[i])
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> Vec8 {
        let from = &from[..LANES];
        std::array::from_fn(|i| from[i].to_f32_const())
    }

    #[inline(always)]
    fn load_bf16(self, from: &[bf16]) -> Vec8 {
        let from = &from[..LANES];
        std::array::from_fn(|i| f32::from_bits(u32::from(from[i].to_bits()) << 16))
    }

    #[inline(always)]
    fn store(self, to: &mut [f32], v: Vec8) {
        to[..LANES].copy_from_slice(&v);
    }

    #[inline(always)]
    fn store_f16(self, to: &mut [f16], v: Vec8) {
        to[..LANES].convert_from_f32_slice(&v);
    }

    #[inline(always)]
    fn add(self, a: Vec8, b: Vec8) -> Vec8 {
        each(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: Vec8, b: Vec8) -> Vec8 {
        each(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: Vec8, b: Vec8) -> Vec8 {
        each(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn fma(self, a: Vec8, b: Vec8, c: Vec8) -> Vec8 {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn max(self, a: Vec8, b: Vec8) -> Vec8 {
        each(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn exponent(self, bits: Vec8) -> Vec8 {
        bits.map(|x| f32::from_bits(x.to_bits() << 23))
    }

    #[inline(always)]
    fn sums(self, v: [Vec8; 8]) -> [f32; 8] {
        v.map(|v| ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7])))
    }

    #[inline(always)]
    fn product(self, a: Left<'_>, b: &[f32], c: &mut [f32], scale: Option<&[f32]>) {
        micro::product::<Self, 4, 1>(self, a, b, c, scale);
    }

    #[inline(always)]
    fn prefetch(self, _at: *const u8) {}
}
