//! NEON, which every AArch64 processor has.
#![allow(unsafe_code, reason = "calls of instructions")]
#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "a block is one primitive, made of a few instructions"
)]

use std::arch::aarch64::*;
use std::arch::asm;

use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};

use super::{micro, Left, Op, Simd};

/// Exists only where the processor has NEON.
#[derive(Clone, Copy)]
pub(crate) struct Neon(());

impl Neon {
    pub(crate) fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Self(()))
    }
}

const LANES: usize = 4;

impl Simd for Neon {
    type V = float32x4_t;
    const LANES: usize = LANES;
    // 16 sums, 4 vectors of a row and a few spread elements, of 32 registers.
    const PANEL: usize = 4 * LANES;
    const GROUP: usize = 4;

    #[inline(always)]
    fn vectorize<O: Op>(self, op: O) -> O::Output {
        op.call(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> float32x4_t {
        // SAFETY: `self` exists, so the processor has NEON.
        unsafe { vdupq_n_f32(x) }
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> float32x4_t {
        let from = &from[..LANES];
        // SAFETY: `self` exists, so the processor has NEON; the slice has 4 elements.
        unsafe { vld1q_f32(from.as_ptr()) }
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> float32x4_t {
        let from = &from[..LANES];
        let wide: float32x4_t;
        // SAFETY: `self` exists, so the processor has NEON, to which this conversion belongs; the slice has 4
        // elements, 8 bytes. The intrinsic of it was not yet stable in Rust 1.89.
        unsafe {
            let narrow = vld1_u16(from.as_ptr().cast());
            asm!("fcvtl {0:v}.4s, {1:v}.4h", out(vreg) wide, in(vreg) narrow,
                options(pure, nomem, nostack, preserves_flags));
        }
        wide
    }

    #[inline(always)]
    fn load_bf16(self, from: &[bf16]) -> float32x4_t {
        let from = &from[..LANES];
        // SAFETY: `self` exists, so the processor has NEON; the slice has 4 elements, 8 bytes.
        unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn store(self, to: &mut [f32], v: float32x4_t) {
        let to = &mut to[..LANES];
        // SAFETY: `self` exists, so the processor has NEON; the slice has 4 elements.
        unsafe { vst1q_f32(to.as_mut_ptr(), v) }
    }

    #[inline(always)]
    fn store_f16(self, to: &mut [f16], v: float32x4_t) {
        let mut wide = [0.0; LANES];
        self.store(&mut wide, v);
        to[..LANES].convert_from_f32_slice(&wide);
    }

    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: `self` exists, so the processor has NEON.
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: `self` exists, so the processor has NEON.
        unsafe { vsubq_f32(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: `self` exists, so the processor has NEON.
        unsafe { vmulq_f32(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: `self` exists, so the processor has NEON.
        unsafe { vfmaq_f32(c, a, b) }
    }

    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: `self` exists, so the processor has NEON.
        unsafe { vmaxq_f32(a, b) }
    }

    #[inline(always)]
    fn exponent(self, bits: float32x4_t) -> float32x4_t {
        // SAFETY: `self` exists, so the processor has NEON.
        unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<23>(vreinterpretq_u32_f32(bits))) }
    }

    #[inline(always)]
    fn sums(self, v: [float32x4_t; 8]) -> [f32; 8] {
        let mut sums = [0.0; 8];
        // SAFETY: `self` exists, so the processor has NEON; `sums` has 8 elements.
        unsafe {
            let low = vpaddq_f32(vpaddq_f32(v[0], v[1]), vpaddq_f32(v[2], v[3]));
            let high = vpaddq_f32(vpaddq_f32(v[4], v[5]), vpaddq_f32(v[6], v[7]));
            vst1q_f32(sums.as_mut_ptr(), low);
            vst1q_f32(sums.as_mut_ptr().add(4), high);
        }
        sums
    }

    #[inline(always)]
    fn product(self, a: Left<'_>, b: &[f32], c: &mut [f32], scale: Option<&[f32]>) {
        micro::product::<Self, 4, 4>(self, a, b, c, scale);
    }

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: a prefetch reads nothing and cannot fault.
        unsafe {
            asm!("prfm pldl2keep, [{0}]", in(reg) at, options(nostack, preserves_flags, readonly));
        }
    }
}
