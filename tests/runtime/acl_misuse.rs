//! Wrong uses of the simulated ACL functions, through the raw table: each has a code and a text, none crashes.
//!
//! Every test opens a device of its own, so that they run side by side.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(unsafe_code, reason = "calls C functions, mostly wrongly")]
#![allow(clippy::undocumented_unsafe_blocks, reason = "what is passed wrongly is the subject of each test")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "sequences of C calls")]

use std::ffi::{c_void, CStr};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastattention::driver::AclTable;
use fastattention::{sim, Soc};

const H2H: u32 = 0;
const H2D: u32 = 1;
const D2H: u32 = 2;
const D2D: u32 = 3;
const DEFAULT: u32 = 4;

const SYNC: u32 = 1;
const TIME_LINE: u32 = 8;

/// A fresh device, set in this thread.
struct Bench {
    t: &'static AclTable,
    id: i32,
}

impl Bench {
    fn new() -> Self {
        let id = sim::add_device(sim::Config::new(Soc::by_name("Ascend910B2").unwrap()));
        let t = sim::acl_table();
        assert_eq!(unsafe { (t.aclrtSetDevice)(id) }, 0);
        Self { t, id }
    }

    /// The text of this thread's errors; it is cleared.
    fn text(&self) -> String {
        let text = unsafe { (self.t.aclGetRecentErrMsg)() };
        if text.is_null() {
            return String::new();
        }
        unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned()
    }

    /// The code, and a text that contains each of `parts`.
    #[track_caller]
    fn refused(&self, code: i32, want: i32, parts: &[&str]) {
        let text = self.text();
        assert_eq!(code, want, "{text}");
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }

    fn malloc(&self, len: usize) -> *mut c_void {
        let mut p = null_mut();
        assert_eq!(unsafe { (self.t.aclrtMalloc)(&mut p, len, 0) }, 0);
        p
    }

    fn malloc_host(&self, len: usize) -> *mut u8 {
        let mut p = null_mut();
        assert_eq!(unsafe { (self.t.aclrtMallocHost)(&mut p, len) }, 0);
        p.cast()
    }

    fn stream(&self) -> *mut c_void {
        let mut s = null_mut();
        assert_eq!(unsafe { (self.t.aclrtCreateStream)(&mut s) }, 0);
        s
    }

    fn event(&self, flag: u32) -> *mut c_void {
        let mut e = null_mut();
        assert_eq!(unsafe { (self.t.aclrtCreateEventExWithFlag)(&mut e, flag) }, 0);
        e
    }

    fn plain_event(&self) -> *mut c_void {
        let mut e = null_mut();
        assert_eq!(unsafe { (self.t.aclrtCreateEvent)(&mut e) }, 0);
        e
    }

    fn host_func(&self, stream: *mut c_void, f: unsafe extern "C" fn(*mut c_void), arg: *mut c_void) {
        assert_eq!(unsafe { (self.t.aclrtLaunchHostFunc.unwrap())(stream, Some(f), arg) }, 0);
    }
}

/// Blocks a stream until the gate (an `AtomicU32`) is not 0.
unsafe extern "C" fn wait_at_gate(gate: *mut c_void) {
    let gate = unsafe { &*gate.cast::<AtomicU32>() };
    while gate.load(Ordering::Acquire) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn as_arg<T>(value: &T) -> *mut c_void {
    std::ptr::from_ref(value).cast_mut().cast()
}

#[test]
fn a_fresh_thread_has_no_context() {
    let b = Bench::new();
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
    let b = Bench::new();
    assert_ne!(unsafe { (b.t.aclrtFree)(null_mut()) }, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(b.text(), ""));
    });
    assert!(b.text().starts_with("E107000: parameter invalid\naclrtFree: "));
    assert_eq!(b.text(), "");
}

#[test]
fn unknown_devices() {
    let b = Bench::new();
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
    let b = Bench::new();
    unsafe {
        b.refused((b.t.aclrtMalloc)(null_mut(), 8, 0), 100_000, &["devPtr = NULL"]);
        b.refused((b.t.aclrtCreateStream)(null_mut()), 100_000, &["stream = NULL"]);
        b.refused((b.t.aclrtGetVersion)(null_mut(), null_mut(), null_mut()), 100_000, &[]);
        assert!((b.t.aclrtCreateBinary)(null(), 5).is_null());
        b.refused(0, 0, &["aclrtCreateBinary: data = 0x0 with 5 bytes"]);
    }
}

#[test]
fn free_twice_inside_and_unknown() {
    let b = Bench::new();
    let p = b.malloc(100);
    let mut stack = 0u64;
    unsafe {
        b.refused(
            (b.t.aclrtFree)(p.wrapping_byte_add(8)),
            107_000,
            &["byte 8 of an allocation of 100 bytes"],
        );
        assert_eq!((b.t.aclrtFree)(p), 0);
        b.refused((b.t.aclrtFree)(p), 107_000, &["nothing is allocated (freed before?)"]);
        b.refused((b.t.aclrtFree)((&raw mut stack).cast()), 107_000, &[]);
        let h = b.malloc_host(10);
        b.refused((b.t.aclrtFree)(h.cast()), 107_000, &[]);
        assert_eq!((b.t.aclrtFreeHost)(h.cast()), 0);
        b.refused((b.t.aclrtFreeHost)(h.cast()), 107_000, &["aclrtMallocHost"]);
    }
}

#[test]
fn out_of_memory_and_zero_sizes() {
    let b = Bench::new();
    let (mut free, mut total) = (0, 0);
    unsafe {
        assert_eq!((b.t.aclrtGetMemInfo)(1, &mut free, &mut total), 0);
        assert_eq!((free, total), (64 << 30, 64 << 30));
        let mut p = null_mut();
        b.refused(
            (b.t.aclrtMalloc)(&mut p, total + 1, 0),
            207_001,
            &["68719476737 bytes wanted, 68719476736 of"],
        );
        assert!(p.is_null());
        let _one = b.malloc(1 << 20);
        assert_eq!((b.t.aclrtGetMemInfo)(1, &mut free, &mut total), 0);
        assert_eq!(total - free, 1 << 20);
        b.refused((b.t.aclrtMalloc)(&mut p, total, 0), 207_001, &[]);
        b.refused((b.t.aclrtMalloc)(&mut p, 0, 0), 100_000, &["size = 0"]);
        b.refused((b.t.aclrtMallocHost)(&mut p, 0), 100_000, &["size = 0"]);
        b.refused((b.t.aclrtMalloc)(&mut p, 8, 99), 107_018, &["policy = 0x63"]);
        b.refused((b.t.aclrtGetMemInfo)(99, &mut free, &mut total), 107_016, &[]);
        b.refused((b.t.aclrtGetMemInfo)(6, &mut free, &mut total), 207_000, &[]);
    }
}

#[test]
fn copies_are_checked() {
    let b = Bench::new();
    let (p, q) = (b.malloc(64), b.malloc(64));
    let mut host = [7u8; 128];
    let h = host.as_mut_ptr().cast::<c_void>();
    unsafe {
        b.refused((b.t.aclrtMemcpy)(p, 10, h, 11, H2D), 107_000, &["count = 11 given, at most destMax = 10"]);
        b.refused(
            (b.t.aclrtMemcpy)(p, 65, h, 65, H2D),
            107_000,
            &["dst: 65 bytes at byte 0 of an allocation of 64"],
        );
        b.refused(
            (b.t.aclrtMemcpy)(h, 128, p.wrapping_byte_add(60), 5, D2H),
            107_000,
            &["src: 5 bytes at byte 60 of an allocation of 64 bytes"],
        );
        b.refused((b.t.aclrtMemcpy)(null_mut(), 8, h, 8, H2D), 100_000, &["dst = NULL"]);
        b.refused((b.t.aclrtMemcpy)(p, 8, h, 8, 77), 107_000, &["kind = 77"]);
        b.refused(
            (b.t.aclrtMemcpy)(h, 8, h.wrapping_byte_add(64), 8, H2D),
            107_000,
            &["device memory wanted"],
        );
        b.refused((b.t.aclrtMemset)(p, 64, 0, 65), 107_000, &["maxCount = 64"]);
        b.refused((b.t.aclrtMemset)(h, 64, 0, 64), 107_000, &["device memory wanted"]);
        let pinned = b.malloc_host(64);
        b.refused((b.t.aclrtMemset)(pinned.cast(), 65, 0, 65), 107_000, &["devPtr: 65 bytes at byte 0"]);
        assert_eq!((b.t.aclrtMemset)(pinned.cast(), 64, 0x1a5, 64), 0);
        assert_eq!((pinned.read(), pinned.add(63).read()), (0xa5, 0xa5));
        b.refused((b.t.aclrtMemcpy2d)(p, 8, h, 8, 9, 2, H2D), 107_000, &["width = 9"]);
        b.refused((b.t.aclrtMemcpy2d)(p, 32, h, 8, 8, 3, H2D), 107_000, &["dst"]);
        // Rows of nothing, as many as there are numbers: refused at once, not listed.
        b.refused((b.t.aclrtMemcpy2d)(p, 0, h, 0, 0, usize::MAX, H2D), 107_000, &["width = 0"]);
        b.refused((b.t.aclrtMemcpy2d)(p, 8, h, 8, 8, 0, H2D), 107_000, &["height = 0"]);
        assert_eq!((b.t.aclrtFree)(q), 0);
        b.refused((b.t.aclrtMemcpy)(q, 8, h, 8, H2D), 107_000, &["(freed?)"]);
        b.refused((b.t.aclrtMemcpy)(p, 8, q, 8, D2D), 107_000, &["src", "(freed?)"]);
    }
}

#[test]
fn copies_copy() {
    let b = Bench::new();
    let (p, q) = (b.malloc(64), b.malloc(64));
    let from: Vec<u8> = (0..64).collect();
    let mut to = [0u8; 64];
    unsafe {
        assert_eq!((b.t.aclrtMemcpy)(p, 64, from.as_ptr().cast(), 64, DEFAULT), 0);
        assert_eq!((b.t.aclrtMemset)(q, 64, 0x1ff, 64), 0);
        assert_eq!((b.t.aclrtMemcpy)(q.wrapping_byte_add(3), 61, p.wrapping_byte_add(1), 10, D2D), 0);
        assert_eq!((b.t.aclrtMemcpy)(to.as_mut_ptr().cast(), 64, q, 64, D2H), 0);
    }
    let mut want = [0xff; 64];
    want[3..13].copy_from_slice(&from[1..11]);
    assert_eq!(to, want);
    let rows = [1u8, 2, 3, 9, 4, 5, 6, 9];
    unsafe {
        assert_eq!((b.t.aclrtMemcpy2d)(p, 16, rows.as_ptr().cast(), 4, 3, 2, H2D), 0);
        assert_eq!((b.t.aclrtMemcpy)(to.as_mut_ptr().cast(), 64, p, 20, D2H), 0);
    }
    assert_eq!((&to[..4], &to[16..20]), (&[1, 2, 3, 3][..], &[4, 5, 6, 19][..]));
}

/// Larger than the parts that the copy is made in, by an odd distance.
#[test]
fn device_copies_that_overlap() {
    const LEN: usize = 200_000;
    const SHIFT: usize = 1001;
    let b = Bench::new();
    let from: Vec<u8> = (0..=250).cycle().take(LEN).collect();
    for (dst, src) in [(SHIFT, 0), (0, SHIFT)] {
        let p = b.malloc(LEN + SHIFT);
        let mut to = vec![0; LEN];
        unsafe {
            let (dst, src) = (p.wrapping_byte_add(dst), p.wrapping_byte_add(src));
            assert_eq!((b.t.aclrtMemcpy)(src, LEN, from.as_ptr().cast(), LEN, H2D), 0);
            assert_eq!((b.t.aclrtMemcpy)(dst, LEN, src, LEN, D2D), 0);
            assert_eq!((b.t.aclrtMemcpy)(to.as_mut_ptr().cast(), LEN, dst, LEN, D2H), 0);
        }
        assert!(to == from, "a copy from byte {src} to byte {dst}");
    }
}

#[test]
fn asynchronous_copies() {
    let b = Bench::new();
    let (p, s) = (b.malloc(64), b.stream());
    let gate = AtomicU32::new(0);
    let pinned = b.malloc_host(64);
    let mut pageable = [1u8; 64];
    unsafe {
        let h = pageable.as_mut_ptr().cast::<c_void>();
        b.refused((b.t.aclrtMemcpyAsync)(h, 64, h, 64, H2H, s), 207_000, &["host to host"]);
        pinned.write_bytes(5, 64);
        b.host_func(s, wait_at_gate, as_arg(&gate));
        // Pinned: returns before the copy ran, which the closed gate proves.
        assert_eq!((b.t.aclrtMemcpyAsync)(p, 64, pinned.cast(), 64, H2D, s), 0);
        let mut status = 0;
        assert_eq!((b.t.aclrtStreamQuery)(s, &mut status), 0);
        assert_eq!(status, 1);
        b.refused(
            (b.t.aclrtSynchronizeStreamWithTimeout)(s, 20),
            507_046,
            &["2 pieces of work still queued or running after 20ms\n"],
        );
        b.refused((b.t.aclrtSynchronizeStreamWithTimeout)(s, -2), 107_000, &["timeout = -2"]);
        // Freed while queued: the copy keeps it.
        assert_eq!((b.t.aclrtFreeHost)(pinned.cast()), 0);
        // Pageable: returns after the copy, so it must wait for the gate.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(30));
                gate.store(1, Ordering::Release);
            });
            assert_eq!((b.t.aclrtMemcpyAsync)(h, 64, p, 64, D2H, s), 0);
        });
        assert_eq!(pageable, [5; 64]);
        assert_eq!((b.t.aclrtSynchronizeStream)(s), 0);
        assert_eq!((b.t.aclrtStreamQuery)(s, &mut status), 0);
        assert_eq!(status, 0);
    }
}

#[test]
fn handles_of_another_kind_destroyed_and_made_up() {
    let b = Bench::new();
    let (s, e) = (b.stream(), b.event(SYNC));
    let mut local = 0u64;
    unsafe {
        b.refused((b.t.aclrtSynchronizeStream)(e), 107_017, &["an event", "a stream wanted"]);
        b.refused((b.t.aclrtDestroyEvent)(s), 107_017, &["a stream", "an event wanted"]);
        b.refused(
            (b.t.aclrtSynchronizeStream)((&raw mut local).cast()),
            107_017,
            &["no handle of this library"],
        );
        b.refused((b.t.aclrtDestroyEvent)(null_mut()), 107_017, &["NULL given"]);
        b.refused((b.t.aclrtDestroyStream)(null_mut()), 100_000, &["stream = NULL"]);
        assert_eq!((b.t.aclrtDestroyStream)(s), 0);
        b.refused((b.t.aclrtDestroyStream)(s), 107_017, &["a stream that was destroyed"]);
        // The place is used again, the old handle stays dead.
        let again = b.stream();
        assert_ne!(again, s);
        b.refused((b.t.aclrtSynchronizeStream)(s), 107_017, &["destroyed"]);
        assert_eq!((b.t.aclrtDestroyEvent)(e), 0);
        b.refused((b.t.aclrtRecordEvent)(e, again), 107_017, &["destroyed"]);
        let mut f = null_mut();
        b.refused(
            (b.t.aclrtBinaryGetFunction)(again, c"k".as_ptr(), &mut f),
            107_017,
            &["a loaded binary wanted"],
        );
        b.refused((b.t.aclrtKernelArgsInit)(again, &mut f), 107_017, &["a function wanted"]);
        b.refused((b.t.aclrtSetCurrentContext)(null_mut()), 107_017, &["a context wanted"]);
    }
}

#[test]
fn streams_belong_to_contexts() {
    let b = Bench::new();
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
    let b = Bench::new();
    unsafe {
        assert_eq!((b.t.aclrtSetDevice)(b.id), 0);
        let (s, p) = (b.stream(), b.malloc(8));
        assert_eq!((b.t.aclrtResetDevice)(b.id), 0);
        assert_eq!((b.t.aclrtSynchronizeStream)(s), 0, "one of two uses is left");
        assert_eq!((b.t.aclrtResetDevice)(b.id), 0);
        b.refused((b.t.aclrtSynchronizeStream)(s), 107_002, &["destroyed"]);
        b.refused((b.t.aclrtResetDevice)(b.id), 107_001, &["not set"]);
        b.refused((b.t.aclrtResetDeviceForce)(b.id), 107_001, &["not set"]);
        assert_eq!((b.t.aclrtSetDevice)(b.id), 0);
        b.refused((b.t.aclrtSynchronizeStream)(s), 107_017, &["destroyed"]);
        b.refused((b.t.aclrtFree)(p), 107_000, &[]);
    }
}

#[test]
fn what_events_may_do() {
    let b = Bench::new();
    let s = b.stream();
    let (plain, order, time) = (b.plain_event(), b.event(SYNC), b.event(TIME_LINE));
    let mut flagged = null_mut();
    let (mut status, mut ms, mut ticks) = (9, 0.0, 0);
    unsafe {
        assert_eq!((b.t.aclrtCreateEventWithFlag)(&mut flagged, SYNC), 0);
        let mut e = null_mut();
        b.refused((b.t.aclrtCreateEventExWithFlag)(&mut e, 0x40), 107_000, &["flag = 0x40"]);
        b.refused((b.t.aclrtStreamWaitEvent)(s, time), 107_000, &["lacks SYNC"]);
        b.refused(
            (b.t.aclrtResetEvent)(order, s),
            107_000,
            &["an event of aclrtCreateEventExWithFlag with flags 0x1 cannot be reset"],
        );
        b.refused((b.t.aclrtResetEvent)(plain, s), 107_000, &["an event of aclrtCreateEvent with flags "]);
        assert_eq!((b.t.aclrtResetEvent)(flagged, s), 0);
        b.refused((b.t.aclrtQueryEventWaitStatus)(order, &mut status), 107_000, &[]);
        assert_eq!((b.t.aclrtQueryEventWaitStatus)(plain, &mut status), 0);
        assert_eq!(status, 0);
        // Never recorded: complete, but without a time.
        assert_eq!((b.t.aclrtQueryEventStatus)(time, &mut status), 0);
        assert_eq!(status, 1);
        b.refused((b.t.aclrtEventElapsedTime)(&mut ms, time, time), 107_006, &["not recorded"]);
        b.refused((b.t.aclrtEventGetTimestamp)(order, &mut ticks), 107_006, &["TIME_LINE"]);
        assert_eq!((b.t.aclrtRecordEvent)(time, s), 0);
        assert_eq!((b.t.aclrtRecordEvent)(plain, s), 0);
        assert_eq!((b.t.aclrtSynchronizeStream)(s), 0);
        assert_eq!((b.t.aclrtEventElapsedTime)(&mut ms, time, plain), 0);
        assert!(ms >= 0.0);
        b.refused((b.t.aclrtEventElapsedTime)(&mut ms, plain, time), 107_007, &["before startEvent"]);
        let mut later = 0;
        assert_eq!((b.t.aclrtEventGetTimestamp)(time, &mut ticks), 0);
        assert_eq!((b.t.aclrtEventGetTimestamp)(plain, &mut later), 0);
        assert!(ticks < later);
    }
}

#[test]
fn an_event_orders_two_streams() {
    let b = Bench::new();
    let (first, second, event) = (b.stream(), b.stream(), b.event(SYNC));
    let gate = AtomicU32::new(0);
    let (p, h) = (b.malloc(8), b.malloc_host(8));
    let mut status = 0;
    unsafe {
        h.write_bytes(0, 8);
        assert_eq!((b.t.aclrtMemset)(p, 8, 1, 8), 0);
        b.host_func(first, wait_at_gate, as_arg(&gate));
        assert_eq!((b.t.aclrtMemsetAsync)(p, 8, 2, 8, first), 0);
        assert_eq!((b.t.aclrtRecordEvent)(event, first), 0);
        assert_eq!((b.t.aclrtStreamWaitEvent)(second, event), 0);
        assert_eq!((b.t.aclrtMemcpyAsync)(h.cast(), 8, p, 8, D2H, second), 0);
        b.refused((b.t.aclrtSynchronizeStreamWithTimeout)(second, 30), 507_046, &[]);
        b.refused(
            (b.t.aclrtSynchronizeEventWithTimeout)(event, 10),
            507_047,
            &["the event was not reached within 10ms\n"],
        );
        assert_eq!((b.t.aclrtQueryEventStatus)(event, &mut status), 0);
        assert_eq!((status, h.read()), (0, 0));
        gate.store(1, Ordering::Release);
        assert_eq!((b.t.aclrtSynchronizeStream)(second), 0);
        assert_eq!((status, h.read()), (0, 2));
        assert_eq!((b.t.aclrtQueryEventStatus)(event, &mut status), 0);
        assert_eq!(status, 1);
        // Without a new record the event does not hold anybody up.
        assert_eq!((b.t.aclrtStreamWaitEvent)(second, event), 0);
        assert_eq!((b.t.aclrtSynchronizeStreamWithTimeout)(second, 10_000), 0);
    }
}

/// Records and waits of one event from several threads on one stream: no wait may enter the stream before its record.
#[test]
fn records_and_waits_from_several_threads_do_not_hang() {
    let b = Bench::new();
    let (stream, event) = (b.stream() as usize, b.event(SYNC) as usize);
    let mut context = null_mut();
    assert_eq!(unsafe { (b.t.aclrtGetCurrentContext)(&mut context) }, 0);
    let (t, context) = (b.t, context as usize);
    std::thread::scope(|scope| {
        for waits in [false, true, false, true] {
            scope.spawn(move || unsafe {
                assert_eq!((t.aclrtSetCurrentContext)(context as *mut c_void), 0);
                for _ in 0..5000 {
                    let (stream, event) = (stream as *mut c_void, event as *mut c_void);
                    let code = if waits {
                        (t.aclrtStreamWaitEvent)(stream, event)
                    } else {
                        (t.aclrtRecordEvent)(event, stream)
                    };
                    assert_eq!(code, 0);
                }
            });
        }
    });
    unsafe {
        let code = (t.aclrtSynchronizeStreamWithTimeout)(stream as *mut c_void, 60_000);
        // The stream would wait for ever when it is dropped, too.
        if code != 0 {
            (t.aclrtStreamAbort)(stream as *mut c_void);
        }
        assert_eq!(code, 0, "{}", b.text());
    }
}

/// Appends a digit to the log: two streams that interleave would show.
unsafe extern "C" fn append(arg: *mut c_void) {
    let (log, digit) = unsafe { *arg.cast::<(&AtomicU64, u64)>() };
    log.store(log.load(Ordering::Relaxed) * 10 + digit, Ordering::Relaxed);
}

#[test]
fn host_functions_run_in_order() {
    let b = Bench::new();
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
    let b = Bench::new();
    let stream = b.stream();
    let mut context = null_mut();
    assert_eq!(unsafe { (b.t.aclrtGetCurrentContext)(&mut context) }, 0);
    let own = OwnStream { t: b.t, context, stream, code: AtomicU32::new(0) };
    b.host_func(stream, synchronize_own, as_arg(&own));
    assert_eq!(unsafe { (b.t.aclrtSynchronizeStream)(stream) }, 0);
    assert_eq!(own.code.load(Ordering::Relaxed), 107_000);
}

#[test]
fn a_host_function_of_null_is_refused() {
    let b = Bench::new();
    let code = unsafe { (b.t.aclrtLaunchHostFunc.unwrap())(b.stream(), None, null_mut()) };
    b.refused(code, 100_000, &["fn = NULL given"]);
}

#[test]
fn aborted_and_destroyed_streams_let_go() {
    let b = Bench::new();
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
        assert!(start.elapsed() < Duration::from_secs(9));
        assert_eq!(ran.0.load(Ordering::Relaxed), 0, "work behind the wait was dropped");
        b.host_func(waiting, append, as_arg(&ran));
        assert_eq!((b.t.aclrtStreamWaitEvent)(waiting, event), 0);
        assert_eq!((b.t.aclrtDestroyStreamForce)(waiting), 0);
        gate.store(1, Ordering::Release);
        assert_eq!((b.t.aclrtDestroyStream)(blocked), 0);
    }
}

#[test]
fn what_pointers_are() {
    let b = Bench::new();
    let (p, h) = (b.malloc(8), b.malloc_host(8));
    let mut attributes = fastattention::driver::PtrAttributes {
        location: fastattention::driver::MemLocation { id: 99, type_: 99 },
        pageSize: 0,
        rsv: [0; 4],
    };
    let stack = 0u8;
    unsafe {
        assert_eq!((b.t.aclrtPointerGetAttributes)(p.wrapping_byte_add(7), &mut attributes), 0);
        assert_eq!((attributes.location.type_, attributes.location.id), (1, b.id.unsigned_abs()));
        assert_eq!((b.t.aclrtPointerGetAttributes)(h.cast(), &mut attributes), 0);
        assert_eq!(attributes.location.type_, 0);
        assert_eq!((b.t.aclrtPointerGetAttributes)((&raw const stack).cast(), &mut attributes), 0);
        assert_eq!(attributes.location.type_, 2);
    }
}

#[test]
fn images_that_are_none() {
    let b = Bench::new();
    let mut handle = null_mut();
    let junk = [1u8; 100];
    unsafe {
        b.refused(
            (b.t.aclrtBinaryLoadFromData.unwrap())(junk.as_ptr().cast(), 100, null(), &mut handle),
            107_000,
            &["100 bytes that are no kernel image"],
        );
        for absent in [c"/no/x.so", c"x.so", c"src", c""] {
            b.refused(
                (b.t.aclrtBinaryLoadFromFile)(absent.as_ptr(), null_mut(), &mut handle),
                107_009,
                &[&format!("binPath = {absent:?} is no file")],
            );
        }
        // A relative path is one from the current folder, that of this package.
        b.refused(
            (b.t.aclrtBinaryLoadFromFile)(c"Cargo.toml".as_ptr(), null_mut(), &mut handle),
            100_003,
            &["binPath = \"Cargo.toml\" is no kernel image"],
        );
        let binary = (b.t.aclrtCreateBinary)(junk.as_ptr().cast(), 100);
        assert!(!binary.is_null());
        b.refused((b.t.aclrtBinaryLoad)(binary, &mut handle), 107_000, &["no kernel image"]);
        assert_eq!((b.t.aclrtDestroyBinary)(binary), 0);
        b.refused((b.t.aclrtDestroyBinary)(binary), 107_017, &["destroyed"]);
    }
}
