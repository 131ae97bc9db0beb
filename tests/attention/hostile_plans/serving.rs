//! Attention over a paged cache.

use fastattention::runtime::{Buffer, Stream};
use fastattention::serving::{plan, Args, BlockTable, Plan, Problem, Report, ServingAttention, STATUS_WORDS};
use fastattention::Soc;
use fastattention_testkit::device::device;
use proptest::prelude::*;

use super::{filled, launch_small, plan_or_refuse, problem, ONE, SMALL, UNTOUCHED};

const NAMES: &[&str] = &[
    "dtype",
    "score_dtype",
    "num_heads",
    "num_heads_k",
    "head_dim",
    "softmax_scale",
    "slots",
    "rows = ",
    "total_rows",
    "max_keys",
    "page_size",
    "kv = ",
    "num_pages",
    "table_width",
    "table entries",
    "q_stride",
    "k_stride",
    "v_stride",
    "o_stride",
    "operands take",
];

/// What can be asked of a plan: nothing overflows.
fn ask(plan: &Plan, _: &Soc) {
    assert_ne!(plan.num_cores(), 0, "{plan}");
    assert_ne!(plan.to_string(), "");
    let data = plan.tiling_data();
    let (used, bytes) = (u64::from(data.num_cores) * data.workspace_core_bytes, plan.workspace_bytes());
    assert!(used <= bytes, "{used} bytes of a workspace of {bytes}: {plan}");
    let _ = (plan.lse_bytes(), plan.row_starts_bytes(), plan.table_bytes(), plan.operand_bytes());
    let _ = plan.page_starts_bytes();
}

#[test]
fn every_problem_is_planned_or_refused_by_name() {
    plan_or_refuse(problem(), NAMES, Problem::refusals, plan, ask);
}

/// Numbers of a list: those of small sequences, or any.
fn list() -> impl Strategy<Value = Vec<i32>> {
    let number = prop_oneof![6 => 0i32..40, 1 => -3i32..300, 1 => any::<i32>(), 1 => Just(i32::MIN), 1 => Just(i32::MAX)];
    prop::collection::vec(number, 1..40)
}

/// So many numbers of a list, over and over.
fn upload(operator: &ServingAttention, bytes: u64, list: &[i32], is_sorted: bool) -> Buffer {
    let mut all: Vec<i32> = list.iter().copied().cycle().take((bytes / 4).max(1) as usize).collect();
    if is_sorted {
        all.sort_unstable();
    }
    Buffer::from_slice(operator.device(), &all).unwrap()
}

fn is_small(plan: &Plan) -> bool {
    let others = [plan.lse_bytes(), plan.row_starts_bytes(), plan.table_bytes(), plan.page_starts_bytes()];
    let slots = 4 * STATUS_WORDS as u64 * u64::from(plan.problem().slots);
    plan.operand_bytes().into_iter().chain(others).chain([slots]).all(|bytes| bytes <= SMALL)
}

/// Operands of exactly the bytes that the plan needs, values of one number: an element of o is that number,
/// 0, NaN, or untouched.
fn launch(plan: &Plan, lists: &[Vec<i32>; 4], is_sorted: bool) {
    let operator = ServingAttention::new(&device(|config| config.threads = 1)).unwrap();
    let device = operator.device();
    let problem = plan.problem();
    let [q, k, v, o] = plan.operand_bytes();
    let [q, k, v] = [q, k, v].map(|bytes| filled(device, bytes, ONE));
    let [o, lse] = [o, plan.lse_bytes()].map(|bytes| filled(device, bytes, UNTOUCHED));
    let slots = u64::from(problem.slots);
    let lengths = upload(&operator, 4 * slots, &lists[0], false);
    let starts = upload(&operator, plan.row_starts_bytes(), &lists[1], is_sorted);
    let table = upload(&operator, plan.table_bytes(), &lists[2], false);
    let page_starts = upload(&operator, plan.page_starts_bytes(), &lists[3], is_sorted);
    let status = filled(device, 4 * STATUS_WORDS as u64 * slots.max(1), 0);
    let workspace = Buffer::alloc(device, plan.workspace_bytes() as usize).unwrap();
    let mut args = Args::new(&q, &k, &v, &lengths, &o, &workspace);
    args.row_starts = problem.total_rows.map(|_| (&starts).into());
    args.block_table = problem.kv.pages.map(|_| (&table).into());
    args.page_starts = problem.kv.pages.and_then(|pages| match pages.table {
        BlockTable::Csr { .. } => Some((&page_starts).into()),
        _ => None,
    });
    args.lse = problem.want_lse.then_some((&lse).into());
    args.status = problem.is_checked.then_some((&status).into());
    let stream = Stream::new(device).unwrap();
    operator.launch(&stream, plan, args).unwrap_or_else(|e| panic!("{plan}: {e}"));
    stream.synchronize().unwrap_or_else(|e| panic!("{plan}\n{problem:?}: {e}"));
    Report::from_words(&status.to_vec::<i32>().unwrap()).unwrap();
    let is_finite = problem.spec.softmax_scale.is_none_or(|scale| scale.abs() <= 1.0);
    let near = |bits: u16| bits.abs_diff(ONE) <= 4;
    let is_nan = |bits: u16| bits & 0x7FFF > 0x7C00;
    let wrong = |bits: &u16| ![0, UNTOUCHED].contains(bits) && !near(*bits) && !is_nan(*bits);
    let o = o.to_vec::<u16>().unwrap();
    assert!(!is_finite || !o.iter().any(wrong), "{plan}: {:x?}", o.iter().copied().find(|bits| wrong(bits)));
}

#[test]
fn every_small_plan_takes_any_list() {
    let lists = ([list(), list(), list(), list()], any::<bool>());
    launch_small(400, 100, (problem(), lists), plan, is_small, |plan, (lists, is_sorted)| {
        launch(plan, lists, *is_sorted);
    });
}
