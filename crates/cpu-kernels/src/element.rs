//! Types of elements.

use std::fmt;

use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};

use crate::simd::{Simd, MAX_LANES};

/// Type of the elements of q, k, v and o.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE binary16.
    F16,
    /// The upper half of a f32.
    Bf16,
    /// IEEE binary32.
    F32,
}

impl DType {
    /// Bytes of an element.
    #[must_use]
    pub fn size_bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
        })
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for half::f16 {}
    impl Sealed for half::bf16 {}
    impl Sealed for f32 {}
}

/// A type of elements: `f16`, `bf16` or `f32`.
pub trait Element: sealed::Sealed + Copy + Send + Sync + 'static {
    /// Its name.
    const DTYPE: DType;
}

/// How elements become f32, and f32 elements.
pub(crate) trait Load: Element {
    const ZERO: Self;

    /// The first elements as a vector.
    fn load<S: Simd>(s: S, from: &[Self]) -> S::V;

    /// Rounds to nearest, ties to even.
    fn narrow<S: Simd>(s: S, from: &[f32], to: &mut [Self]);

    /// A vector of fewer elements than it has lanes, the others 0.
    #[inline(always)]
    fn load_tail<S: Simd>(s: S, from: &[Self]) -> S::V {
        let mut padded = [Self::ZERO; MAX_LANES];
        padded[..from.len()].copy_from_slice(from);
        Self::load(s, &padded)
    }

    /// All elements, with zeros up to whole vectors. `to` has room for these.
    #[inline(always)]
    fn widen<S: Simd>(s: S, from: &[Self], to: &mut [f32]) {
        let mut chunks = from.chunks_exact(S::LANES);
        let mut to = to.chunks_exact_mut(S::LANES);
        for (from, to) in (&mut chunks).zip(&mut to) {
            s.store(to, Self::load(s, from));
        }
        if !chunks.remainder().is_empty() {
            if let Some(to) = to.next() {
                s.store(to, Self::load_tail(s, chunks.remainder()));
            }
        }
    }
}

impl Element for f16 {
    const DTYPE: DType = DType::F16;
}

impl Load for f16 {
    const ZERO: Self = f16::ZERO;

    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[Self]) -> S::V {
        s.load_f16(from)
    }

    #[inline(always)]
    fn narrow<S: Simd>(s: S, from: &[f32], to: &mut [Self]) {
        let whole = to.len() / S::LANES * S::LANES;
        let (to, tail) = to.split_at_mut(whole);
        for (from, to) in from.chunks_exact(S::LANES).zip(to.chunks_exact_mut(S::LANES)) {
            s.store_f16(to, s.load(from));
        }
        tail.convert_from_f32_slice(&from[whole..]);
    }
}

impl Element for bf16 {
    const DTYPE: DType = DType::Bf16;
}

impl Load for bf16 {
    const ZERO: Self = bf16::ZERO;

    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[Self]) -> S::V {
        s.load_bf16(from)
    }

    fn narrow<S: Simd>(_: S, from: &[f32], to: &mut [Self]) {
        to.convert_from_f32_slice(from);
    }
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
}

impl Load for f32 {
    const ZERO: Self = 0.0;

    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[Self]) -> S::V {
        s.load(from)
    }

    fn narrow<S: Simd>(_: S, from: &[f32], to: &mut [Self]) {
        to.copy_from_slice(from);
    }
}
