//! Builds the AscendC kernels of `fastattention`.
//!
//! - For the simulator ([`sim_kernels`]): the host's C++ compiler makes a shared library of kernel text.
//! - For an NPU ([`npu`]): CANN's compiler makes one device image per family of kernels; they are checked.
//! - [`interfaces`] reads what each family of kernels takes, [`variants`] the list of kernels.
//! - [`interfaces`] and [`tiling_data`] make the Rust structures that kernels are launched with.
//! - [`volta`] makes the Rust tables of the kernels for NVIDIA GPUs, whose PTX is shipped.
//!
//! The build script of `fastattention` uses all of it, its command line tool and its tests a part.

mod compiler;
pub mod interfaces;
pub mod npu;
pub mod sim_kernels;
pub mod tiling_data;
pub mod variants;
pub mod volta;

pub use ascend_sys::{arch_folder, cann_roots, ROOT_VARIABLES};
pub use compiler::{run, Compiler};

/// The target that this crate was compiled for, as `cc` names it: what tests and tools compile for, too.
pub const TARGET: &str = env!("FA_BUILD_TARGET");
