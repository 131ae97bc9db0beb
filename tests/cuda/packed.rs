//! Slots of any rows, packed or not: prompts, chunks of prompts, decode and speculative steps in one plan, in
//! the interpreter of the PTX, each slot against f64.

use std::collections::BTreeSet;

use fastattention::cuda::{plan_serving, Addresses, DeviceFacts, Plan};
use fastattention::serving::{KvLayout, Mask, Problem};
use fastattention::DType;
use fastattention_testkit::cases::Values;
use fastattention_testkit::compare::assert_same;
use fastattention_testkit::serving::ServingCase;
use half::f16;

use super::serving::{self, case, check, problem, results_of, run, UNTOUCHED};

/// Rows and keys of each slot: a prompt alone, chunks behind keys, steps of few rows, slots without rows or
/// keys at either end and between, fewer keys than rows, rows on both sides of what a decode kernel takes.
const SLOTS: &[&[(u32, u32)]] = &[
    &[(1, 700), (130, 131), (0, 0), (4, 260), (0, 90)],
    &[(0, 0), (64, 64), (1, 1), (257, 500)],
    &[(40, 12), (1, 900), (33, 0), (2, 1), (24, 30), (25, 31)],
    &[(150, 300), (1, 129), (16, 16), (7, 7)],
];

/// (num_heads, num_heads_k, head_dim, head_dim_v): every kernel for many rows, and every decode kernel.
const HEADS: &[[u32; 4]] = &[
    [2, 2, 128, 128],
    [4, 2, 64, 48],
    [2, 1, 192, 256],
    [5, 1, 32, 16],
    [6, 2, 80, 72],
    [3, 3, 96, 96],
    [8, 1, 128, 64],
];

const MASKS: &[Mask] = &[
    Mask::Causal,
    Mask::None,
    Mask::Window { left: Some(100), right: Some(0) },
    Mask::Window { left: Some(7), right: Some(150) },
    Mask::Window { left: None, right: Some(3) },
];

fn packed(slots: &[(u32, u32)], heads: [u32; 4], kv: KvLayout, mask: Mask) -> ServingCase {
    let (rows, lengths): (Vec<_>, Vec<_>) = slots.iter().copied().unzip();
    let [num_heads, num_heads_k, head_dim, head_dim_v] = heads;
    let most = |of: &[u32]| of.iter().copied().max().unwrap();
    let sizes = [most(&rows), num_heads, num_heads_k, head_dim, head_dim_v, most(&lengths)];
    ServingCase { rows: Some(rows), ..case(sizes, &lengths, kv, mask) }
}

fn paged(page_size: u32, slots: &[(u32, u32)]) -> KvLayout {
    KvLayout::paged(page_size, slots.iter().map(|(_, keys)| keys.div_ceil(page_size)).sum::<u32>() + 2)
}

fn table() -> Vec<ServingCase> {
    let mut cases = Vec::new();
    for &heads in HEADS {
        for &slots in SLOTS {
            for &mask in MASKS {
                let i = cases.len();
                let kv = match i % 6 {
                    0 => paged(128, slots),
                    1 => KvLayout::padded(),
                    2 => paged(16, slots).with_heads_first(),
                    3 => paged(8, slots),
                    4 => KvLayout::padded().with_heads_first(),
                    _ => paged(64, slots).with_table_width(200),
                };
                let mut case = packed(slots, heads, kv, mask);
                case.base.values = [Values::Normal, Values::LargeLogits, Values::Growing][i % 3];
                case.base.softmax_scale = [None, Some(-0.07), None, Some(0.0)][i / 5 % 4];
                case.base.seed = i as u64;
                // A class of shapes has room for more than this launch needs.
                case.base.seqlen_q += u32::try_from(i % 3).unwrap() * 50;
                cases.push(case);
            }
        }
    }
    cases
}

/// As many rows in every slot, more than a decode kernel takes.
fn same_rows() -> Vec<ServingCase> {
    let window = Mask::Window { left: Some(60), right: Some(5) };
    vec![
        case([40, 4, 2, 64, 64, 300], &[300, 0, 41, 7], KvLayout::padded(), Mask::Causal),
        case([130, 2, 1, 128, 128, 200], &[200, 131], KvLayout::paged(16, 30), window),
    ]
}

/// Kernels of a plan, joining left aside.
fn kernels(plan: &Plan) -> Vec<&'static str> {
    let names = plan.launches(&Addresses::default()).map(|launch| launch.kernel());
    names.filter(|name| !name.starts_with("flash_decode_combine")).collect()
}

fn check_all(cases: &[ServingCase]) {
    let (mut seen, mut splits) = (BTreeSet::new(), 0);
    for case in cases {
        check(case, &case.tensors());
        let plan = plan_serving(&problem(case), &DeviceFacts::v100()).unwrap();
        seen.extend(kernels(&plan));
        splits += u32::from(plan.num_splits() > 1);
    }
    println!("{} cases by {seen:?}, {splits} with several splits", cases.len());
    assert_eq!(seen.iter().filter(|name| name.ends_with("_paged")).count(), 6, "{seen:?}");
    assert!(seen.len() >= 9 && splits >= 3, "{seen:?}, {splits}");
}

#[test]
fn packed_slots_agree_with_f64() {
    let sample: Vec<_> = table().into_iter().step_by(9).chain(same_rows()).collect();
    check_all(&sample);
}

#[test]
#[ignore = "a minute: cargo test --features cuda --test cuda -- --ignored"]
fn every_case_of_packed_slots_agrees_with_f64() {
    check_all(&table());
}

/// A slot's bits are the same alone, beside others, and in other pages.
#[test]
fn bits_do_not_depend_on_other_slots() {
    let slots = [(60, 300), (3, 500), (130, 130), (1, 40)];
    let together = packed(&slots, [4, 2, 64, 64], paged(16, &slots), Mask::Causal);
    let tensors = together.tensors::<f16>();
    let all = check(&together, &tensors);
    for (slot, &own) in slots.iter().enumerate() {
        let mut alone = packed(&[own], [4, 2, 64, 64], paged(16, &[own]), Mask::Causal);
        // The same class of shapes, but for the number of slots.
        (alone.base.seqlen_q, alone.base.seqlen_k) = (together.base.seqlen_q, together.base.seqlen_k);
        let values = |_: usize, _: &_| tensors.slots[slot].1.clone().map(|operand| operand.data);
        let alone_tensors = alone.tensors_of::<f16>(values);
        let plan_of = |case| plan_serving(&problem(case), &DeviceFacts::v100()).unwrap();
        let want = results_of(&together, &all, slot);
        if own.0 > 24 {
            let got = run(&plan_of(&alone), &alone_tensors).unwrap();
            assert_same(&got.o, &want.o, "o");
            assert_same(&got.lse, &want.lse, "lse");
        }
        // In a launch of as many slots, behind one that is empty.
        let mut moved =
            packed(&[(0, 9), own, (0, 0), (0, 0)], [4, 2, 64, 64], paged(16, &[own, (0, 9)]), Mask::Causal);
        (moved.base.seqlen_q, moved.base.seqlen_k) = (together.base.seqlen_q, together.base.seqlen_k);
        let mut problem = problem(&moved);
        problem.total_rows = Some(slots.iter().map(|slot| slot.0).sum());
        let moved_tensors = moved.tensors_of::<f16>(|at, case| match at {
            1 => tensors.slots[slot].1.clone().map(|operand| operand.data),
            _ => fastattention_testkit::data::operands::<f16>(case).map(|operand| operand.data),
        });
        let plan = plan_serving(&problem, &DeviceFacts::v100()).unwrap();
        let out = run(&plan, &moved_tensors).unwrap();
        assert_same(&results_of(&moved, &out, 1).o, &want.o, "o");
    }
}

/// `row_starts` that no batch has, and what is to become of it.
struct Wrong {
    starts: [i32; 5],
    /// First row and the one behind the last of those that are still right.
    right: &'static [(usize, usize)],
    /// Of those that are NaN. The others stay as they are.
    nan: &'static [(usize, usize)],
}

const MIN: i32 = i32::MIN;
const MAX: i32 = i32::MAX;
/// Of 90 rows, of which a slot has up to 40: those of more than 24 are work of the kernel for many rows.
const WRONG: &[Wrong] = &[
    Wrong { starts: [0, 10, 5, 80, 90], right: &[(0, 10), (80, 90)], nan: &[(10, 50)] },
    Wrong { starts: [-3, 10, 50, 80, 90], right: &[(10, 90)], nan: &[(0, 10)] },
    Wrong { starts: [0, 10, 50, 80, 91], right: &[(0, 80)], nan: &[(80, 90)] },
    Wrong { starts: [0, 10, 50, MAX, 90], right: &[(0, 50)], nan: &[(50, 90)] },
    Wrong { starts: [0, 10, 51, 80, 90], right: &[(0, 10), (51, 90)], nan: &[(10, 50)] },
    Wrong { starts: [MIN, MAX, MIN, MAX, MIN], right: &[], nan: &[(0, 40)] },
    Wrong { starts: [MIN; 5], right: &[], nan: &[] },
    Wrong { starts: [MAX; 5], right: &[], nan: &[] },
];

/// Lists that no batch has: what is known stays right, the rest is NaN or untouched, and nothing outside of
/// the operands is read or written, which the interpreter watches.
#[test]
fn wrong_row_starts_never_make_a_number() {
    let slots = [(10, 40), (40, 200), (30, 30), (10, 700)];
    for heads in [[2, 1, 64, 64], [2, 2, 256, 256]] {
        let case = packed(&slots, heads, paged(16, &slots), Mask::Causal);
        let good = case.tensors::<f16>();
        assert_eq!(good.row_starts, [0, 10, 50, 80, 90]);
        let want = check(&case, &good);
        let plan = plan_serving(&problem(&case), &DeviceFacts::v100()).unwrap();
        assert_eq!(kernels(&plan).len(), 2);
        let (of_row, untouched) = ((heads[0] * heads[3]) as usize, UNTOUCHED.to_le_bytes());
        for Wrong { starts, right, nan } in WRONG {
            let mut tensors = good.clone();
            tensors.row_starts = starts.to_vec();
            let out = run(&plan, &tensors).unwrap_or_else(|error| panic!("{starts:?}: {error}"));
            let is_in = |ranges: &[(usize, usize)], row| ranges.iter().any(|&(a, b)| (a..b).contains(&row));
            for row in 0..90 {
                let at = row * of_row..(row + 1) * of_row;
                let lse = || (0..heads[0] as usize).map(|head| head * 90 + row);
                if is_in(right, row) {
                    assert_same(&out.o[at.clone()], &want.o[at], &format!("{starts:?}, row {row}"));
                    assert!(lse().all(|n| out.lse[n].to_bits() == want.lse[n].to_bits()));
                    continue;
                }
                let bytes: Vec<u8> = out.o[at.clone()].iter().flat_map(|x| x.to_le_bytes()).collect();
                let is_untouched = bytes.chunks(4).all(|bytes| bytes == untouched);
                let is_nan = out.o[at].iter().all(|x| x.is_nan()) && lse().all(|n| out.lse[n].is_nan());
                let lse_untouched = lse().all(|n| out.lse[n].to_bits() == UNTOUCHED);
                let is_right =
                    if is_in(nan, row) { is_nan && !is_untouched } else { is_untouched && lse_untouched };
                assert!(is_right, "{starts:?}, row {row}: NaN {is_nan}, untouched {is_untouched}");
            }
        }
    }
}

/// Lengths out of range and pages that are not there, for prompts as for decode.
#[test]
fn wrong_lengths_and_pages_of_prompts() {
    let slots = [(30, 300), (40, 90), (2, 300)];
    let case = packed(&slots, [2, 1, 64, 64], paged(16, &slots), Mask::Causal);
    let good = case.tensors::<f16>();
    let want = check(&case, &good);
    let plan = plan_serving(&problem(&case), &DeviceFacts::v100()).unwrap();
    let mut tensors = good.clone();
    (tensors.lengths[0], tensors.lengths[2]) = (301, MAX);
    let out = run(&plan, &tensors).unwrap();
    assert_same(&out.o, &want.o, "o");
    tensors.lengths = vec![-1, MIN, 0];
    let out = run(&plan, &tensors).unwrap();
    assert!(out.o.iter().all(|x| *x == f16::ZERO) && out.lse.iter().all(|x| *x == f32::NEG_INFINITY));

    // The page of keys 64 to 79 of slot 1: rows from 14 on see them.
    let width = problem(&case).table_width() as usize;
    for wrong in [-1, i32::try_from(case.kv.pages.unwrap().num_pages).unwrap()] {
        let mut tensors = good.clone();
        tensors.table[width + 4] = wrong;
        let out = run(&plan, &tensors).unwrap();
        for (n, (got, want)) in out.o.iter().zip(&want.o).enumerate() {
            let row = n / (2 * 64);
            let sees = (30..70).contains(&row) && row - 30 + 50 >= 64;
            assert_eq!(got.is_nan(), sees, "row {row}");
            assert!(sees || got == want, "row {row}");
        }
    }
}

/// A class of shapes whose slots may be of both kinds, and classes of one kind.
#[test]
fn kernels_are_chosen_by_the_rows_that_a_slot_can_have() {
    let plan_of = |rows, total| {
        let kv = KvLayout::paged(16, 2048);
        let problem = match total {
            Some(total) => Problem::packed(DType::F16, [total, 32, 128], [8, rows], 4096, kv),
            None => Problem::new(DType::F16, [8, rows, 32, 128], 4096, kv),
        };
        plan_serving(&problem.with_num_heads_k(8), &DeviceFacts::v100()).unwrap()
    };
    let (decode, many) = ("flash_decode_f16_d128_r16", "flash_fwd_f16_d128_paged");
    assert_eq!(kernels(&plan_of(24, Some(100))), [decode]);
    assert_eq!(kernels(&plan_of(25, Some(100))), [many, decode]);
    assert_eq!(kernels(&plan_of(24, None)), [decode]);
    assert_eq!(kernels(&plan_of(25, None)), [many]);
    assert_eq!(kernels(&plan_of(2, Some(16))), ["flash_decode_f16_d128_r8"]);
    assert_eq!(kernels(&plan_of(25, Some(0))), [""; 0]);
    let plan = plan_of(512, Some(1000));
    assert_eq!(plan.operand_bytes(), [8_192_000, 67_108_864, 67_108_864, 8_192_000, 0]);
    let text = plan.to_string();
    for line in [
        "slots     their rows of 1000, lengths and 256 pages of each in device memory, 2048 pages of 16 keys\n",
        "kernel    flash_fwd_f16_d128_paged, 32 x 4 x 8 blocks of 128 threads, 49152 bytes of shared memory each\n",
        "rows      slots of at most 24 rows are work of the second kernel\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
}

/// Cases for a GPU: all of those here.
pub(crate) fn cases() -> Vec<ServingCase> {
    [table(), same_rows(), serving::cases()].concat()
}
