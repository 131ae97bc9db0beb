//! Builds the AscendC kernels of `fastattention`.
//!
//! - For the simulator ([`sim_kernels`]): the host's C++ compiler makes a shared library of kernel text.
//! - For an NPU ([`npu`]): CANN's compiler makes one device image per family of kernels, and the images are checked.
//! - [`variants`] reads the list of kernels.
//! - [`tiling_data`] makes the Rust structures that go with the kernels.
//!
//! The build script of `fastattention` uses all of it, its command line tool and its tests a part.

mod compiler;
pub mod npu;
pub mod sim_kernels;
pub mod tiling_data;
pub mod variants;

pub use ascend_sys::{arch_folder, cann_roots, ROOT_VARIABLES};
pub use compiler::{run, Compiler};

/// The target that this crate was compiled for, as `cc` names it: what tests and tools compile for, too.
pub const TARGET: &str = env!("FA_BUILD_TARGET");
