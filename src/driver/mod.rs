//! The C interfaces that [`crate::acl`] and [`crate::hccl`] (a CANN installation) and [`crate::sim`] (in process) both
//! fill, and that [`crate::runtime`] alone calls: a table of functions each for ACL (here) and HCCL ([`hccl`]), with
//! types and error codes.
//!
//! Types, constants and signatures are those of the CANN headers (`bindings`, made by bindgen); the lists of functions
//! are checked against them when the crate is compiled. Facts beyond: acl-runtime.md 1.2 to 1.5.

mod acl;
mod bindings;
mod client;
pub mod codes;
pub mod hccl;
pub(crate) mod load;
mod table;
mod types;

pub(crate) use acl::acl_functions;
#[doc(hidden)]
pub use acl::AclTable;
pub(crate) use client::client_functions;
#[doc(hidden)]
pub use client::ClientTable;
pub(crate) use table::table_from_module;
pub use types::*;
