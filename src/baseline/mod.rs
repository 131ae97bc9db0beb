//! What attention is compared with, and what the timing of a device is calibrated with.
//!
//! - [`StandardAttention`]: unfused attention with the scores and a dense mask in device memory: in three
//!   launches, or in the passes over all scores that an eager framework makes.
//! - [`Add`] and [`MemoryCopy`]: kernels that only stream.
//! - [`Read`] and [`VectorStream`]: one kind of transfer, one vector instruction, many times.
//!
//! All are used like the operators: plan once, launch as often as wanted, buffers of the caller. Never run on
//! an NPU.

mod add;
mod copy;
mod passes;
mod read;
mod score_pass;
mod softmax;
mod standard;
mod tiling_data;
mod vector_stream;

pub use add::{add_kernel_name, Add, AddTiling};
pub use copy::MemoryCopy;
pub use read::{Read, ReadFrom, ReadOrder, ReadTo};
pub use score_pass::score_pass_kernel_name;
pub use softmax::{softmax_kernel_name, MAX_SEQLEN_K};
pub use standard::{dense_causal_mask, plan, plan_in_passes, StandardArgs, StandardAttention, StandardPlan};
pub use tiling_data::{
    AddTilingData, ReadTilingData, ScorePassTilingData, SoftmaxTilingData, VectorStreamTilingData,
};
pub use vector_stream::{VectorOp, VectorOperand, VectorStream, VectorStreamTiling};
