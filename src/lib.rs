//! Exact FlashAttention for Huawei Ascend 910B NPUs, from Rust, with a simulator of the chip.
//!
//! The crate implements FastAttention (arXiv 2410.16663): two-level tiling ([`attention`]), tiling-mask,
//! tiling-AllReduce ([`parallel`]) and the strategy by which device and host cooperate ([`cooperative`]).
//! Kernels are AscendC C++ under `ascendc/`; Rust plans, loads and launches them through the ACL runtime.
//! Where no NPU is present the same kernel sources run on [`sim`], a model of the dav-c220 core, behind the
//! same ACL calls.
//!
//! **Nothing in this crate has run on an NPU yet**; what is verified, and how, is in the README.
//!
//! ```
//! use fastattention::attention::{plan, Buffers, FlashAttention, Mask, Problem};
//! use fastattention::runtime::{Device, Stream};
//! use fastattention::DType;
//! use half::f16;
//!
//! let device = Device::open("sim")?;
//! let attention = FlashAttention::new(&device)?;
//! // 100 queries of 4 heads on 150 keys of 2 heads.
//! let problem = Problem::new(DType::F16, [1, 100, 4, 64])
//!     .with_seqlen_k(150)
//!     .with_num_heads_k(2)
//!     .with_mask(Mask::Causal);
//! let plan = plan(&problem, device.soc())?;
//!
//! let (q, k, v) = ([f16::ONE; 100 * 4 * 64], [f16::ONE; 150 * 2 * 64], [f16::ONE; 150 * 2 * 64]);
//! let buffers = Buffers::from_slices(&device, &plan, [&q, &k, &v])?;
//! let stream = Stream::new(&device)?;
//! attention.launch(&stream, &plan, buffers.args())?;
//! stream.synchronize()?;
//!
//! let out: Vec<f16> = buffers.o.to_vec()?;
//! assert!(out.iter().all(|&x| x == f16::ONE));
//! # Ok::<(), fastattention::Error>(())
//! ```

pub mod acl;
pub mod append;
pub mod attention;
pub mod baseline;
pub mod cooperative;
#[cfg(feature = "cpu")]
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod environment;
pub mod hccl;
pub mod kernels;
pub mod layer;
pub mod matmul;
pub mod merge;
pub mod parallel;
mod record;
pub mod reference;
pub mod runtime;
pub mod serving;
#[cfg(feature = "sim")]
pub mod sim;
pub mod soc;
pub mod spec;
pub mod tiling;

/// The C interfaces behind [`runtime`], for tests that misuse them.
#[doc(hidden)]
pub use ascend_sys as driver;
pub use soc::Soc;
pub use spec::{DType, DriverCode, Error, ErrorKind, Result};
