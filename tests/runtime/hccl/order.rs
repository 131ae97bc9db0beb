//! Order: collectives are asynchronous work of their streams, and keep what they use.

use fastattention::attention::{plan, Args, FlashAttention, Problem};
use fastattention::runtime::{Buffer, CommDType, Communicator, Device, Event, HostBuffer, ReduceOp, Stream};
use fastattention::DType;
use half::f16;

use super::{device_with, lanes, on_threads, patient, Lane};

const I32: CommDType = CommDType::I32;

fn ints(lane: &Lane, buffer: &Buffer) -> Vec<i32> {
    let mut out = vec![0; buffer.len_bytes() / 4];
    buffer.copy_to_host(&mut out).unwrap();
    assert!(!out.is_empty(), "rank {}", lane.rank());
    out
}

#[test]
fn nothing_happens_before_all_ranks_are_there() {
    let lanes = lanes(3, &patient());
    let buffers: Vec<Buffer> =
        lanes.iter().map(|lane| Buffer::from_slice(&lane.device, &[1i32 << lane.rank()]).unwrap()).collect();
    for (lane, buffer) in lanes.iter().zip(&buffers) {
        assert_eq!(ints(&lanes[0], &buffers[0]), [1], "rank {} has not called yet", lane.rank());
        assert!(lane.rank() == 0 || !lanes[0].stream.query().unwrap(), "rank 0 waits");
        lane.comm.all_reduce(&lane.stream, buffer, buffer, (1, I32), ReduceOp::Sum).unwrap();
    }
    for (lane, buffer) in lanes.iter().zip(&buffers) {
        lane.stream.synchronize().unwrap();
        assert_eq!(ints(lane, buffer), [7]);
    }
}

#[test]
fn copies_before_and_after_are_in_order() {
    on_threads(4, &patient(), |lane| {
        let stream = &lane.stream;
        let (a, b) = (
            Buffer::from_slice(&lane.device, &[1i32; 64]).unwrap(),
            Buffer::alloc(&lane.device, 256).unwrap(),
        );
        let rounds = 10;
        // a -> b, b = sum over 4 ranks, b -> a: a grows by a factor of 4 each round.
        for _ in 0..rounds {
            stream.copy(&a, &b).unwrap();
            lane.comm.all_reduce(stream, &b, &b, (64, I32), ReduceOp::Sum).unwrap();
            stream.copy(&b, &a).unwrap();
            stream.zero(&b).unwrap();
        }
        let host = stream.copy_to_host(&a, HostBuffer::alloc(&lane.device, 256).unwrap()).unwrap();
        let host = host.wait().unwrap();
        let want = 4i32.pow(rounds).to_le_bytes();
        assert!(host.chunks(4).all(|bytes| bytes == want), "rank {}", lane.rank());
    });
}

#[test]
fn a_kernel_before_an_all_reduce_has_ended() {
    on_threads(2, &patient(), |lane| {
        let (device, stream) = (&lane.device, &lane.stream);
        let attention = FlashAttention::new(device).unwrap();
        let problem = Problem::new(DType::F16, [1, 16, 1, 16]);
        let plan = plan(&problem, device.soc()).unwrap();
        // All values are alike, so each output is that value.
        let value = f16::from_f32(lane.rank() as f32 + 1.0);
        let tensor = |x: f16| Buffer::from_slice(device, &[x; 256]).unwrap();
        let (q, k, v, o) = (tensor(f16::ONE), tensor(f16::ONE), tensor(value), tensor(f16::ZERO));
        let workspace = Buffer::alloc(device, plan.workspace_bytes() as usize).unwrap();
        for _ in 0..5 {
            let args = Args::new(&q, &k, &v, &o, &workspace);
            attention.launch(stream, &plan, args).unwrap();
            lane.comm.all_reduce(stream, &o, &o, (256, DType::F16), ReduceOp::Sum).unwrap();
        }
        stream.synchronize().unwrap();
        let mut got = [f16::ZERO; 256];
        o.copy_to_host(&mut got).unwrap();
        assert!(got.iter().all(|x| x.to_f32() == 3.0), "{:?}", &got[..4]);
    });
}

#[test]
fn events_order_a_communication_stream_with_another() {
    on_threads(3, &patient(), |lane| {
        let (work, comm_stream) = (&lane.stream, Stream::new(&lane.device).unwrap());
        let src = Buffer::from_slice(&lane.device, &[lane.rank() as i32 + 1; 1000]).unwrap();
        let block = Buffer::alloc(&lane.device, 4000).unwrap();
        let out = Buffer::alloc(&lane.device, 4000).unwrap();
        let (ready, done) = (Event::new(&lane.device).unwrap(), Event::new(&lane.device).unwrap());
        for round in 0..10 {
            work.copy(&src, &block).unwrap();
            ready.record(work).unwrap();
            comm_stream.wait_event(&ready).unwrap();
            lane.comm.all_reduce(&comm_stream, &block, &block, (1000, I32), ReduceOp::Sum).unwrap();
            done.record(&comm_stream).unwrap();
            work.wait_event(&done).unwrap();
            work.copy(&block, &out).unwrap();
            work.synchronize().unwrap();
            assert_eq!(ints(lane, &out), [6; 1000], "round {round}");
        }
    });
}

#[test]
fn two_communicators_do_not_wait_for_each_other() {
    let devices: Vec<Device> = (0..2).map(|_| device_with(patient())).collect();
    let (one, two) = (Communicator::init_all(&devices).unwrap(), Communicator::init_all(&devices).unwrap());
    assert_ne!(one[0].name().unwrap(), two[0].name().unwrap());
    let buffers: Vec<Buffer> = devices.iter().map(|d| Buffer::from_slice(d, &[5i32, 6]).unwrap()).collect();
    let streams: Vec<[Stream; 2]> =
        devices.iter().map(|d| [Stream::new(d).unwrap(), Stream::new(d).unwrap()]).collect();
    for _ in 0..20 {
        for (rank, order) in [(0, [0, 1]), (1, [1, 0])] {
            for which in order {
                let comm = [&one, &two][which];
                let at = fastattention::runtime::Operand::at(&buffers[rank], 4 * which);
                comm[rank].all_reduce(&streams[rank][which], at, at, (1, I32), ReduceOp::Max).unwrap();
            }
        }
    }
    streams.iter().flatten().for_each(|stream| stream.synchronize().unwrap());
}

#[test]
fn queued_work_keeps_buffers_and_communicator() {
    let devices: Vec<Device> = (0..2).map(|_| device_with(patient())).collect();
    let total = devices[0].memory_info().unwrap();
    assert_eq!(total.free_bytes, total.total_bytes);
    let outputs: Vec<Buffer> = devices.iter().map(|d| Buffer::alloc(d, 4).unwrap()).collect();
    let streams: Vec<Stream> = devices.iter().map(|d| Stream::new(d).unwrap()).collect();
    for _ in 0..100 {
        let comms = Communicator::init_all(&devices).unwrap();
        for (rank, comm) in comms.iter().enumerate() {
            let send = Buffer::from_slice(&devices[rank], &[21i32]).unwrap();
            comm.all_reduce(&streams[rank], &send, &outputs[rank], (1, I32), ReduceOp::Sum).unwrap();
        }
    }
    for (rank, output) in outputs.iter().enumerate() {
        streams[rank].synchronize().unwrap();
        let mut got = [0i32];
        output.copy_to_host(&mut got).unwrap();
        assert_eq!(got, [42]);
    }
    drop(outputs);
    let left = devices[0].memory_info().unwrap();
    assert_eq!(left.free_bytes, left.total_bytes, "nothing is kept for ever");
}

#[test]
fn the_order_of_drops_is_free() {
    for order in 0..3 {
        let mut lanes = lanes(2, &patient());
        for lane in &lanes {
            let buffer = Buffer::from_slice(&lane.device, &[1i32]).unwrap();
            lane.comm.all_reduce(&lane.stream, &buffer, &buffer, (1, I32), ReduceOp::Sum).unwrap();
        }
        let second = lanes.pop().unwrap();
        let first = lanes.pop().unwrap();
        for Lane { stream, comm, device } in [first, second] {
            match order {
                0 => drop((device, comm, stream)),
                1 => drop((stream, comm, device)),
                _ => drop((comm, stream, device)),
            }
        }
    }
}

/// Random programs, the same on every rank, with 8 ranks that take the time they want.
#[test]
fn a_hundred_repetitions_give_the_same() {
    on_threads(8, &patient(), |lane| {
        let mut program = fastrand::Rng::with_seed(5);
        let mut pace = fastrand::Rng::with_seed(lane.rank() as u64);
        let ranks = 8i32;
        let buffer = Buffer::alloc(&lane.device, 4 * 8 * 16).unwrap();
        for round in 0..100 {
            let count = program.usize(1..17);
            let own = lane.rank() as i32 + round;
            let data = vec![own; 8 * count];
            let sum: i32 = (0..ranks).map(|rank| rank + round).sum();
            lane.stream.synchronize().unwrap();
            buffer.copy_from_host(&data).unwrap();
            if pace.u8(0..4) == 0 {
                std::thread::yield_now();
            }
            let (stream, job) = (&lane.stream, (count, I32));
            let want = match program.u8(0..3) {
                0 => {
                    lane.comm.all_reduce(stream, &buffer, &buffer, job, ReduceOp::Sum).unwrap();
                    sum
                }
                1 => {
                    lane.comm.reduce_scatter(stream, &buffer, &buffer, job, ReduceOp::Max).unwrap();
                    ranks - 1 + round
                }
                _ => {
                    let root = program.u32(0..8);
                    lane.comm.broadcast(stream, &buffer, job, root).unwrap();
                    root as i32 + round
                }
            };
            stream.synchronize().unwrap();
            let mut got = vec![0; count];
            buffer.copy_to_host(&mut got).unwrap();
            assert!(
                got.iter().all(|&x| x == want),
                "round {round}, rank {}: {got:?}, want {want}",
                lane.rank()
            );
        }
    });
}
