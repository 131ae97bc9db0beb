//! Merging of partial attention results: from results for disjoint sets of keys, the result for all of them.
//!
//! A partial result is what attention on some of the keys gives: `o_i`, and `lse_i`, the natural logarithm of
//! the sum of its exponentials. With all parts of a row,
//!
//! ```text
//! lse = ln sum_i exp(lse_i)
//! o   = sum_i exp(lse_i - lse) o_i
//! ```
//!
//! So a prefix that many sequences share, the shards of a context-parallel layer, keys that a host attends
//! to, and the chunks of one long sequence can be computed apart and joined. Weights, sums and lse are in
//! f32, and the parts are added in order; o is rounded once.
//!
//! | operand | shape | type |
//! | --- | --- | --- |
//! | `o_parts` | for each source `[parts, batch, seqlen, num_heads, head_dim]` | f16, bf16 or f32 |
//! | `lse_parts` | for each source `[parts, batch, num_heads, seqlen]` | f32 |
//! | `o` | `[batch, seqlen, num_heads, head_dim]` | the same as `o_parts`; of f32 parts also f16 or bf16 |
//! | `lse` | `[batch, num_heads, seqlen]` | f32 |
//!
//! A *source* is an operand with one part or several. Parts in different allocations, or with different
//! strides, are different sources. Rows of o are contiguous and the distances between them are free. Each lse
//! is contiguous along rows, heads or batches, all of them along the same. Without that the merge takes one
//! row at a time, which is slow, and refuses what has more than one row, head and batch.
//!
//! - A part whose lse is -inf counts for nothing, as attention gives it for a row without keys. Its o has to
//!   be finite; attention of this crate gives 0. Where all parts are such, o = 0 and lse = -inf.
//! - An lse of NaN or +inf makes o and lse NaN.
//! - Merging is associative: parts may be merged in steps. Keep them in f32 then.
//!
//! ```
//! use fastattention::merge::{plan, Args, Merge, Problem};
//! use fastattention::runtime::{Buffer, Device, Stream};
//! use fastattention::DType;
//!
//! let device = Device::open("sim")?;
//! // Two parts in one operand: one row of one head with 16 elements each.
//! let plan = plan(&Problem::new(DType::F32, 2, [1, 1, 1, 16]), device.soc())?;
//! let o_parts = Buffer::from_slice(&device, &[[1.0f32; 16], [5.0; 16]].concat())?;
//! // The second part has three times the weight.
//! let lse_parts = Buffer::from_slice(&device, &[0.0f32, 3.0f32.ln()])?;
//! let (o, lse) = (Buffer::alloc(&device, 64)?, Buffer::alloc(&device, 4)?);
//! let stream = Stream::new(&device)?;
//! let sources = [(&o_parts).into()];
//! let lse_sources = [(&lse_parts).into()];
//! let args = Args::new(&sources, &lse_sources, &o, &lse);
//! Merge::new(&device)?.launch(&stream, &plan, args)?;
//! stream.synchronize()?;
//! assert!(o.to_vec::<f32>()?.iter().all(|o| (o - 4.0).abs() < 1e-5));
//! assert!((lse.to_vec::<f32>()?[0] - 4.0f32.ln()).abs() < 1e-5);
//! # Ok::<(), fastattention::Error>(())
//! ```
//!
//! Never run on an NPU.

mod axes;
mod launch;
mod plan;
mod problem;
mod tiling_data;

pub use launch::{Args, Merge};
pub use plan::{plan, Plan};
pub use problem::{Problem, Source, MAX_HEAD_DIM, MAX_PARTS, MAX_SOURCES};
pub use tiling_data::MergeTilingData;

pub use crate::runtime::Operand;

use crate::{DType, Error, ErrorKind, Result};

/// Types of the parts and of o, and the kernel's name.
const KERNELS: [(DType, DType, &str); 5] = [
    (DType::F16, DType::F16, "fa_merge_f16"),
    (DType::Bf16, DType::Bf16, "fa_merge_bf16"),
    (DType::F32, DType::F32, "fa_merge_f32"),
    (DType::F32, DType::F16, "fa_merge_f32_f16"),
    (DType::F32, DType::Bf16, "fa_merge_f32_bf16"),
];

/// The place in [`KERNELS`] of the kernel for these types.
fn index_of(dtype: DType, dtype_out: DType) -> Result<usize> {
    KERNELS.iter().position(|(own, out, _)| (*own, *out) == (dtype, dtype_out)).ok_or_else(|| {
        Error::new(
            ErrorKind::Unsupported,
            format!(
                "merge: dtype = {dtype} with dtype_out = {dtype_out} has no kernel; supported: the same type, or f16 or bf16 \
                 out of f32"
            ),
        )
    })
}

/// Name of the kernel for parts of type `dtype` and a result of type `dtype_out`.
///
/// # Errors
/// `Unsupported` when there is none.
pub fn kernel_name(dtype: DType, dtype_out: DType) -> Result<&'static str> {
    Ok(KERNELS[index_of(dtype, dtype_out)?].2)
}
