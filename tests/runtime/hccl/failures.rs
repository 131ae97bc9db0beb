//! Ranks that disagree, fail, leave or do not come: everybody is told, nobody hangs.

use std::time::{Duration, Instant};

use fastattention::runtime::{Buffer, CommDType, Communicator, Device, Operand, ReduceOp, Stream};
use fastattention::sim::HcclConfig;
use fastattention::{DriverCode, Error, ErrorKind};
use fastattention_testkit::child;

use super::{device_with, hasty, lanes, patient, Lane};

const I32: CommDType = CommDType::I32;

/// Codes of `hccl_types.h`.
pub(super) const PARA: DriverCode = DriverCode::Hccl(1);
const NOT_SUPPORT: DriverCode = DriverCode::Hccl(5);
pub(super) const TIMEOUT: DriverCode = DriverCode::Hccl(9);
const RUNTIME: DriverCode = DriverCode::Hccl(15);
const REMOTE: DriverCode = DriverCode::Hccl(21);

/// Codes of a stream.
const MISMATCH: DriverCode = DriverCode::Acl(107_000);
const NOT_THERE: DriverCode = DriverCode::Acl(507_048);

#[track_caller]
pub(super) fn assert_error<T: std::fmt::Debug>(outcome: Result<T, Error>, code: DriverCode, texts: &[&str]) {
    let error = outcome.unwrap_err();
    assert_eq!(error.driver_code(), Some(code), "{error}");
    for text in texts {
        assert!(error.to_string().contains(text), "{text:?} is not in: {error}");
    }
}

fn buffers(lanes: &[Lane]) -> Vec<Buffer> {
    lanes
        .iter()
        .map(|lane| Buffer::from_slice(&lane.device, &[lane.rank() as i32 + 1; 64]).unwrap())
        .collect()
}

/// What is left after a failure: calls and streams of all ranks fail, the buffers can be read, and the
/// devices make a new communicator.
fn assert_dead_and_replaceable(
    lanes: &[Lane],
    buffers: &[Buffer],
    code: DriverCode,
    stream_code: DriverCode,
) {
    for (lane, buffer) in lanes.iter().zip(buffers) {
        if let Err(error) = lane.stream.synchronize() {
            assert_eq!(error.driver_code(), Some(stream_code), "{error}");
        }
        let stream = Stream::new(&lane.device).unwrap();
        assert_error(lane.comm.barrier(&stream), code, &["has failed: "]);
        assert_error(lane.comm.async_error(), code, &["the communicator failed with HCCL code"]);
        let mut data = [0i32; 64];
        buffer.copy_to_host(&mut data).unwrap();
        assert_eq!(data, [lane.rank() as i32 + 1; 64], "a failed operation wrote something");
    }
    let devices: Vec<Device> = lanes.iter().map(|lane| lane.device.clone()).collect();
    let comms = Communicator::init_all(&devices).unwrap();
    let streams: Vec<Stream> = devices.iter().map(|device| Stream::new(device).unwrap()).collect();
    for ((comm, stream), buffer) in comms.iter().zip(&streams).zip(buffers) {
        comm.all_reduce(stream, buffer, buffer, (64, I32), ReduceOp::Max).unwrap();
    }
    streams.iter().for_each(|stream| stream.synchronize().unwrap());
}

type Call = fn(&Lane, &Buffer) -> Result<(), Error>;

fn reduce_sum(lane: &Lane, buffer: &Buffer) -> Result<(), Error> {
    lane.comm.all_reduce(&lane.stream, buffer, buffer, (16, I32), ReduceOp::Sum)
}

#[test]
fn ranks_that_disagree_are_told_of_both_values() {
    let cases: [(Call, Call, &str); 9] = [
        (
            reduce_sum,
            |lane, b| lane.comm.all_reduce(&lane.stream, b, b, (8, I32), ReduceOp::Sum),
            "count: rank 1 (device #) gives 8, rank 0 (device #) gives 16",
        ),
        (
            reduce_sum,
            |lane, b| lane.comm.all_reduce(&lane.stream, b, b, (16, CommDType::F32), ReduceOp::Sum),
            "dataType: rank 1 (device #) gives Fp32, rank 0 (device #) gives Int32",
        ),
        (
            reduce_sum,
            |lane, b| lane.comm.all_reduce(&lane.stream, b, b, (16, I32), ReduceOp::Min),
            "op: rank 1 (device #) gives Min, rank 0 (device #) gives Sum",
        ),
        (
            reduce_sum,
            |lane, b| lane.comm.broadcast(&lane.stream, b, (16, I32), 0),
            "operation: rank 1 (device #) gives Broadcast, rank 0 (device #) gives AllReduce",
        ),
        (
            |lane, b| lane.comm.broadcast(&lane.stream, b, (16, I32), 0),
            |lane, b| lane.comm.broadcast(&lane.stream, b, (16, I32), 1),
            "root: rank 1 (device #) gives 1, rank 0 (device #) gives 0",
        ),
        (
            |lane, b| lane.comm.send(&lane.stream, b, (16, I32), 1),
            |lane, b| lane.comm.recv(&lane.stream, b, (15, I32), 0),
            "count: rank 1 (device #) gives 15, rank 0 (device #) gives 16",
        ),
        (
            |lane, b| lane.comm.send(&lane.stream, b, (16, I32), 1),
            |lane, b| lane.comm.send(&lane.stream, b, (16, I32), 0),
            "operation: rank 1 (device #) gives Send to rank 0, rank 0 (device #) gives Send to rank 1",
        ),
        (
            |lane, b| lane.comm.send(&lane.stream, b, (16, I32), 1),
            reduce_sum,
            "operation: rank 1 (device #) gives AllReduce, rank 0 (device #) gives Send to rank 1",
        ),
        (
            reduce_sum,
            |lane, b| lane.comm.recv(&lane.stream, b, (16, I32), 0),
            "operation: rank 1 (device #) gives Recv from rank 0, rank 0 (device #) gives AllReduce",
        ),
    ];
    for (first, second, text) in cases {
        let lanes = lanes(2, &patient());
        let buffers = buffers(&lanes);
        let (head, tail) = text.split_once("rank 0 (device #)").unwrap();
        let number = |lane: &Lane| lane.device.name().trim_start_matches("sim:").to_owned();
        let head = head.replace('#', &number(&lanes[1]));
        let text = format!("ranks disagree on the {head}rank 0 (device {}){tail}", number(&lanes[0]));
        first(&lanes[0], &buffers[0]).unwrap();
        assert_error(second(&lanes[1], &buffers[1]), PARA, &[&text]);
        assert_error(lanes[0].stream.synchronize(), MISMATCH, &["EI0005", &text]);
        assert_dead_and_replaceable(&lanes, &buffers, PARA, MISMATCH);
    }
}

#[test]
fn a_transfer_on_the_other_side_of_a_collective_is_found() {
    let lanes = lanes(3, &patient());
    let buffers = buffers(&lanes);
    // Ranks 0 and 1 agree on the transfer, but rank 1 puts it behind a barrier.
    lanes[0].comm.send(&lanes[0].stream, &buffers[0], (4, I32), 1).unwrap();
    assert_error(
        lanes[1].comm.barrier(&lanes[1].stream),
        PARA,
        &["operation: rank 1", "gives Barrier, rank 0", "gives Send to rank 1"],
    );
    assert_dead_and_replaceable(&lanes, &buffers, PARA, MISMATCH);
}

#[test]
fn a_rank_that_never_comes_is_waited_for_so_long() {
    let lanes = lanes(3, &hasty());
    let buffers = buffers(&lanes);
    let start = Instant::now();
    reduce_sum(&lanes[0], &buffers[0]).unwrap();
    reduce_sum(&lanes[2], &buffers[2]).unwrap();
    let texts = ["EI0002", "AllReduce, number 1 of communicator", "200ms for rank 1 (device", "not issued"];
    assert_error(lanes[0].stream.synchronize(), NOT_THERE, &texts);
    assert_error(lanes[2].stream.synchronize(), NOT_THERE, &texts);
    let took = start.elapsed();
    assert!((Duration::from_millis(200)..Duration::from_secs(20)).contains(&took), "{took:?}");
    assert_error(reduce_sum(&lanes[1], &buffers[1]), TIMEOUT, &["200ms for rank 1"]);
    assert_dead_and_replaceable(&lanes, &buffers, TIMEOUT, NOT_THERE);
}

#[test]
fn transfers_in_a_circle_run_out_of_time() {
    let lanes = lanes(3, &hasty());
    let buffers = buffers(&lanes);
    for (rank, lane) in lanes.iter().enumerate() {
        let (next, previous) = ((rank as u32 + 1) % 3, (rank as u32 + 2) % 3);
        lane.comm.send(&lane.stream, &buffers[rank], (4, I32), next).unwrap();
        // May be refused already when another rank has run out of time.
        let _ = lane.comm.recv(&lane.stream, &buffers[rank], (4, I32), previous);
    }
    for lane in &lanes {
        assert_error(lane.stream.synchronize(), NOT_THERE, &["issued, but its stream has not come to it"]);
    }
    assert_dead_and_replaceable(&lanes, &buffers, TIMEOUT, NOT_THERE);
}

#[test]
fn a_rank_that_leaves_ends_what_needs_it() {
    let mut lanes = lanes(3, &patient());
    let buffers = buffers(&lanes);
    // What all have issued still happens.
    lanes.iter().zip(&buffers).for_each(|(lane, buffer)| reduce_sum(lane, buffer).unwrap());
    lanes.iter().for_each(|lane| lane.stream.synchronize().unwrap());
    reduce_sum(&lanes[0], &buffers[0]).unwrap();
    drop(lanes.remove(1));
    let text = "AllReduce, number 2 of communicator";
    assert_error(
        lanes[0].stream.synchronize(),
        NOT_THERE,
        &[text, "rank 1 (device", "has destroyed its communicator"],
    );
    assert_error(reduce_sum(&lanes[1], &buffers[2]), REMOTE, &[text]);
}

#[test]
fn a_rank_that_left_before_is_missed_at_once() {
    let mut lanes = lanes(2, &patient());
    let buffers = buffers(&lanes);
    drop(lanes.pop());
    assert_error(reduce_sum(&lanes[0], &buffers[0]), REMOTE, &["rank 1", "has destroyed its communicator"]);
}

#[test]
fn a_stream_that_failed_before_fails_the_others() {
    let devices: Vec<Device> = (0..3).map(|_| device_with(hasty())).collect();
    let dead = Communicator::init_all(&devices[..2]).unwrap();
    let live = Communicator::init_all(&devices[1..]).unwrap();
    let stream = Stream::new(&devices[1]).unwrap();
    dead[1].barrier(&stream).unwrap();
    live[0].barrier(&stream).unwrap();
    let other = Stream::new(&devices[2]).unwrap();
    live[1].barrier(&other).unwrap();
    assert!(stream.synchronize().is_err());
    // The other rank may have run out of time itself: it started last, but threads are not exact.
    assert_error(other.synchronize(), NOT_THERE, &["Barrier"]);
    assert!(live[1].async_error().is_err());
}

#[test]
fn a_call_on_a_failed_stream_fails_the_others() {
    let devices: Vec<Device> = (0..2).map(|_| device_with(hasty())).collect();
    let failed = Stream::new(&devices[1]).unwrap();
    Communicator::init_all(&devices).unwrap()[1].barrier(&failed).unwrap();
    assert_error(failed.synchronize(), NOT_THERE, &["rank 0 (device"]);

    let comms = Communicator::init_all(&devices).unwrap();
    let waiting = Stream::new(&devices[0]).unwrap();
    comms[0].barrier(&waiting).unwrap();
    assert_error(comms[1].barrier(&failed), RUNTIME, &["Barrier"]);
    assert_error(waiting.synchronize(), NOT_THERE, &["rank 1 (device", "dropped its work"]);
}

/// Variables are read when a communicator is made, so the one of this test is set for a process of its own.
#[test]
fn the_environment_limits_the_wait() {
    const CHILD: &str = "FASTATTENTION_TEST_CHILD";
    if std::env::var_os(CHILD).is_none() {
        let child = child::test(module_path!(), "the_environment_limits_the_wait")
            .env("HCCL_EXEC_TIMEOUT", "1")
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
        return;
    }
    let lanes = lanes(2, &HcclConfig::default());
    lanes[0].comm.barrier(&lanes[0].stream).unwrap();
    assert_error(lanes[0].stream.synchronize(), NOT_THERE, &["waited 1s for rank 1"]);
}

#[test]
fn refused_operands_leave_the_communicator_alone() {
    let lanes = lanes(2, &patient());
    let buffers = buffers(&lanes);
    let (lane, buffer) = (&lanes[0], &buffers[0]);
    let at = |offset_bytes| Operand::at(buffer, offset_bytes);
    let sum = |send, recv, job| lane.comm.all_reduce(&lane.stream, send, recv, job, ReduceOp::Sum);
    let invalid = |outcome: Result<(), Error>, text: &str| {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    };
    invalid(
        sum(at(0), at(0), (65, I32)),
        "HcclAllReduce: 260 bytes at byte 0 given, a range inside 256 bytes wanted",
    );
    invalid(sum(at(0), at(252), (2, I32)), "8 bytes at byte 252");
    invalid(sum(at(0), at(0), (usize::MAX, I32)), "given, a range inside 256 bytes wanted");
    let foreign = &buffers[1];
    invalid(sum(at(0), foreign.into(), (1, I32)), "a buffer of another opened device (sim:");
    invalid(lane.comm.barrier(&lanes[1].stream), "a stream of another opened device (sim:");

    invalid(sum(at(0), at(4), (2, I32)), "HcclAllReduce: recv at [0x");
    let gathered = lane.comm.all_gather(&lane.stream, at(4), at(0), (2, I32));
    invalid(gathered, " is written and shares bytes with send at [0x");
    let scattered = lane.comm.reduce_scatter(&lane.stream, at(0), at(12), (2, I32), ReduceOp::Sum);
    invalid(scattered, "HcclReduceScatter: recv at [0x");
    assert_error(sum(at(2), at(2), (2, I32)), PARA, &["an address aligned to 4 bytes wanted"]);
    assert_error(sum(at(0), at(0), (2, CommDType::U8)), NOT_SUPPORT, &["dataType = Uint8 given"]);
    let prod = |dtype| lane.comm.all_reduce(&lane.stream, buffer, buffer, (2, dtype), ReduceOp::Prod);
    assert_error(
        prod(CommDType::Bf16),
        NOT_SUPPORT,
        &["op = Prod given, Sum, Max or Min wanted for dataType Bfp16"],
    );
    assert_error(
        lane.comm.broadcast(&lane.stream, buffer, (1, I32), 2),
        PARA,
        &["root = 2 given, a rank below 2"],
    );
    assert_error(
        lane.comm.send(&lane.stream, buffer, (1, I32), 0),
        PARA,
        &["a rank other than the own wanted"],
    );
    assert_error(lane.comm.recv(&lane.stream, buffer, (1, I32), 7), PARA, &["peer rank = 7 given"]);

    lanes.iter().zip(&buffers).for_each(|(lane, buffer)| reduce_sum(lane, buffer).unwrap());
    lanes.iter().for_each(|lane| lane.stream.synchronize().unwrap());
}
