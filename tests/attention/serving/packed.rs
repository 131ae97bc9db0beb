//! Packed query rows: prompts, chunks of prompts, decode and speculative steps in one launch.

use fastattention::serving::{KvLayout, Mask, Mistake};
use fastattention::DType;
use fastattention_testkit::cases::Values;
use fastattention_testkit::compare::assert_same;
use fastattention_testkit::run::check_all;
use fastattention_testkit::serving::{check, launch, results, ServingCase};
use half::f16;

use super::{case, serving};

/// Rows and keys of each slot: a prompt alone, chunks behind keys, steps of few rows, slots without rows or
/// keys at either end and between, fewer keys than rows, more rows than a task has.
const SLOTS: &[&[(u32, u32)]] = &[
    &[(300, 300)],
    &[(1, 700), (130, 131), (0, 0), (4, 260), (0, 90)],
    &[(0, 0), (64, 64), (1, 1), (257, 900)],
    &[(40, 12), (1, 2000), (33, 0), (2, 1)],
    &[(513, 1100), (1, 129), (16, 16)],
    &[(3, 130), (0, 40), (200, 128), (7, 7), (1, 1025), (95, 400)],
];

/// (num_heads, num_heads_k, head_dim, head_dim_v): long tasks of one and of two heads, short ones (dimensions
/// above 128), query rows that one task does not hold.
const HEADS: &[(u32, u32, u32, u32)] =
    &[(8, 2, 128, 128), (3, 3, 64, 48), (4, 2, 192, 256), (130, 1, 32, 16), (12, 4, 80, 128)];

const fn window(left: u32, right: u32) -> Mask {
    Mask::Window { left: Some(left), right: Some(right) }
}

const MASKS: &[Mask] = &[
    Mask::Causal,
    Mask::None,
    window(0, 0),
    window(100, 0),
    window(7, 150),
    Mask::Window { left: Some(300), right: None },
    Mask::Window { left: None, right: Some(3) },
];

fn packed(slots: &[(u32, u32)], kv: KvLayout) -> ServingCase {
    let (rows, lengths): (Vec<_>, Vec<_>) = slots.iter().copied().unzip();
    let mut case = case(&lengths, kv);
    case.base.seqlen_q = rows.iter().copied().max().unwrap_or(0);
    ServingCase { rows: Some(rows), ..case }
}

fn paged(page_size: u32, slots: &[(u32, u32)]) -> KvLayout {
    KvLayout::paged(page_size, slots.iter().map(|(_, keys)| keys.div_ceil(page_size)).sum::<u32>() + 2)
}

fn table() -> Vec<ServingCase> {
    let mut cases = Vec::new();
    for &slots in SLOTS {
        for &mask in MASKS {
            let i = cases.len();
            let kv = match i % 4 {
                0 => paged(128, slots),
                1 => KvLayout::padded(),
                2 => paged(16, slots).with_heads_first(),
                _ => paged(37, slots),
            };
            let mut case = packed(slots, kv);
            let (num_heads, num_heads_k, head_dim, head_dim_v) = HEADS[(i + i / 7) % HEADS.len()];
            (case.base.num_heads, case.base.num_heads_k) = (num_heads, num_heads_k);
            (case.base.head_dim, case.base.head_dim_v) = (head_dim, head_dim_v);
            case.base.dtype = [DType::F16, DType::Bf16][i / 2 % 2];
            case.base.values = [Values::Normal, Values::LargeLogits, Values::Growing][i % 3];
            case.base.mask = mask;
            case.base.seed = i as u64;
            // A class of shapes has room for more than this launch needs.
            case.base.seqlen_q += u32::try_from(i % 3).unwrap() * 50;
            cases.push(case);
        }
    }
    cases
}

#[test]
fn every_case_is_within_twice_the_error_of_a_plain_implementation() {
    let cases = table();
    check_all(&cases, || serving(|config| config.threads = 1), check);
}

/// Windows of a class whose slots all have the same number of rows.
#[test]
fn windows_of_speculative_steps() {
    let mut cases = Vec::new();
    for (i, &mask) in MASKS.iter().enumerate() {
        let mut case = case(&[700, 0, 33, 1500, 4], KvLayout::paged(16, 150));
        (case.base.seqlen_q, case.base.mask) = ([1, 5, 16][i % 3], mask);
        cases.push(case);
    }
    check_all(&cases, || serving(|config| config.threads = 1), check);
}

#[test]
fn bits_do_not_depend_on_interleaving_or_threads() {
    let mut case = packed(SLOTS[1], paged(16, SLOTS[1]));
    case.base.mask = Mask::Causal;
    let tensors = case.tensors::<f16>();
    let reference = launch(&serving(|config| config.threads = 1), &case, &tensors).unwrap();
    for result in results(&case, &tensors, &reference) {
        result.check().unwrap();
    }
    for seed in 0..10 {
        let operator = serving(|config| {
            config.seed = Some(seed);
            config.threads = 1 + usize::try_from(seed % 3).unwrap();
        });
        let out = launch(&operator, &case, &tensors).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert_same(&out.o, &reference.o, &format!("seed {seed}"));
        assert_same(&out.lse, &reference.lse, &format!("lse, seed {seed}"));
    }
}

/// `row_starts` that no batch has, and what is to become of it.
struct Wrong {
    starts: [i32; 5],
    /// Slot and its two entries.
    mistakes: &'static [(usize, i32, i32)],
    /// First row and the one behind the last of those that are still right.
    right: &'static [(usize, usize)],
    /// Of those that are NaN.
    nan: &'static [(usize, usize)],
}

const MIN: i32 = i32::MIN;
const MAX: i32 = i32::MAX;
const WRONG: &[Wrong] = &[
    Wrong {
        starts: [0, 10, 5, 35, 36],
        mistakes: &[(1, 10, 5), (2, 5, 35)],
        right: &[(0, 10), (35, 36)],
        nan: &[(10, 30)],
    },
    Wrong { starts: [-3, 10, 30, 35, 36], mistakes: &[(0, -3, 10)], right: &[(10, 36)], nan: &[(0, 10)] },
    Wrong { starts: [0, 10, 30, 35, 37], mistakes: &[(3, 35, 37)], right: &[(0, 35)], nan: &[(35, 36)] },
    Wrong {
        starts: [0, 10, 30, MAX, 36],
        mistakes: &[(2, 30, MAX), (3, MAX, 36)],
        right: &[(0, 30)],
        nan: &[(30, 36)],
    },
    Wrong {
        starts: [MIN; 5],
        mistakes: &[(0, MIN, MIN), (1, MIN, MIN), (2, MIN, MIN), (3, MIN, MIN)],
        right: &[],
        nan: &[],
    },
];

/// Lists that no batch has: what is known stays right, the rest is NaN or untouched, and nothing outside the
/// operands is read or written, which the simulator watches.
#[test]
fn wrong_row_starts_are_reported_and_never_a_number() {
    let slots = [(10, 40), (20, 200), (5, 5), (1, 300)];
    let case = packed(&slots, paged(16, &slots));
    let good = case.tensors::<f16>();
    assert_eq!(good.row_starts, [0, 10, 30, 35, 36]);
    let operator = serving(|config| config.threads = 1);
    let expected = launch(&operator, &case, &good).unwrap();
    let of_row = (case.base.num_heads * case.base.head_dim_v) as usize;
    for Wrong { starts, mistakes, right, nan } in WRONG {
        let mut tensors = good.clone();
        tensors.row_starts = starts.to_vec();
        let out = launch(&operator, &case, &tensors).unwrap();
        let found = &out.report.mistakes;
        for &(slot, start, end) in *mistakes {
            assert!(found.contains(&Mistake::Rows { slot, start, end }), "{starts:?}: {found:?}");
        }
        assert_eq!(found.len(), mistakes.len(), "{starts:?}: {found:?}");
        for &(first, end) in *right {
            let at = first * of_row..end * of_row;
            assert_same(&out.o[at.clone()], &expected.o[at], &format!("{starts:?}, rows {first} to {end}"));
        }
        for &(first, end) in *nan {
            let rows = &out.o[first * of_row..end * of_row];
            assert!(rows.iter().all(|x| x.is_nan()), "{starts:?}, rows {first} to {end}");
        }
    }
}
