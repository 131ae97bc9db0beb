//! The C interface that [`crate::acl`] (a CANN installation) and [`crate::sim`] (in process) both fill, and that
//! [`crate::runtime`] alone calls: one table of functions, its types and its error codes.
//!
//! Facts: CANN 8.1.RC1 headers `acl/acl.h`, `acl/acl_base.h`, `acl/acl_rt.h`, and acl-runtime.md 1.2 to 1.5.

pub mod codes;
mod table;
mod types;

#[doc(hidden)]
pub use table::AclTable;
pub(crate) use table::{acl_functions, table_from_module};
pub use types::*;
