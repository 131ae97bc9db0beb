//! Every collective in every type and op, for several numbers of ranks.

use fastattention::runtime::{
    Buffer, CommDType, Communicator, CommunicatorOptions, Operand, ReduceOp, RootInfo, Stream,
};
use fastattention::sim::{HcclConfig, ReduceOrder, ReduceRounding};

use super::{device_with, lanes, on_threads, patient, Lane};
use fastattention_testkit::collectives::{is_supported, reduce, values, OPS, REDUCIBLE};
use fastattention_testkit::compare::assert_all;

const RANKS: [usize; 6] = [1, 2, 3, 4, 5, 8];

const ALL: [CommDType; 12] = [
    CommDType::I8,
    CommDType::I16,
    CommDType::I32,
    CommDType::I64,
    CommDType::U8,
    CommDType::U16,
    CommDType::U32,
    CommDType::U64,
    CommDType::F16,
    CommDType::Bf16,
    CommDType::F32,
    CommDType::F64,
];

fn seed(case: usize, rank: usize) -> u64 {
    (case * 100 + rank) as u64
}

/// Inputs of all ranks, which every rank can compute.
fn inputs(dtype: CommDType, count: usize, case: usize, ranks: usize) -> Vec<Vec<u8>> {
    (0..ranks).map(|rank| values(dtype, count, seed(case, rank))).collect()
}

fn slices(inputs: &[Vec<u8>]) -> Vec<&[u8]> {
    inputs.iter().map(Vec::as_slice).collect()
}

fn at(buffer: &Buffer, offset_bytes: usize) -> Operand<'_> {
    Operand::at(buffer, offset_bytes)
}

#[track_caller]
fn assert_elements(got: &[u8], want: &[u8], size: usize, what: &str) {
    let bad = got.chunks(size).zip(want.chunks(size)).position(|(a, b)| a != b);
    if let Some(i) = bad {
        let range = i * size..(i + 1) * size;
        panic!("{what}: element {i}: got {:02x?}, want {:02x?}", &got[range.clone()], &want[range]);
    }
    assert_eq!(got.len(), want.len(), "{what}");
}

fn all_reduce_case(lane: &Lane, dtype: CommDType, op: ReduceOp, count: usize, case: usize) {
    let ranks = lane.comm.ranks() as usize;
    let inputs = inputs(dtype, count, case, ranks);
    let want = reduce(dtype, op, &slices(&inputs));
    let own = &inputs[lane.rank()];
    let what = format!("all_reduce {op:?} {dtype:?} x {count}, {ranks} ranks, rank {}", lane.rank());
    // Behind a few other bytes, whose neighbours must stay.
    let offset = 64;
    let mut padded = vec![7; offset];
    padded.extend(own);
    padded.extend([9; 5]);
    let (send, recv) = (lane.upload(&padded), lane.upload(&vec![3; padded.len()]));
    let job = (count, dtype);
    lane.comm.all_reduce(&lane.stream, at(&send, offset), at(&recv, offset), job, op).unwrap();
    lane.comm.all_reduce(&lane.stream, at(&send, offset), at(&send, offset), job, op).unwrap();
    lane.stream.synchronize().unwrap();
    for (buffer, before, after) in [(&recv, 3, 3), (&send, 7, 9)] {
        let got = lane.download(buffer);
        assert_all(&got[..offset], &before, "before the buffer");
        assert_all(&got[offset + own.len()..], &after, "behind the buffer");
        assert_elements(&got[offset..offset + own.len()], &want, dtype.size_bytes(), &what);
    }
}

fn reduce_scatter_case(lane: &Lane, dtype: CommDType, op: ReduceOp, count: usize, case: usize) {
    let (rank, ranks) = (lane.rank(), lane.comm.ranks() as usize);
    let inputs = inputs(dtype, count * ranks, case, ranks);
    let part = count * dtype.size_bytes();
    let want = reduce(dtype, op, &slices(&inputs))[rank * part..(rank + 1) * part].to_vec();
    let what = format!("reduce_scatter {op:?} {dtype:?} x {count}, {ranks} ranks, rank {rank}");
    let recv = Buffer::alloc(&lane.device, part).unwrap();
    let job = (count, dtype);
    let send = lane.upload(&inputs[rank]);
    lane.comm.reduce_scatter(&lane.stream, &send, &recv, job, op).unwrap();
    // In place twice: at the start, and in the rank's own part.
    let (start, own) = (lane.upload(&inputs[rank]), lane.upload(&inputs[rank]));
    lane.comm.reduce_scatter(&lane.stream, &start, &start, job, op).unwrap();
    lane.comm.reduce_scatter(&lane.stream, &own, at(&own, rank * part), job, op).unwrap();
    lane.stream.synchronize().unwrap();
    assert_elements(&lane.download(&recv), &want, dtype.size_bytes(), &what);
    assert_elements(&lane.download(&start)[..part], &want, dtype.size_bytes(), &what);
    assert_elements(&lane.download(&own)[rank * part..(rank + 1) * part], &want, dtype.size_bytes(), &what);
    assert_eq!(lane.download(&start)[part..], inputs[rank][part..], "{what}: behind the result");
}

#[test]
fn reductions_equal_the_oracle_in_every_type_and_op() {
    for ranks in RANKS {
        on_threads(ranks, &patient(), |lane| {
            for (d, dtype) in REDUCIBLE.into_iter().enumerate() {
                for (o, op) in OPS.into_iter().enumerate().filter(|(_, op)| is_supported(dtype, *op)) {
                    for (c, count) in [1, 7, 300].into_iter().enumerate() {
                        let case = d * 100 + o * 10 + c;
                        all_reduce_case(lane, dtype, op, count, case);
                        reduce_scatter_case(lane, dtype, op, count, case);
                    }
                }
            }
        });
    }
}

#[test]
fn long_reductions_cross_the_borders_of_pieces() {
    on_threads(3, &patient(), |lane| {
        // 1 MiB is moved at once; these are a little more and odd.
        all_reduce_case(lane, CommDType::F16, ReduceOp::Sum, (1 << 19) + 3, 1);
        all_reduce_case(lane, CommDType::I64, ReduceOp::Max, (1 << 17) + 1, 2);
        reduce_scatter_case(lane, CommDType::F32, ReduceOp::Sum, (1 << 18) + 5, 3);
    });
}

#[test]
fn gathers_broadcasts_and_transfers_move_every_type() {
    for ranks in RANKS {
        on_threads(ranks, &patient(), |lane| {
            let rank = lane.rank();
            for (case, dtype) in ALL.into_iter().enumerate() {
                let count = 37 + case;
                let part = count * dtype.size_bytes();
                let inputs: Vec<Vec<u8>> =
                    (0..ranks).map(|r| values(CommDType::I8, part, seed(case, r))).collect();
                let own = lane.upload(&inputs[rank]);
                let what = format!("{dtype:?}, {ranks} ranks, rank {rank}");

                let all = Buffer::alloc(&lane.device, part * ranks).unwrap();
                lane.comm.all_gather(&lane.stream, &own, &all, (count, dtype)).unwrap();
                let in_place = Buffer::alloc(&lane.device, part * ranks).unwrap();
                in_place.copy_from_host_at(rank * part, &inputs[rank]).unwrap();
                lane.comm
                    .all_gather(&lane.stream, at(&in_place, rank * part), &in_place, (count, dtype))
                    .unwrap();
                for root in 0..ranks {
                    let buffer = lane.upload(&inputs[rank]);
                    lane.comm.broadcast(&lane.stream, &buffer, (count, dtype), root as u32).unwrap();
                    lane.stream.synchronize().unwrap();
                    assert_eq!(lane.download(&buffer), inputs[root], "broadcast from {root}, {what}");
                }
                lane.stream.synchronize().unwrap();
                assert_eq!(lane.download(&all), inputs.concat(), "all_gather, {what}");
                assert_eq!(lane.download(&in_place), inputs.concat(), "all_gather in place, {what}");
                transfer_case(lane, &own, (count, dtype), &inputs);
            }
        });
    }
}

/// Pairs of neighbours swap: the even rank sends first.
fn transfer_case(lane: &Lane, own: &Buffer, job: (usize, CommDType), inputs: &[Vec<u8>]) {
    let partner = lane.rank() ^ 1;
    if partner >= inputs.len() {
        return;
    }
    let got = Buffer::alloc(&lane.device, own.len_bytes()).unwrap();
    let (to, stream) = (partner as u32, &lane.stream);
    if lane.rank() < partner {
        lane.comm.send(stream, own, job, to).unwrap();
        lane.comm.recv(stream, &got, job, to).unwrap();
    } else {
        lane.comm.recv(stream, &got, job, to).unwrap();
        lane.comm.send(stream, own, job, to).unwrap();
    }
    stream.synchronize().unwrap();
    assert_eq!(lane.download(&got), inputs[partner], "{job:?} from rank {partner}");
}

#[test]
fn a_count_of_0_is_nothing() {
    on_threads(4, &patient(), |lane| {
        let (send, recv) = (lane.upload(&[1; 8]), lane.upload(&[2; 8]));
        let none = (0, CommDType::F32);
        lane.comm.all_reduce(&lane.stream, &send, &recv, none, ReduceOp::Sum).unwrap();
        lane.comm.reduce_scatter(&lane.stream, &send, &recv, none, ReduceOp::Max).unwrap();
        lane.comm.all_gather(&lane.stream, &send, &recv, none).unwrap();
        lane.comm.broadcast(&lane.stream, &recv, none, 3).unwrap();
        lane.comm.barrier(&lane.stream).unwrap();
        lane.stream.synchronize().unwrap();
        assert_eq!((lane.download(&send), lane.download(&recv)), (vec![1; 8], vec![2; 8]));
    });
}

/// 1, and twice half a unit in its last place: added one by one f16 loses both, together they count.
#[test]
fn rounding_once_or_at_each_step() {
    let tiny = half::f16::from_f32(2f32.powi(-11));
    for (rounding, want) in [(ReduceRounding::EachStep, 1.0), (ReduceRounding::Once, 1.0 + 2f32.powi(-10))] {
        let config = HcclConfig { rounding, ..patient() };
        let lanes = lanes(3, &config);
        let buffers: Vec<Buffer> = lanes
            .iter()
            .map(|lane| {
                let value = if lane.rank() == 0 { half::f16::ONE } else { tiny };
                let buffer = Buffer::from_slice(&lane.device, &[value]).unwrap();
                let job = (1, CommDType::F16);
                lane.comm.all_reduce(&lane.stream, &buffer, &buffer, job, ReduceOp::Sum).unwrap();
                buffer
            })
            .collect();
        for (lane, buffer) in lanes.iter().zip(&buffers) {
            lane.stream.synchronize().unwrap();
            let mut got = [half::f16::ZERO];
            buffer.copy_to_host(&mut got).unwrap();
            assert_eq!(got[0].to_f32(), want, "{rounding:?}, rank {}", lane.rank());
        }
    }
}

/// Sums of `repeats` collectives over the same values, whose order shows in the result.
fn order_sensitive_sums(config: &HcclConfig, is_deterministic: Option<bool>, repeats: usize) -> Vec<f32> {
    let root = RootInfo::new(&device_with(config.clone())).unwrap();
    let options = CommunicatorOptions { is_deterministic, ..CommunicatorOptions::default() };
    let values = [1e8f32, 1.0, -1e8, 1.5];
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4u32)
            .map(|rank| {
                let (root, options) = (&root, &options);
                scope.spawn(move || {
                    let device = device_with(config.clone());
                    let comm = Communicator::with_options(&device, root, rank, 4, options).unwrap();
                    let stream = Stream::new(&device).unwrap();
                    let send = Buffer::from_slice(&device, &[values[rank as usize]]).unwrap();
                    let recv = Buffer::alloc(&device, 4 * repeats).unwrap();
                    for i in 0..repeats {
                        let job = (1, CommDType::F32);
                        comm.all_reduce(&stream, &send, at(&recv, 4 * i), job, ReduceOp::Sum).unwrap();
                    }
                    stream.synchronize().unwrap();
                    let mut out = vec![0f32; repeats];
                    recv.copy_to_host(&mut out).unwrap();
                    out
                })
            })
            .collect();
        let mut results: Vec<Vec<f32>> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        results.dedup();
        assert_eq!(results.len(), 1, "all ranks get the same bits");
        results.remove(0)
    })
}

#[test]
fn the_order_is_that_of_ranks_or_drawn_from_a_seed() {
    let in_order = order_sensitive_sums(&patient(), None, 20);
    assert!(in_order.iter().all(|&x| x == ((1e8f32 + 1.0) - 1e8) + 1.5), "{in_order:?}");
    let permuted = HcclConfig { order: ReduceOrder::Permuted(11), ..patient() };
    let drawn = order_sensitive_sums(&permuted, None, 20);
    assert!(drawn.iter().any(|x| *x != drawn[0]), "the order changes: {drawn:?}");
    assert_eq!(drawn, order_sensitive_sums(&permuted, None, 20), "a seed gives the same orders again");
    assert_eq!(order_sensitive_sums(&permuted, Some(true), 20), in_order, "determinism was asked for");
}
