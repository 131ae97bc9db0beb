//! Events, and the streams that they order.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering};

use fastattention_testkit::acl::kind::D2H;
use fastattention_testkit::acl::RawDevice;

use super::{as_arg, current_context, wait_at_gate, SYNC, TIME_LINE};

fn plain_event(b: &RawDevice) -> *mut c_void {
    let mut event = null_mut();
    assert_eq!(unsafe { (b.t.aclrtCreateEvent)(&mut event) }, 0);
    event
}

#[test]
fn what_events_may_do() {
    let b = RawDevice::new();
    let s = b.stream();
    let (plain, order, time) = (plain_event(&b), b.event(SYNC), b.event(TIME_LINE));
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
            &["an event of aclrtCreateEventExWithFlag with flags 0x1 given, which cannot be reset"],
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
        assert!(ms >= 0.0, "{ms}");
        b.refused((b.t.aclrtEventElapsedTime)(&mut ms, plain, time), 107_007, &["before startEvent"]);
        let mut later = 0;
        assert_eq!((b.t.aclrtEventGetTimestamp)(time, &mut ticks), 0);
        assert_eq!((b.t.aclrtEventGetTimestamp)(plain, &mut later), 0);
        assert!(ticks < later, "{ticks} {later}");
    }
}

#[test]
fn an_event_orders_two_streams() {
    let b = RawDevice::new();
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

/// Records and waits of one event from several threads on one stream: no wait may enter the stream before its
/// record.
#[test]
fn records_and_waits_from_several_threads_do_not_hang() {
    let b = RawDevice::new();
    let (stream, event) = (b.stream() as usize, b.event(SYNC) as usize);
    let (t, context) = (b.t, current_context(&b) as usize);
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
