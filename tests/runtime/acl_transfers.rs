//! Copies of matrices and between devices, the last error, and the failure mode, through the raw table of the simulator.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(unsafe_code, reason = "calls C functions")]
#![allow(clippy::undocumented_unsafe_blocks, reason = "raw calls are the subject of each test")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "sequences of C calls")]

use std::ffi::{c_void, CStr};
use std::ptr::null_mut;

use fastattention::driver::AclTable;
use fastattention::{sim, Soc};

const H2D: u32 = 1;
const D2H: u32 = 2;
const D2D: u32 = 3;

/// A new device, set in this thread.
fn device() -> i32 {
    let id = sim::add_device(sim::Config::new(Soc::by_name("Ascend910B2").unwrap()));
    set(id);
    id
}

fn t() -> &'static AclTable {
    sim::acl_table()
}

fn set(id: i32) {
    assert_eq!(unsafe { (t().aclrtSetDevice)(id) }, 0);
}

#[track_caller]
fn refused(code: i32, want: i32, part: &str) {
    let text = unsafe { (t().aclGetRecentErrMsg)() };
    assert!(!text.is_null(), "code {code} without a text");
    let text = unsafe { CStr::from_ptr(text) }.to_str().unwrap();
    assert_eq!(code, want, "{text}");
    assert!(text.contains(part), "{part:?} is not in {text:?}");
}

/// Device memory with these bytes.
fn filled(bytes: &[u8]) -> *mut c_void {
    let mut p = null_mut();
    unsafe {
        assert_eq!((t().aclrtMalloc)(&mut p, bytes.len(), 0), 0);
        assert_eq!((t().aclrtMemcpy)(p, bytes.len(), bytes.as_ptr().cast(), bytes.len(), H2D), 0);
    }
    p
}

fn read<const N: usize>(from: *const c_void) -> [u8; N] {
    let mut bytes = [0; N];
    assert_eq!(unsafe { (t().aclrtMemcpy)(bytes.as_mut_ptr().cast(), N, from, N, D2H) }, 0);
    bytes
}

#[test]
fn the_last_error_is_one_of_the_runtime_and_of_the_thread() {
    device();
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
        refused((t().aclrtGetLastError)(1), 107_000, "level = 1 given");
    }
}

#[test]
fn devices_reach_each_other_once_it_is_enabled() {
    let first = device();
    let a = filled(&[1, 2, 3, 4]);
    let second = device();
    let b = filled(&[0; 4]);
    let copy = || unsafe { (t().aclrtMemcpy)(b, 4, a, 4, D2D) };
    unsafe {
        let mut can = 7;
        assert_eq!((t().aclrtDeviceCanAccessPeer)(&mut can, first, second), 0);
        assert_eq!(can, 1);
        refused((t().aclrtDeviceCanAccessPeer)(&mut can, first, first), 107_001, "another device");
        refused(
            (t().aclrtDeviceCanAccessPeer)(&mut can, first, i32::MAX),
            107_001,
            "device 2147483647 given",
        );
        refused((t().aclrtDeviceCanAccessPeer)(null_mut(), first, second), 100_000, "canAccessPeer = NULL");

        refused(copy(), 107_000, "without aclrtDeviceEnablePeerAccess");
        refused((t().aclrtDeviceEnablePeerAccess)(first, 1), 107_000, "flags = 0x1");
        refused((t().aclrtDeviceEnablePeerAccess)(second, 0), 107_001, "another device");
        assert_eq!((t().aclrtDeviceEnablePeerAccess)(first, 0), 0);
        assert_eq!(copy(), 0);
        assert_eq!(read(b), [1, 2, 3, 4]);

        assert_eq!((t().aclrtDeviceDisablePeerAccess)(first), 0);
        refused((t().aclrtDeviceDisablePeerAccess)(first), 107_000, "has access to wanted");
        refused(copy(), 107_000, "without aclrtDeviceEnablePeerAccess");

        // Access in the other direction; a reset ends it.
        set(first);
        assert_eq!((t().aclrtDeviceEnablePeerAccess)(second, 0), 0);
        set(second);
        assert_eq!(copy(), 0);
        assert_eq!((t().aclrtResetDeviceForce)(first), 0);
        set(first);
        let a = filled(&[9]);
        set(second);
        refused((t().aclrtMemcpy)(b, 1, a, 1, D2D), 107_000, "without aclrtDeviceEnablePeerAccess");
    }
}

#[test]
fn matrices_are_copied_row_by_row_on_a_stream() {
    device();
    let matrix = filled(&[0; 12]);
    let mut stream = null_mut();
    let rows = [1u8, 2, 3, 4, 5, 6];
    unsafe {
        assert_eq!((t().aclrtCreateStream)(&mut stream), 0);
        // Pageable memory: the copy is done when the call returns.
        let copy = t().aclrtMemcpy2dAsync;
        assert_eq!(copy(matrix, 4, rows.as_ptr().cast(), 2, 2, 3, H2D, stream), 0);
        assert_eq!(read(matrix), [1, 2, 0, 0, 3, 4, 0, 0, 5, 6, 0, 0]);

        let mut pinned = null_mut();
        assert_eq!((t().aclrtMallocHost)(&mut pinned, 9), 0);
        assert_eq!(copy(pinned, 3, matrix, 4, 3, 3, D2H, stream), 0);
        assert_eq!((t().aclrtSynchronizeStream)(stream), 0);
        let got = std::slice::from_raw_parts(pinned.cast::<u8>(), 9);
        assert_eq!(got, [1, 2, 0, 3, 4, 0, 5, 6, 0]);

        let small = copy(matrix, 4, rows.as_ptr().cast(), 2, 3, 2, H2D, stream);
        refused(small, 107_000, "width = 3 given, at most dpitch = 4 and spitch = 2");
        let past = copy(matrix, 4, rows.as_ptr().cast(), 2, 2, 4, H2D, stream);
        refused(past, 107_000, "dst = ");
        refused(copy(matrix, 4, matrix, 4, 1, 1, 4, stream), 100_000, "kind = 4 given, 1 to 3 wanted");
        let wide = copy(matrix, 1 << 23, matrix, 1 << 23, 5_000_001, 1, D2D, stream);
        refused(wide, 107_000, "width = 5000001");
    }
}

#[test]
fn the_failure_mode_of_a_stream_is_set_once() {
    device();
    let mut stream = null_mut();
    unsafe {
        assert_eq!((t().aclrtCreateStream)(&mut stream), 0);
        refused((t().aclrtSetStreamFailureMode)(stream, 0), 207_000, "stops at its first failure");
        refused((t().aclrtSetStreamFailureMode)(stream, 2), 107_000, "mode = 2 given");
        assert_eq!((t().aclrtSetStreamFailureMode)(stream, 1), 0);
        refused((t().aclrtSetStreamFailureMode)(stream, 1), 107_000, "set before");
        assert_eq!((t().aclrtSetStreamFailureMode)(null_mut(), 1), 0);
    }
}
