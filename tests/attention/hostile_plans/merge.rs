//! Merges.

use fastattention::merge::{plan, Args, Merge, Plan, Problem, Source};
use fastattention::runtime::{Buffer, Stream};
use fastattention::serving::Operand;
use fastattention::Soc;
use fastattention_testkit::device::device;
use proptest::prelude::*;

use super::{dim, dtype, filled, launch_small, plan_or_refuse, size, strides, ONE, SMALL};

const NAMES: &[&str] = &[
    "dtype",
    "sources",
    "parts",
    "batch",
    "seqlen",
    "num_heads",
    "head_dim",
    "o_stride",
    "lse_stride",
    "o_parts_stride",
    "lse_parts_stride",
    "operands take",
];

fn problem() -> impl Strategy<Value = Problem> {
    let source = || {
        (size(1..=4), strides::<4>(), strides::<4>()).prop_map(|(parts, o_stride, lse_stride)| Source {
            parts,
            o_stride,
            lse_stride,
        })
    };
    let sources = prop_oneof![
        30 => prop::collection::vec(source(), 1..4),
        1 => prop::collection::vec(source(), 0..9),
    ];
    let shape = (size(0..=3), size(0..=20), size(1..=6), dim());
    let results = (strides::<3>(), strides::<3>());
    (dtype(), any::<bool>(), sources, shape, results).prop_map(
        |(dtype, is_wide, sources, (batch, seqlen, num_heads, head_dim), (o, lse))| {
            let of_parts = if is_wide { fastattention::DType::F32 } else { dtype };
            let shape = [batch, seqlen, num_heads, head_dim];
            let mut problem = Problem::new(of_parts, 1, shape).with_dtype_out(dtype).with_sources(sources);
            (problem.o_stride, problem.lse_stride) = (o, lse);
            problem
        },
    )
}

fn is_small(plan: &Plan) -> bool {
    let problem = plan.problem();
    let sources = problem.source_bytes().into_iter().flatten();
    sources.chain(problem.operand_bytes()).all(|bytes| bytes <= SMALL)
}

/// Operands of exactly the bytes that the plan needs; what lse holds may be any bits.
fn launch(plan: &Plan, lse_bits: &[u32]) {
    let merge = Merge::new(&device(|config| config.threads = 1)).unwrap();
    let (device, problem) = (merge.device(), plan.problem());
    let values = |bytes: u64| -> Buffer {
        let all: Vec<u32> = lse_bits.iter().copied().cycle().take((bytes / 4).max(1) as usize).collect();
        Buffer::from_slice(device, &all).unwrap()
    };
    let bytes = problem.source_bytes();
    let o_parts: Vec<Buffer> = bytes.iter().map(|[o, _]| filled(device, *o, ONE)).collect();
    let lse_parts: Vec<Buffer> = bytes.iter().map(|[_, lse]| values(*lse)).collect();
    let [o_parts, lse_parts] =
        [&o_parts, &lse_parts].map(|all| all.iter().map(Operand::from).collect::<Vec<_>>());
    let [o, lse] = problem.operand_bytes().map(|bytes| filled(device, bytes, 0));
    let stream = Stream::new(device).unwrap();
    let args = Args::new(&o_parts, &lse_parts, &o, &lse);
    merge.launch(&stream, plan, args).unwrap_or_else(|e| panic!("{plan}: {e}"));
    stream.synchronize().unwrap_or_else(|e| panic!("{plan}\n{problem:?}: {e}"));
}

/// What can be asked of a plan: nothing overflows.
fn ask(plan: &Plan, soc: &Soc) {
    assert!(plan.num_cores() <= soc.vector_cores, "{} cores: {plan}", plan.num_cores());
    assert_ne!(plan.to_string(), "");
    let _ = (plan.tiling_data(&[[0; 2]; 4]), plan.bytes(), plan.problem().operand_bytes());
}

#[test]
fn every_problem_is_planned_or_refused_by_name() {
    plan_or_refuse(problem(), NAMES, Problem::refusals, plan, ask);
}

#[test]
fn every_small_plan_takes_any_lse() {
    let lse_bits = prop::collection::vec(any::<u32>(), 1..20);
    launch_small(300, 50, (problem(), lse_bits), plan, is_small, |plan, lse_bits| launch(plan, lse_bits));
}
