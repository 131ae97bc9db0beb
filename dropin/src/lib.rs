//! The simulated ACL functions under their C names, as a shared library for other people's programs.
//!
//! Nothing is implemented here. A function forwards to the simulator's table (the one that
//! `Device::open("sim")` uses), or is known from the 8.1 headers and refused by name. `src/main.rs` says how
//! the library is laid out on disk.

#![allow(unsafe_code, reason = "exports C functions")]
#![allow(non_snake_case, reason = "C names")]
#![allow(
    clippy::missing_safety_doc,
    reason = "the contract of every function here is the vendor's: it is passed on to the simulator's function"
)]

mod forwarded;
mod refused;

use std::sync::Once;

use fastattention::sim;

/// Minor version of the ACL interface (acl-runtime.md 1.1) of the CANN that this library looks like.
const ACL_MINOR: i32 = if cfg!(feature = "cann-9-1") {
    17
} else if cfg!(feature = "cann-8-5") {
    16
} else {
    13
};

/// What a process needs once, before its first call.
fn prepare() {
    static READY: Once = Once::new();
    READY.call_once(|| sim::present_acl_version(ACL_MINOR));
}

/// Says that this is no driver: its presence tells a loader that the devices behind this library are
/// simulated. The number changes when the meaning of such a library does.
#[unsafe(no_mangle)]
extern "C" fn fastattention_sim_abi_version() -> u32 {
    1
}
