//! Runs the hot loops of the vector families on the widest vectors that the host has.
//!
//! The work is compiled once for the target's baseline and once for each set of features below. Rust never
//! contracts or reorders float operations, so all copies compute the same bits.

#![allow(
    unsafe_code,
    reason = "calls of the copies that are compiled for wider vectors, after asking the host for them"
)]

/// A loop over repeats. `run` must be `#[inline(always)]`, or it keeps the baseline's instructions.
pub(super) trait Repeated {
    /// Does the work.
    fn run(self);
}

/// Does the work on the widest vectors.
pub(super) fn on_widest<W: Repeated>(work: W) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
        {
            // SAFETY: the condition has found all features of `avx512` on this host.
            return unsafe { avx512(work) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the condition has found the feature of `avx2` on this host.
            return unsafe { avx2(work) };
        }
    }
    work.run();
}

/// [`Repeated::run`] compiled for AVX-512.
///
/// # Safety
/// The host has avx512f, avx512bw, avx512dq and avx512vl.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn avx512<W: Repeated>(work: W) {
    work.run();
}

/// [`Repeated::run`] compiled for AVX2.
///
/// # Safety
/// The host has avx2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn avx2<W: Repeated>(work: W) {
    work.run();
}
