//! Threads, devices and contexts.

use std::ptr::{null, null_mut};

use fastattention_testkit::acl::RawDevice;

#[test]
fn a_fresh_thread_has_no_context() {
    let b = RawDevice::new();
    std::thread::scope(|scope| {
        scope.spawn(|| unsafe {
            let mut p = null_mut();
            b.refused(
                (b.t.aclrtCreateStream)(&mut p),
                107_002,
                &["aclrtCreateStream", "neither a device nor a context"],
            );
            b.refused((b.t.aclrtMalloc)(&mut p, 8, 0), 107_002, &["aclrtMalloc"]);
            b.refused((b.t.aclrtSynchronizeDevice)(), 107_002, &["no current context"]);
            let mut id = 0;
            b.refused((b.t.aclrtGetDevice)(&mut id), 107_002, &[]);
        });
    });
}

#[test]
fn texts_belong_to_threads_and_are_cleared() {
    let b = RawDevice::new();
    assert_ne!(unsafe { (b.t.aclrtFree)(null_mut()) }, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(b.text(), ""));
    });
    assert!(b.text().starts_with("E107000: parameter invalid\naclrtFree: "));
    assert_eq!(b.text(), "");
}

#[test]
fn unknown_devices() {
    let b = RawDevice::new();
    unsafe {
        b.refused((b.t.aclrtSetDevice)(-1), 107_001, &["device -1 given"]);
        b.refused(
            (b.t.aclrtSetDevice)(1_000_000),
            107_001,
            &["device 1000000 given, a simulated device from 0"],
        );
        let mut value = 0;
        b.refused((b.t.aclGetDeviceCapability)(u32::MAX, 0, &mut value), 107_001, &[]);
        assert_eq!((b.t.aclGetDeviceCapability)(b.id.unsigned_abs(), 1, &mut value), 0);
        assert_eq!(value, 48);
        b.refused(
            (b.t.aclGetDeviceCapability)(b.id.unsigned_abs(), 9, &mut value),
            100_000,
            &["deviceInfo = 9"],
        );
    }
}

#[test]
fn null_places_for_results() {
    let b = RawDevice::new();
    unsafe {
        b.refused((b.t.aclrtMalloc)(null_mut(), 8, 0), 100_000, &["devPtr = NULL"]);
        b.refused((b.t.aclrtCreateStream)(null_mut()), 100_000, &["stream = NULL"]);
        b.refused((b.t.aclrtGetVersion)(null_mut(), null_mut(), null_mut()), 100_000, &[]);
        assert!((b.t.aclrtCreateBinary)(null(), 5).is_null());
        b.refused(0, 0, &["aclrtCreateBinary: data = 0x0 with 5 bytes"]);
    }
}

#[test]
fn streams_belong_to_contexts() {
    let b = RawDevice::new();
    let s = b.stream();
    let mut context = null_mut();
    unsafe {
        assert_eq!((b.t.aclrtCreateContext)(&mut context, b.id), 0);
        b.refused((b.t.aclrtSynchronizeStream)(s), 107_003, &["another context"]);
        let inner = b.stream();
        assert_eq!((b.t.aclrtDestroyContext)(context), 0);
        b.refused((b.t.aclrtSynchronizeStream)(inner), 107_002, &["was destroyed"]);
        assert_eq!((b.t.aclrtSetDevice)(b.id), 0);
        b.refused((b.t.aclrtSynchronizeStream)(inner), 107_017, &["destroyed"]);
        assert_eq!((b.t.aclrtSynchronizeStream)(s), 0);
        let mut own = null_mut();
        assert_eq!((b.t.aclrtGetCurrentContext)(&mut own), 0);
        b.refused((b.t.aclrtDestroyContext)(own), 107_000, &["default context"]);
    }
}

#[test]
fn after_the_last_reset_everything_is_gone() {
    let b = RawDevice::new();
    unsafe {
        assert_eq!((b.t.aclrtSetDevice)(b.id), 0);
        let s = b.stream();
        b.malloc(8);
        assert_eq!((b.t.aclrtResetDevice)(b.id), 0);
        assert_eq!((b.t.aclrtSynchronizeStream)(s), 0, "one of two uses is left");
        assert_eq!((b.t.aclrtResetDevice)(b.id), 0);
        b.refused((b.t.aclrtSynchronizeStream)(s), 107_002, &["destroyed"]);
        b.refused((b.t.aclrtResetDevice)(b.id), 107_001, &["not set"]);
        b.refused((b.t.aclrtResetDeviceForce)(b.id), 107_001, &["not set"]);
        assert_eq!((b.t.aclrtSetDevice)(b.id), 0);
        b.refused((b.t.aclrtSynchronizeStream)(s), 107_017, &["destroyed"]);
        // Its memory as well; the address may be that of another device's memory by now.
        let (mut free, mut total) = (0, 0);
        assert_eq!((b.t.aclrtGetMemInfo)(1, &mut free, &mut total), 0);
        assert_eq!(free, total);
    }
}
