//! Matrix products on the Cube: `C = A B`, batched and strided; the linear layers around attention.
//!
//! A [`Problem`] is planned once, and its [`Plan`] launched as often as wanted. Products are summed in f32
//! along increasing k; the sum is rounded once to the type of C.
//!
//! | operand | shape | type |
//! | --- | --- | --- |
//! | `a` | `[batch.., m, k]` | f16 or bf16 |
//! | `b` | `[batch.., k, n]`, or `[batch.., n, k]` with [`BLayout::Nk`] | the same |
//! | `c` | `[batch.., m, n]` | the same, or f32 |
//!
//! Rows are contiguous; the distances of rows and batches are free ([`Strides`]). With
//! [`Problem::with_accumulation`] the sum is added to what C holds, in f32.
//!
//! ```
//! use fastattention::matmul::{plan, Args, Matmul, Problem};
//! use fastattention::runtime::{Buffer, Device, Stream};
//! use fastattention::DType;
//! use half::f16;
//!
//! let device = Device::open("sim")?;
//! let matmul = Matmul::new(&device)?;
//! let plan = plan(&Problem::new(DType::F16, [3, 40, 20]).with_dtype_out(DType::F32), device.soc())?;
//! let a = Buffer::from_slice(&device, &[f16::ONE; 3 * 20])?;
//! let b = Buffer::from_slice(&device, &[f16::from_f32(0.5); 20 * 40])?;
//! let c = Buffer::alloc(&device, 3 * 40 * 4)?;
//! let stream = Stream::new(&device)?;
//! matmul.launch(&stream, &plan, Args::new(&a, &b, &c))?;
//! stream.synchronize()?;
//! assert_eq!(c.to_vec::<f32>()?, [10.0; 3 * 40]);
//! # Ok::<(), fastattention::Error>(())
//! ```
//!
//! Never run on an NPU.

mod cost;
mod launch;
mod plan;
mod problem;
mod tiling;
mod tiling_data;

pub(crate) use launch::named;
pub use launch::{Args, Matmul};
pub use plan::{plan, plan_with, Plan};
pub use problem::{BLayout, Problem, Strides};
pub use tiling::{Axis, L1Halves, Tiling};
pub use tiling_data::MatmulTilingData;

pub use crate::attention::Operand;

use crate::{DType, Error, ErrorKind, Result};

/// Name of the kernel for operands of type `dtype` and a result of type `dtype_out`.
///
/// # Errors
/// `Unsupported` when there is none.
pub fn kernel_name(dtype: DType, dtype_out: DType) -> Result<&'static str> {
    match (dtype, dtype_out) {
        (DType::F16, DType::F16) => Ok("fa_matmul_f16"),
        (DType::Bf16, DType::Bf16) => Ok("fa_matmul_bf16"),
        (DType::F16, DType::F32) => Ok("fa_matmul_f16_f32"),
        (DType::Bf16, DType::F32) => Ok("fa_matmul_bf16_f32"),
        _ => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "matmul: dtype = {dtype} with dtype_out = {dtype_out} has no kernel; supported: dtype_out = f32 \
                 or the same type as dtype, with dtype = f16 or bf16"
            ),
        )),
    }
}

#[cfg(test)]
mod tests;
