//! Results against f64, by FlashAttention's tolerance rule, over a table of cases.

use fastattention::serving::{KvLayout, Mask};
use fastattention::DType;
use fastattention_testkit::cases::Values;
use fastattention_testkit::run::check_all;
use fastattention_testkit::serving::{check, ServingCase};

use super::{case, serving};

/// Keys of the slots: none, one, unit and step edges on both sides, several steps, all cores on one slot.
const LENGTHS: &[&[u32]] = &[
    &[1],
    &[0, 0],
    &[130, 0, 1, 64],
    &[127, 128, 129],
    &[16, 700, 3, 0, 255],
    &[1500],
    &[513, 1, 512, 511, 40, 0, 33],
];

/// (num_heads, num_heads_k, head_dim, head_dim_v): GQA, MHA, MQA, several heads in a task and one, L0 tiles
/// on both sides of 128.
const HEADS: &[(u32, u32, u32, u32)] = &[
    (8, 2, 64, 64),
    (4, 4, 128, 128),
    (6, 1, 80, 48),
    (4, 2, 256, 256),
    (12, 6, 16, 32),
    (3, 3, 96, 192),
    (32, 8, 128, 128),
    (70, 1, 32, 16),
    (2, 1, 192, 128),
];

const ROWS: &[u32] = &[1, 2, 5, 16, 1, 3];

/// Keys of a page; 0: no pages.
const PAGE_SIZES: &[u32] = &[16, 0, 128, 64, 8, 32, 256, 1, 48, 512];

const SCALES: &[Option<f32>] = &[None, None, Some(0.3), None, Some(-0.05), None, Some(0.0)];

const VALUES: &[Values] =
    &[Values::Normal, Values::LargeLogits, Values::Normal, Values::Growing, Values::EqualScores];

fn layout(page_size: u32, lengths: &[u32], i: usize) -> KvLayout {
    let kv = if page_size == 0 {
        KvLayout::padded()
    } else {
        let needed: u32 = lengths.iter().map(|length| length.div_ceil(page_size)).sum();
        let kv = KvLayout::paged(page_size, needed + 3);
        // Captured tables are wider than any sequence.
        if i.is_multiple_of(4) {
            kv.with_table_width(lengths.iter().max().unwrap().div_ceil(page_size) + 5)
        } else if i % 5 == 1 {
            kv.with_csr_table(needed + 4)
        } else {
            kv
        }
    };
    if i % 3 == 2 {
        kv.with_heads_first()
    } else {
        kv
    }
}

/// Rotations use lists whose lengths share no factor, so that combinations spread.
fn table() -> Vec<ServingCase> {
    let mut cases = Vec::new();
    for &lengths in LENGTHS {
        for &page_size in PAGE_SIZES {
            for round in 0..3 {
                let i = cases.len();
                let (num_heads, num_heads_k, head_dim, head_dim_v) = HEADS[(i + round) % HEADS.len()];
                let rows = ROWS[(i / 2 + round) % ROWS.len()];
                let mut case = case(lengths, layout(page_size, lengths, i));
                case.base.dtype = [DType::F16, DType::Bf16][(i + round) % 2];
                (case.base.num_heads, case.base.num_heads_k) = (num_heads, num_heads_k);
                (case.base.head_dim, case.base.head_dim_v) = (head_dim, head_dim_v);
                case.base.seqlen_q = rows;
                case.base.mask = [Mask::Causal, Mask::None, Mask::Causal][(i / 3) % 3];
                case.base.softmax_scale = SCALES[i % SCALES.len()];
                case.base.values = VALUES[(i / 7 + i) % VALUES.len()];
                case.base.seed = i as u64;
                cases.push(case);
            }
        }
    }
    cases
}

#[test]
fn every_case_is_within_twice_the_error_of_a_plain_implementation() {
    let cases = table();
    check_all(&cases, || serving(|config| config.threads = 1), check);
}
