//! The dav-c220 machine: executes kernels, and knows neither ACL nor HCCL.
//!
//! Its storeys, from the lowest up; each names only those below it (`tests/tidy.rs`):
//! - [`access`]: memories, addresses, one instruction in execution, the order and the races of accesses;
//! - [`isa`]: what each intrinsic does;
//! - [`time`]: how long it takes;
//! - [`machine`]: cores, pipes, flags, and the launch of a function over many groups of cores;
//! - [`image`]: kernels from shared libraries.

pub(super) mod access;
pub(super) mod image;
pub(super) mod isa;
pub(super) mod machine;
pub(super) mod time;
