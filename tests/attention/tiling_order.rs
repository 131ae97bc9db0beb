//! The order of work items: every item once, groups of heads that L2 holds, even work, and parts of a launch.

use std::collections::{BTreeSet, HashSet};

use fastattention::attention::{plan, plan_with, Plan, Problem};
use fastattention::tiling::{Candidate, Mask, WorkItem};
use fastattention::{DType, Soc};
use proptest::prelude::*;

fn soc() -> &'static Soc {
    Soc::by_name("Ascend910B2").unwrap()
}

/// The items of all cores as they are dealt: round by round, back and forth.
fn dealt(plan: &Plan) -> Vec<WorkItem> {
    let mut cores: Vec<_> = (0..plan.num_cores()).map(|core| plan.work_items(core)).collect();
    let mut items = Vec::new();
    loop {
        let round: Vec<WorkItem> = cores.iter_mut().filter_map(Iterator::next).collect();
        if round.is_empty() {
            return items;
        }
        items.extend(round);
    }
}

/// Batch, head and row of every row of the items.
fn rows(items: &[WorkItem]) -> Vec<[u32; 3]> {
    items.iter().flat_map(|item| item.rows().map(|row| [item.batch, item.head, row])).collect()
}

fn problem([batch, seqlen, heads, heads_k]: [u32; 4], mask: Mask) -> Problem {
    Problem::new(DType::F16, [batch, seqlen, heads, 128]).with_num_heads_k(heads_k).with_mask(mask)
}

/// Problems whose K and V are between a little and many times what L2 holds.
fn problems() -> Vec<Problem> {
    let shapes = [
        [1, 4096, 32, 32],
        [1, 16384, 32, 32],
        [1, 32768, 32, 32],
        [1, 32768, 32, 8],
        [3, 20000, 5, 5],
        [2, 131_072, 4, 1],
        [1, 524_288, 3, 3],
        [40, 300, 3, 1],
    ];
    shapes.iter().flat_map(|&shape| [Mask::None, Mask::Causal].map(|mask| problem(shape, mask))).collect()
}

#[test]
fn k_and_v_of_a_group_stay_in_l2() {
    for problem in problems() {
        let plan = plan(&problem, soc()).unwrap();
        let sharers = problem.spec.num_heads / problem.spec.num_heads_k;
        let (heads, group) = (problem.batch * problem.spec.num_heads, plan.group_heads());
        assert!(group.is_multiple_of(sharers), "{problem:?}: {group} heads");
        let head_k = u64::from(problem.seqlen_k) * (128 + 128) * 2;
        let bytes = |heads: u32| u64::from(heads / sharers) * head_k;
        let left = soc().l2_bytes - plan.workspace_bytes();
        assert!(bytes(group) <= left / 4 * 3 || group == sharers, "{problem:?}: {} of {left}", bytes(group));
        // One head of k and v more in each group would be too many, or make no fewer groups.
        let (groups, fewer) = (heads.div_ceil(group), heads.div_ceil(group + sharers));
        assert!(
            groups == 1 || fewer == groups || bytes(group + sharers) > left / 4 * 3,
            "{problem:?}: {group} heads"
        );

        // One group after the other; in a group one row block after the other, from the last to the first.
        let mut seen = BTreeSet::new();
        let mut last = None;
        // Order within a round is that of cores, so only whole rounds are compared.
        for round in dealt(&plan).chunks(plan.num_cores() as usize) {
            let groups: BTreeSet<u32> =
                round.iter().map(|i| (i.batch * problem.spec.num_heads + i.head) / group).collect();
            let most = 2 + plan.num_cores() as usize / (group * plan.num_blocks_m()) as usize;
            assert!(groups.len() <= most, "{groups:?}, at most {most} wanted");
            let first = *groups.first().unwrap();
            assert!(last.is_none_or(|last| first <= last), "{problem:?}: group {first} behind {last:?}");
            last = Some(first);
            seen.extend(groups);
        }
        assert_eq!(seen.len(), heads.div_ceil(group) as usize);
    }
}

#[test]
fn work_is_even_with_groups() {
    for problem in problems() {
        let plan = plan(&problem, soc()).unwrap();
        let cycles: Vec<f64> =
            (0..plan.num_blocks_m()).map(|block| plan.item_cycles(plan.rows(block))).collect();
        let of_item = |item: WorkItem| match item.first_row / plan.chosen().block_m {
            block if item.rows() == plan.rows(block) => cycles[block as usize],
            _ => plan.item_cycles(item.rows()),
        };
        let load = |core| plan.work_items(core).map(of_item).sum::<f64>();
        let loads: Vec<f64> = (0..plan.num_cores()).map(load).collect();
        let mean = loads.iter().sum::<f64>() / loads.len() as f64;
        let largest = loads.iter().copied().fold(0.0, f64::max);
        let heaviest = cycles.iter().copied().fold(0.0, f64::max);
        // Turning points between groups cost a little more than dealing along one slope.
        let slack = if plan.group_heads() < problem.batch * problem.spec.num_heads { 1.25 } else { 1.0 };
        assert!(largest <= mean + slack * heaviest, "{problem:?}: {largest}, mean {mean}, item {heaviest}");
        for (known, load) in plan.core_loads().iter().zip(loads) {
            assert!((known.cycles - load).abs() <= 1e-9 * load, "{problem:?}: {} and {load}", known.cycles);
        }
    }
}

#[test]
fn few_items_of_the_last_round_are_cut_for_more_cores() {
    let candidate = |block_m| Candidate {
        block_m,
        block_n: 512,
        chunk_n: 128,
        num_stages: 4,
        preload: 2,
        bundle_steps: 1,
    };
    // Heads, rows, block_m; items of the last round, of how many rows, on how many cores.
    for (heads, seqlen, block_m, tail) in [
        (5, 8192, 256, vec![256; 16]),
        (5, 1792, 256, vec![128; 22]),
        (6, 1280, 256, vec![64; 24]),
        (6, 1250, 256, vec![64; 24]),
        (1, 256, 256, vec![64; 4]),
        (1, 1024, 64, vec![64; 16]),
        (3, 1280, 128, vec![64; 12]),
        (24, 512, 256, vec![]),
    ] {
        let shape = problem([1, seqlen, heads, heads], Mask::None);
        let plan = plan_with(&shape, soc(), candidate(block_m)).unwrap();
        let items = dealt(&plan);
        let whole = usize::try_from(plan.num_items() / 24 * 24).unwrap();
        let rows: Vec<u32> = items[whole..].iter().map(|item| item.num_rows).collect();
        assert_eq!(rows, tail, "{heads} heads, {seqlen} rows, block_m {block_m}");
        assert_eq!(plan.num_cores() as usize, (whole + rows.len()).min(24));
        let uncut = plan.with_whole_items();
        for item in dealt(&uncut) {
            assert_eq!(item.rows(), uncut.rows(item.first_row / block_m));
        }
        assert_eq!(u64::from(uncut.num_cores()), uncut.num_items().min(24));
    }
}

#[test]
fn parts_are_numbered_along_the_rows_of_o() {
    let candidate =
        Candidate { block_m: 32, block_n: 64, chunk_n: 64, num_stages: 3, preload: 2, bundle_steps: 1 };
    let plan = plan_with(&problem([3, 150, 4, 2], Mask::Causal), soc(), candidate).unwrap();
    for (batch, block, head) in [(0, 0, 0), (0, 0, 3), (1, 2, 1), (2, 4, 3)] {
        let item = u64::from((batch * 5 + block) * 4 + head);
        let part = plan.part(item..item + 1).unwrap();
        let rows = plan.rows(block);
        let (first_row, num_rows) = (rows.start, rows.end - rows.start);
        assert_eq!(dealt(&part), [WorkItem { batch, head, first_row, num_rows }]);
        assert_eq!((part.num_items(), part.num_cores()), (1, 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parts_have_every_item_once(
        batch in 1u32..5, heads_k in 1u32..4, sharers in 1u32..4, seqlen in 1u32..3000,
        cuts in prop::collection::vec(0u64..1000, 0..6),
    ) {
        let plan = plan(&problem([batch, seqlen, heads_k * sharers, heads_k], Mask::Causal), soc()).unwrap();
        let all = plan.num_items();
        let mut places: BTreeSet<u64> = cuts.into_iter().map(|at| at * all / 1000).collect();
        places.extend([0, all]);
        let places: Vec<u64> = places.into_iter().collect();
        let mut seen = HashSet::new();
        for cut in places.windows(2) {
            let part = plan.part(cut[0]..cut[1]).unwrap();
            let items = dealt(&part);
            prop_assert_eq!(part.num_items(), cut[1] - cut[0]);
            let loads: u64 = part.core_loads().iter().map(|load| load.items).sum();
            prop_assert_eq!(loads, items.len() as u64);
            prop_assert!(part.predicted_us() > 0.0);
            prop_assert!(rows(&items).into_iter().all(|row| seen.insert(row)));
        }
        let whole: HashSet<_> = rows(&dealt(&plan)).into_iter().collect();
        prop_assert_eq!(seen, whole);
    }
}
