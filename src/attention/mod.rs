//! The forward attention operator: a [`Problem`] is planned once, and its [`Plan`] launched as often as
//! wanted.
//!
//! Memory: a launch returns before its work runs. The stream keeps the buffers alive. The caller keeps others
//! away from them: until the stream is synchronised, or an event behind the launch orders it, nobody may
//! write what the launch reads, or touch what it writes (o, lse, workspace). Launches on one
//! stream may share a workspace, launches on two need one each. The whole rules, `aclrtFree` included, are
//! those of [`runtime`](crate::runtime#memory-and-streams). [`Args`] says which operands may lie on each
//! other.
//!
//! Numerics: scores, softmax statistics and the accumulator of o are f32, P is rounded to the operands' dtype
//! before `P v`. Rows that see no key give `o = 0`, `lse = -inf`. A score is infinite in two cases:
//! its product with `softmax_scale` leaves the range of f32, or `q k^T` leaves it before it is scaled. bf16
//! operands can reach the second; a small scale does not help there. With scores in f16 the dot product
//! counts from 65520 on ([`Problem::with_score_dtype`]), less its part with the mean of the keys where these
//! are shifted ([`Problem::with_shifted_keys`]). See [`reference`](crate::reference) for special
//! values.

mod buffers;
pub mod host;
mod launch;
pub(crate) mod operands;
mod problem;
mod self_test;

pub use buffers::Buffers;
pub(crate) use launch::Variants;
pub use launch::{Args, FlashAttention, Operand};
pub use problem::{Layout, Problem};
pub(crate) use self_test::{before_first_launch, Flags, KERNEL as SELF_TEST_KERNEL};

pub use crate::spec::{AttentionSpec, Mask, Reason};
pub use crate::tiling::{plan, plan_tuned, plan_with, FlashFwdPlan as Plan};

use crate::{DType, Error, ErrorKind, Result};

/// Name of the kernel for operands of type `dtype` and scores handed over as `score_dtype`.
///
/// # Errors
/// `Unsupported` when there is none.
pub fn kernel_name(dtype: DType, score_dtype: DType) -> Result<&'static str> {
    match (dtype, score_dtype) {
        (DType::F16, DType::F32) => Ok("fa_flash_fwd_f16"),
        (DType::F16, DType::F16) => Ok("fa_flash_fwd_f16_scores_f16"),
        (DType::Bf16, DType::F32) => Ok("fa_flash_fwd_bf16"),
        _ => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "attention: dtype = {dtype} with score_dtype = {score_dtype} has no kernel; supported: \
                 score_dtype = f32 with dtype = f16 or bf16, score_dtype = f16 with dtype = f16"
            ),
        )),
    }
}

#[cfg(test)]
mod tests;
