//! The hardware layer: a vector of f32 and the few operations that the kernels are made of.
//!
//! A value of a type that implements [`Simd`] proves that the processor has its instructions: it comes from
//! `detect` only. So its methods are safe. They compile to those instructions where they are inlined into
//! [`Simd::vectorize`], which is why everything between is `#[inline(always)]`. The layout follows `memchr`,
//! the idea of the proving value `pulp`.

mod exp;
mod micro;
mod portable;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(test)]
mod tests;

use half::{bf16, f16};

use crate::buffer::LINE_BYTES;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;

pub(crate) use exp::exp2;
pub(crate) use micro::{accumulate, dots, dots_in_lanes};
pub(crate) use portable::Portable;

/// Most lanes of a vector.
pub(crate) const MAX_LANES: usize = 16;

/// The left operand of [`Simd::product`].
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    pub(crate) elements: &'a [f32],
    /// Elements from one row to the next.
    pub(crate) row: usize,
    /// Elements from one column to the next.
    pub(crate) column: usize,
}

/// Asks for a row.
#[inline(always)]
pub(crate) fn prefetch<S: Simd, T>(s: S, row: &[T]) {
    let start = row.as_ptr().cast::<u8>();
    for line in (0..size_of_val(row)).step_by(LINE_BYTES) {
        s.prefetch(start.wrapping_add(line));
    }
}

/// Work that is compiled for each instruction set. `call` must be `#[inline(always)]`, and all that it calls.
pub(crate) trait Op {
    type Output;
    fn call<S: Simd>(self, simd: S) -> Self::Output;
}

/// A processor with certain instructions.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// Vector of `LANES` f32.
    type V: Copy;
    const LANES: usize;
    /// Lanes of a row of the right operand of [`Simd::product`]: some whole vectors.
    const PANEL: usize;
    /// Elements of a row of the left operand of [`Simd::product`]; divides 8.
    const GROUP: usize;

    /// Runs `op` as code for this processor.
    fn vectorize<O: Op>(self, op: O) -> O::Output;

    fn splat(self, x: f32) -> Self::V;
    /// The first `LANES` elements.
    fn load(self, from: &[f32]) -> Self::V;
    /// The first `LANES` elements.
    fn load_f16(self, from: &[f16]) -> Self::V;
    /// The first `LANES` elements.
    fn load_bf16(self, from: &[bf16]) -> Self::V;
    fn store(self, to: &mut [f32], v: Self::V);
    /// Rounds to nearest, ties to even.
    fn store_f16(self, to: &mut [f16], v: Self::V);

    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once, except in portable code.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The greater one. `b` is a NaN: NaN. `a` is one: `b` or NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The low 8 bits of each lane become the exponent of a f32.
    fn exponent(self, bits: Self::V) -> Self::V;
    /// The sum of the lanes of each vector.
    fn sums(self, v: [Self::V; 8]) -> [f32; 8];

    /// `c = c * scale + sum over n of a[n] x b[n]`: rows of `a` have `GROUP` elements, those of `b` and `c`
    /// `PANEL`; `c` has `GROUP` rows, and `scale` is one more. Without `scale` what `c` held does not count.
    /// `b` says how many rows there are. Sums go in the order of the rows.
    fn product(self, a: Left<'_>, b: &[f32], c: &mut [f32], scale: Option<&[f32]>);

    /// Asks for the line of memory that holds `at`, which may be any address.
    fn prefetch(self, at: *const u8);
}
