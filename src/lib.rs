//! Exact FlashAttention for Huawei Ascend 910B NPUs, from Rust, with a simulator of the chip.
//!
//! The crate implements FastAttention (arXiv 2410.16663): two-level tiling, tiling-mask and, later, tiling-AllReduce.
//! Kernels are AscendC C++ under `ascendc/`; Rust plans, loads and launches them through the ACL runtime. Where no
//! NPU is present the same kernel sources run on [`sim`], a model of the dav-c220 core, behind the same ACL calls.

pub mod acl;
pub mod attention;
#[doc(hidden)]
pub mod driver;
mod dtype;
mod error;
pub mod reference;
pub mod runtime;
pub mod sim;
mod soc;
pub mod tiling;

pub use dtype::DType;
pub use error::{Error, ErrorKind, Result};
pub use soc::Soc;
