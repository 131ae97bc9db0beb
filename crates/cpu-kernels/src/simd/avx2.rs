//! AVX2 with FMA and F16C.
#![allow(unsafe_code, reason = "calls of instructions")]
#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "a block is one primitive, made of a few instructions"
)]

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::{micro, Op, Simd};

/// Exists only where the processor has AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        has.then_some(Self(()))
    }
}

const LANES: usize = 8;

impl Simd for Avx2 {
    type V = __m256;
    const LANES: usize = LANES;
    // 8 sums, 2 vectors of a row and spread elements. 4 x 3 would need all 16 registers: LLVM then moves sums
    // between registers and memory in each step, and a prefill took twice as long.
    const PANEL: usize = 2 * LANES;
    const GROUP: usize = 4;

    #[inline(always)]
    fn vectorize<O: Op>(self, op: O) -> O::Output {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn inner<O: Op>(simd: Avx2, op: O) -> O::Output {
            op.call(simd)
        }
        // SAFETY: `self` exists, so the processor has the three features.
        unsafe { inner(self, op) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: `self` exists, so the processor has AVX.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> __m256 {
        let from = &from[..LANES];
        // SAFETY: `self` exists, so the processor has AVX; the slice has 8 elements.
        unsafe { _mm256_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> __m256 {
        let from = &from[..LANES];
        // SAFETY: `self` exists, so the processor has F16C; the slice has 8 elements, 16 bytes.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_bf16(self, from: &[bf16]) -> __m256 {
        let from = &from[..LANES];
        // SAFETY: `self` exists, so the processor has AVX2; the slice has 8 elements, 16 bytes.
        unsafe {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.as_ptr().cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
        }
    }

    #[inline(always)]
    fn store(self, to: &mut [f32], v: __m256) {
        let to = &mut to[..LANES];
        // SAFETY: `self` exists, so the processor has AVX; the slice has 8 elements.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), v) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` exists, so the processor has AVX.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` exists, so the processor has AVX.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` exists, so the processor has AVX.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: `self` exists, so the processor has FMA.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` exists, so the processor has AVX. The instruction gives its second operand if one
        // is NaN.
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    fn exponent(self, bits: __m256) -> __m256 {
        // SAFETY: `self` exists, so the processor has AVX2.
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(bits))) }
    }

    #[inline(always)]
    fn sums(self, v: [__m256; 8]) -> [f32; 8] {
        let mut sums = [0.0; 8];
        // SAFETY: `self` exists, so the processor has AVX; `sums` has 8 elements.
        unsafe {
            let fours = [
                _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3])),
                _mm256_hadd_ps(_mm256_hadd_ps(v[4], v[5]), _mm256_hadd_ps(v[6], v[7])),
            ];
            let low = _mm256_permute2f128_ps::<0x20>(fours[0], fours[1]);
            let high = _mm256_permute2f128_ps::<0x31>(fours[0], fours[1]);
            _mm256_storeu_ps(sums.as_mut_ptr(), _mm256_add_ps(low, high));
        }
        sums
    }

    #[inline(always)]
    fn product(self, a: &[f32], b: &[f32], c: &mut [f32], scale: Option<&[f32]>) {
        micro::product::<Self, 4, 2>(self, a, b, c, scale);
    }

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: a prefetch reads nothing and cannot fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
}
