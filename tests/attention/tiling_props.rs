//! Random problems: whatever the planner returns keeps the promises that the kernels rely on.

use std::collections::HashSet;

use fastattention::tiling::{
    dense_strides, plan, plan_with, Candidate, FlashFwdPlan, Mask, MemoryMap, Shape,
};
use fastattention::{DType, Soc};
use proptest::prelude::*;

fn masks() -> impl Strategy<Value = Mask> {
    let limit = || prop_oneof![Just(None), (0u32..300).prop_map(Some), any::<u32>().prop_map(Some)];
    prop_oneof![
        Just(Mask::None),
        Just(Mask::Causal),
        (limit(), limit()).prop_map(|(left, right)| Mask::Window { left, right }),
    ]
}

fn shapes(batch: u32, seqlen: impl Strategy<Value = u32> + Clone) -> impl Strategy<Value = Shape> {
    let heads = (1u32..5, 1u32..5);
    let dims = (1u32..=16, 1u32..=16);
    let options = prop::array::uniform4(any::<bool>());
    (0..=batch, heads, dims, seqlen.clone(), seqlen, masks(), options).prop_map(
        |(batch, (num_heads_k, group), (d, d_v), seqlen_q, seqlen_k, mask, options)| {
            let [is_bf16, has_wide_scores, want_lse, shift_keys] = options;
            let is_wide = is_bf16 || has_wide_scores;
            let (num_heads, head_dim, head_dim_v) = (num_heads_k * group, d * 16, d_v * 16);
            Shape {
                batch,
                num_heads,
                num_heads_k,
                head_dim,
                head_dim_v,
                seqlen_q,
                seqlen_k,
                dtype: if is_bf16 { DType::Bf16 } else { DType::F16 },
                score_dtype: if is_wide { DType::F32 } else { DType::F16 },
                mask,
                softmax_scale: 0.125,
                want_lse,
                shift_keys: shift_keys && !is_wide,
                q_stride: dense_strides(seqlen_q, num_heads, head_dim),
                k_stride: dense_strides(seqlen_k, num_heads_k, head_dim),
                v_stride: dense_strides(seqlen_k, num_heads_k, head_dim_v),
                o_stride: dense_strides(seqlen_q, num_heads, head_dim_v),
            }
        },
    )
}

fn lengths() -> impl Strategy<Value = u32> + Clone {
    prop_oneof![0u32..40, 0u32..3000, Just(1024u32), Just(1u32)]
}

fn socs() -> impl Strategy<Value = &'static Soc> {
    (0..Soc::all().len()).prop_map(|i| &Soc::all()[i])
}

/// The rule, written once more: row `i` sees key `j`.
fn sees(shape: &Shape, i: u32, j: u32) -> bool {
    let (i, j) = (i128::from(i), i128::from(j));
    let diagonal = i + i128::from(shape.seqlen_k) - i128::from(shape.seqlen_q);
    let (left, right) = match shape.mask {
        Mask::None => (None, None),
        Mask::Causal => (None, Some(0)),
        Mask::Window { left, right } => (left, right),
    };
    left.is_none_or(|l| j >= diagonal - i128::from(l)) && right.is_none_or(|r| j <= diagonal + i128::from(r))
}

fn regions_are_apart(map: &MemoryMap, alignment: u32) {
    let mut end = 0;
    for r in &map.regions {
        assert!(r.offset_bytes >= end, "{map}{} overlaps the buffer before it", r.name);
        assert_eq!(r.offset_bytes % alignment, 0, "{map}{} is misaligned", r.name);
        assert_eq!(r.bytes % 32, 0, "{map}the second buffer of {} is misaligned", r.name);
        end = r.offset_bytes + r.bytes * r.count;
    }
    assert!(end <= map.capacity_bytes, "{map}");
}

/// Every constraint of tiling_data.rs, recomputed from the fields alone.
fn check_tiling_data(plan: &FlashFwdPlan, soc: &Soc) {
    let t = plan.tiling_data();
    assert_eq!(t.block_m % 16, 0);
    assert_eq!(t.tile_m, t.block_m.min(128));
    assert_eq!((t.tile_n, t.tile_k), (128, 128));
    assert!(t.block_n.is_multiple_of(t.chunk_n) && t.block_n <= t.mask_dim, "{t:?}");
    assert!(t.chunk_n.is_multiple_of(128) || (t.block_n < 128 && t.chunk_n == t.block_n), "{t:?}");
    assert!(t.chunk_p == t.block_n.min(128) || t.chunk_p == t.block_n.min(256), "{t:?}");
    assert!(t.head_dim_v.div_ceil(128) <= 2, "{t:?}");
    assert!((1..=3).contains(&t.preload) && t.num_stages > t.preload, "{t:?}");
    assert!((1..=4).contains(&t.bundle_steps) && (t.bundle_steps == 1 || t.block_n >= 256), "{t:?}");
    assert_eq!(t.num_blocks_m, t.seqlen_q.div_ceil(t.block_m));
    assert_eq!(t.rows_v, t.block_m.div_ceil(2).next_multiple_of(8));
    let is_narrow = plan.shape().score_dtype == DType::F16;
    let score_bytes = if is_narrow { 2 } else { 4 };
    assert_eq!(t.slice_rows, t.rows_v.min(if is_narrow { 32 } else { 64 }));
    assert_eq!(t.slice_bytes % (score_bytes * t.block_n * 8), 0);
    // Eight rows of o fit a buffer on their way out: half a slice, or a quarter.
    assert!(t.slice_bytes >= 8 * 4 * t.head_dim_v.next_multiple_of(64) && t.slice_bytes <= 32768, "{t:?}");
    assert!(!is_narrow || t.slice_bytes / 4 >= 8 * 2 * t.head_dim_v, "{t:?}");
    let items = u64::from(t.num_blocks_m) * u64::from(t.batch) * u64::from(t.num_heads);
    assert_eq!((t.first_item, u64::from(t.num_items)), (0, items));
    // Parts of the items of the last round go to as many cores as there are.
    let tail = t.num_items % soc.cube_cores;
    let can_be = |parts: u32| tail * parts <= soc.cube_cores && t.block_m >= 64 * parts;
    assert_eq!(t.tail_parts, if can_be(4) { 4 } else { 1 + u32::from(can_be(2)) });
    assert_eq!(t.num_cores, (t.num_items + tail * (t.tail_parts - 1)).clamp(1, soc.cube_cores));

    let l1 = [
        (t.l1_q_offset_bytes, 1, t.l1_q_bytes, t.block_m * t.head_dim * 2),
        (t.l1_k_offset_bytes, 2, t.l1_k_bytes, t.chunk_n * t.head_dim * 2),
        (t.l1_v_offset_bytes, 2, t.l1_v_bytes, t.chunk_p * t.head_dim_v * 2),
        (t.l1_p_offset_bytes, 3, t.l1_p_bytes, t.tile_m * t.chunk_p * 2),
    ];
    for (offset, _, bytes, wanted) in l1 {
        assert_eq!((bytes, offset % 512, bytes % 512), (wanted, 0, 0));
    }
    apart(&l1.map(|(offset, count, bytes, _)| (offset, count * bytes)), 524_288 - 256);
    // A slice's eighth and sixty-fourth, or its half and quarter.
    let tmp = if is_narrow { t.slice_bytes / 4 * 3 } else { t.slice_bytes / 8 + t.slice_bytes / 64 };
    assert!(t.ub_tmp_bytes >= tmp && t.ub_tmp_bytes.is_multiple_of(256), "{tmp} bytes: {t:?}");
    let ub = [
        (t.ub_s_offset_bytes, if is_narrow { 4 } else { 5 } * t.slice_bytes),
        (t.ub_p_offset_bytes, if is_narrow { t.slice_bytes / 2 } else { t.slice_bytes }),
        (t.ub_acc_offset_bytes, t.rows_v * t.head_dim_v * 4),
        (t.ub_tmp_offset_bytes, 2 * t.ub_tmp_bytes),
        (t.ub_brcb_offset_bytes, 2 * t.rows_v.next_multiple_of(16) * 32 + 256),
        (t.ub_stats_offset_bytes, (t.bundle_steps + 9 + 2 * t.adds_mean) * t.rows_v.next_multiple_of(64) * 4),
        (t.ub_mask_offset_bytes, 2 * t.ub_mask_bytes),
    ];
    apart(&ub, 196_608 - 256 - 8192);
    assert_eq!((t.ub_acc_offset_bytes % 512, t.ub_brcb_offset_bytes % 512), (256, 0));
    // The bits of the most rows that a slice of some width has.
    let bits = |pitch: u32| t.slice_rows.min(t.slice_bytes / (score_bytes * pitch)) * (pitch / 8).max(32);
    for pitch in (64..=t.block_n).step_by(64) {
        assert!(bits(pitch) <= t.ub_mask_bytes, "{} bytes for {pitch} columns: {t:?}", bits(pitch));
    }
    let slots = u64::from(t.num_stages) * u64::from(t.block_m);
    assert_eq!(t.workspace_p_offset_bytes, slots * u64::from(t.block_n * score_bytes));
    let p_slots = u64::from(t.num_stages + t.bundle_steps - 1) * u64::from(t.block_m);
    assert_eq!(t.workspace_o_offset_bytes - t.workspace_p_offset_bytes, p_slots * u64::from(t.block_n) * 2);
    let o_bytes = 2 * u64::from(t.block_m) * u64::from(t.head_dim_v) * 4;
    assert_eq!(t.workspace_mean_offset_bytes - t.workspace_o_offset_bytes, o_bytes);
    let shape = plan.shape();
    assert_eq!(t.adds_mean, u32::from(shape.shift_keys && shape.want_lse));
    let mean_bytes = slots * 64 * u64::from(t.adds_mean);
    assert_eq!(t.workspace_core_bytes - t.workspace_mean_offset_bytes, mean_bytes);
    check_shift(plan, soc);
}

/// The tiles of the launch that shifts keys are all tiles once, its buffers fit, and the attention reads what
/// it writes.
fn check_shift(plan: &FlashFwdPlan, soc: &Soc) {
    let (shape, attention) = (plan.shape(), plan.tiling_data());
    let cores = attention.workspace_core_bytes * u64::from(attention.num_cores);
    let heads = u64::from(shape.batch) * u64::from(shape.num_heads_k);
    let Some(shift) = plan.shift() else {
        assert!(!shape.shift_keys || heads == 0 || shape.seqlen_k == 0, "{shape:?}");
        assert_eq!(plan.workspace_bytes(), cores);
        return;
    };
    assert!(shape.shift_keys);
    let t = &shift.tiling;
    let (row, head) = (u64::from(t.head_dim), u64::from(t.seqlen_k) + 16);
    assert_eq!((t.head_dim, t.seqlen_k, t.k_stride), (shape.head_dim, shape.seqlen_k, shape.k_stride));
    assert_eq!(t.head_stride, head * row);
    assert_eq!(attention.k_stride, [u64::from(t.num_heads_k) * head * row, row, head * row]);
    assert_eq!(plan.workspace_bytes() - cores, shift.bytes);
    assert_eq!(shift.bytes, heads * t.head_stride * 2);
    assert!((1..=255).contains(&t.tile_rows));
    assert_eq!(t.head_tiles, t.seqlen_k.div_ceil(t.tile_rows));
    assert_eq!(t.num_tiles, heads * u64::from(t.head_tiles));
    let tiles_of = |cores: u32| t.core_tiles * u64::from(cores);
    assert!(shift.num_cores <= soc.vector_cores, "{shift:?}");
    assert!(tiles_of(shift.num_cores) >= t.num_tiles, "{shift:?}");
    assert!(tiles_of(shift.num_cores - 1) < t.num_tiles, "a core has nothing to do: {shift:?}");
    let tile = t.tile_rows * t.head_dim * 2;
    let regions = [
        (t.ub_in_offset_bytes, 2 * tile),
        (t.ub_out_offset_bytes, 2 * tile),
        (t.ub_wide_offset_bytes, 2 * tile),
        (t.ub_sum_offset_bytes, (2 * tile).max(256)),
        (t.ub_mean_offset_bytes, t.head_dim * 2),
        (t.ub_bits_offset_bytes, t.head_dim.next_multiple_of(64) / 8),
    ];
    apart(&regions, 196_608 - 256 - 8192);
    assert!(shift.predicted_us() > 0.0 && shift.predicted_us().is_finite(), "{}", shift.predicted_us());
}

fn apart(regions: &[(u32, u32)], capacity: u32) {
    let mut sorted = regions.to_vec();
    sorted.sort_unstable();
    for pair in sorted.windows(2) {
        assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{regions:?}");
    }
    assert!(
        sorted.iter().all(|(offset, bytes)| offset % 32 == 0 && offset + bytes <= capacity),
        "{regions:?}"
    );
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn buffers_fit_and_the_plan_is_a_function(shape in shapes(6, lengths()), soc in socs()) {
        let plan_ = plan(shape, soc).unwrap();
        check_tiling_data(&plan_, soc);
        for (map, alignment) in plan_.memory_maps().iter().zip([512, 512, 512, 1024, 256]) {
            regions_are_apart(map, alignment);
        }
        prop_assert_eq!(&plan_, &plan(shape, soc).unwrap());
        prop_assert!(plan_.to_string().contains("level 1"));
        prop_assert!(plan_.rejected().iter().all(|r| !r.reason.is_empty()));
        prop_assert!(plan_.candidates().iter().any(|e| e.candidate == plan_.chosen()));
    }

    #[test]
    fn a_given_tiling_is_taken_or_refused(
        shape in shapes(3, lengths()),
        soc in socs(),
        [block_m, block_n, chunk_n] in prop::array::uniform3((0u32..9).prop_map(|i| 8 << i)),
        num_stages in 0u32..10,
        preload in 0u32..5,
        bundle_steps in 0u32..6,
    ) {
        let candidate = Candidate { block_m, block_n, chunk_n, num_stages, preload, bundle_steps };
        match plan_with(shape, soc, candidate) {
            Ok(plan) => {
                check_tiling_data(&plan, soc);
                prop_assert_eq!(plan.chosen(), candidate);
            }
            Err(error) => {
                let start = format!("attention on {}: {candidate}: ", soc.name);
                prop_assert!(error.to_string().starts_with(&start), "{error}");
            }
        }
    }

    #[test]
    fn every_row_is_covered_once(shape in shapes(4, lengths()), soc in socs()) {
        let plan = plan(shape, soc).unwrap();
        let mut rows = HashSet::new();
        for core in 0..plan.num_cores() {
            for item in plan.work_items(core) {
                prop_assert!(item.batch < shape.batch && item.head < shape.num_heads);
                for row in item.rows() {
                    prop_assert!(rows.insert((item.batch, item.head, row)), "{:?} row {} twice", item, row);
                }
            }
        }
        let all = u64::from(shape.batch) * u64::from(shape.num_heads) * u64::from(shape.seqlen_q);
        prop_assert_eq!(rows.len() as u64, all);
        prop_assert_eq!(plan.work_items(plan.num_cores()).count(), 0);
    }

    #[test]
    fn core_loads_agree_with_the_items_and_are_balanced(shape in shapes(6, lengths()), soc in socs()) {
        let plan = plan(shape, soc).unwrap();
        let loads = plan.core_loads();
        prop_assert_eq!(loads.len(), plan.num_cores() as usize);
        let mut heaviest = 0.0f64;
        for (core, load) in (0..).zip(&loads) {
            let costs: Vec<f64> = plan.work_items(core).map(|i| plan.item_cycles(i.rows())).collect();
            heaviest = costs.iter().copied().fold(heaviest, f64::max);
            prop_assert_eq!(costs.len() as u64, load.items);
            let cycles: f64 = costs.iter().sum();
            prop_assert!((cycles - load.cycles).abs() <= 1e-9 * cycles, "core {}: {} {}", core, cycles, load.cycles);
        }
        let mean = loads.iter().map(|l| l.cycles).sum::<f64>() / loads.len() as f64;
        let largest = loads.iter().map(|l| l.cycles).fold(0.0, f64::max);
        // Dealing back and forth is within one item of even while costs fall along the order. They may rise
        // first: the last row block may be short, or a right window run past the last key.
        let blocks = shape.seqlen_q.div_ceil(plan.chosen().block_m);
        let falls = (1..blocks).all(|b| plan.item_cycles(plan.rows(b - 1)) <= plan.item_cycles(plan.rows(b)));
        let slack = if falls { heaviest } else { 2.0 * heaviest };
        prop_assert!(largest <= (mean + slack) * (1.0 + 1e-9), "largest {largest}, mean {mean}, item {heaviest}");
    }

    #[test]
    fn key_range_is_the_rule(shape in shapes(1, 0u32..200)) {
        let plan = plan(shape, &Soc::all()[0]).unwrap();
        for block in 0..shape.seqlen_q.div_ceil(plan.chosen().block_m) {
            let seen = |j: &u32| plan.rows(block).any(|i| sees(&shape, i, *j));
            let first = (0..shape.seqlen_k).find(seen);
            let last = (0..shape.seqlen_k).rev().find(seen);
            let want = first.zip(last).map_or(0..0, |(first, last)| first / 16 * 16..last + 1);
            prop_assert_eq!(plan.key_range(plan.rows(block)), want, "row block {}", block);
        }
    }

    #[test]
    fn clipped_windows_mean_the_same(shape in shapes(1, 0u32..60)) {
        let t = plan(shape, &Soc::all()[0]).unwrap().tiling_data();
        let off = i64::from(t.seqlen_k) - i64::from(t.seqlen_q);
        for i in 0..t.seqlen_q {
            for j in 0..t.seqlen_k {
                let ahead = i64::from(j) - i64::from(i) - off;
                let kernel = (t.window_left == -1 || -ahead <= i64::from(t.window_left))
                    && (t.window_right == -1 || ahead <= i64::from(t.window_right));
                prop_assert_eq!(kernel, sees(&shape, i, j), "row {} key {}", i, j);
            }
        }
    }

    #[test]
    fn no_size_overflows(
        numbers in prop::array::uniform7(prop_oneof![any::<u32>(), 0u32..300, Just(u32::MAX), Just(i32::MAX as u32)]),
        strides in prop::array::uniform4(prop::array::uniform3(prop_oneof![any::<u64>(), 0u64..70_000])),
        mask in masks(),
        scale in any::<f32>(),
        soc in socs(),
    ) {
        let [batch, num_heads, num_heads_k, head_dim, head_dim_v, seqlen_q, seqlen_k] = numbers;
        let [q_stride, k_stride, v_stride, o_stride] = strides;
        let shape = Shape {
            batch, num_heads, num_heads_k, head_dim, head_dim_v, seqlen_q, seqlen_k, mask, softmax_scale: scale,
            dtype: DType::F16, score_dtype: DType::F16, want_lse: true, shift_keys: true, q_stride, k_stride, v_stride,
            o_stride,
        };
        match plan(shape, soc) {
            Ok(plan) => check_tiling_data(&plan, soc),
            Err(error) => {
                let start = format!("attention on {}: ", soc.name);
                prop_assert!(error.to_string().strip_prefix(&start).is_some_and(|why| !why.is_empty()), "{error}");
            }
        }
    }
}

fn long(seqlen_q: u32, seqlen_k: u32, mask: Mask) -> Shape {
    Shape {
        batch: 1,
        num_heads: 1,
        num_heads_k: 1,
        head_dim: 16,
        head_dim_v: 16,
        seqlen_q,
        seqlen_k,
        dtype: DType::F16,
        score_dtype: DType::F32,
        mask,
        softmax_scale: 0.25,
        want_lse: true,
        shift_keys: false,
        q_stride: [0, 16, 0],
        k_stride: [0, 16, 0],
        v_stride: [0, 16, 0],
        o_stride: [0, 16, 0],
    }
}

#[test]
fn the_longest_sequences_plan() {
    let soc = Soc::by_name("Ascend910B1").unwrap();
    for (seqlen_q, seqlen_k) in [(1, (1 << 30) - 64), (1 << 29, 1 << 28), ((1 << 29) + 5, 1)] {
        for mask in [Mask::None, Mask::Causal, Mask::Window { left: Some(u32::MAX), right: Some(1 << 28) }] {
            let plan = plan(long(seqlen_q, seqlen_k, mask), soc).unwrap();
            check_tiling_data(&plan, soc);
            let last = plan.tiling_data().num_blocks_m - 1;
            assert_eq!(plan.key_range(plan.rows(last)).end, seqlen_k, "{mask}");
            assert!(plan.to_string().contains(&format!("{} items", last + 1)));
            let dealt: usize = (0..plan.num_cores()).map(|core| plan.work_items(core).count()).sum();
            assert_eq!(plan.core_loads().iter().map(|l| l.items).sum::<u64>(), dealt as u64);
        }
    }
}

#[test]
fn blocks_follow_the_length() {
    let soc = Soc::by_name("Ascend910B2").unwrap();
    let decode = plan(long(1, 4096, Mask::Causal), soc).unwrap();
    assert_eq!((decode.chosen().block_m, decode.tiling_data().window_right), (16, -1));
    let prefill = plan(long(8192, 8192, Mask::Causal), soc).unwrap();
    assert!(prefill.chosen().block_m >= 64 && prefill.chosen().block_n >= 512, "{prefill}");
}

#[test]
fn a_wrong_tiling_is_told_what_it_may_be() {
    let good =
        Candidate { block_m: 128, block_n: 512, chunk_n: 256, num_stages: 4, preload: 2, bundle_steps: 1 };
    let soc = Soc::by_name("Ascend910B2").unwrap();
    let refused = |candidate| {
        let error = plan_with(long(512, 512, Mask::None), soc, candidate).unwrap_err().to_string();
        error.strip_prefix(&format!("attention on Ascend910B2: {candidate}: ")).unwrap().to_owned()
    };
    for (candidate, reason) in [
        (Candidate { block_m: 48, ..good }, "block_m = 48 is none of [256, 128, 96, 64, 32, 16]"),
        (Candidate { block_n: 384, ..good }, "block_n = 384 is none of [1024, 512, 256, 128, 64]"),
        (
            Candidate { chunk_n: 64, ..good },
            "chunk_n = 64 is not a multiple of 128 that divides block_n = 512",
        ),
        (
            Candidate { chunk_n: 1024, ..good },
            "chunk_n = 1024 is not a multiple of 128 that divides block_n = 512",
        ),
        (Candidate { preload: 0, ..good }, "preload = 0 is not from 1 to 3"),
        (Candidate { num_stages: 2, ..good }, "num_stages = 2 is not from preload + 1 = 3 to 8"),
        (Candidate { bundle_steps: 0, ..good }, "bundle_steps = 0 is not from 1 to 4"),
        (
            Candidate { block_n: 128, chunk_n: 128, bundle_steps: 2, ..good },
            "bundle_steps = 2 with block_n = 128; block_n is at least 256 then",
        ),
    ] {
        assert_eq!(refused(candidate), reason);
    }
    let wide = Shape { head_dim: 256, ..long(512, 512, Mask::None) };
    let wide = Shape { q_stride: [0, 256, 0], k_stride: [0, 256, 0], ..wide };
    let rejected = plan_with(wide, soc, Candidate { chunk_n: 512, ..good }).unwrap_err();
    assert_eq!(
        rejected.to_string(),
        "attention on Ascend910B2: block_m 128, block_n 512, chunk_n 512, num_stages 4, preload 2, \
         bundle_steps 1: L1 needs 696320 bytes, 524032 usable"
    );
}
