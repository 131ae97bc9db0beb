//! Steps whose P V the Cube adds up: they have one row maximum, which rows that grow by more than the
//! headroom raise within a bundle.

use fastattention::attention::{host, FlashAttention};
use fastattention::reference::Element;
use fastattention::sim::time::ModelTime;
use fastattention::tiling::{Candidate, Mask};
use fastattention::DType;
use fastattention_testkit::cases::{Case, Layout, Values};
use fastattention_testkit::data::{operands, Operand};
use fastattention_testkit::device::{attention, simulator};
use fastattention_testkit::run::run_typed;
use half::{bf16, f16};

const BLOCK_N: u32 = 256;
const HEAD_DIM: u32 = 64;

/// (q, k and v; scores)
const TYPES: [(DType, DType); 3] =
    [(DType::F16, DType::F32), (DType::Bf16, DType::F32), (DType::F16, DType::F16)];

fn case((dtype, score_dtype): (DType, DType), seqlen_k: u32, mask: Mask) -> Case {
    Case {
        dtype,
        score_dtype,
        batch: 1,
        num_heads: 2,
        num_heads_k: 1,
        head_dim: HEAD_DIM,
        head_dim_v: 48,
        seqlen_q: 150,
        seqlen_k,
        mask,
        softmax_scale: Some(1.0),
        values: Values::Normal,
        layout: Layout::Bnsd,
        seed: 5,
    }
}

fn tiling(bundle_steps: u32) -> Candidate {
    Candidate { block_m: 128, block_n: BLOCK_N, chunk_n: 128, num_stages: 3, preload: 2, bundle_steps }
}

/// Scores of row `i` and key `j` of about `height(i, j / BLOCK_N)`: q has a factor of its row in one column,
/// k a height for each class of rows in others.
fn check(case: &Case, bundle_steps: u32, height: &dyn Fn(usize, usize) -> f32) {
    match case.dtype {
        DType::F16 => check_typed::<f16>(case, bundle_steps, height),
        _ => check_typed::<bf16>(case, bundle_steps, height),
    }
}

/// Rows `i` with the same `i % CLASSES` have the same heights.
const CLASSES: usize = 16;

fn check_typed<T>(case: &Case, bundle_steps: u32, height: &dyn Fn(usize, usize) -> f32)
where
    T: Element + host::Element,
{
    let operator = attention(|config| config.seed = Some(u64::from(bundle_steps)));
    let results = run_typed(&operator, case, &operands_of::<T>(case, height), Some(tiling(bundle_steps)));
    results.and_then(|r| r.check()).unwrap_or_else(|e| panic!("{e}\n{case:?}\n{bundle_steps} steps"));
}

fn operands_of<T: Element>(case: &Case, height: &dyn Fn(usize, usize) -> f32) -> [Operand<T>; 3] {
    let [mut q, mut k, v] = operands::<T>(case);
    let dim = HEAD_DIM as usize;
    let seqlen_q = case.seqlen_q as usize;
    for (row, q) in q.data.chunks_exact_mut(dim).enumerate() {
        let class = row % seqlen_q % CLASSES;
        for (d, x) in q.iter_mut().enumerate() {
            *x = T::round(if d < CLASSES { f32::from(d == class) } else { 0.1 * Into::<f32>::into(*x) });
        }
    }
    for (key, k) in k.data.chunks_exact_mut(dim).enumerate() {
        for (class, x) in k.iter_mut().take(CLASSES).enumerate() {
            *x = T::round(height(class, key / BLOCK_N as usize));
        }
    }
    [q, k, v]
}

#[test]
fn maxima_that_grow_in_every_step() {
    for types in TYPES {
        for (bundle_steps, mask) in [(2, Mask::None), (3, Mask::Causal), (4, Mask::None)] {
            let case = case(types, 9 * BLOCK_N + 30, mask);
            // From no growth to one of 30, about the headroom too.
            check(&case, bundle_steps, &|class, step| (2 * class * step) as f32);
        }
    }
}

#[test]
fn a_single_class_of_rows_grows_once() {
    for types in TYPES {
        for grown in [1, 3, 6] {
            let case = case(types, 8 * BLOCK_N, Mask::None);
            let height = |class: usize, step: usize| if class == 11 && step >= grown { 25.0 } else { 0.0 };
            check(&case, 4, &height);
        }
    }
}

#[test]
fn maxima_that_fall() {
    for types in TYPES {
        let case = case(types, 7 * BLOCK_N, Mask::None);
        check(&case, 4, &|class, step| -((class * step) as f32));
    }
}

#[test]
fn rows_that_see_their_first_key_within_a_bundle() {
    for types in TYPES {
        for mask in [
            Mask::Window { left: Some(600), right: Some(0) },
            Mask::Window { left: Some(100), right: Some(700) },
            Mask::Window { left: Some(30), right: None },
        ] {
            check(&case(types, 5 * BLOCK_N, mask), 3, &|class, step| (class * step) as f32);
            // Rows without any key.
            check(&case(types, 40, mask), 2, &|_, _| 0.0);
        }
    }
}

/// Cycles of a launch on these scores.
fn cycles(model_time: &ModelTime, height: &dyn Fn(usize, usize) -> f32) -> f64 {
    let case = case(TYPES[0], 8 * BLOCK_N, Mask::None);
    let device = simulator(|config| config.model_time = Some(model_time.clone()));
    let operator = FlashAttention::new(&device).unwrap();
    run_typed(&operator, &case, &operands_of::<f16>(&case, height), Some(tiling(4))).unwrap();
    model_time.take_reports().pop().unwrap().cycles
}

#[test]
fn time_without_results_is_that_of_maxima_that_stay() {
    let only = cycles(&ModelTime::only(), &|_, _| 0.0);
    assert_eq!(cycles(&ModelTime::with_results(), &|_, step| step as f32), only);
    assert_ne!(cycles(&ModelTime::with_results(), &|_, step| 10.0 * step as f32), only);
}
