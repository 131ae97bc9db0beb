//! `SiLU` and GELU of every element, multiplied with a second tensor where there is one (`SwiGLU`, `GeGLU`):
//!
//! ```text
//! y = f(x)   or   y = f(x) * up
//! ```
//!
//! | operand | shape | type |
//! | --- | --- | --- |
//! | `x`, `y` | `[rows, dim]` | f16, bf16 or f32 |
//! | `up` | `[rows, dim]`, if wanted | that of `x` |
//!
//! x and up may be the halves of one row ([`Problem::with_halves`]), as one product gives them.
//!
//! The vector unit has exponentials and quotients, but neither tanh nor erf. So all functions are computed in
//! one form, `x / (1 + exp(x P(x^2)))` with a polynomial P ([`Function`]). It takes no difference of nearly
//! equal numbers, so small results are exact to a few units in the last place, too.
//!
//! - *In place*: y may be x ([`Args::in_place`]) or up ([`Args::in_place_of_up`]). Their strides must then be
//!   the same.
//! - NaN gives NaN. -inf gives NaN, too, as the quotient of two infinities; +inf gives +inf.
//!
//! ```
//! use fastattention::layer::activation::{plan, Activation, Args, Function, Problem};
//! use fastattention::runtime::{Buffer, Device, Stream};
//! use fastattention::DType;
//!
//! let device = Device::open("sim")?;
//! // Rows of 2 x 64: the first half is the gate.
//! let problem = Problem::new(Function::Silu, DType::F32, [3, 64]).gated().with_halves();
//! let plan = plan(&problem, device.soc())?;
//! let rows = Buffer::from_slice(&device, &[[1.0f32; 64], [3.0; 64]].concat().repeat(3))?;
//! let y = Buffer::alloc(&device, 3 * 64 * 4)?;
//! let stream = Stream::new(&device)?;
//! Activation::new(&device)?.launch(&stream, &plan, Args::of_halves(&plan, &rows, &y))?;
//! stream.synchronize()?;
//! let wanted = 3.0 / (1.0 + (-1.0f32).exp());
//! assert!(y.to_vec::<f32>()?.iter().all(|y| (y - wanted).abs() < 1e-6));
//! # Ok::<(), fastattention::Error>(())
//! ```
//!
//! Never run on an NPU.

mod function;
mod launch;
mod plan;
mod problem;

pub use function::Function;
pub use launch::{Activation, Args};
pub use plan::{plan, Plan};
pub use problem::Problem;

use super::rows::index_of;
use crate::DType;

/// Types of elements, in their order, and the kernel's name.
const KERNELS: [(DType, &str); 3] = [
    (DType::F16, "fa_activation_f16"),
    (DType::Bf16, "fa_activation_bf16"),
    (DType::F32, "fa_activation_f32"),
];

/// Name of the kernel for elements of type `dtype`.
pub fn kernel_name(dtype: DType) -> &'static str {
    KERNELS[index_of(dtype)].1
}
