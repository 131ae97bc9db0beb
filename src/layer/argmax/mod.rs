//! The index of the largest element of each row: greedy sampling from logits.
//!
//! | operand | shape | type |
//! | --- | --- | --- |
//! | `x` | `[rows, dim]` | f32, f16 or bf16 |
//! | `index` | `[rows]` | i32 |
//!
//! - *Of equal elements* the first one counts; 0 and -0 are equal.
//! - *NaN* counts as larger than every number, as in PyTorch and NumPy: a row that has some gives the first.
//!
//! ```
//! use fastattention::layer::argmax::{plan, Argmax, Args, Problem};
//! use fastattention::runtime::{Buffer, Device, Stream};
//! use fastattention::DType;
//!
//! let device = Device::open("sim")?;
//! let plan = plan(&Problem::new(DType::F32, [2, 5]), device.soc())?;
//! let x = Buffer::from_slice(&device, &[1.0f32, 7.0, 3.0, 7.0, 0.0, -3.0, -2.0, -1.0, -9.0, -1.0])?;
//! let index = Buffer::alloc(&device, 2 * 4)?;
//! let stream = Stream::new(&device)?;
//! Argmax::new(&device)?.launch(&stream, &plan, Args::new(&x, &index))?;
//! stream.synchronize()?;
//! assert_eq!(index.to_vec::<i32>()?, [1, 2]);
//! # Ok::<(), fastattention::Error>(())
//! ```
//!
//! Never run on an NPU.

mod launch;
mod plan;
mod problem;

pub use launch::{Argmax, Args};
pub use plan::{plan, Plan};
pub use problem::Problem;

use super::rows::index_of;
use crate::DType;

/// Types of elements, in their order, and the kernel's name.
const KERNELS: [(DType, &str); 3] =
    [(DType::F16, "fa_argmax_f16"), (DType::Bf16, "fa_argmax_bf16"), (DType::F32, "fa_argmax_f32")];

/// Name of the kernel for elements of type `dtype`.
pub fn kernel_name(dtype: DType) -> &'static str {
    KERNELS[index_of(dtype)].1
}
