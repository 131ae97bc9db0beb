//! What the processes of a job do.

use std::sync::Barrier;

use fastattention::attention::{plan, Args, FlashAttention, Problem};
use fastattention::runtime::{Buffer, CommDType, Communicator, Operand, ReduceOp, RootInfo, Stream};
use fastattention::{DType, DriverCode, Error, ErrorKind};
use fastattention_testkit::collectives::{is_supported, reduce, values, OPS, REDUCIBLE};
use fastattention_testkit::compare::assert_same;
use half::f16;

use super::job::{device, endpoint_of, lane, Lane};
use super::{broken, users};

const I32: CommDType = CommDType::I32;

/// Ranks of "crowd".
const CROWD: u32 = 200;

pub(crate) fn run(program: &str, root: &RootInfo, rank: u32, ranks: u32) {
    match program {
        "joining" => return joining(root, rank, ranks),
        "joining_by_hand" if rank == 1 => {
            let _peer = broken::join_by_hand(root, ranks);
            println!("joined");
            return drop(sleep());
        }
        "joining_by_hand" => return joining(root, rank, ranks),
        "mixed" => return mixed(root, rank),
        "other_users" => return users::other_users(root),
        "silent_peers" => return users::silent_peers(root),
        "crowd" => return crowd(root, rank),
        "root_infos" => return root_infos(root),
        "forking_alone" => {
            fork_a_child();
            println!("forked");
            return drop(sleep());
        }
        _ => {}
    }
    let lane = lane(root, rank, ranks);
    assert!(lane.comm.name().unwrap().starts_with("sim_"));
    lane.comm.barrier(&lane.stream).unwrap();
    lane.stream.synchronize().unwrap();
    assert!(!endpoint_of(root).exists(), "all have joined");
    match program {
        "full_queue" => users::full_queue_is_waited_for(false),
        "full_queue_of_another" => users::full_queue_is_waited_for(true),
        "operations" => operations(&lane),
        "unwritten" => unwritten(&lane),
        "random" => random(&lane),
        "first_leaves" => first_leaves(lane),
        "waiting" => lose(&lane, |lane| if is_victim(rank) { sleep() } else { sums(lane, 1, 16) }),
        "forking" => lose(&lane, |lane| {
            if is_victim(rank) {
                fork_a_child();
                println!("forked");
                return sleep();
            }
            sums(lane, 1, 16)
        }),
        "moving" => lose(&lane, |lane| sums(lane, 10_000, 1 << 19)),
        "exiting" if rank == 1 => std::process::exit(0),
        "silent" if rank == 1 => silent(&lane),
        "exiting" | "silent" => lose(&lane, |lane| sums(lane, 1, 16)),
        "other_count" => disagree(&lane, |lane, b| sum(lane, b, (16 - rank as usize, I32))),
        "other_type" => {
            let dtype = [I32, CommDType::F32][rank as usize];
            disagree(&lane, |lane, b| sum(lane, b, (16, dtype)));
        }
        "other_operation" => disagree(&lane, |lane, b| match rank {
            0 => lane.comm.recv(&lane.stream, b, (16, I32), 1),
            _ => sum(lane, b, (16, I32)),
        }),
        _ => panic!("no program {program}"),
    }
}

fn at(buffer: &Buffer, offset_bytes: usize) -> Operand<'_> {
    Operand::at(buffer, offset_bytes)
}

fn sum(lane: &Lane, buffer: &Buffer, job: (usize, CommDType)) -> Result<(), Error> {
    lane.comm.all_reduce(&lane.stream, buffer, buffer, job, ReduceOp::Sum)
}

fn is_victim(rank: u32) -> bool {
    std::env::var("VICTIM").unwrap() == rank.to_string()
}

/// For ever, as far as the parent waits.
fn sleep() -> Result<(), Error> {
    std::thread::sleep(std::time::Duration::from_secs(3600));
    Ok(())
}

fn sums(lane: &Lane, times: usize, count: usize) -> Result<(), Error> {
    let buffer = lane.upload(&vec![0; 4 * count]);
    for _ in 0..times {
        sum(lane, &buffer, (count, I32))?;
        lane.stream.synchronize()?;
    }
    Ok(())
}

/// Every operation in every type, short and across pieces.
fn operations(lane: &Lane) {
    let mut case = 0;
    for dtype in REDUCIBLE {
        for op in OPS.into_iter().filter(|op| is_supported(dtype, *op)) {
            case += 1;
            reductions(lane, dtype, op, (if case % 2 == 0 { 1 } else { 29 }, case));
        }
        moves(lane, dtype, (13, case));
    }
    if lane.ranks() == 4 {
        // 1 MiB is moved at once; these are a little more, and odd.
        reductions(lane, CommDType::F16, ReduceOp::Sum, ((1 << 19) + 3, 100));
        moves(lane, CommDType::I8, ((1 << 20) + 5, 101));
    }
}

fn reductions(lane: &Lane, dtype: CommDType, op: ReduceOp, (count, case): (usize, u64)) {
    let (rank, ranks, stream) = (lane.rank(), lane.ranks(), &lane.stream);
    let part = count * dtype.size_bytes();
    let inputs: Vec<Vec<u8>> =
        (0..ranks as u64).map(|rank| values(dtype, count * ranks, case * 100 + rank)).collect();
    let all: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    let want = reduce(dtype, op, &all);
    let what = format!("{op:?} {dtype:?} x {count}, rank {rank} of {ranks}");

    let (send, recv) = (lane.upload(&inputs[rank]), lane.upload(&vec![3; part + 1]));
    let scattered = lane.upload(&inputs[rank]);
    lane.comm.all_reduce(stream, &send, &recv, (count, dtype), op).unwrap();
    lane.comm.all_reduce(stream, &send, &send, (count * ranks, dtype), op).unwrap();
    // In place, in the rank's own part.
    let own = at(&scattered, rank * part);
    lane.comm.reduce_scatter(stream, &scattered, own, (count, dtype), op).unwrap();
    stream.synchronize().unwrap();
    assert_same(&lane.download(&recv), &[&want[..part], &[3]].concat(), &format!("all_reduce {what}"));
    assert_same(&lane.download(&send), &want, &format!("all_reduce in place {what}"));
    let mut whole = inputs[rank].clone();
    whole[rank * part..(rank + 1) * part].copy_from_slice(&want[rank * part..(rank + 1) * part]);
    assert_same(&lane.download(&scattered), &whole, &format!("reduce_scatter {what}"));
}

fn moves(lane: &Lane, dtype: CommDType, (count, case): (usize, u64)) {
    let (rank, ranks, stream) = (lane.rank(), lane.ranks(), &lane.stream);
    let part = count * dtype.size_bytes();
    let inputs: Vec<Vec<u8>> =
        (0..ranks as u64).map(|rank| values(CommDType::I8, part, case * 100 + rank)).collect();
    let what = format!("{dtype:?} x {count}, rank {rank} of {ranks}");

    let own = lane.upload(&inputs[rank]);
    let all = Buffer::alloc(&lane.device, part * ranks).unwrap();
    lane.comm.all_gather(stream, &own, &all, (count, dtype)).unwrap();
    let in_place = lane.upload(&inputs[rank].repeat(ranks));
    lane.comm.all_gather(stream, at(&in_place, rank * part), &in_place, (count, dtype)).unwrap();
    stream.synchronize().unwrap();
    assert_same(&lane.download(&all), &inputs.concat(), &format!("all_gather {what}"));
    assert_same(&lane.download(&in_place), &inputs.concat(), &format!("all_gather in place {what}"));

    for root in [0, ranks - 1] {
        let buffer = lane.upload(&inputs[rank]);
        lane.comm.broadcast(stream, &buffer, (count, dtype), root as u32).unwrap();
        stream.synchronize().unwrap();
        assert_same(&lane.download(&buffer), &inputs[root], &format!("broadcast from {root}, {what}"));
    }
    // Around: even ranks send first.
    let (next, previous) = ((rank + 1) % ranks, (rank + ranks - 1) % ranks);
    let got = Buffer::alloc(&lane.device, part).unwrap();
    let send = || lane.comm.send(stream, &own, (count, dtype), next as u32).unwrap();
    let recv = || lane.comm.recv(stream, &got, (count, dtype), previous as u32).unwrap();
    if rank % 2 == 0 {
        send();
        recv();
    } else {
        recv();
        send();
    }
    stream.synchronize().unwrap();
    assert_same(&lane.download(&got), &inputs[previous], &format!("recv {what}"));
    lane.comm.barrier(stream).unwrap();
}

/// A kernel that reads what a rank never wrote is at fault on the other rank too.
fn unwritten(lane: &Lane) {
    let problem = Problem::new(DType::F16, [1, 16, 1, 16]);
    let attention = FlashAttention::new(&lane.device).unwrap();
    let plan = plan(&problem, lane.device.soc()).unwrap();
    let tensor = || Buffer::from_slice(&lane.device, &[f16::ONE; 256]).unwrap();
    for root in 0..2 {
        for is_whole in [true, false] {
            let (k, v, o) = (tensor(), tensor(), tensor());
            let workspace = Buffer::alloc(&lane.device, plan.workspace_bytes() as usize).unwrap();
            let q = if lane.rank() != root {
                tensor()
            } else {
                let q = Buffer::alloc(&lane.device, 512).unwrap();
                let written = if is_whole { 256 } else { 255 };
                q.copy_from_host(&vec![f16::ONE; written]).unwrap();
                q
            };
            let stream = Stream::new(&lane.device).unwrap();
            lane.comm.broadcast(&stream, &q, (256, DType::F16), root as u32).unwrap();
            let operands = Args::new(&q, &k, &v, &o, &workspace);
            attention.launch(&stream, &plan, operands).unwrap();
            let kind = stream.synchronize().map_err(|e| e.kind());
            let want = if is_whole { Ok(()) } else { Err(ErrorKind::SimFault) };
            assert_eq!(kind, want, "root {root}, rank {}", lane.rank());
        }
    }
}

/// The same random operations on every rank, on two streams with a communicator each.
fn random(lane: &Lane) {
    let mut program = fastrand::Rng::with_seed(9);
    let ranks = lane.ranks() as i32;
    let own = lane.rank() as i32;
    let second = Stream::new(&lane.device).unwrap();
    for round in 0..40 {
        let count = program.usize(1..40);
        let make = || Buffer::from_slice(&lane.device, &vec![own + round; count]).unwrap();
        let (a, b) = (make(), make());
        let root = program.u32(0..ranks as u32);
        sum(lane, &a, (count, I32)).unwrap();
        // Collectives of one communicator meet by number, also on different streams.
        lane.comm.broadcast(&second, &b, (count, I32), root).unwrap();
        if program.bool() {
            second.synchronize().unwrap();
            lane.stream.synchronize().unwrap();
        } else {
            lane.stream.synchronize().unwrap();
            second.synchronize().unwrap();
        }
        let total: i32 = (0..ranks).map(|rank| rank + round).sum();
        assert_eq!(lane.download(&a), total.to_le_bytes().repeat(count), "round {round}");
        assert_eq!(lane.download(&b), (root as i32 + round).to_le_bytes().repeat(count), "round {round}");
    }
}

/// Process 0 has ranks 0 and 1, process 1 ranks 2 to 4, process 2 rank 5, process 3 ranks 6 and 7.
fn mixed(root: &RootInfo, process: u32) {
    let ranks = [0..2, 2..5, 5..6, 6..8][process as usize].clone();
    std::thread::scope(|scope| {
        for rank in ranks {
            scope.spawn(move || {
                let lane = lane(root, rank, 8);
                reductions(&lane, CommDType::F32, ReduceOp::Sum, (33, 1));
                moves(&lane, CommDType::Bf16, (33, 2));
                random(&lane);
            });
        }
    });
}

/// Process 0 has rank 0, process 1 all others: more than may be there without having said who they are.
fn crowd(root: &RootInfo, process: u32) {
    let ranks = [0..1, 1..CROWD][process as usize].clone();
    let devices: Vec<_> = ranks.clone().map(|_| device()).collect();
    let (device, start) = (&devices, &Barrier::new(devices.len()));
    let join = |rank: u32, device| {
        start.wait();
        Communicator::new(device, root, rank, CROWD).unwrap()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            ranks.zip(device).map(|(rank, device)| scope.spawn(move || join(rank, device))).collect();
        let comms: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        comms.iter().for_each(|comm| assert_eq!(comm.ranks(), CROWD));
    });
}

/// Rank 0, in whose process the communicator is kept, is done long before the others.
fn first_leaves(lane: Lane) {
    if lane.rank() == 0 {
        return drop(lane);
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    let buffer = lane.upload(&[lane.rank() as u8; 100]);
    if lane.rank() == 1 {
        lane.comm.send(&lane.stream, &buffer, (100, CommDType::U8), 2).unwrap();
    } else {
        lane.comm.recv(&lane.stream, &buffer, (100, CommDType::U8), 1).unwrap();
    }
    lane.stream.synchronize().unwrap();
    assert_eq!(lane.download(&buffer), [1; 100]);
}

/// Says what a stream and later calls tell of the loss of another rank, and that this rank is fine.
fn lose(lane: &Lane, work: impl FnOnce(&Lane) -> Result<(), Error>) {
    let buffer = lane.upload(&[lane.rank() as u8 + 1; 64]);
    println!("working");
    let error = work(lane).unwrap_err();
    println!("stream: {error}");
    let stream = Stream::new(&lane.device).unwrap();
    println!("call: {}", lane.comm.barrier(&stream).unwrap_err());
    assert!(lane.comm.async_error().is_err());
    assert_eq!(lane.download(&buffer), [lane.rank() as u8 + 1; 64]);
    // The device goes on, with a new communicator.
    let alone = Communicator::init_all(std::slice::from_ref(&lane.device)).unwrap().remove(0);
    alone.all_reduce(&stream, &buffer, &buffer, (64, CommDType::I8), ReduceOp::Max).unwrap();
    stream.synchronize().unwrap();
}

/// Alive, and without the operation that the others wait for.
fn silent(lane: &Lane) {
    while lane.comm.async_error().is_ok() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn disagree(lane: &Lane, issue: impl Fn(&Lane, &Buffer) -> Result<(), Error>) {
    let buffer = lane.upload(&[7; 64]);
    let error = issue(lane, &buffer).and_then(|()| lane.stream.synchronize()).unwrap_err();
    println!("error: {error}");
    let code = error.driver_code().unwrap();
    assert!(
        code == DriverCode::Hccl(1) || code == DriverCode::Acl(107_000),
        "PARA of the call, or of the stream: {error}"
    );
    assert!(lane.comm.async_error().is_err());
    assert_eq!(lane.download(&buffer), [7; 64]);
}

fn joining(root: &RootInfo, rank: u32, ranks: u32) {
    println!("joining");
    let error = Communicator::new(&device(), root, rank, ranks).unwrap_err();
    println!("error: {error}");
}

/// A child that has all descriptors of this process but those of its output, and ends when the parent of this
/// process waits for it.
#[allow(unsafe_code, reason = "forks")]
fn fork_a_child() {
    // SAFETY: the child calls functions only that may be called between a fork and the end of the child.
    if unsafe { libc::fork() } != 0 {
        return;
    }
    for output in [1, 2] {
        // SAFETY: nothing here writes there afterwards.
        unsafe { libc::close(output) };
    }
    let mut byte = [0u8];
    // SAFETY: `byte` has one byte. The end of the input is 0.
    while unsafe { libc::read(0, byte.as_mut_ptr().cast(), 1) } > 0 {}
    // SAFETY: ends the child, without what the parent does at its end.
    unsafe { libc::_exit(0) };
}

fn entries(folder: &str) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

fn root_infos(first: &RootInfo) {
    let device = device();
    let own = || (entries("/proc/self/task"), entries("/proc/self/fd"));
    let before = own();
    let endpoint = endpoint_of(first);
    let roots: Vec<RootInfo> = (0..5000).map(|_| RootInfo::new(&device).unwrap()).collect();
    roots.iter().for_each(|root| assert_eq!(endpoint_of(root), endpoint));
    assert_eq!(own(), before, "threads and descriptors");
    let error = Communicator::new(&device, first, 0, 1).unwrap_err().to_string();
    assert!(
        error.contains("rootInfo 1 is used up") && error.contains("4096 that no rank has joined"),
        "{error}"
    );
    Communicator::new(&device, roots.last().unwrap(), 0, 1).unwrap();
    Communicator::new(&device, &roots[1000], 0, 1).unwrap();
    assert!(endpoint.exists(), "others may come");
}
