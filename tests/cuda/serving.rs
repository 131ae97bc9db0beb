//! Slots whose lengths and pages are in device memory: planned launches in the interpreter of the PTX,
//! each slot against f64.

use fastattention::attention::host::Output;
use fastattention::cuda::{plan_serving, Addresses, DeviceFacts, Plan};
use fastattention::serving::{KvLayout, Mask, Problem};
use fastattention::{DType, ErrorKind};
use fastattention_sm70 as sm70;
use fastattention_testkit::cases::{Case, Layout, Values};
use fastattention_testkit::compare::assert_same;
use fastattention_testkit::run::compared;
use fastattention_testkit::serving::{ServingCase, Tensors};
use half::f16;

use crate::interpreter::run_launch;
use crate::table;

/// Rows, heads, heads of K and V, head_dim and head_dim_v, most keys.
pub(crate) fn case(sizes: [u32; 6], lengths: &[u32], kv: KvLayout, mask: Mask) -> ServingCase {
    let [seqlen_q, num_heads, num_heads_k, head_dim, head_dim_v, seqlen_k] = sizes;
    let base = Case {
        dtype: DType::F16,
        score_dtype: DType::F32,
        batch: 1,
        num_heads,
        num_heads_k,
        head_dim,
        head_dim_v,
        seqlen_q,
        seqlen_k,
        mask,
        softmax_scale: None,
        values: Values::Normal,
        layout: Layout::Bsnd,
        seed: u64::from(seqlen_k + head_dim),
    };
    ServingCase { base, rows: None, lengths: lengths.to_vec(), kv, is_batch_invariant: false }
}

pub(crate) fn problem(case: &ServingCase) -> Problem {
    let mut problem = case.problem();
    problem.is_checked = false;
    problem
}

/// What nobody wrote is NaN in the tensors, and not there in the memory.
fn upload(memory: &mut sm70::Memory, name: &str, data: &[f16]) -> u64 {
    let address = memory.allocate(name, 2 * data.len());
    for (at, value) in data.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
        memory.write(address + 2 * at as u64, &value.to_le_bytes()).unwrap();
    }
    address
}

/// What lies in o and lse before a launch, as both types have it: no number.
pub(crate) const UNTOUCHED: u32 = 0x7fc0_7e77;

pub(crate) fn run(plan: &Plan, tensors: &Tensors<f16>) -> Result<Output<f16>, sm70::Error> {
    let mut memory = sm70::Memory::new();
    let [q, k, v] = [("q", &tensors.q), ("k", &tensors.k), ("v", &tensors.v)]
        .map(|(name, data)| upload(&mut memory, name, data));
    let mut list = |name, data: &[i32]| memory.upload(name, bytemuck::cast_slice(data));
    let row_starts = list("row_starts", &tensors.row_starts);
    let lengths = list("lengths", &tensors.lengths);
    let block_table = list("block_table", &tensors.table);
    let [.., o, lse] = plan.operand_bytes().map(|bytes| usize::try_from(bytes).unwrap());
    let pattern = |bytes: usize| UNTOUCHED.to_le_bytes().repeat(bytes.div_ceil(4))[..bytes].to_vec();
    let (o, lse) = (memory.upload("o", &pattern(o)), memory.upload("lse", &pattern(lse)));
    let workspace = memory.allocate("workspace", usize::try_from(plan.workspace_bytes()).unwrap());
    for launch in plan.launches(&Addresses { q, k, v, o, lse, row_starts, lengths, block_table, workspace }) {
        run_launch(&mut memory, &launch)?;
    }
    let read = |address| memory.read(address).unwrap();
    Ok(Output { o: bytemuck::pod_collect_to_vec(read(o)), lse: bytemuck::pod_collect_to_vec(read(lse)) })
}

/// Elements of o and lse of a slot that has as many rows as others.
fn of_slot(case: &ServingCase) -> [usize; 2] {
    let c = &case.base;
    [c.seqlen_q * c.num_heads * c.head_dim_v, c.seqlen_q * c.num_heads].map(|n| n as usize)
}

/// What a launch made for a slot.
pub(crate) fn results_of(case: &ServingCase, out: &Output<f16>, slot: usize) -> Output<f16> {
    let c = &case.base;
    let [heads, dim, rows] = [c.num_heads, c.head_dim_v, case.rows_of(slot)].map(|n| n as usize);
    let first = (0..slot).map(|slot| case.rows_of(slot) as usize).sum::<usize>();
    let o = out.o[first * heads * dim..][..rows * heads * dim].to_vec();
    let of_head = out.lse.len() / heads;
    let lse = match case.rows {
        Some(_) => (0..heads).flat_map(|head| out.lse[head * of_head + first..][..rows].to_vec()).collect(),
        None => out.lse[first * heads..][..rows * heads].to_vec(),
    };
    Output { o, lse }
}

pub(crate) fn check(case: &ServingCase, tensors: &Tensors<f16>) -> Output<f16> {
    let plan = plan_serving(&problem(case), &DeviceFacts::v100()).unwrap();
    let out = run(&plan, tensors).unwrap_or_else(|error| panic!("{case:?}: {error}"));
    compare(case, tensors, &out);
    out
}

/// Every slot with f64.
pub(crate) fn compare(case: &ServingCase, tensors: &Tensors<f16>, out: &Output<f16>) {
    for (slot, (own, operands)) in tensors.slots.iter().enumerate() {
        if case.rows_of(slot) == 0 {
            continue;
        }
        let result = results_of(case, out, slot);
        let result = compared(own, operands, &result, &table::softmax_error, 0.0).check();
        result.unwrap_or_else(|why| panic!("{case:?}\nslot {slot}: {why}"));
    }
}

pub(crate) fn cases() -> Vec<ServingCase> {
    let (none, causal) = (Mask::None, Mask::Causal);
    let window = Mask::Window { left: Some(150), right: Some(0) };
    vec![
        case([1, 8, 2, 128, 128, 1500], &[1500, 0, 1, 700], KvLayout::paged(16, 150), none),
        case([3, 4, 2, 64, 64, 600], &[600, 2, 0, 333], KvLayout::paged(128, 9), causal),
        case([1, 32, 1, 128, 64, 700], &[699, 7], KvLayout::paged(8, 90).with_table_width(100), none),
        case([16, 2, 2, 80, 72, 90], &[90, 5, 16], KvLayout::padded(), causal),
        case([2, 6, 3, 200, 256, 520], &[520, 64], KvLayout::paged(64, 12).with_heads_first(), causal),
        case([5, 4, 4, 128, 128, 900], &[900, 3], KvLayout::padded().with_heads_first(), window),
    ]
}

#[test]
fn slots_agree_with_f64() {
    let mut splits = 0;
    for case in cases() {
        check(&case, &case.tensors());
        let plan = plan_serving(&problem(&case), &DeviceFacts::v100()).unwrap();
        splits += u32::from(plan.num_splits() > 1);
    }
    assert!(splits >= 3, "{splits} cases with several splits");
}

/// One plan: a length below 0 is 0, one above the most is the most, whatever the slot beside it has.
#[test]
fn lengths_outside_their_bounds_count_as_the_bounds() {
    let case = case([2, 4, 2, 64, 64, 300], &[0, 300, 77], KvLayout::paged(16, 30), Mask::Causal);
    let mut tensors = case.tensors();
    let want = check(&case, &tensors);
    for wrong in [[-1, 301], [i32::MIN, i32::MAX]] {
        tensors.lengths[..2].copy_from_slice(&wrong);
        let out = run(&plan_serving(&problem(&case), &DeviceFacts::v100()).unwrap(), &tensors).unwrap();
        assert_same(&out.o, &want.o, "o");
        assert_same(&out.lse, &want.lse, "lse");
    }
}

/// The rows that see a page which the cache does not have are NaN, the others as they were.
#[test]
fn pages_that_the_cache_does_not_have_make_the_rows_that_see_them_nan() {
    for (length, most) in [(20, 20), (36, 1000)] {
        let lengths = [length, most];
        let case = case([8, 2, 1, 64, 64, most], &lengths, KvLayout::paged(16, 70), Mask::Causal);
        let mut tensors = case.tensors();
        let want = check(&case, &tensors);
        // The last page of slot 0: its keys from 16 or 32 on, which the first rows do not see.
        tensors.table[(length as usize - 1) / 16] = 70;
        let out = run(&plan_serving(&problem(&case), &DeviceFacts::v100()).unwrap(), &tensors).unwrap();
        let page = (length - 1) / 16 * 16;
        let sees = |slot: usize, row: usize| slot == 0 && row + length as usize - 8 >= page as usize;
        let (mut seen, [_, of_lse]) = (0, of_slot(&case));
        for (n, (got, want)) in out.o.iter().zip(&want.o).enumerate() {
            let (slot, row) = (n / (8 * 2 * 64), n / (2 * 64) % 8);
            assert_eq!(got.is_nan(), sees(slot, row), "slot {slot}, row {row}");
            assert!(got.is_nan() || got == want, "slot {slot}, row {row}");
            seen += u32::from(got.is_nan());
        }
        for (n, (got, want)) in out.lse.iter().zip(&want.lse).enumerate() {
            assert_eq!(got.is_nan(), sees(n / of_lse, n % 8));
            assert!(got.is_nan() || got == want);
        }
        assert!(seen > 0 && seen < 8 * 2 * 64, "{seen}");
    }
}

#[test]
fn what_the_kernels_lack_is_refused_at_once() {
    let of = |slots, rows, kv| Problem::new(DType::F16, [slots, rows, 8, 64], 100, kv);
    let (v100, pages) = (DeviceFacts::v100(), KvLayout::paged(16, 20));
    let text = |problem: Problem| plan_serving(&problem, &v100).unwrap_err().to_string();
    assert_eq!(plan_serving(&of(2, 1, pages), &v100).unwrap().workspace_bytes(), 4 * 2 * 8);
    let start = "serving on Tesla V100-SXM2-16GB: ";
    assert_eq!(
        text(of(2, 1, pages).checked()),
        format!("{start}status has no kernel; supported: problems that are not checked")
    );
    assert_eq!(
        text(of(2, 4, pages).batch_invariant()),
        format!("{start}is_batch_invariant has no kernel; supported: splits that balance best")
    );
    let mut packed = of(2, 0, pages);
    packed.total_rows = Some(1 << 31);
    let large = "total_rows = 2147483648 is more than 2147483647; nearest supported: 2147483647";
    assert!(text(packed).contains(large));
    for (page, nearest) in [(1, "8"), (12, "8 or 16"), (100, "64 or 128")] {
        let want = format!(
            "{start}page_size = {page} is not a power of two of at least 8; nearest supported: {nearest}"
        );
        assert_eq!(text(of(2, 1, KvLayout::paged(page, 200))), want);
    }
    assert_eq!(text(of(2, 0, pages)), format!("{start}rows = 0, wanted at least 1 query row of a slot"));
    let large = "rows = 8388481 is more than 8388480; nearest supported: 8388480";
    assert!(text(of(1, 8_388_481, pages)).contains(large));
    let error = plan_serving(&of(2, 1, pages.with_table_width(6)), &v100).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("is room for 96 keys, max_keys = 100 wants a width of at least 7"));
    let wrong = Problem::new(DType::Bf16, [70000, 0, 8, 60], u32::MAX, KvLayout::paged(7, 0));
    let all = text(wrong);
    for part in [
        "dtype = bf16",
        "head_dim = 60",
        "max_keys = 4294967295 is more than",
        "slots = 70000",
        "rows = 0",
        "page_size = 7",
        "num_pages = 0",
    ] {
        assert!(all.contains(part), "{part}: {all}");
    }
    let nothing = plan_serving(&of(0, 1, pages), &v100).unwrap();
    assert_eq!(nothing.launches(&Addresses::default()).count(), 0);
}

#[test]
fn a_plan_of_slots_prints_itself() {
    let problem =
        Problem::new(DType::F16, [8, 1, 32, 128], 4096, KvLayout::paged(16, 2048)).with_num_heads_k(8);
    let plan = plan_serving(&problem, &DeviceFacts::v100()).unwrap();
    let text = plan.to_string();
    let line = "slots     lengths and 256 pages of each in device memory, 2048 pages of 16 keys\n";
    assert!(text.contains(line), "{text}");
}
