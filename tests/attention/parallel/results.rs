//! y against f64, on 1, 2, 4 and 8 ranks.

use fastattention::attention::Mask;
use fastattention::matmul::BLayout;
use fastattention::parallel::{plan, plan_with, Args, Linear, LinearArgs, Problem, Sequence};
use fastattention::runtime::{Buffer, Stream};
use fastattention::DType;
use fastattention_testkit::compare::assert_same;
use half::{bf16, f16};

use crate::soc_of_devices;

use super::layer::{Layer, Values};
use super::{ranks, run, Rank};

fn sequences(list: &[(u32, u32)]) -> Vec<Sequence> {
    list.iter().map(|&(seqlen_q, seqlen_k)| Sequence { seqlen_q, seqlen_k }).collect()
}

/// Launches twice: events and streams serve again.
fn check<T: Values>(problem: Problem) {
    let text = format!("{problem:?}");
    let layer = Layer::<T>::new(problem, 11);
    let plan = plan(&layer.problem, soc_of_devices()).unwrap();
    let mut ranks = ranks(&layer, &plan);
    let first = run(&mut ranks, &plan);
    layer.check(&first[0]).unwrap_or_else(|e| panic!("{e}\n{text}\n{plan}"));
    first.iter().for_each(|y| assert_same(y, &first[0], &format!("ranks: {text}")));
    assert_same(&run(&mut ranks, &plan).concat(), &first.concat(), &format!("the second launch: {text}"));
}

#[test]
fn any_number_of_ranks_gives_the_reference() {
    for ranks in [1, 2, 4, 8] {
        let problem = Problem::new(DType::F16, [1, 157, 8, 32], 96, ranks).with_mask(Mask::Causal);
        check::<f16>(problem);
        check::<bf16>(
            Problem::new(DType::Bf16, [1, 157, 8, 32], 96, ranks)
                .with_mask(Mask::Causal)
                .with_linear(Linear::Weight(BLayout::Nk)),
        );
    }
}

#[test]
fn ranks_share_the_heads_of_keys_and_values() {
    for (ranks, heads_k) in [(4, 2), (8, 2), (8, 1), (2, 4)] {
        let problem = Problem::new(DType::F16, [1, 61, 8, 48], 80, ranks).with_num_heads_k(heads_k);
        assert_eq!(problem.local_heads_k(), (heads_k / ranks).max(1));
        check::<f16>(problem);
    }
}

#[test]
fn sequences_of_any_lengths_are_packed() {
    let lengths = [(33, 70), (1, 1), (1, 90), (200, 200), (200, 200), (0, 40), (17, 5), (130, 130)];
    for mask in [Mask::Causal, Mask::Window { left: Some(20), right: Some(3) }] {
        let problem = Problem::new(DType::F16, [1, 1, 4, 64], 112, 2).with_num_heads_k(2).with_mask(mask);
        check::<f16>(problem.with_head_dim_v(32).with_sequences(sequences(&lengths)));
    }
}

#[test]
fn strided_tensors_and_a_given_factor() {
    // q, k and v of one fused projection: rows of 3 x 2 heads of 32, plus 8 elements of something else.
    let stride = Some([200, 32]);
    let problem = Problem::new(DType::F16, [2, 45, 4, 32], 64, 2).with_mask(Mask::Causal);
    let dense = Layer::<f16>::new(problem.with_softmax_scale(0.25), 3);
    let mut fused = dense.problem.clone();
    (fused.q_stride, fused.k_stride, fused.v_stride) = (stride, stride, stride);
    let (plan_dense, plan) =
        (plan(&dense.problem, soc_of_devices()).unwrap(), plan(&fused, soc_of_devices()).unwrap());
    let mut ranks = ranks(&dense, &plan_dense);
    let expected = run(&mut ranks, &plan_dense);
    dense.check(&expected[0]).unwrap();
    for (rank, at) in ranks.iter_mut().zip(0..) {
        let shard = dense.shard(at);
        let mut rows = vec![f16::NAN; 90 * 200];
        for (part, values) in [&shard.q, &shard.k, &shard.v].into_iter().enumerate() {
            for (row, values) in values.chunks(64).enumerate() {
                rows[row * 200 + part * 64..][..64].copy_from_slice(values);
            }
        }
        let device = rank.operator.device().clone();
        let from = |part: usize| Buffer::from_slice(&device, &rows[part * 64..]).unwrap();
        (rank.buffers.q, rank.buffers.k, rank.buffers.v) = (from(0), from(1), from(2));
    }
    assert_same(&run(&mut ranks, &plan).concat(), &expected.concat(), "y");
}

#[test]
fn without_attention_the_given_rows_are_projected_and_reduced() {
    let problem = Problem::new(DType::F16, [1, 301, 4, 32], 64, 2).without_attention();
    check::<f16>(problem);
}

#[test]
fn the_projection_may_be_the_callers() {
    let own = Linear::Caller { launch_us: 5.0, row_us: 0.1 };
    let problem = Problem::new(DType::F16, [1, 300, 4, 32], 128, 2);
    let layer = Layer::<f16>::new(problem.clone(), 5);
    let given = plan(&layer.problem, soc_of_devices()).unwrap();
    let mut ranks = ranks(&layer, &given);
    let expected = run(&mut ranks, &given);

    // This "projection" copies y as it was, so the AllReduce doubles what both ranks hold.
    let blocks = plan_with(&problem.with_linear(own), soc_of_devices(), &[128, 128, 44]).unwrap();
    let mut seen = vec![Vec::new(); 2];
    for (rank, seen) in ranks.iter_mut().zip(&mut seen) {
        let mut linear = |_: &Stream, rows: std::ops::Range<u32>| {
            seen.push(rows);
            Ok(())
        };
        let Rank { operator, buffers, stream } = rank;
        let args = Args { linear: LinearArgs::Caller(&mut linear), ..buffers.args(&blocks) };
        operator.launch(stream, &blocks, args).unwrap();
    }
    for rank in &ranks {
        rank.stream.synchronize().unwrap();
        let (now, before) = (rank.y(), &expected[0]);
        let doubled = |bytes: &[u8]| {
            bytemuck::pod_collect_to_vec::<u8, f16>(bytes)
                .iter()
                .map(|x| x.to_f32() * 2.0)
                .collect::<Vec<_>>()
        };
        let now: Vec<f32> =
            bytemuck::pod_collect_to_vec::<u8, f16>(&now).iter().map(|x| x.to_f32()).collect();
        assert_eq!(now, doubled(before));
    }
    assert_eq!(seen, vec![vec![0..128, 128..256, 256..300]; 2]);
}
