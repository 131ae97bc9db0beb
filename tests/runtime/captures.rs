//! Graphs through the safe types: what they keep alive, what is refused, and that nothing is left behind.

use std::ptr::null_mut;

use fastattention::driver::capture_mode;
use fastattention::runtime::{Buffer, CaptureMode, Device, Event, Graph, HostBuffer, Stream};
use fastattention::sim::{self, Config};
use fastattention::{DriverCode, ErrorKind, Result, Soc};
use fastattention_testkit::device::{device, SOC};

const LEN: usize = 4096;

fn is_shared<T: Send + Sync>() {}

#[track_caller]
fn unsupported<T: std::fmt::Debug>(outcome: Result<T>, text: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains(text), "{text:?} is not in {error}");
}

#[track_caller]
fn driver_code<T: std::fmt::Debug>(outcome: Result<T>, code: i32) {
    let error = outcome.unwrap_err();
    assert_eq!(error.driver_code(), Some(DriverCode::Acl(code)), "{error}");
}

/// A graph that copies a to b, through a second stream.
fn forked(device: &Device, a: &Buffer, b: &Buffer) -> Graph {
    let (stream, side) = (Stream::new(device).unwrap(), Stream::new(device).unwrap());
    let between = Buffer::alloc(device, a.len_bytes()).unwrap();
    let capture = stream.begin_capture(CaptureMode::ThreadLocal).unwrap();
    let (fork, join) = (Event::new(device).unwrap(), Event::new(device).unwrap());
    fork.record(&stream).unwrap();
    side.wait_event(&fork).unwrap();
    side.copy(a, &between).unwrap();
    unsupported(side.query(), "the stream is being captured");
    join.record(&side).unwrap();
    unsupported(join.query(), "the event is recorded in a capture");
    unsupported(join.synchronize(), "the event is recorded in a capture");
    stream.wait_event(&join).unwrap();
    stream.copy(&between, b).unwrap();
    // A stream that takes part may be dropped meanwhile.
    let other = Stream::new(device).unwrap();
    other.wait_event(&fork).unwrap();
    let last = Event::new(device).unwrap();
    last.record(&other).unwrap();
    drop(other);
    stream.wait_event(&last).unwrap();
    let graph = capture.end().unwrap();
    // Plain streams and events again.
    join.record(&side).unwrap();
    join.synchronize().unwrap();
    side.synchronize().unwrap();
    graph
}

#[test]
fn a_graph_keeps_what_its_work_uses_until_its_launches_are_done() {
    is_shared::<Graph>();
    let device = device(|_| {});
    let free = || device.memory_info().unwrap().free_bytes;
    let b = Buffer::alloc(&device, LEN).unwrap();
    let stream = Stream::new(&device).unwrap();
    let before = free();
    let a = Buffer::from_slice(&device, &[3u8; LEN]).unwrap();
    let graph = forked(&device, &a, &b);
    drop(a);
    let others: Vec<_> = (0..4).map(|_| (graph.clone(), stream.clone())).collect();
    std::thread::scope(|scope| {
        for (graph, stream) in others {
            scope.spawn(move || (0..5).for_each(|_| graph.launch(&stream).unwrap()));
        }
    });
    drop(graph);
    stream.synchronize().unwrap();
    assert_eq!(b.to_vec::<u8>().unwrap(), [3; LEN]);
    assert_eq!(free(), before, "all was given back");
}

#[test]
fn what_waits_and_what_uses_host_memory_is_refused_and_the_capture_goes_on() {
    let device = device(|_| {});
    let stream = Stream::new(&device).unwrap();
    let buffer = Buffer::from_slice(&device, &[1u8; LEN]).unwrap();
    let host = || HostBuffer::alloc(&device, LEN).unwrap();
    let launched = stream.begin_capture(CaptureMode::Relaxed).unwrap().end().unwrap();
    let (start, timing) = (Event::timing(&device).unwrap(), Event::timing(&device).unwrap());
    start.record(&stream).unwrap();
    let capture = stream.begin_capture(CaptureMode::Relaxed).unwrap();
    unsupported(stream.synchronize(), "Stream::synchronize: the stream is being captured");
    unsupported(stream.query(), "Stream::query");
    unsupported(stream.copy_to_device(host(), &buffer), "Stream::copy_to_device");
    unsupported(stream.copy_to_host(&buffer, host()), "Stream::copy_to_host");
    driver_code(stream.begin_capture(CaptureMode::Relaxed), 107_027);
    unsupported(launched.launch(&stream), "Graph::launch: the stream is being captured");
    timing.record(&stream).unwrap();
    unsupported(timing.elapsed_since(&start), "Event::elapsed_since: the event is recorded in a capture");
    unsupported(start.elapsed_since(&timing), "Event::elapsed_since: the event is recorded in a capture");
    // Of memory that is in no stream, in this mode.
    buffer.copy_from_host(&[2u8; LEN]).unwrap();
    stream.zero(&buffer).unwrap();
    let graph = capture.end().unwrap();
    assert_eq!(buffer.to_vec::<u8>().unwrap(), [2; LEN]);
    let other = Stream::new(&device).unwrap();
    graph.launch(&other).unwrap();
    other.synchronize().unwrap();
    assert_eq!(buffer.to_vec::<u8>().unwrap(), [0; LEN]);
    let foreign = Stream::new(&self::device(|_| {})).unwrap();
    assert_eq!(graph.launch(&foreign).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_capture_that_fails_or_is_dropped_leaves_a_plain_stream() {
    let device = device(|_| {});
    let stream = Stream::new(&device).unwrap();
    let buffer = Buffer::from_slice(&device, &[1u8; LEN]).unwrap();
    let capture = stream.begin_capture(CaptureMode::Global).unwrap();
    driver_code(buffer.copy_from_host(&[2u8; LEN]), 107_030);
    driver_code(stream.zero(&buffer), 507_903);
    driver_code(capture.end(), 507_903);
    let capture = stream.begin_capture(CaptureMode::Global).unwrap();
    stream.zero(&buffer).unwrap();
    drop(capture);
    stream.synchronize().unwrap();
    assert_eq!(buffer.to_vec::<u8>().unwrap(), [1; LEN]);
    // A stream that is not joined.
    let (side, fork) = (Stream::new(&device).unwrap(), Event::new(&device).unwrap());
    let capture = stream.begin_capture(CaptureMode::Global).unwrap();
    fork.record(&stream).unwrap();
    side.wait_event(&fork).unwrap();
    driver_code(capture.end(), 107_025);
    for stream in [&stream, &side] {
        stream.zero(&buffer).unwrap();
        stream.synchronize().unwrap();
    }
    assert_eq!(buffer.to_vec::<u8>().unwrap(), [0; LEN]);
}

#[test]
fn a_library_without_graphs_is_told_in_words() {
    let device = Device::simulated_as_cann81(Config::new(Soc::by_name(SOC).unwrap())).unwrap();
    let stream = Stream::new(&device).unwrap();
    unsupported(stream.begin_capture(CaptureMode::Global), "the ACL library has no aclmdlRICaptureBegin");
    stream.synchronize().unwrap();
}

#[test]
fn an_owner_captures_his_stream_with_the_c_functions() {
    owner_captures(false);
}

#[test]
fn streams_may_be_dropped_while_their_owner_captures_them() {
    owner_captures(true);
}

/// A copy through a second stream, while the owner of the first one captures it with the C functions.
#[allow(unsafe_code, reason = "the owner of the stream captures it with the C functions")]
#[allow(clippy::undocumented_unsafe_blocks, reason = "handles of this test")]
fn owner_captures(drops_streams: bool) {
    let device = device(|_| {});
    let owned = Stream::new(&device).unwrap();
    let (t, raw) = (sim::acl_table(), owned.as_raw());
    let foreign = unsafe { Stream::from_raw(&device, raw) };
    let target = Buffer::from_slice(&device, &[1u8; LEN]).unwrap();
    let enter = || assert_eq!(unsafe { (t.aclrtSetCurrentContext)(device.as_raw_context()) }, 0);
    let between = Buffer::alloc(&device, LEN).unwrap();
    // Work for which a drop would wait.
    foreign.zero(&between).unwrap();
    enter();
    assert_eq!(unsafe { (t.aclmdlRICaptureBegin.unwrap())(raw, capture_mode::RELAXED) }, 0);
    let source = Buffer::from_slice(&device, &[7u8; LEN]).unwrap();
    let (side, fork, join) =
        (Stream::new(&device).unwrap(), Event::new(&device).unwrap(), Event::new(&device).unwrap());
    fork.record(&foreign).unwrap();
    side.wait_event(&fork).unwrap();
    for _ in 0..20 {
        side.copy(&source, &between).unwrap();
    }
    join.record(&side).unwrap();
    foreign.wait_event(&join).unwrap();
    foreign.copy(&between, &target).unwrap();
    drop((source, between, fork, join));
    let plain = if drops_streams {
        drop((side, foreign));
        &owned
    } else {
        &foreign
    };
    let mut graph = null_mut();
    assert_eq!(unsafe { (t.aclmdlRICaptureEnd.unwrap())(raw, &mut graph) }, 0);
    plain.synchronize().unwrap();
    assert_eq!(target.to_vec::<u8>().unwrap(), [1; LEN]);
    // The graph reads memory that nobody else holds.
    assert_eq!(unsafe { (t.aclmdlRIExecuteAsync.unwrap())(graph, raw) }, 0);
    plain.synchronize().unwrap();
    assert_eq!(target.to_vec::<u8>().unwrap(), [7; LEN]);
    assert_eq!(unsafe { (t.aclmdlRIDestroy.unwrap())(graph) }, 0);
}
