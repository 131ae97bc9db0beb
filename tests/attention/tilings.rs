//! Every tiling that the planner can make gives the same attention: random problems under random tilings, on
//! the simulator with all its checks, half of them in a seeded interleaving.

use fastattention::attention::plan_with;
use fastattention::tiling::{Candidate, Mask};
use fastattention::{DType, Soc};
use fastattention_testkit::cases::{Case, Layout, Values};
use fastattention_testkit::data::problem;
use fastattention_testkit::device::attention;
use fastattention_testkit::run::run;
use fastrand::Rng;

const RUNS: u64 = 60;

fn case(rng: &mut Rng, seed: u64) -> Case {
    let num_heads_k = rng.u32(1..=2);
    let (dtype, score_dtype) =
        [(DType::F16, DType::F32), (DType::Bf16, DType::F32), (DType::F16, DType::F16)][rng.usize(..3)];
    Case {
        dtype,
        score_dtype,
        batch: rng.u32(1..=2),
        num_heads: num_heads_k * rng.u32(1..=2),
        num_heads_k,
        head_dim: 16 * rng.u32(1..=16),
        head_dim_v: 16 * rng.u32(1..=16),
        seqlen_q: rng.u32(1..300),
        seqlen_k: rng.u32(..700),
        mask: match rng.u32(0..4) {
            0 => Mask::None,
            1 => Mask::Causal,
            2 => Mask::Window { left: Some(rng.u32(..200)), right: Some(rng.u32(..100)) },
            _ => Mask::Window { left: Some(rng.u32(..300)), right: None },
        },
        softmax_scale: None,
        values: [Values::Normal, Values::LargeLogits, Values::Growing][rng.usize(..3)],
        layout: [Layout::Bsnd, Layout::Bnsd, Layout::Gaps][rng.usize(..3)],
        seed,
    }
}

/// A random tiling that fits the problem.
fn tiling(rng: &mut Rng, case: &Case, soc: &Soc) -> Candidate {
    loop {
        let block_n = 64 << rng.u32(..5);
        let preload = rng.u32(1..=3);
        let candidate = Candidate {
            block_m: [16, 32, 64, 96, 128, 256][rng.usize(..6)],
            block_n,
            chunk_n: (64 << rng.u32(..5)).min(block_n),
            num_stages: preload + rng.u32(1..=3),
            preload,
            bundle_steps: if block_n < 256 { 1 } else { rng.u32(1..=4) },
        };
        if plan_with(&problem(case), soc, candidate).is_ok() {
            return candidate;
        }
    }
}

#[test]
fn any_tiling_gives_the_reference() {
    for seed in 0..RUNS {
        let rng = &mut Rng::with_seed(seed);
        let operator = attention(|config| config.seed = (seed % 2 == 1).then_some(seed));
        let case = case(rng, seed);
        let candidate = tiling(rng, &case, operator.device().soc());
        run(&operator, &case, Some(candidate))
            .and_then(|results| results.check())
            .unwrap_or_else(|e| panic!("{e}\n{case:?}\n{candidate:?}"));
    }
}
