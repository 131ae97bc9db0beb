//! The host's part on a timeline: rates that are given, for nothing of the host is simulated.

use std::cell::Cell;

use serde::{Deserialize, Serialize};

/// The link between a device and its host, for queued copies from and to host memory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostLink {
    /// From the host to the device, bytes per second.
    pub up_bytes_per_s: f64,
    /// From the device to the host, bytes per second.
    pub down_bytes_per_s: f64,
}

/// What a device and its host share, each by one at a time.
///
/// ASSUMPTION(timeline-host): both directions of the link, and the threads of the host that work for a
/// device, do not slow each other down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostPart {
    Up,
    Down,
    /// Functions of the program that streams call.
    Function,
}

impl HostPart {
    pub(super) const COUNT: usize = 3;
}

thread_local! {
    static TOOK_US: Cell<f64> = const { Cell::new(0.0) };
    static HAS_RESULTS: Cell<bool> = const { Cell::new(true) };
}

/// Called by a function of the program that a stream calls (`aclrtLaunchHostFunc`): on the device's timeline,
/// if it has one, the function takes so many microseconds, of what it knows about its work. One that does not
/// say so takes no time. Returns whether the device computes at all: where it only keeps time, the function
/// may leave its work undone.
pub fn host_function_takes(us: f64) -> bool {
    TOOK_US.set(us);
    HAS_RESULTS.get()
}

/// Calls such a function, and returns what it has said that it takes.
pub(crate) fn time_of<R>(has_results: bool, function: impl FnOnce() -> R) -> (R, f64) {
    HAS_RESULTS.set(has_results);
    TOOK_US.set(0.0);
    let result = function();
    HAS_RESULTS.set(true);
    (result, TOOK_US.take())
}
