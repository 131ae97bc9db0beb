//! AVX2 with FMA and F16C.
#![allow(unsafe_code, reason = "calls of instructions")]
#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "a block is one primitive, made of a few instructions"
)]

use std::arch::asm;
use std::arch::x86_64::*;

use half::{bf16, f16};

use super::{micro, Left, Op, Simd};

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
    const PANEL: usize = 3 * LANES;
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
    fn store_f16(self, to: &mut [f16], v: __m256) {
        let to = &mut to[..LANES];
        // SAFETY: `self` exists, so the processor has F16C; the slice has 8 elements, 16 bytes.
        unsafe {
            _mm_storeu_si128(to.as_mut_ptr().cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v));
        }
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
        // Blends take any of four pipes, and what crosses lanes one or two of them.
        // SAFETY: `self` exists, so the processor has AVX; `sums` has 8 elements.
        unsafe {
            let halves = |a, b| {
                let crossed = _mm256_permute2f128_ps::<0x21>(a, b);
                _mm256_add_ps(_mm256_blend_ps::<0xf0>(a, b), crossed)
            };
            let pairs = |a, b| {
                let crossed = _mm256_shuffle_ps::<0x4e>(a, b);
                _mm256_add_ps(_mm256_blend_ps::<0xcc>(a, b), crossed)
            };
            let (first, second) = (
                pairs(halves(v[0], v[4]), halves(v[1], v[5])),
                pairs(halves(v[2], v[6]), halves(v[3], v[7])),
            );
            // Two lanes are left of each vector: 0, 1, 4, 5, and 2, 3, 6, 7.
            _mm256_storeu_ps(sums.as_mut_ptr(), _mm256_hadd_ps(first, second));
        }
        sums
    }

    #[inline(always)]
    fn product(self, a: Left<'_>, b: &[f32], c: &mut [f32], scale: Option<&[f32]>) {
        // SAFETY: `self` exists, so the processor has the three features.
        unsafe { product(self, a, b, c, scale) }
    }

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: a prefetch reads nothing and cannot fault.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
}

/// Three vectors of `b` meet the element of `a` at `$at`.
macro_rules! step {
    ($at:literal, $c0:literal, $c1:literal, $c2:literal) => {
        concat!(
            "vbroadcastss {x}, dword ptr [{a}",
            $at,
            "]\n",
            "vfmadd231ps {",
            $c0,
            "}, {x}, {b0}\n",
            "vfmadd231ps {",
            $c1,
            "}, {x}, {b1}\n",
            "vfmadd231ps {",
            $c2,
            "}, {x}, {b2}",
        )
    };
}

/// 12 sums, 3 vectors of a row and one spread element are all 16 registers. LLVM spreads elements ahead, and
/// then moves sums between registers and memory in each step: a prefill took twice as long.
#[target_feature(enable = "avx2,fma,f16c")]
fn product(simd: Avx2, a: Left<'_>, b: &[f32], c: &mut [f32], scale: Option<&[f32]>) {
    let mut sums = micro::start::<Avx2, 4, 3>(simd, c, scale);
    let count = a.count::<4>(b.len() / (3 * LANES));
    let [[s0, s1, s2], [s3, s4, s5], [s6, s7, s8], [s9, s10, s11]] = &mut sums;
    // SAFETY: the processor has AVX and FMA; `b` has `count` rows of 24 elements, and so has `a` of 4.
    unsafe {
        asm!(
            "test {n}, {n}",
            "jz 3f",
            "2:",
            "vmovups {b0}, ymmword ptr [{b}]",
            "vmovups {b1}, ymmword ptr [{b} + 32]",
            "vmovups {b2}, ymmword ptr [{b} + 64]",
            step!("", "s0", "s1", "s2"),
            step!(" + {column}", "s3", "s4", "s5"),
            step!(" + 2 * {column}", "s6", "s7", "s8"),
            step!(" + {columns}", "s9", "s10", "s11"),
            "add {a}, {row}",
            "add {b}, 96",
            "dec {n}",
            "jnz 2b",
            "3:",
            a = inout(reg) a.elements.as_ptr() => _,
            b = inout(reg) b.as_ptr() => _,
            n = inout(reg) count => _,
            row = in(reg) 4 * a.row,
            column = in(reg) 4 * a.column,
            columns = in(reg) 12 * a.column,
            x = out(ymm_reg) _, b0 = out(ymm_reg) _, b1 = out(ymm_reg) _, b2 = out(ymm_reg) _,
            s0 = inout(ymm_reg) *s0, s1 = inout(ymm_reg) *s1, s2 = inout(ymm_reg) *s2,
            s3 = inout(ymm_reg) *s3, s4 = inout(ymm_reg) *s4, s5 = inout(ymm_reg) *s5,
            s6 = inout(ymm_reg) *s6, s7 = inout(ymm_reg) *s7, s8 = inout(ymm_reg) *s8,
            s9 = inout(ymm_reg) *s9, s10 = inout(ymm_reg) *s10, s11 = inout(ymm_reg) *s11,
            options(readonly, nostack),
        );
    }
    micro::finish(simd, &sums, c);
}
