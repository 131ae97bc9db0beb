//! The C interfaces of Huawei CANN: a table of functions each for ACL (here) and HCCL ([`hccl`]), with types
//! and error codes, and the loading of the genuine libraries at run time ([`library`], [`hccl::library`]).
//! Nothing is linked.
//!
//! Types, constants and signatures are those of the CANN headers (`bindings`, made by bindgen); the lists of
//! functions are checked against them when the crate is compiled. Whoever fills a table without CANN, as a
//! simulator does, takes the lists themselves: [`acl_functions`], [`client_functions`], [`hccl_functions`],
//! [`table_from_module`]. Facts beyond: acl-runtime.md 1.2 to 1.5.
//!
//! What callers and simulators of HCCL both need to find ranks is here, too: how an environment variable is
//! read (`environment`), and where connections wait until they have said who they are (`lobby`).

mod acl;
mod bindings;
mod cann_roots;
mod client;
pub mod codes;
#[doc(hidden)]
pub mod environment;
pub mod hccl;
pub mod library;
mod load;
#[doc(hidden)]
pub mod lobby;
mod table;
mod types;

pub use acl::AclTable;
pub use cann_roots::{arch_folder, cann_roots, ROOT_VARIABLES};
pub use client::ClientTable;
pub use load::{Attempt, LoadError, LoadErrorKind};
pub use types::*;

/// Folder of the bindings that this crate was built with, on the machine that built it, for tests.
#[doc(hidden)]
pub const BINDINGS_FOLDER: &str = env!("FA_BUILD_BINDINGS");
