//! Captures with drivers that answer at chosen moments.

#![allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]

use std::cell::RefCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Barrier, OnceLock};

use super::super::kinds::SIMULATOR;
use super::super::{Buffer, Event};
use super::*;
use crate::{sim, Soc};

/// A device whose functions are those of a table of the test.
fn device_of(table: &'static AclTable) -> Device {
    let config = sim::Config::new(Soc::by_name("Ascend910B2").unwrap());
    Device::add_simulated(SIMULATOR.acl_of(table), config).unwrap()
}

unsafe extern "C" fn refuses(_: *mut c_void, _: u32) -> AclError {
    codes::RT_FEATURE_NOT_SUPPORT
}

#[test]
fn a_driver_that_declares_captures_and_refuses_them_is_told_in_words() {
    static TABLE: OnceLock<AclTable> = OnceLock::new();
    let table = TABLE.get_or_init(|| AclTable { aclmdlRICaptureBegin: Some(refuses), ..*sim::acl_table() });
    let stream = Stream::new(&device_of(table)).unwrap();
    let error = stream.begin_capture(CaptureMode::Global).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.driver_code(), Some(DriverCode::Acl(207_000)));
    assert!(error.to_string().contains("declares graph capture and refuses it; a later one"), "{error}");
    stream.synchronize().unwrap();
}

static CAPTURE_ENDS: Barrier = Barrier::new(2);

unsafe extern "C" fn waits_after_the_capture(stream: *mut c_void, event: *mut c_void) -> AclError {
    CAPTURE_ENDS.wait();
    CAPTURE_ENDS.wait();
    // SAFETY: the arguments of the same function.
    unsafe { (sim::acl_table().aclrtStreamWaitEvent)(stream, event) }
}

#[test]
fn a_wait_that_comes_after_the_end_of_the_capture_is_a_plain_one() {
    static TABLE: OnceLock<AclTable> = OnceLock::new();
    let table =
        TABLE.get_or_init(|| AclTable { aclrtStreamWaitEvent: waits_after_the_capture, ..*sim::acl_table() });
    let device = device_of(table);
    let (stream, side) = (Stream::new(&device).unwrap(), Stream::new(&device).unwrap());
    let fork = Event::new(&device).unwrap();
    let capture = stream.begin_capture(CaptureMode::Relaxed).unwrap();
    fork.record(&stream).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| side.wait_event(&fork).unwrap());
        CAPTURE_ENDS.wait();
        capture.end().unwrap();
        CAPTURE_ENDS.wait();
    });
    side.synchronize().unwrap();
}

thread_local! {
    /// The stream whose capture begins when memory is freed, and the capture.
    static BEGINS: RefCell<(Option<Stream>, Option<Capture>)> = const { RefCell::new((None, None)) };
}

unsafe extern "C" fn frees_and_begins(memory: *mut c_void) -> AclError {
    BEGINS.with_borrow_mut(|(stream, capture)| {
        *capture = stream.take().map(|stream| stream.begin_capture(CaptureMode::Relaxed).unwrap());
    });
    // SAFETY: the argument of the same function.
    unsafe { (sim::acl_table().aclrtFree)(memory) }
}

#[test]
fn a_record_before_the_capture_is_a_plain_one() {
    static TABLE: OnceLock<AclTable> = OnceLock::new();
    let table = TABLE.get_or_init(|| AclTable { aclrtFree: frees_and_begins, ..*sim::acl_table() });
    let device = device_of(table);
    let (stream, event) = (Stream::new(&device).unwrap(), Event::new(&device).unwrap());
    let buffer = Buffer::alloc(&device, 64).unwrap();
    stream.zero(&buffer).unwrap();
    drop(buffer);
    // Marks the work that has the buffer; when it is done, the next submission frees it.
    event.record(&stream).unwrap();
    while !stream.query().unwrap() {}
    BEGINS.set((Some(stream.clone()), None));
    event.record(&stream).unwrap();
    let (left, capture) = BEGINS.take();
    assert!(left.is_none(), "nothing was freed");
    event.synchronize().unwrap();
    capture.unwrap().end().unwrap();
}

static REFUSED: AtomicU32 = AtomicU32::new(0);
static TOLD: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" fn refuses_to_tell(_: *mut c_void, _: *mut u32, _: *mut *mut c_void) -> AclError {
    REFUSED.fetch_add(1, Ordering::Relaxed);
    codes::RT_FEATURE_NOT_SUPPORT
}

unsafe extern "C" fn tells(stream: *mut c_void, status: *mut u32, graph: *mut *mut c_void) -> AclError {
    TOLD.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the arguments of the same function.
    unsafe { (sim::acl_table().aclmdlRICaptureGetInfo.unwrap())(stream, status, graph) }
}

/// A stream of another owner is given three pieces of work.
#[allow(clippy::multiple_unsafe_ops_per_block, reason = "handles of this test")]
fn use_borrowed(table: &'static AclTable, is_default: bool) {
    let device = device_of(table);
    let (owned, event) = (Stream::new(&device).unwrap(), Event::new(&device).unwrap());
    let raw = if is_default { null_mut() } else { owned.as_raw() };
    let buffer = Buffer::alloc(&device, 64).unwrap();
    // SAFETY: a stream of the device, which outlives it.
    let borrowed = unsafe { Stream::from_raw(&device, raw) };
    borrowed.zero(&buffer).unwrap();
    event.record(&borrowed).unwrap();
    owned.wait_event(&event).unwrap();
    borrowed.zero(&buffer).unwrap();
    owned.zero(&buffer).unwrap();
}

#[test]
fn the_driver_is_asked_once_for_each_submission_and_never_again_when_it_cannot_tell() {
    static TABLES: OnceLock<[AclTable; 2]> = OnceLock::new();
    let [refusing, telling] = TABLES.get_or_init(|| {
        [
            AclTable { aclmdlRICaptureGetInfo: Some(refuses_to_tell), ..*sim::acl_table() },
            AclTable { aclmdlRICaptureGetInfo: Some(tells), ..*sim::acl_table() },
        ]
    });
    use_borrowed(refusing, true);
    use_borrowed(telling, true);
    assert_eq!((REFUSED.load(Ordering::Relaxed), TOLD.load(Ordering::Relaxed)), (0, 0), "default stream");
    use_borrowed(refusing, false);
    use_borrowed(telling, false);
    // And once when it is dropped, before the wait for its work.
    assert_eq!((REFUSED.load(Ordering::Relaxed), TOLD.load(Ordering::Relaxed)), (1, 4));
}
