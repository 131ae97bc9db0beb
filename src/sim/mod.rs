//! The simulator of the dav-c220 core (Ascend 910B), and the ACL functions on top of it.
//!
//! The kernels' scalar code runs natively, one coroutine a core; every AscendC call ends in one or more dav-c220
//! intrinsics ([`instructions`]), each of which enters the machine through one function table. The machine decodes,
//! checks, orders and executes it; a [`Config`] says what is simulated. Three words are never mixed: a [`Fault`] is the kernel's mistake, [`Unsupported`] is something the
//! simulator does not model, a panic is a defect of the simulator.

pub(crate) mod acl;
mod config;
mod dav_c220;
mod device;
mod device_config;
#[allow(unreachable_pub, reason = "the interface of what is to be a crate")]
mod engine;
mod hccl;
#[cfg(test)]
mod plain;
mod reduce;
mod timeline;

/// Model time: of launches, and of streams, events and ranks on one clock.
pub mod time {
    pub use super::dav_c220::time::*;
    pub use super::timeline::{DeviceTime, Edge, Point, Schedule, Span, SpanKind, Timeline};
}

pub use config::Config;
pub use dav_c220::access::{
    AccessRecord, CubeAccumulate, Fault, FaultKind, Pipe, Site, Space, Stop, Unsupported,
};
pub use dav_c220::isa::{instructions, Instruction};
pub use dav_c220::machine::{CoreId, Issued, Recorder};
pub use device_config::{HcclConfig, ReduceOrder};
pub use reduce::ReduceRounding;

/// Adds a simulated device to this process and returns its number, for [`crate::runtime::Device::open`] as `sim:N`.
/// Device numbers are not used twice.
pub fn add_device(config: Config) -> i32 {
    device::add(config)
}

pub(crate) use device::check_environment;

/// The simulated ACL functions, for tests that misuse them.
#[doc(hidden)]
pub fn acl_table() -> &'static ascend_sys::AclTable {
    device::describe();
    acl::table()
}

/// As [`acl_table`], the functions that only other people's programs need.
#[doc(hidden)]
pub fn client_table() -> &'static ascend_sys::ClientTable {
    device::describe();
    acl::client_table()
}

/// Sets the minor version of the ACL interface that the functions say they have, for the whole process.
#[doc(hidden)]
pub fn present_acl_version(minor: i32) {
    acl::presented::set(minor);
}

/// Refuses a call of a C function that is known and not implemented: 207000, with a text that names it.
#[doc(hidden)]
pub fn refuse_call(name: &'static str) -> ascend_sys::AclError {
    acl::refuse_call(name)
}

/// The simulated HCCL functions, for tests that misuse them.
#[doc(hidden)]
pub fn hccl_table() -> &'static ascend_sys::hccl::HcclTable {
    device::describe();
    hccl::table()
}
