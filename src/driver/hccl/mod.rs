//! The HCCL functions, communication between devices: one table, its types and its result codes.
//!
//! Facts: the headers (`driver::bindings`), and acl-runtime.md 4.1, 4.2.

pub mod codes;
mod functions;
mod types;

pub(crate) use functions::hccl_functions;
pub use functions::HcclTable;
pub use types::*;
