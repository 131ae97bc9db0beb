//! Copies of matrices and between devices, the last error, and the failure mode, through the raw table of the
//! simulator.

#![allow(unsafe_code, reason = "calls C functions")]
#![allow(clippy::undocumented_unsafe_blocks, reason = "raw calls are the subject of each test")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "sequences of C calls")]

use std::ffi::c_void;
use std::ptr::null_mut;

use fastattention::driver::AclTable;
use fastattention::sim;
use fastattention_testkit::acl::kind::{D2D, D2H, H2D};
use fastattention_testkit::acl::{refused, RawDevice};

/// A new device, set in this thread, and memory of it with these bytes.
fn with_memory(bytes: &[u8]) -> (RawDevice, *mut c_void) {
    let device = RawDevice::new();
    let memory = device.upload(bytes);
    (device, memory)
}

fn t() -> &'static AclTable {
    sim::acl_table()
}

#[test]
fn the_last_error_is_one_of_the_runtime_and_of_the_thread() {
    let _device = RawDevice::new();
    unsafe {
        assert_eq!((t().aclrtPeekAtLastError)(0), 0);
        assert_eq!((t().aclrtFree)(null_mut()), 107_000);
        assert_eq!((t().aclrtPeekAtLastError)(0), 107_000);
        // Of the ACL layer.
        assert_eq!((t().aclrtMalloc)(null_mut(), 8, 0), 100_000);
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!((t().aclrtGetLastError)(0), 0));
        });
        assert_eq!((t().aclrtGetLastError)(0), 107_000);
        assert_eq!((t().aclrtGetLastError)(0), 0);
        refused((t().aclrtGetLastError)(1), 107_000, &["level = 1 given"]);
    }
}

#[test]
fn devices_reach_each_other_once_it_is_enabled() {
    let (one, a) = with_memory(&[1, 2, 3, 4]);
    let (other, b) = with_memory(&[0; 4]);
    let (first, second) = (one.id, other.id);
    let copy = || unsafe { (t().aclrtMemcpy)(b, 4, a, 4, D2D) };
    unsafe {
        let mut can = 7;
        assert_eq!((t().aclrtDeviceCanAccessPeer)(&mut can, first, second), 0);
        assert_eq!(can, 1);
        refused((t().aclrtDeviceCanAccessPeer)(&mut can, first, first), 107_001, &["another device"]);
        refused(
            (t().aclrtDeviceCanAccessPeer)(&mut can, first, i32::MAX),
            107_001,
            &["device 2147483647 given"],
        );
        refused(
            (t().aclrtDeviceCanAccessPeer)(null_mut(), first, second),
            100_000,
            &["canAccessPeer = NULL"],
        );

        refused(copy(), 107_000, &["aclrtDeviceEnablePeerAccess between them wanted before"]);
        refused((t().aclrtDeviceEnablePeerAccess)(first, 1), 107_000, &["flags = 0x1"]);
        refused((t().aclrtDeviceEnablePeerAccess)(second, 0), 107_001, &["another device"]);
        assert_eq!((t().aclrtDeviceEnablePeerAccess)(first, 0), 0);
        assert_eq!(copy(), 0);
        assert_eq!(other.download::<u8>(b, 4), [1, 2, 3, 4]);

        assert_eq!((t().aclrtDeviceDisablePeerAccess)(first), 0);
        refused((t().aclrtDeviceDisablePeerAccess)(first), 107_000, &["has access to wanted"]);
        refused(copy(), 107_000, &["aclrtDeviceEnablePeerAccess between them wanted before"]);

        // Access in the other direction; a reset ends it.
        one.set();
        assert_eq!((t().aclrtDeviceEnablePeerAccess)(second, 0), 0);
        other.set();
        assert_eq!(copy(), 0);
        assert_eq!((t().aclrtResetDeviceForce)(first), 0);
        one.set();
        let a = one.upload(&[9u8]);
        other.set();
        refused(
            (t().aclrtMemcpy)(b, 1, a, 1, D2D),
            107_000,
            &["aclrtDeviceEnablePeerAccess between them wanted before"],
        );
    }
}

#[test]
fn matrices_are_copied_row_by_row_on_a_stream() {
    let (device, matrix) = with_memory(&[0; 12]);
    let mut stream = null_mut();
    let rows = [1u8, 2, 3, 4, 5, 6];
    unsafe {
        assert_eq!((t().aclrtCreateStream)(&mut stream), 0);
        // Pageable memory: the copy is done when the call returns.
        let copy = t().aclrtMemcpy2dAsync;
        assert_eq!(copy(matrix, 4, rows.as_ptr().cast(), 2, 2, 3, H2D, stream), 0);
        assert_eq!(device.download::<u8>(matrix, 12), [1, 2, 0, 0, 3, 4, 0, 0, 5, 6, 0, 0]);

        let mut pinned = null_mut();
        assert_eq!((t().aclrtMallocHost)(&mut pinned, 9), 0);
        assert_eq!(copy(pinned, 3, matrix, 4, 3, 3, D2H, stream), 0);
        assert_eq!((t().aclrtSynchronizeStream)(stream), 0);
        let got = std::slice::from_raw_parts(pinned.cast::<u8>(), 9);
        assert_eq!(got, [1, 2, 0, 3, 4, 0, 5, 6, 0]);

        let small = copy(matrix, 4, rows.as_ptr().cast(), 2, 3, 2, H2D, stream);
        refused(small, 107_000, &["width = 3 given, at most dpitch = 4 and spitch = 2"]);
        let past = copy(matrix, 4, rows.as_ptr().cast(), 2, 2, 4, H2D, stream);
        refused(past, 107_000, &["dst = "]);
        refused(copy(matrix, 4, matrix, 4, 1, 1, 4, stream), 100_000, &["kind = 4 given, 1 to 3 wanted"]);
        let wide = copy(matrix, 1 << 23, matrix, 1 << 23, 5_000_001, 1, D2D, stream);
        refused(wide, 107_000, &["width = 5000001"]);
    }
}

#[test]
fn the_failure_mode_of_a_stream_is_set_once() {
    let _device = RawDevice::new();
    let mut stream = null_mut();
    unsafe {
        assert_eq!((t().aclrtCreateStream)(&mut stream), 0);
        refused((t().aclrtSetStreamFailureMode)(stream, 0), 207_000, &["stops at its first failure"]);
        refused((t().aclrtSetStreamFailureMode)(stream, 2), 107_000, &["mode = 2 given"]);
        assert_eq!((t().aclrtSetStreamFailureMode)(stream, 1), 0);
        refused((t().aclrtSetStreamFailureMode)(stream, 1), 107_000, &["set before"]);
        assert_eq!((t().aclrtSetStreamFailureMode)(null_mut(), 1), 0);
    }
}
