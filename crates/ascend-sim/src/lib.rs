//! The ACL and HCCL functions of Huawei CANN, in process, over simulated devices.
//!
//! [`acl_table`] and [`hccl_table`] have the functions that a program would find in `libascendcl.so` and
//! `libhccl.so`. They keep ACL's contracts: opaque handles, codes and texts of errors, streams that are
//! asynchronous queues, collectives at which ranks meet. What device memory is and what runs a kernel is not
//! known here: a device has an [`Engine`](engine::Engine). One engine is a model of a chip, another can be
//! the host itself.
//!
//! - `acl`: devices, contexts, streams, events, memory, launches; races between streams;
//! - `hccl`: communicators, of ranks in one process or in several;
//! - [`timeline`]: model time of streams, events and ranks on one clock;
//! - `reduce`: the arithmetic of reductions.

mod acl;
mod config;
pub mod engine;
mod hccl;
mod host_memory;
mod host_pages;
#[cfg(test)]
mod plain;
mod reduce;
pub mod timeline;

pub use acl::device::{add_device, check_environment, describe_devices_with, Describe};
pub use config::{Config, HcclConfig, ReduceOrder};
pub use host_memory::{HostBlock, HostMemory};
pub use reduce::ReduceRounding;

use ascend_sys::hccl::HcclTable;
use ascend_sys::{AclError, AclTable, ClientTable};

/// The ACL functions.
pub fn acl_table() -> &'static AclTable {
    acl::table()
}

/// The ACL functions that only other people's programs need.
pub fn client_table() -> &'static ClientTable {
    acl::client_table()
}

/// The HCCL functions.
pub fn hccl_table() -> &'static HcclTable {
    hccl::table()
}

/// Sets the minor version of the ACL interface that the functions say they have, for the whole process.
pub fn present_acl_version(minor: i32) {
    acl::presented::set(minor);
}

/// Refuses a call of a C function that is known and not implemented: 207000, with a text that names it.
pub fn refuse_call(name: &'static str) -> AclError {
    acl::refuse_call(name)
}
