//! For a given plan the result is the same bits for every interleaving of pipes and cores and every number of
//! host threads, and no interleaving makes the machine report a fault.

use fastattention::tiling::Mask;
use fastattention::DType;
use fastattention_testkit::cases::{Case, Layout, Values};
use fastattention_testkit::compare::assert_same;
use fastattention_testkit::device::attention;
use fastattention_testkit::run::run;

const SEEDS: u64 = 100;

fn cases() -> Vec<Case> {
    let base = Case {
        dtype: DType::F16,
        score_dtype: DType::F32,
        batch: 1,
        num_heads: 2,
        num_heads_k: 1,
        head_dim: 64,
        head_dim_v: 64,
        seqlen_q: 150,
        seqlen_k: 333,
        mask: Mask::Causal,
        softmax_scale: None,
        values: Values::Normal,
        layout: Layout::Bsnd,
        seed: 1,
    };
    vec![
        base.clone(),
        // Two L0C tiles of O, a window with both diagonals, rows that are not multiples of anything.
        Case {
            dtype: DType::Bf16,
            head_dim: 80,
            head_dim_v: 208,
            seqlen_q: 77,
            seqlen_k: 190,
            mask: Mask::Window { left: Some(40), right: Some(3) },
            ..base
        },
    ]
}

#[test]
fn bits_do_not_depend_on_interleaving_or_threads() {
    for case in cases() {
        let reference = run(&attention(|config| config.threads = 1), &case, None).unwrap();
        reference.check().unwrap();
        for threads in [2, 5] {
            let operator = attention(|config| config.threads = threads);
            let result = run(&operator, &case, None).unwrap();
            assert_same(&result.bits, &reference.bits, &format!("{threads} threads: {case:?}"));
        }
        for seed in 0..SEEDS {
            let operator = attention(|config| {
                config.seed = Some(seed);
                config.threads = 1 + usize::try_from(seed % 3).unwrap();
            });
            let result = run(&operator, &case, None).unwrap_or_else(|e| panic!("seed {seed}: {e}: {case:?}"));
            assert_same(&result.bits, &reference.bits, &format!("seed {seed}: {case:?}"));
        }
    }
}
