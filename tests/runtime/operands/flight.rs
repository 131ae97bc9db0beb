//! Work of two streams that shares memory.

use fastattention::attention::FlashAttention;
use fastattention::runtime::{Communicator, Event, HostBuffer, ReduceOp};
use fastattention::{ErrorKind, Result};
use fastattention_testkit::compare::assert_same;

use super::*;

/// Streams whose work starts together, when all of it is queued: nothing orders one behind another.
struct Together {
    streams: [Stream; 2],
    gate: Gate,
    _first: Stream,
}

impl Together {
    fn new(device: &Device) -> Self {
        let streams = [Stream::new(device).unwrap(), Stream::new(device).unwrap()];
        let (gate, first) = (Gate::default(), Stream::new(device).unwrap());
        gate.hold(&first, 1);
        let event = Event::new(device).unwrap();
        event.record(&first).unwrap();
        streams.iter().for_each(|stream| stream.wait_event(&event).unwrap());
        Self { streams, gate, _first: first }
    }

    fn run(&self) -> [Result<()>; 2] {
        self.gate.open(1);
        self.streams.each_ref().map(Stream::synchronize)
    }
}

/// One of the streams fails, with these parts of a text.
#[track_caller]
fn races(outcomes: [Result<()>; 2], parts: &[&str]) {
    let errors: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    let [error] = &errors[..] else { panic!("one failure wanted: {errors:?}") };
    assert_eq!(error.kind(), ErrorKind::SimFault, "{error}");
    let text = error.to_string();
    assert!(text.contains("Fault: Race: race on bytes 0x"), "{text}");
    assert!(text.contains("neither an event nor a synchronisation orders the two"), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

fn both_pass(outcomes: [Result<()>; 2]) {
    outcomes.into_iter().for_each(Result::unwrap);
}

#[test]
fn two_launches_with_one_workspace() {
    let device = device();
    let operator = FlashAttention::new(&device).unwrap();
    let (one, two) = (Attention::new(&device), Attention::new(&device));
    let shared = Args { workspace: (&one.workspace).into(), ..two.args() };
    let together = Together::new(&device);
    operator.launch(&together.streams[0], &one.plan, one.args()).unwrap();
    operator.launch(&together.streams[1], &two.plan, shared).unwrap();
    let len = one.workspace.len_bytes();
    races(
        together.run(),
        &[
            "kernel \"fa_flash_fwd_f16\" was stopped",
            &format!("of the GM allocation of {len} bytes: kernel \"fa_flash_fwd_f16\" on stream "),
            " writes them (argument 6); kernel \"fa_flash_fwd_f16\" on stream ",
            " writes them (argument 6); neither",
        ],
    );

    // What one writes and another reads.
    let together = Together::new(&device);
    let reader = Args { v: (&one.o).into(), ..two.args() };
    operator.launch(&together.streams[0], &one.plan, one.args()).unwrap();
    operator.launch(&together.streams[1], &two.plan, reader).unwrap();
    races(together.run(), &[" writes them (argument 4); kernel", " reads them (argument 2); neither"]);
}

#[test]
fn disjoint_parts_of_one_allocation_and_shared_inputs_are_no_race() {
    let device = device();
    let operator = FlashAttention::new(&device).unwrap();
    let case = Attention::new(&device);
    let (o, lse) = (case.o.len_bytes(), case.lse.len_bytes());
    let workspace = case.workspace.len_bytes().next_multiple_of(512);
    let all = Buffer::alloc(&device, 2 * (workspace + o + lse)).unwrap();
    let part = |i: usize| Args {
        workspace: at(&all, i * workspace),
        o: at(&all, 2 * workspace + i * o),
        lse: Some(at(&all, 2 * workspace + 2 * o + i * lse)),
        ..case.args()
    };
    let together = Together::new(&device);
    for (i, stream) in together.streams.iter().enumerate() {
        for _ in 0..3 {
            operator.launch(stream, &case.plan, part(i)).unwrap();
        }
    }
    both_pass(together.run());
    let mut got = vec![f16::ZERO; o];
    all.copy_to_host_at(2 * workspace, &mut got).unwrap();
    assert_same(&got[..o / 2], &got[o / 2..], "both parts");
    assert_ne!(got[0], f16::ZERO);
}

#[test]
fn events_and_the_host_order() {
    let device = device();
    let operator = FlashAttention::new(&device).unwrap();
    let case = Attention::new(&device);
    let launch = |stream: &Stream| operator.launch(stream, &case.plan, case.args()).unwrap();
    let event = Event::new(&device).unwrap();

    let together = Together::new(&device);
    let [one, two] = &together.streams;
    launch(one);
    event.record(one).unwrap();
    two.wait_event(&event).unwrap();
    launch(two);
    // Back again, with the same event.
    event.record(two).unwrap();
    one.wait_event(&event).unwrap();
    launch(one);
    both_pass(together.run());

    // In front of the launch, the event orders nothing.
    let together = Together::new(&device);
    let [one, two] = &together.streams;
    event.record(one).unwrap();
    launch(one);
    two.wait_event(&event).unwrap();
    launch(two);
    races(together.run(), &[]);

    // A third stream that was in flight all the time changes nothing.
    let together = Together::new(&device);
    let [one, two] = &together.streams;
    launch(one);
    together.gate.open(1);
    one.synchronize().unwrap();
    launch(two);
    both_pass([two.synchronize(), one.synchronize()]);
}

#[test]
fn copies_and_fills_count() {
    let device = device();
    let operator = FlashAttention::new(&device).unwrap();
    let case = Attention::new(&device);
    let launch = |stream: &Stream| operator.launch(stream, &case.plan, case.args()).unwrap();

    let together = Together::new(&device);
    launch(&together.streams[0]);
    together.streams[1].zero(&case.q).unwrap();
    races(together.run(), &[" reads them (argument 0); a fill on stream ", " writes them (devPtr); neither"]);

    let together = Together::new(&device);
    let target = Buffer::alloc(&device, case.o.len_bytes()).unwrap();
    together.streams[0].copy(&case.o, &target).unwrap();
    launch(&together.streams[1]);
    races(
        together.run(),
        &["a copy on stream ", " reads them (src); kernel", " writes them (argument 4); neither"],
    );

    let together = Together::new(&device);
    together.streams[0].copy(&case.q, &target).unwrap();
    launch(&together.streams[1]);
    both_pass(together.run());
}

#[test]
fn collectives_count() {
    let devices = [device(), device()];
    let comms = Communicator::init_all(&devices).unwrap();
    let operator = FlashAttention::new(&devices[0]).unwrap();
    let case = Attention::new(&devices[0]);
    let count = case.o.len_bytes() / 2;
    let other = Buffer::from_slice(&devices[1], &ramp(count)).unwrap();
    let other_stream = Stream::new(&devices[1]).unwrap();
    let together = Together::new(&devices[0]);
    let [one, two] = &together.streams;
    operator.launch(one, &case.plan, case.args()).unwrap();
    comms[0].all_reduce(two, &case.o, &case.o, (count, DType::F16), ReduceOp::Sum).unwrap();
    comms[1].all_reduce(&other_stream, &other, &other, (count, DType::F16), ReduceOp::Sum).unwrap();
    races(together.run(), &[" writes them (argument 4); AllReduce on stream "]);
    other_stream.synchronize().unwrap();
}

/// What an in-place collective reads it also writes.
#[test]
fn readers_of_a_part_of_an_in_place_collective() {
    for reads_first in [true, false] {
        let devices = [device(), device()];
        let comms = Communicator::init_all(&devices).unwrap();
        let count = 4096;
        let [y, other] = devices.each_ref().map(|device| Buffer::from_slice(device, &ramp(count)).unwrap());
        let other_stream = Stream::new(&devices[1]).unwrap();
        let together = Together::new(&devices[0]);
        let [one, two] = &together.streams;
        let read = || {
            let half = HostBuffer::alloc(&devices[0], count).unwrap();
            one.copy_to_host(&y, half).unwrap()
        };
        let early = reads_first.then(read);
        comms[0].all_reduce(two, &y, &y, (count, DType::F16), ReduceOp::Sum).unwrap();
        comms[1].all_reduce(&other_stream, &other, &other, (count, DType::F16), ReduceOp::Sum).unwrap();
        let late = (!reads_first).then(read);
        let texts = [" writes them (recvBuf)", "a copy on stream ", " reads them (src)"];
        races(together.run(), &texts);
        drop((early, late));
        other_stream.synchronize().unwrap();
    }
}

/// A stream that only waits and records passes on what it has waited for.
#[test]
fn order_goes_through_streams_without_work() {
    let device = device();
    let operator = FlashAttention::new(&device).unwrap();
    let case = Attention::new(&device);
    let launch = |stream: &Stream| operator.launch(stream, &case.plan, case.args()).unwrap();
    let together = Together::new(&device);
    let [one, two] = &together.streams;
    let between: Vec<_> = (0..3).map(|_| Stream::new(&device).unwrap()).collect();
    let order = |from: &Stream, to: &Stream| {
        let event = Event::new(&device).unwrap();
        event.record(from).unwrap();
        to.wait_event(&event).unwrap();
    };
    for _ in 0..3 {
        launch(one);
        let path = [one, &between[0], &between[1], &between[2], two];
        path.windows(2).for_each(|pair| order(pair[0], pair[1]));
        launch(two);
        order(two, one);
    }
    both_pass(together.run());
}

#[test]
fn without_the_race_check_nothing_is_said() {
    let mut config = Config::new(soc());
    config.check_races = false;
    let device = Device::simulated(config).unwrap();
    let operator = FlashAttention::new(&device).unwrap();
    let case = Attention::new(&device);
    let together = Together::new(&device);
    together.streams.iter().for_each(|stream| operator.launch(stream, &case.plan, case.args()).unwrap());
    both_pass(together.run());
}
