//! Rows of a table by the ids of tokens, copied bit by bit.
//!
//! | operand | shape | type |
//! | --- | --- | --- |
//! | `table` | `[num_ids, dim]` | f16, bf16 or f32 |
//! | `ids` | `[tokens]`, in device memory | i32 or i64 |
//! | `y` | `[tokens, dim]` | that of `table` |
//! | `status` | `[num_cores, 8]`, of a checked problem: [`Report`] | i32 |
//!
//! - *An id that the table does not have* reads nothing outside the table and gives a row of NaN: what was
//!   there before could pass for a right one. A checked problem ([`Problem::checked`]) tells of it.
//! - *An id of -1* is none: the token is padding, and its row NaN. So one plan serves every step of up to
//!   `tokens` tokens.
//!
//! ```
//! use fastattention::layer::embedding::{plan, Args, Embedding, Problem};
//! use fastattention::runtime::{Buffer, Device, Stream};
//! use fastattention::DType;
//!
//! let device = Device::open("sim")?;
//! let plan = plan(&Problem::new(DType::F32, 3, [5, 8]).checked(), device.soc())?;
//! let table: Vec<f32> = (0..5 * 8).map(|i| (i / 8) as f32).collect();
//! let (table, ids) = (Buffer::from_slice(&device, &table)?, Buffer::from_slice(&device, &[4, 5, 0])?);
//! let y = Buffer::alloc(&device, 3 * 8 * 4)?;
//! let status = Buffer::alloc(&device, plan.status_bytes() as usize)?;
//! let stream = Stream::new(&device)?;
//! let args = Args::new(&table, &ids, &y).with_status(&status);
//! Embedding::new(&device)?.launch(&stream, &plan, args)?;
//! stream.synchronize()?;
//! let y = y.to_vec::<f32>()?;
//! assert!(y[0] == 4.0 && y[8].is_nan() && y[16] == 0.0);
//! let report = fastattention::layer::embedding::report(&status.to_vec::<i32>()?)?;
//! assert_eq!(report.mistakes[0].to_string(), "token 1 has id 5");
//! # Ok::<(), fastattention::Error>(())
//! ```
//!
//! Never run on an NPU.

mod launch;
mod plan;
mod problem;

pub use launch::{Args, Embedding};
pub use plan::{plan, Plan};
pub use problem::Problem;

pub use crate::append::{Mistake, PlaceType as IdType, Report, STATUS_WORDS};

use super::rows::index_of;
use crate::append::Number;
use crate::{DType, Result};

/// Types of elements, in their order, and the kernel's name.
const KERNELS: [(DType, &str); 3] =
    [(DType::F16, "fa_embedding_f16"), (DType::Bf16, "fa_embedding_bf16"), (DType::F32, "fa_embedding_f32")];

/// Name of the kernel for elements of type `dtype`.
pub fn kernel_name(dtype: DType) -> &'static str {
    KERNELS[index_of(dtype)].1
}

/// Reads what a checked launch has left in `status`.
///
/// # Errors
/// `InvalidArgument` for words that no launch leaves.
pub fn report(words: &[i32]) -> Result<Report> {
    Report::read("embedding report", words, &[Number::Id])
}
