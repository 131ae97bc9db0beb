//! Attention on NVIDIA GPUs: the Volta kernels, through the CUDA driver (feature `cuda`).
//!
//! A [`Problem`](crate::attention::Problem) is planned for what a GPU is ([`plan`], [`DeviceFacts`]), and the
//! [`Plan`] launched on the caller's stream with the caller's memory ([`Device::launch`], [`Args`]), as often
//! as wanted. Neither CUDA's toolkit nor its headers are needed, and the driver only when a device is opened:
//! it compiles the PTX that this crate carries. `docs/volta.md` has the kernels, their limits and what is
//! proven of them.
//!
//! ```no_run
//! use fastattention::attention::{Mask, Problem};
//! use fastattention::cuda::{cudarc::driver::CudaContext, plan, Args, Device};
//! use fastattention::DType;
//! use half::f16;
//!
//! let context = CudaContext::new(0)?; // or the one that your program has already
//! let (device, stream) = (Device::attach(&context)?, context.default_stream());
//! let problem = Problem::new(DType::F16, [1, 2048, 32, 128]).with_num_heads_k(8).with_mask(Mask::Causal);
//! let plan = plan(&problem, device.facts())?;
//! let (q, k) = (stream.alloc_zeros::<u16>(2048 * 32 * 128)?, stream.alloc_zeros::<u16>(2048 * 8 * 128)?);
//! let (v, mut o) = (k.clone(), stream.alloc_zeros::<u16>(2048 * 32 * 128)?);
//! let mut workspace = stream.alloc_zeros::<u8>(usize::try_from(plan.workspace_bytes())?)?;
//! device.launch(&plan, Args::new(&stream, &q, &k, &v, &mut o).with_workspace(&mut workspace))?;
//! let o: Vec<f16> = stream.clone_dtoh(&o)?.into_iter().map(f16::from_bits).collect();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`serving::Problem`](crate::serving::Problem), decode with lengths and pages in device memory, is
//! planned by [`plan_serving`]; its launches get the lengths and the block table with the other operands.
//!
//! Numerics: f16 operands, f32 sums. Rows that see no key give `o = 0`, `lse = -inf`. p is kept as half times
//! 2^11 beside its row's maximum, so what is below 2^-25 of it loses digits. With a `softmax_scale` of 0 q is
//! not looked at, so NaN in it does not show. Results do not depend on timing. Their last bits depend on what
//! the GPU is: its number of multiprocessors decides the splits of decode, and whether a short prompt's keys
//! are taken by two groups of warps.

mod args;
mod choice;
mod device;
mod driver;
mod facts;
pub mod host;
mod kernels;
mod limits;
mod params;
mod plan;
mod request;

pub use args::{Args, RawMemory};
pub use cudarc;
pub use device::{devices, Device, DeviceReport};
pub use facts::DeviceFacts;
pub use params::Launch;
pub use plan::{plan, plan_serving, Addresses, Plan};
