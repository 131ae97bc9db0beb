//! RMSNorm and LayerNorm of rows, fused with the sum of the residual stream:
//!
//! ```text
//! h = x + r                                       (x without a residual)
//! y = (h - m) / sqrt(mean (h - m)^2 + eps) * weight + bias
//! ```
//!
//! with `m` the mean of h for LayerNorm and 0 for RMSNorm. All of it is in f32, on the sum before it is
//! rounded; h and y are rounded once.
//!
//! | operand | shape | type |
//! | --- | --- | --- |
//! | `x`, `y` | `[rows, dim]` | f16, bf16 or f32 |
//! | `r`, `h` | `[rows, dim]`, where there is a residual | that of `x`, or f32 |
//! | `weight` | `[dim]` | that of `x`, or f32 |
//! | `bias` | `[dim]`, if wanted | that of `weight` |
//!
//! - *In place*: y may be x ([`Args::in_place`]), and h may be r ([`Args::with_residual_in_place`]), as both
//!   are in a residual stream. Their strides must then be the same.
//! - A row with NaN or an infinity gives a row of NaN, but for elements of RMSNorm that an infinity scales
//!   to 0. A row of zeros gives the bias; with `eps = 0` it gives NaN.
//!
//! ```
//! use fastattention::layer::norm::{plan, Args, Norm, Problem};
//! use fastattention::runtime::{Buffer, Device, Stream};
//! use fastattention::DType;
//!
//! let device = Device::open("sim")?;
//! // Two rows of 64: the residual stream takes x, and y is its norm.
//! let plan = plan(&Problem::rms(DType::F32, [2, 64], 1e-6).with_residual(), device.soc())?;
//! let buffer = |value: f32, len: usize| Buffer::from_slice(&device, &vec![value; len]);
//! let (x, r, weight, y) = (buffer(1.0, 128)?, buffer(2.0, 128)?, buffer(0.5, 64)?, buffer(0.0, 128)?);
//! let stream = Stream::new(&device)?;
//! let args = Args::new(&x, &weight, &y).with_residual_in_place(&r);
//! Norm::new(&device)?.launch(&stream, &plan, args)?;
//! stream.synchronize()?;
//! assert!(r.to_vec::<f32>()?.iter().all(|h| *h == 3.0));
//! assert!(y.to_vec::<f32>()?.iter().all(|y| (y - 0.5).abs() < 1e-6));
//! # Ok::<(), fastattention::Error>(())
//! ```
//!
//! Never run on an NPU.

mod launch;
mod plan;
mod problem;

pub use launch::{Args, Norm};
pub use plan::{plan, Plan};
pub use problem::{Kind, Problem};

use crate::{DType, Error, ErrorKind, Result};

/// Types of rows, of weights and of the residual stream, and the kernel's name.
const KERNELS: [(Types, &str); 9] = [
    ([DType::F16, DType::F16, DType::F16], "fa_norm_f16"),
    ([DType::Bf16, DType::Bf16, DType::Bf16], "fa_norm_bf16"),
    ([DType::F32, DType::F32, DType::F32], "fa_norm_f32"),
    ([DType::F16, DType::F32, DType::F16], "fa_norm_f16_f32"),
    ([DType::Bf16, DType::F32, DType::Bf16], "fa_norm_bf16_f32"),
    ([DType::F16, DType::F16, DType::F32], "fa_norm_f16_f16_f32"),
    ([DType::Bf16, DType::Bf16, DType::F32], "fa_norm_bf16_bf16_f32"),
    ([DType::F16, DType::F32, DType::F32], "fa_norm_f16_f32_f32"),
    ([DType::Bf16, DType::F32, DType::F32], "fa_norm_bf16_f32_f32"),
];

/// Of x and y, of weight and bias, of r and h.
type Types = [DType; 3];

/// The place in [`KERNELS`] of the kernel for these types.
fn index_of(types: Types) -> Result<usize> {
    KERNELS.iter().position(|(own, _)| *own == types).ok_or_else(|| {
        let [dtype, weight_dtype, residual_dtype] = types;
        Error::new(
            ErrorKind::Unsupported,
            format!(
                "norm: dtype = {dtype} with weight_dtype = {weight_dtype} and residual_dtype = {residual_dtype} has no \
                 kernel; supported: the same type, or f32, for weights and residual"
            ),
        )
    })
}

/// Name of the kernel for x of type `dtype`, weights of type `weight_dtype` and a residual stream of type
/// `residual_dtype`.
///
/// # Errors
/// `Unsupported` when there is none.
pub fn kernel_name(dtype: DType, weight_dtype: DType, residual_dtype: DType) -> Result<&'static str> {
    Ok(KERNELS[index_of([dtype, weight_dtype, residual_dtype])?].1)
}
