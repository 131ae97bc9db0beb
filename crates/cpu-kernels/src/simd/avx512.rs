//! AVX-512F.
#![allow(unsafe_code, reason = "calls of instructions")]
#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "a block is one primitive, made of a few instructions"
)]

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::{micro, Left, Op, Simd};

/// Exists only where the processor has AVX-512F, AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f") && super::Avx2::detect().is_some();
        has.then_some(Self(()))
    }
}

const LANES: usize = 16;

impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = LANES;
    // 24 sums and 3 vectors of a row, of 32 registers; elements are spread by the operand of the product.
    const PANEL: usize = 3 * LANES;
    const GROUP: usize = 8;

    #[inline(always)]
    fn vectorize<O: Op>(self, op: O) -> O::Output {
        #[target_feature(enable = "avx512f,avx2,fma,f16c")]
        fn inner<O: Op>(simd: Avx512, op: O) -> O::Output {
            op.call(simd)
        }
        // SAFETY: `self` exists, so the processor has these features.
        unsafe { inner(self, op) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: `self` exists, so the processor has AVX-512F.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> __m512 {
        let from = &from[..LANES];
        // SAFETY: `self` exists, so the processor has AVX-512F; the slice has 16 elements.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> __m512 {
        let from = &from[..LANES];
        // SAFETY: `self` exists, so the processor has AVX-512F; the slice has 16 elements, 32 bytes.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_bf16(self, from: &[bf16]) -> __m512 {
        let from = &from[..LANES];
        // SAFETY: `self` exists, so the processor has AVX-512F; the slice has 16 elements, 32 bytes.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }

    #[inline(always)]
    fn store(self, to: &mut [f32], v: __m512) {
        let to = &mut to[..LANES];
        // SAFETY: `self` exists, so the processor has AVX-512F; the slice has 16 elements.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), v) }
    }

    #[inline(always)]
    fn store_f16(self, to: &mut [f16], v: __m512) {
        let to = &mut to[..LANES];
        // SAFETY: `self` exists, so the processor has AVX-512F; the slice has 16 elements, 32 bytes.
        unsafe {
            _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v));
        }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` exists, so the processor has AVX-512F.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` exists, so the processor has AVX-512F.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` exists, so the processor has AVX-512F.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: `self` exists, so the processor has AVX-512F.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` exists, so the processor has AVX-512F. The instruction gives its second operand
        // if one is NaN.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn exponent(self, bits: __m512) -> __m512 {
        // SAFETY: `self` exists, so the processor has AVX-512F.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(bits))) }
    }

    #[inline(always)]
    fn sums(self, v: [__m512; 8]) -> [f32; 8] {
        let mut sums = [0.0; 8];
        // SAFETY: `self` exists, so the processor has AVX-512F and AVX; `sums` has 8 elements.
        unsafe {
            let mut halves = [_mm256_setzero_ps(); 8];
            for (half, v) in halves.iter_mut().zip(v) {
                let high = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(v));
                *half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm256_castpd_ps(high));
            }
            let v = halves;
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
    fn product(self, a: Left<'_>, b: &[f32], c: &mut [f32], scale: Option<&[f32]>) {
        micro::product::<Self, 8, 3>(self, a, b, c, scale);
    }

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: a prefetch reads nothing and cannot fault.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
}
