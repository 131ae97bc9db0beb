//! Problems of `serving`, `append`, `merge` and `layer` with fields of any value: each is planned or refused
//! by the name of an argument, and what is planned and small is launched with lists of any value.

mod append;
mod layer;
mod merge;
mod serving;

use std::cell::Cell;
use std::fmt::Debug;
use std::ops::RangeInclusive;

use fastattention::runtime::{Buffer, Device};
use fastattention::serving::{KvLayout, Mask, Problem};
use fastattention::spec::Reason;
use fastattention::{DType, Result, Soc};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use crate::soc_of_devices;

/// The same cases in every run; `PROPTEST_CASES` gives another number of them.
pub(crate) fn runner(cases: u32) -> TestRunner {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::default()))
}

/// Numbers at which something may break.
fn wild() -> impl Strategy<Value = u32> + Clone {
    const EDGES: [u32; 14] = [
        0,
        1,
        15,
        17,
        4095,
        4096,
        65_535,
        65_536,
        1 << 24,
        (1 << 31) - 2,
        (1 << 31) - 1,
        1 << 31,
        u32::MAX - 1,
        u32::MAX,
    ];
    prop_oneof![2 => prop::sample::select(&EDGES[..]), 1 => any::<u32>(), 1 => 0u32..5000]
}

/// A size that makes sense, now and then one that does not.
fn size(usual: RangeInclusive<u32>) -> impl Strategy<Value = u32> + Clone {
    prop_oneof![30 => usual, 1 => wild()]
}

/// A head dimension.
fn dim() -> impl Strategy<Value = u32> + Clone {
    prop_oneof![30 => (1u32..=6).prop_map(|sixteenths| 16 * sixteenths), 1 => wild()]
}

fn dtype() -> impl Strategy<Value = DType> + Clone {
    prop_oneof![10 => Just(DType::F16), 10 => Just(DType::Bf16), 1 => Just(DType::F32)]
}

fn stride() -> impl Strategy<Value = u64> + Clone {
    const EDGES: [u64; 11] = [
        0,
        1,
        16,
        1 << 30,
        (1 << 31) + 16,
        1 << 33,
        1 << 60,
        u64::MAX / 3,
        u64::MAX / 2,
        u64::MAX - 1,
        u64::MAX,
    ];
    prop_oneof![2 => 0u64..3000, 2 => prop::sample::select(&EDGES[..]), 1 => any::<u64>()]
}

/// Mostly dense, else with gaps that make sense or of any kind.
fn strides<const N: usize>() -> impl Strategy<Value = Option<[u64; N]>>
where
    [u64; N]: std::fmt::Debug,
{
    let numbers = |one: BoxedStrategy<u64>| {
        prop::collection::vec(one, N).prop_map(|all| Some(<[u64; N]>::try_from(all).unwrap()))
    };
    // Descending: slots, rows, heads.
    let gaps = numbers((96u64..1000).boxed()).prop_map(|all| {
        all.map(|mut all| {
            all.sort_by_key(|stride| std::cmp::Reverse(*stride));
            let mut factor = 1;
            all.iter_mut().rev().for_each(|stride| {
                *stride *= factor;
                factor *= 24;
            });
            all
        })
    });
    prop_oneof![20 => Just(None), 3 => gaps, 1 => numbers(stride().boxed())]
}

fn mask() -> impl Strategy<Value = Mask> {
    let limit = || prop_oneof![Just(None), (0u32..40).prop_map(Some), wild().prop_map(Some)];
    prop_oneof![
        2 => Just(Mask::None),
        2 => Just(Mask::Causal),
        3 => (limit(), limit()).prop_map(|(left, right)| Mask::Window { left, right }),
    ]
}

fn layout() -> impl Strategy<Value = KvLayout> {
    let width = prop_oneof![3 => Just(None), 1 => (1u32..40).prop_map(Some), 1 => wild().prop_map(Some)];
    let table = (width, prop::bool::weighted(0.3));
    let paged = (size(1..=40), size(1..=20), table).prop_map(|(page_size, num_pages, (width, is_list))| {
        let kv = KvLayout::paged(page_size, num_pages);
        match width {
            Some(entries) if is_list => kv.with_csr_table(entries),
            None if is_list => kv.with_csr_table(200),
            Some(width) => kv.with_table_width(width),
            None => kv,
        }
    });
    let layout = prop_oneof![1 => Just(KvLayout::padded()), 3 => paged];
    (layout, 0..6u8).prop_map(|(kv, order)| match order {
        0 | 1 => kv,
        2 | 3 => kv.with_heads_first(),
        4 => kv.with_nz(),
        _ => kv.with_vllm(),
    })
}

fn scale() -> impl Strategy<Value = Option<f32>> {
    prop_oneof![20 => Just(None), 4 => (-1.0f32..1.0).prop_map(Some), 1 => any::<f32>().prop_map(Some)]
}

/// A problem of `serving`.
fn problem() -> impl Strategy<Value = Problem> {
    let total = prop_oneof![1 => Just(None), 1 => size(0..=30).prop_map(Some)];
    let score = prop_oneof![30 => Just(DType::F32), 1 => Just(DType::F16)];
    let heads = (size(1..=3), size(1..=4), dim(), dim());
    let extent = (size(0..=6), size(1..=20), total, size(0..=200));
    let all_strides = (strides::<3>(), strides::<3>(), strides::<3>(), strides::<3>());
    let spec = (dtype(), score, mask(), scale(), layout());
    (heads, extent, all_strides, spec, any::<[bool; 3]>()).prop_map(
        |(
            (heads_k, group, head_dim, head_dim_v),
            (slots, rows, total_rows, max_keys),
            strides,
            spec,
            flags,
        )| {
            let (dtype, score_dtype, mask, softmax_scale, kv) = spec;
            let num_heads = heads_k.saturating_mul(group);
            let mut problem = Problem::new(dtype, [slots, rows, num_heads, head_dim], max_keys, kv)
                .with_num_heads_k(heads_k)
                .with_head_dim_v(head_dim_v)
                .with_mask(mask);
            problem.spec.score_dtype = score_dtype;
            problem.spec.softmax_scale = softmax_scale;
            problem.total_rows = total_rows;
            (problem.q_stride, problem.k_stride, problem.v_stride, problem.o_stride) = strides;
            [problem.want_lse, problem.is_checked, problem.is_batch_invariant] = flags;
            problem
        },
    )
}

fn socs() -> impl Strategy<Value = &'static Soc> {
    (0..Soc::all().len()).prop_map(|i| &Soc::all()[i])
}

/// Each reason names one of the arguments.
fn name_arguments(reasons: &[Reason], names: &[&str]) {
    for reason in reasons {
        assert!(names.iter().any(|name| reason.text.contains(name)), "no argument in {:?}", reason.text);
    }
}

/// Each of 20000 problems is planned, and `ask` asks of the plan what can be asked, or refused by the names
/// of arguments; there are many of both.
fn plan_or_refuse<P: Debug, L>(
    problems: impl Strategy<Value = P>,
    names: &[&str],
    refusals: fn(&P, &Soc) -> Vec<Reason>,
    plan: fn(&P, &Soc) -> Result<L>,
    ask: fn(&L, &Soc),
) {
    let (planned, refused) = (Cell::new(0), Cell::new(0));
    let try_one = |(problem, soc): (P, &'static Soc)| {
        let reasons = refusals(&problem, soc);
        name_arguments(&reasons, names);
        match plan(&problem, soc) {
            Ok(plan) => {
                ask(&plan, soc);
                planned.set(planned.get() + 1);
            }
            Err(error) => {
                let text = error.to_string();
                reasons.iter().for_each(|reason| assert!(text.contains(&reason.text), "{reason:?}: {text}"));
                refused.set(refused.get() + 1);
            }
        }
        Ok(())
    };
    runner(20_000).run(&(problems, socs()), try_one).unwrap();
    assert!(planned.get() > 3000 && refused.get() > 3000, "{planned:?} planned, {refused:?} refused");
}

/// Plans each problem for the device of the tests. A small plan is launched with the lists that come with the
/// problem; more than `wanted` are small.
fn launch_small<P: Debug, X: Debug, L>(
    cases: u32,
    wanted: u32,
    values: impl Strategy<Value = (P, X)>,
    plan: fn(&P, &Soc) -> Result<L>,
    is_small: fn(&L) -> bool,
    launch: fn(&L, &X),
) {
    let launched = Cell::new(0);
    let try_one = |(problem, lists): (P, X)| {
        if let Some(plan) = plan(&problem, soc_of_devices()).ok().filter(is_small) {
            launch(&plan, &lists);
            launched.set(launched.get() + 1);
        }
        Ok(())
    };
    runner(cases).run(&values, try_one).unwrap();
    assert!(launched.get() > wanted, "{launched:?} of {cases} launched");
}

/// Bytes of an operand that is launched at most.
const SMALL: u64 = 1 << 18;

/// 1 in f16 and in bf16 are other numbers; this is one in both: about 1.9 and 1.0.
const ONE: u16 = 0x3F80;

/// A NaN of f16 and of bf16 that no kernel writes.
const UNTOUCHED: u16 = 0xFDAB;

fn filled(device: &Device, bytes: u64, with: u16) -> Buffer {
    let len = usize::try_from(bytes.div_ceil(2)).unwrap();
    Buffer::from_slice(device, &vec![with; len.max(1)]).unwrap()
}
