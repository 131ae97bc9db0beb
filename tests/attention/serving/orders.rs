//! Pages whose keys and values lie in pieces: NZ, and as vLLM's own kernels have them.

use fastattention::serving::{plan, KvLayout, KvOrder, Mask, Mistake, Problem};
use fastattention::{DType, Soc};
use fastattention_testkit::cases::Values;
use fastattention_testkit::compare::assert_same;
use fastattention_testkit::device::SOC;
use fastattention_testkit::run::check_all;
use fastattention_testkit::serving::{check, launch, ServingCase, Tensors};
use half::f16;

use super::{case, serving};

const ORDERS: [KvOrder; 2] = [KvOrder::Nz, KvOrder::Vllm];

fn in_order(kv: KvLayout, order: KvOrder) -> KvLayout {
    match order {
        KvOrder::Nz => kv.with_nz(),
        KvOrder::Vllm => kv.with_vllm(),
        _ => kv,
    }
}

const LENGTHS: &[&[u32]] = &[&[1], &[0, 129, 1, 64], &[127, 16, 700, 0, 255], &[1500, 15, 17]];

/// (num_heads, num_heads_k, head_dim, head_dim_v)
const HEADS: &[(u32, u32, u32, u32)] =
    &[(8, 2, 128, 128), (4, 4, 64, 64), (6, 1, 80, 48), (12, 6, 16, 32), (3, 3, 96, 192), (32, 4, 128, 256)];

const MASKS: [Mask; 4] = [
    Mask::Causal,
    Mask::None,
    // Windows whose first key is in the midst of a fractal.
    Mask::Window { left: Some(37), right: Some(0) },
    Mask::Window { left: Some(150), right: Some(6) },
];

/// One row of each slot, as many for all, and packed rows of any number.
fn rows_of(kind: usize, lengths: &[u32]) -> (Option<Vec<u32>>, u32) {
    match kind {
        0 => (None, 1),
        1 => (None, 5),
        _ => {
            let rows = lengths.iter().enumerate().map(|(i, keys)| [1, (*keys).min(70), 0, 33][i % 4]);
            (Some(rows.collect()), 70)
        }
    }
}

pub(crate) fn table() -> Vec<ServingCase> {
    let mut cases = Vec::new();
    for order in ORDERS {
        for page_size in [16, 64, 128] {
            for (i, &(num_heads, num_heads_k, head_dim, head_dim_v)) in HEADS.iter().enumerate() {
                for (j, &lengths) in LENGTHS.iter().enumerate() {
                    let number = cases.len();
                    let needed: u32 = lengths.iter().map(|keys| keys.div_ceil(page_size)).sum();
                    let longest = lengths.iter().max().unwrap().div_ceil(page_size);
                    let kv = in_order(KvLayout::paged(page_size, needed + 3), order);
                    let kv = match number % 3 {
                        0 => kv.with_table_width(longest + 2),
                        1 => kv.with_csr_table(needed + 2),
                        _ => kv,
                    };
                    let mut case = case(lengths, kv);
                    case.base.dtype = [DType::F16, DType::Bf16][(i + j) % 2];
                    (case.base.num_heads, case.base.num_heads_k) = (num_heads, num_heads_k);
                    (case.base.head_dim, case.base.head_dim_v) = (head_dim, head_dim_v);
                    (case.rows, case.base.seqlen_q) = rows_of((i + 2 * j) % 3, lengths);
                    case.base.mask = MASKS[(number / 3 + j) % MASKS.len()];
                    case.base.values = [Values::Normal, Values::LargeLogits, Values::Growing][number % 3];
                    case.base.seed = number as u64;
                    case.is_batch_invariant = number % 5 == 4;
                    cases.push(case);
                }
            }
        }
    }
    cases
}

#[test]
fn every_case_is_within_twice_the_error_of_a_plain_implementation() {
    check_all(&table(), || serving(|config| config.threads = 1), check);
}

/// The Cube gets the same fractals.
#[test]
fn nz_pages_have_the_bits_of_rows() {
    let operator = serving(|config| config.threads = 1);
    for page_size in [16, 24, 128] {
        let mut rows = case(&[300, 0, 77, 1], KvLayout::paged(page_size, 40));
        (rows.base.seqlen_q, rows.base.mask) = (3, Mask::Causal);
        let nz = ServingCase { kv: rows.kv.with_nz(), ..rows.clone() };
        let [wanted, got] = [&rows, &nz].map(|case| launch(&operator, case, &case.tensors::<f16>()).unwrap());
        assert_same(&got.o, &wanted.o, &format!("pages of {page_size}"));
        assert_same(&got.lse, &wanted.lse, &format!("lse, pages of {page_size}"));
    }
}

#[test]
fn a_page_that_the_cache_does_not_have_is_reported_and_never_a_number() {
    let operator = serving(|config| config.threads = 1);
    for order in ORDERS {
        let mut case = case(&[70, 0, 300], in_order(KvLayout::paged(32, 20), order));
        case.base.seqlen_q = 2;
        let width = case.problem().table_width() as usize;
        let good = case.tensors::<f16>();
        let wanted = launch(&operator, &case, &good).unwrap();
        let rows = |o: &[f16], slot: usize| {
            let len = (case.base.seqlen_q * case.base.num_heads * case.base.head_dim_v) as usize;
            o[slot * len..][..len].to_vec()
        };
        for given in [-1, 20, i32::MAX, i32::MIN] {
            let mut tensors: Tensors<f16> = good.clone();
            tensors.table[2 * width + 9] = given;
            let out = launch(&operator, &case, &tensors).unwrap();
            assert_eq!(out.report.mistakes, [Mistake::Page { slot: 2, entry: 9, given }]);
            assert!(rows(&out.o, 2).iter().all(|x| x.is_nan()), "{order:?}: page {given}");
            assert_same(&rows(&out.o, 0), &rows(&wanted.o, 0), "the slot before");
        }
    }
}

#[test]
fn what_the_kernel_cannot_do_with_pieces_is_refused() {
    let soc = Soc::by_name(SOC).unwrap();
    let refusal = |kv, change: fn(&mut Problem)| {
        let mut problem = Problem::new(DType::F16, [2, 1, 8, 128], 500, kv).with_num_heads_k(2);
        change(&mut problem);
        plan(&problem, soc).unwrap_err().to_string()
    };
    let paged = |page_size| KvLayout::paged(page_size, 100);
    for (text, reason) in [
        (
            refusal(KvLayout::padded().with_nz(), |_| {}),
            "kv = padded, NZ has no kernel without pages; supported: pages",
        ),
        (
            refusal(KvLayout::padded().with_vllm(), |_| {}),
            "kv = padded, as vLLM has them has no kernel without pages",
        ),
        (
            refusal(paged(8).with_vllm(), |_| {}),
            "page_size = 8 of pages as vLLM has them is not a multiple of 16; nearest supported: 16",
        ),
        (
            refusal(paged(40).with_vllm(), |_| {}),
            "page_size = 40 of pages as vLLM has them is not a multiple of 16; nearest supported: 32 or 48",
        ),
        (
            refusal(paged(16).with_vllm(), |p| p.spec.head_dim = 192),
            "head_dim = 192 of pages as vLLM has them is more than 128; nearest supported: 128",
        ),
        (
            refusal(paged(16).with_nz(), |p| p.k_stride = Some([4096, 17, 272])),
            "k_stride: row stride = 17 of pages with pieces of 16 elements; supported: 16",
        ),
        (
            refusal(paged(16).with_vllm(), |p| p.v_stride = Some([9000, 2, 32])),
            "v_stride: row stride = 2 of pages with pieces of 1 elements; supported: 1",
        ),
        (
            refusal(paged(16).with_nz(), |p| {
                (p.spec.num_heads_k, p.spec.num_heads) = (1 << 30, 1 << 30);
                p.max_keys = 0;
            }),
            "num_heads_k = 1073741824 with head_dim = 128 is more than 2^32 pieces of 16 elements",
        ),
    ] {
        assert!(text.contains(reason), "{reason:?} is not in {text:?}");
    }
}
