//! Wrong uses of the simulated ACL functions, through the raw table: each has a code and a text, none
//! crashes.
//!
//! Every test opens a device of its own, so that they run side by side.

#![allow(unsafe_code, reason = "calls C functions, mostly wrongly")]
#![allow(clippy::undocumented_unsafe_blocks, reason = "what is passed wrongly is the subject of each test")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "sequences of C calls")]

mod contexts;
mod events;
mod handles;
mod host_functions;
mod memory;

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fastattention_testkit::acl::RawDevice;

/// Flags of events.
pub(crate) const SYNC: u32 = 1;
pub(crate) const TIME_LINE: u32 = 8;

/// The current context of this thread.
pub(crate) fn current_context(b: &RawDevice) -> *mut c_void {
    let mut context = null_mut();
    assert_eq!(unsafe { (b.t.aclrtGetCurrentContext)(&mut context) }, 0);
    context
}

/// Blocks a stream until the gate (an `AtomicU32`) is not 0.
pub(crate) unsafe extern "C" fn wait_at_gate(gate: *mut c_void) {
    let gate = unsafe { &*gate.cast::<AtomicU32>() };
    while gate.load(Ordering::Acquire) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn as_arg<T>(value: &T) -> *mut c_void {
    std::ptr::from_ref(value).cast_mut().cast()
}
