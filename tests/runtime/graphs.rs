//! Graph capture through the raw table: what is kept, what a replay does, and what is refused with which
//! code.

#![allow(unsafe_code, reason = "calls C functions, some wrongly")]
#![allow(clippy::undocumented_unsafe_blocks, reason = "what is passed is the subject of each test")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "sequences of C calls")]

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use fastattention::driver::{capture_mode, capture_status, ClientTable};
use fastattention_testkit::acl::{kind, RawDevice};

use crate::acl_misuse::{as_arg, current_context, wait_at_gate, SYNC, TIME_LINE};

const LEN: usize = 64;

/// The functions of graphs.
struct Graphs {
    b: RawDevice,
    client: &'static ClientTable,
}

impl Graphs {
    fn new() -> Self {
        Self { b: RawDevice::new(), client: fastattention::sim::client_table() }
    }

    fn begin(&self, stream: *mut c_void, mode: u32) -> i32 {
        unsafe { (self.b.t.aclmdlRICaptureBegin.unwrap())(stream, mode) }
    }

    fn end(&self, stream: *mut c_void, graph: &mut *mut c_void) -> i32 {
        unsafe { (self.b.t.aclmdlRICaptureEnd.unwrap())(stream, graph) }
    }

    #[track_caller]
    fn ended(&self, stream: *mut c_void) -> *mut c_void {
        let mut graph = null_mut();
        assert_eq!(self.end(stream, &mut graph), 0, "{}", self.b.text());
        assert!(!graph.is_null());
        graph
    }

    fn execute(&self, graph: *mut c_void, stream: *mut c_void) -> i32 {
        unsafe { (self.b.t.aclmdlRIExecuteAsync.unwrap())(graph, stream) }
    }

    fn destroy(&self, graph: *mut c_void) -> i32 {
        unsafe { (self.b.t.aclmdlRIDestroy.unwrap())(graph) }
    }

    fn exchange(&self, mut mode: u32) -> u32 {
        assert_eq!(unsafe { (self.client.aclmdlRICaptureThreadExchangeMode.unwrap())(&mut mode) }, 0);
        mode
    }

    fn info(&self, stream: *mut c_void) -> (u32, *mut c_void) {
        let (mut status, mut graph) = (9, null_mut());
        let code = unsafe { (self.b.t.aclmdlRICaptureGetInfo.unwrap())(stream, &mut status, &mut graph) };
        assert_eq!(code, 0);
        (status, graph)
    }

    /// Device memory of [`LEN`] bytes.
    fn bytes(&self, value: u8) -> *mut c_void {
        self.b.upload(&[value; LEN])
    }

    fn fill(&self, to: *mut c_void, value: i32, stream: *mut c_void) -> i32 {
        unsafe { (self.b.t.aclrtMemsetAsync)(to, LEN, value, LEN, stream) }
    }

    fn copy(&self, to: *mut c_void, from: *mut c_void, stream: *mut c_void) -> i32 {
        unsafe { (self.b.t.aclrtMemcpyAsync)(to, LEN, from, LEN, kind::D2D, stream) }
    }

    fn record(&self, event: *mut c_void, stream: *mut c_void) -> i32 {
        unsafe { (self.b.t.aclrtRecordEvent)(event, stream) }
    }

    fn wait(&self, stream: *mut c_void, event: *mut c_void) -> i32 {
        unsafe { (self.b.t.aclrtStreamWaitEvent)(stream, event) }
    }

    fn synchronize(&self, stream: *mut c_void) -> i32 {
        unsafe { (self.b.t.aclrtSynchronizeStream)(stream) }
    }

    #[track_caller]
    fn holds(&self, at: *mut c_void, value: u8) {
        assert_eq!(self.b.download::<u8>(at, LEN), [value; LEN]);
    }

    /// Something illegal was called: the capture of `stream` ends with nothing.
    #[track_caller]
    fn is_invalid(&self, stream: *mut c_void) {
        assert_eq!(self.info(stream).0, capture_status::INVALIDATED);
        let mut graph = stream;
        self.b.refused(
            self.end(stream, &mut graph),
            507_903,
            &["aclmdlRICaptureEnd: the capture is invalid"],
        );
        assert!(graph.is_null());
        assert_eq!(self.info(stream), (capture_status::NONE, null_mut()));
    }
}

#[test]
fn captured_work_runs_when_the_graph_does_and_reads_what_is_there_then() {
    let g = Graphs::new();
    let (s, other) = (g.b.stream(), g.b.stream());
    let (a, b, c) = (g.bytes(1), g.bytes(2), g.bytes(3));
    assert_eq!(g.info(s), (capture_status::NONE, null_mut()));
    assert_eq!(g.begin(s, capture_mode::GLOBAL), 0);
    let (status, capturing) = g.info(s);
    assert_eq!(status, capture_status::ACTIVE);
    // In this order: a to b, 7 to a, b to c.
    assert_eq!((g.copy(b, a, s), g.fill(a, 7, s), g.copy(c, b, s)), (0, 0, 0));
    // Another stream is no part of it.
    let d = g.b.malloc(LEN);
    assert_eq!((g.fill(d, 9, other), g.synchronize(other)), (0, 0));
    let graph = g.ended(s);
    assert_eq!(graph, capturing);
    g.holds(d, 9);
    g.holds(b, 2);
    g.holds(a, 1);
    for on in [s, other, s] {
        assert_eq!((g.execute(graph, on), g.synchronize(on)), (0, 0), "{}", g.b.text());
    }
    // The second run reads the 7 of the first.
    g.holds(b, 7);
    g.holds(c, 7);
    let new = [5u8; LEN];
    unsafe {
        assert_eq!((g.b.t.aclrtMemcpy)(a, LEN, new.as_ptr().cast(), LEN, kind::H2D), 0);
        // Of the context's default stream, which is waited for.
        assert_eq!((g.client.aclmdlRIExecute.unwrap())(graph, -1), 0);
        g.b.refused((g.client.aclmdlRIExecute.unwrap())(graph, 0), 107_000, &["timeout = 0 given"]);
    }
    g.holds(c, 5);
    g.holds(a, 7);
    assert_eq!(g.destroy(graph), 0);
    g.b.refused(g.destroy(graph), 107_017, &["a graph (aclmdlRI) that was destroyed"]);
    g.b.refused(g.execute(graph, s), 107_017, &["that was destroyed"]);
    // An empty one is a graph, too.
    assert_eq!(g.begin(s, capture_mode::RELAXED), 0);
    let empty = g.ended(s);
    assert_eq!((g.execute(empty, s), g.synchronize(s), g.destroy(empty)), (0, 0, 0));
}

#[test]
fn a_second_stream_forks_and_joins() {
    let g = Graphs::new();
    let (s, side, third) = (g.b.stream(), g.b.stream(), g.b.stream());
    let [fork, back, deep] = [(); 3].map(|()| g.b.event(SYNC));
    let (a, b, c) = (g.bytes(1), g.bytes(2), g.bytes(3));
    assert_eq!(g.begin(s, capture_mode::THREAD_LOCAL), 0);
    assert_eq!((g.fill(a, 4, s), g.record(fork, s), g.wait(side, fork)), (0, 0, 0));
    assert_eq!(g.info(side).0, capture_status::ACTIVE);
    // side: a to b; a third stream behind it: b to c; joined through side.
    assert_eq!((g.copy(b, a, side), g.record(deep, side), g.wait(third, deep)), (0, 0, 0));
    assert_eq!((g.copy(c, b, third), g.record(deep, third), g.wait(side, deep)), (0, 0, 0));
    assert_eq!((g.record(back, side), g.wait(s, back), g.fill(a, 6, s)), (0, 0, 0));
    let mut graph = null_mut();
    g.b.refused(g.end(side, &mut graph), 107_036, &["the one of aclmdlRICaptureBegin wanted"]);
    let graph = g.ended(s);
    assert_eq!((g.info(side).0, g.info(third).0), (capture_status::NONE, capture_status::NONE));
    // Races are looked for: without the order between the streams one would be found.
    for _ in 0..20 {
        assert_eq!(g.execute(graph, s), 0);
    }
    assert_eq!(g.synchronize(s), 0, "{}", g.b.text());
    g.holds(a, 6);
    g.holds(c, 4);
    // The streams take plain work again, and the events records.
    assert_eq!((g.fill(b, 8, side), g.record(back, side), g.wait(s, back)), (0, 0, 0));
    assert_eq!((g.synchronize(s), g.destroy(graph)), (0, 0));
    g.holds(b, 8);
}

#[test]
fn a_stream_that_is_not_joined_ends_the_capture() {
    let g = Graphs::new();
    let (s, side) = (g.b.stream(), g.b.stream());
    let (fork, back) = (g.b.event(SYNC), g.b.event(SYNC));
    let a = g.bytes(1);
    for joins in [false, true] {
        assert_eq!(g.begin(s, capture_mode::GLOBAL), 0);
        assert_eq!((g.record(fork, s), g.wait(side, fork)), (0, 0));
        if joins {
            assert_eq!((g.record(back, side), g.wait(s, back)), (0, 0));
        }
        // Behind the join, so it is joined no more.
        assert_eq!(g.fill(a, 2, side), 0);
        let mut graph = s;
        g.b.refused(g.end(s, &mut graph), 107_025, &["is not joined to the origin"]);
        assert!(graph.is_null());
        assert_eq!((g.info(s).0, g.info(side).0), (capture_status::NONE, capture_status::NONE));
    }
    assert_eq!((g.fill(a, 3, s), g.synchronize(s)), (0, 0));
    g.holds(a, 3);
}

#[test]
fn waiting_and_asking_are_illegal_in_a_capture() {
    type Call = fn(&Graphs, *mut c_void, *mut c_void) -> i32;
    let calls: [(Call, i32, &str); 8] = [
        (|g, s, _| g.synchronize(s), 107_027, "waiting for the stream"),
        (|g, s, _| unsafe { (g.b.t.aclrtStreamQuery)(s, &mut 0) }, 107_027, "asking whether the stream"),
        (|g, s, _| unsafe { (g.b.t.aclrtStreamAbort)(s) }, 107_027, "aborting the stream"),
        (|g, s, _| unsafe { (g.b.t.aclrtDestroyStream)(s) }, 107_027, "destroying the stream"),
        (|g, s, _| unsafe { (g.b.t.aclrtDestroyStreamForce)(s) }, 107_027, "destroying the stream"),
        (|g, _, _| unsafe { (g.b.t.aclrtSynchronizeDevice)() }, 107_027, "all streams of the context"),
        (|g, _, e| unsafe { (g.b.t.aclrtQueryEventStatus)(e, &mut 0) }, 107_028, "recorded in a capture"),
        (|g, _, e| unsafe { (g.b.t.aclrtSynchronizeEvent)(e) }, 107_028, "recorded in a capture"),
    ];
    let g = Graphs::new();
    let (s, event) = (g.b.stream(), g.b.event(SYNC));
    for (call, code, text) in calls {
        assert_eq!((g.begin(s, capture_mode::RELAXED), g.record(event, s)), (0, 0));
        g.b.refused(call(&g, s, event), code, &[text]);
        let a = g.bytes(0);
        g.b.refused(g.fill(a, 1, s), 507_903, &["illegal in a capture"]);
        g.is_invalid(s);
    }
    assert_eq!(g.synchronize(s), 0);
    // What is in no capture may be asked and waited for meanwhile.
    let (other, free) = (g.b.stream(), g.b.event(SYNC));
    assert_eq!((g.begin(s, capture_mode::GLOBAL), g.record(free, other)), (0, 0));
    assert_eq!((g.synchronize(other), unsafe { (g.b.t.aclrtSynchronizeEvent)(free) }), (0, 0));
    assert_eq!(g.destroy(g.ended(s)), 0);
}

#[test]
fn modes_say_who_may_touch_memory_at_once() {
    const MODES: [u32; 3] = [capture_mode::GLOBAL, capture_mode::THREAD_LOCAL, capture_mode::RELAXED];
    let g = Graphs::new();
    let s = g.b.stream();
    let a = g.bytes(1);
    let context = current_context(&g.b).addr();
    let (t, at) = (g.b.t, a.addr());
    let set = move |value| unsafe { (t.aclrtMemset)(std::ptr::without_provenance_mut(at), LEN, value, LEN) };
    // Rows: mode of the capture. Columns: mode of the thread. Of the thread that captures, and of another
    // one.
    let allowed = [
        ([false, false, true], [false, true, true]),
        ([false, false, true], [true, true, true]),
        ([true, true, true], [true, true, true]),
    ];
    for (mode, (own, others)) in MODES.into_iter().zip(allowed) {
        for (thread_mode, (own, others)) in MODES.into_iter().zip(own.into_iter().zip(others)) {
            for (is_own, is_allowed) in [(true, own), (false, others)] {
                assert_eq!(g.begin(s, mode), 0);
                let client = g.client;
                let call = move || {
                    let mut exchanged = thread_mode;
                    let code = unsafe {
                        if !is_own {
                            (t.aclrtSetCurrentContext)(std::ptr::without_provenance_mut(context));
                        }
                        let exchange = client.aclmdlRICaptureThreadExchangeMode.unwrap();
                        assert_eq!(exchange(&mut exchanged), 0);
                        assert_eq!(exchanged, capture_mode::GLOBAL, "what each thread begins with");
                        let code = set(3);
                        assert_eq!(exchange(&mut exchanged), 0);
                        code
                    };
                    assert_eq!(exchanged, thread_mode);
                    code
                };
                let code = if is_own { call() } else { std::thread::spawn(call).join().unwrap() };
                let case = format!("capture {mode}, thread {thread_mode}, own {is_own}");
                assert_eq!(code, if is_allowed { 0 } else { 107_030 }, "{case}");
                g.b.text();
                match is_allowed {
                    true => assert_eq!(g.destroy(g.ended(s)), 0, "{case}"),
                    false => g.is_invalid(s),
                }
            }
        }
    }
    assert_eq!(set(4), 0);
    assert_eq!(g.exchange(capture_mode::GLOBAL), capture_mode::GLOBAL);
    let exchange = g.client.aclmdlRICaptureThreadExchangeMode.unwrap();
    g.b.refused(unsafe { exchange(&mut 3) }, 107_000, &["mode = 3 given, 0 to 2 wanted"]);
}

#[test]
fn wrong_calls_have_codes_and_leave_no_capture() {
    let g = Graphs::new();
    let (s, other) = (g.b.stream(), g.b.stream());
    let a = g.bytes(1);
    let mut graph = null_mut();
    g.b.refused(g.begin(s, 3), 107_000, &["mode = 3 given"]);
    g.b.refused(g.begin(null_mut(), 0), 100_000, &["stream = NULL given"]);
    g.b.refused(g.end(s, &mut graph), 107_029, &["a stream that is not captured given"]);
    assert_eq!(g.begin(s, capture_mode::GLOBAL), 0);
    g.b.refused(g.begin(s, capture_mode::GLOBAL), 107_027, &["a stream that is captured given"]);
    let capturing = g.info(s).1;
    g.b.refused(g.execute(capturing, other), 107_026, &["a graph that is captured given"]);
    g.b.refused(g.destroy(capturing), 107_026, &["a graph that is captured given"]);
    // Events of the other functions, and events that order nothing.
    let mut plain = null_mut();
    assert_eq!(unsafe { (g.b.t.aclrtCreateEvent)(&mut plain) }, 0);
    g.b.refused(g.record(plain, s), 207_000, &["aclrtCreateEventExWithFlag wanted"]);
    assert_eq!(g.record(g.b.event(TIME_LINE), s), 0);
    let free = g.b.event(SYNC);
    assert_eq!(g.record(free, other), 0);
    g.b.refused(g.wait(s, free), 107_024, &["not recorded in the capture"]);
    // Pageable memory, and the default stream with an event of the capture.
    let host = [0u8; LEN];
    let copied = unsafe { (g.b.t.aclrtMemcpyAsync)(a, LEN, host.as_ptr().cast(), LEN, kind::H2D, s) };
    g.b.refused(copied, 107_000, &["pageable host memory given"]);
    let event = g.b.event(SYNC);
    assert_eq!(g.record(event, s), 0);
    g.b.refused(g.wait(null_mut(), event), 107_031, &["the default stream given"]);
    // None of these was fatal.
    let first = g.ended(s);
    // A graph is no part of a capture here.
    assert_eq!(g.begin(s, capture_mode::GLOBAL), 0);
    g.b.refused(g.execute(first, s), 107_027, &["executing a graph"]);
    g.is_invalid(s);
    // Two captures that meet end both.
    assert_eq!((g.begin(s, 0), g.begin(other, 0), g.record(event, s)), (0, 0, 0));
    g.b.refused(g.wait(other, event), 107_032, &["an event of another capture"]);
    g.is_invalid(s);
    g.is_invalid(other);
    assert_eq!(g.destroy(first), 0);
}

#[test]
fn two_threads_capture_at_the_same_time() {
    let g = Graphs::new();
    let context = current_context(&g.b).addr();
    let streams = [g.b.stream(), g.b.stream()].map(|s| s.addr());
    let places = [g.bytes(0), g.bytes(0)].map(|p| p.addr());
    let ptr = std::ptr::without_provenance_mut::<c_void>;
    let t = g.b.t;
    let meet = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        for (i, (stream, place)) in streams.into_iter().zip(places).enumerate() {
            let meet = &meet;
            scope.spawn(move || unsafe {
                (t.aclrtSetCurrentContext)(ptr(context));
                assert_eq!((t.aclmdlRICaptureBegin.unwrap())(ptr(stream), capture_mode::THREAD_LOCAL), 0);
                meet.wait();
                let value = i32::try_from(i).unwrap() + 1;
                assert_eq!((t.aclrtMemsetAsync)(ptr(place), LEN, value, LEN, ptr(stream)), 0);
                meet.wait();
                let mut graph = null_mut();
                assert_eq!((t.aclmdlRICaptureEnd.unwrap())(ptr(stream), &mut graph), 0);
                assert_eq!((t.aclmdlRIExecuteAsync.unwrap())(graph, ptr(stream)), 0);
                assert_eq!((t.aclrtSynchronizeStream)(ptr(stream)), 0);
                assert_eq!((t.aclmdlRIDestroy.unwrap())(graph), 0);
            });
        }
    });
    g.holds(ptr(places[0]), 1);
    g.holds(ptr(places[1]), 2);
    // The thread that began a capture ends it, unless the mode says otherwise.
    for (mode, code) in [(capture_mode::GLOBAL, 107_038), (capture_mode::RELAXED, 0)] {
        let stream = streams[0];
        assert_eq!(g.begin(ptr(stream), mode), 0);
        let ended = std::thread::spawn(move || unsafe {
            (t.aclrtSetCurrentContext)(ptr(context));
            let mut graph = null_mut();
            let code = (t.aclmdlRICaptureEnd.unwrap())(ptr(stream), &mut graph);
            (code, graph.addr())
        });
        let (got, graph) = ended.join().unwrap();
        assert_eq!((got, graph == 0), (code, code != 0), "mode {mode}");
        assert_eq!(g.info(ptr(stream)).0, capture_status::NONE);
    }
}

unsafe extern "C" fn count(counter: *mut c_void) {
    unsafe { &*counter.cast::<AtomicU64>() }.fetch_add(1, Ordering::AcqRel);
}

#[test]
fn a_graph_is_destroyed_when_its_last_run_is_over() {
    let g = Graphs::new();
    let (s, gate, counter) = (g.b.stream(), AtomicU32::new(0), AtomicU64::new(0));
    assert_eq!(g.begin(s, capture_mode::GLOBAL), 0);
    g.b.host_func(s, wait_at_gate, as_arg(&gate));
    g.b.host_func(s, count, as_arg(&counter));
    let graph = g.ended(s);
    for _ in 0..3 {
        assert_eq!(g.execute(graph, s), 0);
    }
    let (t, handle) = (g.b.t, graph.addr());
    let destroyed = std::thread::spawn(move || unsafe {
        (t.aclmdlRIDestroy.unwrap())(std::ptr::without_provenance_mut(handle))
    });
    assert_eq!(counter.load(Ordering::Acquire), 0);
    gate.store(1, Ordering::Release);
    assert_eq!(destroyed.join().unwrap(), 0);
    assert_eq!(counter.load(Ordering::Acquire), 3);
    assert_eq!(g.synchronize(s), 0);
}

#[test]
fn a_context_ends_with_captures_and_graphs() {
    let g = Graphs::new();
    let (first, mut context) = (g.b.stream(), null_mut());
    let own = current_context(&g.b);
    unsafe {
        assert_eq!((g.b.t.aclrtCreateContext)(&mut context, g.b.id), 0);
        let (s, side) = (g.b.stream(), g.b.stream());
        let (fork, back) = (g.b.event(SYNC), g.b.event(SYNC));
        assert_eq!((g.begin(s, 0), g.record(fork, s), g.wait(side, fork)), (0, 0, 0));
        assert_eq!((g.record(back, side), g.wait(s, back)), (0, 0));
        let graph = g.ended(s);
        assert_eq!((g.execute(graph, s), g.synchronize(s)), (0, 0));
        assert_eq!(g.begin(s, 0), 0);
        assert_eq!((g.b.t.aclrtDestroyContext)(context), 0);
        assert_eq!((g.b.t.aclrtSetCurrentContext)(own), 0);
        g.b.refused(g.execute(graph, first), 107_017, &["that was destroyed"]);
        // Its capture forbids nothing any more.
        let a = g.bytes(1);
        assert_eq!((g.b.t.aclrtMemset)(a, LEN, 1, LEN), 0);
    }
}
