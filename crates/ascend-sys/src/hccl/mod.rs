//! The HCCL functions, communication between devices: one table, its types and its result codes.
//!
//! Facts: the headers (`bindings`), and acl-runtime.md 4.1, 4.2.

pub mod codes;
mod functions;
pub mod library;
mod types;

pub use functions::HcclTable;
pub use types::*;
