//! Functions of the program in streams, and streams that are aborted.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastattention::driver::AclTable;
use fastattention_testkit::acl::RawDevice;

use super::{as_arg, current_context, wait_at_gate, SYNC};

/// Appends a digit to the log: two streams that interleave would show.
unsafe extern "C" fn append(arg: *mut c_void) {
    let (log, digit) = unsafe { *arg.cast::<(&AtomicU64, u64)>() };
    log.store(log.load(Ordering::Relaxed) * 10 + digit, Ordering::Relaxed);
}

#[test]
fn host_functions_run_in_order() {
    let b = RawDevice::new();
    let s = b.stream();
    let log = AtomicU64::new(0);
    let calls: Vec<(&AtomicU64, u64)> = (1..=9).map(|digit| (&log, digit)).collect();
    for call in &calls {
        b.host_func(s, append, as_arg(call));
    }
    assert_eq!(unsafe { (b.t.aclrtSynchronizeStream)(s) }, 0);
    assert_eq!(log.load(Ordering::Relaxed), 123_456_789);
}

/// What a host function needs to wait for its own stream.
struct OwnStream {
    t: &'static AclTable,
    context: *mut c_void,
    stream: *mut c_void,
    code: AtomicU32,
}

unsafe extern "C" fn synchronize_own(arg: *mut c_void) {
    let own = unsafe { &*arg.cast::<OwnStream>() };
    let code = unsafe {
        (own.t.aclrtSetCurrentContext)(own.context);
        (own.t.aclrtSynchronizeStream)(own.stream)
    };
    own.code.store(code.unsigned_abs(), Ordering::Relaxed);
}

#[test]
fn a_host_function_cannot_wait_for_its_own_stream() {
    let b = RawDevice::new();
    let stream = b.stream();
    let own = OwnStream { t: b.t, context: current_context(&b), stream, code: AtomicU32::new(0) };
    b.host_func(stream, synchronize_own, as_arg(&own));
    assert_eq!(unsafe { (b.t.aclrtSynchronizeStream)(stream) }, 0);
    assert_eq!(own.code.load(Ordering::Relaxed), 107_000);
}

#[test]
fn a_host_function_of_null_is_refused() {
    let b = RawDevice::new();
    let code = unsafe { (b.t.aclrtLaunchHostFunc.unwrap())(b.stream(), None, null_mut()) };
    b.refused(code, 100_000, &["fn = NULL given"]);
}

#[test]
fn aborted_and_destroyed_streams_let_go() {
    let b = RawDevice::new();
    let (blocked, waiting, event) = (b.stream(), b.stream(), b.event(SYNC));
    let gate = AtomicU32::new(0);
    let ran = (&AtomicU64::new(0), 1);
    unsafe {
        b.host_func(blocked, wait_at_gate, as_arg(&gate));
        assert_eq!((b.t.aclrtRecordEvent)(event, blocked), 0);
        assert_eq!((b.t.aclrtStreamWaitEvent)(waiting, event), 0);
        b.host_func(waiting, append, as_arg(&ran));
        // The wait is given up although the event will not come before the gate opens.
        let start = Instant::now();
        assert_eq!((b.t.aclrtStreamAbort)(waiting), 0);
        assert_eq!((b.t.aclrtSynchronizeStreamWithTimeout)(waiting, 10_000), 0);
        assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
        assert_eq!(ran.0.load(Ordering::Relaxed), 0, "work behind the wait was dropped");
        b.host_func(waiting, append, as_arg(&ran));
        assert_eq!((b.t.aclrtStreamWaitEvent)(waiting, event), 0);
        assert_eq!((b.t.aclrtDestroyStreamForce)(waiting), 0);
        gate.store(1, Ordering::Release);
        assert_eq!((b.t.aclrtDestroyStream)(blocked), 0);
    }
}
