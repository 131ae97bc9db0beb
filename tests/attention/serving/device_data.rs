//! What lies in device memory and may change from launch to launch: lengths, pages, and mistakes in both.

use fastattention::runtime::{Buffer, Stream};
use fastattention::serving::{plan, Args, KvLayout, Mask, Mistake, Report, ServingAttention};
use fastattention_testkit::compare::{assert_all, assert_same};
use fastattention_testkit::serving::{check, launch, results, Output, ServingCase, Tensors};
use half::f16;

use super::{case, serving};

fn bits(out: &Output<f16>) -> Vec<u8> {
    let mut bits = bytemuck::cast_slice::<f16, u8>(&out.o).to_vec();
    bits.extend_from_slice(bytemuck::cast_slice(&out.lse));
    bits
}

/// The elements of o of one slot.
fn rows<'a>(case: &ServingCase, out: &'a Output<f16>, slot: usize) -> &'a [f16] {
    let len = (case.base.seqlen_q * case.base.num_heads * case.base.head_dim_v) as usize;
    &out.o[slot * len..][..len]
}

fn speculative() -> ServingCase {
    let mut case = case(&[700, 0, 33, 1500], KvLayout::paged(16, 150));
    (case.base.seqlen_q, case.base.mask) = (3, Mask::Causal);
    case
}

#[test]
fn bits_do_not_depend_on_interleaving_threads_or_places_of_pages() {
    let case = speculative();
    let mut tensors = case.tensors::<f16>();
    let reference = launch(&serving(|config| config.threads = 1), &case, &tensors).unwrap();
    for result in results(&case, &tensors, &reference) {
        result.check().unwrap();
    }
    for seed in 0..20 {
        let operator = serving(|config| {
            config.seed = Some(seed);
            config.threads = 1 + usize::try_from(seed % 3).unwrap();
        });
        let out = launch(&operator, &case, &tensors).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert_same(&bits(&out), &bits(&reference), &format!("seed {seed}"));
    }
    // Every page moves to where the last but so many was.
    let pages = i32::try_from(case.kv.pages.unwrap().num_pages).unwrap();
    let len = tensors.k.len() / pages.unsigned_abs() as usize;
    for cache in [&mut tensors.k, &mut tensors.v] {
        *cache = cache.chunks(len).rev().flatten().copied().collect();
    }
    tensors.table.iter_mut().filter(|page| **page >= 0).for_each(|page| *page = pages - 1 - *page);
    let moved = launch(&serving(|config| config.threads = 1), &case, &tensors).unwrap();
    assert_same(&bits(&moved), &bits(&reference), "other places");
}

/// One plan and one set of buffers through steps of a sequence that grows, ends and is followed by another.
#[test]
fn one_plan_serves_every_step() {
    let operator = serving(|config| config.threads = 1);
    let device = operator.device();
    let all = ServingCase {
        base: case(&[400], KvLayout::paged(32, 40)).base,
        ..case(&[0; 3], KvLayout::paged(32, 40))
    };
    let plan = plan(&all.problem(), device.soc()).unwrap();
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap();
    let [q, k, v, o] = plan.operand_bytes().map(|size| Buffer::alloc(device, bytes(size)).unwrap());
    let lse = Buffer::alloc(device, bytes(plan.lse_bytes())).unwrap();
    let table = Buffer::alloc(device, bytes(plan.table_bytes())).unwrap();
    let [lengths, status] = [4 * 3, 32 * 3].map(|size| Buffer::alloc(device, size).unwrap());
    let workspace = Buffer::alloc(device, bytes(plan.workspace_bytes())).unwrap();
    let stream = Stream::new(device).unwrap();
    let args = Args::new(&q, &k, &v, &lengths, &o, &workspace);
    let args = args.with_block_table(&table).with_lse(&lse).with_status(&status);
    for (step, now) in
        [[1, 0, 400], [2, 130, 0], [300, 131, 1], [0, 0, 0], [399, 17, 3]].into_iter().enumerate()
    {
        let mut case = ServingCase { lengths: now.to_vec(), ..all.clone() };
        case.base.seed = step as u64;
        let tensors = case.tensors::<f16>();
        q.copy_from_host(&tensors.q).unwrap();
        k.copy_from_host(&tensors.k).unwrap();
        v.copy_from_host(&tensors.v).unwrap();
        lengths.copy_from_host(&tensors.lengths).unwrap();
        table.copy_from_host(&tensors.table).unwrap();
        operator.launch(&stream, &plan, args).unwrap();
        stream.synchronize().unwrap();
        let out = Output { o: o.to_vec().unwrap(), lse: lse.to_vec().unwrap(), report: Report::default() };
        for (slot, result) in results(&case, &tensors, &out).iter().enumerate() {
            result.check().unwrap_or_else(|why| panic!("step {step}, slot {slot}: {why}"));
        }
    }
}

/// Runs a case whose tensors were spoilt; what it leaves in the other slots is what it leaves without.
fn spoilt(
    operator: &ServingAttention,
    case: &ServingCase,
    others: &[usize],
    spoil: impl Fn(&mut Tensors<f16>),
) -> Output<f16> {
    let mut tensors = case.tensors::<f16>();
    let good = launch(operator, case, &tensors).unwrap();
    spoil(&mut tensors);
    let out = launch(operator, case, &tensors).unwrap();
    for &slot in others {
        assert_same(rows(case, &out, slot), rows(case, &good, slot), &format!("slot {slot}"));
    }
    out
}

#[test]
fn a_page_that_the_cache_does_not_have_is_reported_and_never_a_number() {
    let operator = serving(|config| config.threads = 1);
    let case = speculative();
    let width = case.problem().table_width() as usize;
    for given in [-1, 150, i32::MAX, i32::MIN] {
        let out = spoilt(&operator, &case, &[0, 1, 2], |tensors| tensors.table[3 * width + 40] = given);
        assert_eq!(out.report.mistakes, [Mistake::Page { slot: 3, entry: 40, given }]);
        assert!(rows(&case, &out, 3).iter().all(|x| x.is_nan()), "page {given}");
    }
    // Behind the last key nothing is looked at.
    let out = spoilt(&operator, &case, &[0, 1, 2, 3], |tensors| tensors.table[2 * width + 3] = 1 << 30);
    assert_eq!(out.report.mistakes, []);
}

#[test]
fn entries_that_a_slot_does_not_have_are_reported_and_never_a_number() {
    let operator = serving(|config| config.threads = 1);
    let case = ServingCase { kv: KvLayout::paged(16, 150).with_csr_table(145), ..speculative() };
    let good = case.tensors::<f16>().page_starts;
    assert_eq!(good, [0, 44, 44, 47, 141]);
    let spoilt_by = |others: &[usize], at: usize, given: i32| {
        let out = spoilt(&operator, &case, others, |tensors| tensors.page_starts[at] = given);
        let wrong = (0..4).filter(|slot| !others.contains(slot));
        for slot in wrong {
            assert!(rows(&case, &out, slot).iter().all(|x| x.is_nan()), "{given} at {at}, slot {slot}");
        }
        out.report.mistakes
    };
    // Behind the list, negative, falling, and too few for the keys.
    for given in [146, i32::MAX, -1, i32::MIN, 46, 140] {
        let wanted = [Mistake::PageStarts { slot: 3, start: 47, end: given }];
        assert_eq!(spoilt_by(&[0, 1, 2], 4, given), wanted);
    }
    // One number is the end of a slot and the start of the next, which then has other pages.
    assert_eq!(spoilt_by(&[1, 2, 3], 0, -5), [Mistake::PageStarts { slot: 0, start: -5, end: 44 }]);
    let both = [(2, 44, 48), (3, 48, 141)];
    let both = both.map(|(slot, start, end)| Mistake::PageStarts { slot, start, end });
    let out = spoilt(&operator, &case, &[0, 1, 2], |tensors| tensors.page_starts[3] = 48);
    assert_eq!(out.report.mistakes, both[1..], "slot 2 has a page more than it needs");
    assert!(rows(&case, &out, 3).iter().all(|x| x.is_nan()));
    // An entry of the list that names no page, and one that nobody has.
    let out = spoilt(&operator, &case, &[0, 1, 2], |tensors| tensors.table[47 + 40] = 150);
    assert_eq!(out.report.mistakes, [Mistake::Page { slot: 3, entry: 40, given: 150 }]);
    let out = spoilt(&operator, &case, &[0, 1, 2, 3], |tensors| tensors.table[141] = i32::MIN);
    assert_eq!(out.report.mistakes, []);
}

/// The same pages by rows and by a list, also where sequences share their first pages.
#[test]
fn a_list_has_the_bits_of_rows() {
    let operator = serving(|config| config.threads = 1);
    let by_rows = speculative();
    let mut tensors = by_rows.tensors::<f16>();
    let width = by_rows.problem().table_width() as usize;
    let shared: Vec<i32> = tensors.table[..3].to_vec();
    tensors.table[3 * width..][..3].copy_from_slice(&shared);
    let wanted = launch(&operator, &by_rows, &tensors).unwrap();
    let listed = ServingCase { kv: KvLayout::paged(16, 150).with_csr_table(141), ..by_rows };
    tensors.table.retain(|page| *page >= 0);
    tensors.page_starts = vec![0, 44, 44, 47, 141];
    assert_same(&bits(&launch(&operator, &listed, &tensors).unwrap()), &bits(&wanted), "a list");
}

/// An engine gives pages back that no row will see again.
#[test]
fn entries_left_of_a_window_may_hold_anything() {
    let operator = serving(|config| config.threads = 1);
    let mut case = speculative();
    case.base.mask = Mask::Window { left: Some(100), right: Some(0) };
    let width = case.problem().table_width() as usize;
    // The first of the three rows of slot 3 sees keys from 1397 on, which are those of entry 87.
    for given in [-1, 150, i32::MIN] {
        let all = |tensors: &mut Tensors<f16>| tensors.table[3 * width..][..87].fill(given);
        let out = spoilt(&operator, &case, &[0, 1, 2, 3], all);
        assert_eq!(out.report.mistakes, []);
        let out = spoilt(&operator, &case, &[0, 1, 2], |tensors| tensors.table[3 * width + 87] = given);
        assert_eq!(out.report.mistakes, [Mistake::Page { slot: 3, entry: 87, given }]);
        assert!(rows(&case, &out, 3).iter().all(|x| x.is_nan()), "page {given}");
    }
}

#[test]
fn a_length_that_no_slot_can_have_is_reported_and_reads_nothing_else() {
    let operator = serving(|config| config.threads = 1);
    let case = case(&[64, 10, 200], KvLayout::padded());
    let out = spoilt(&operator, &case, &[0, 2], |tensors| tensors.lengths[1] = -7);
    assert_eq!(out.report.mistakes, [Mistake::Length { slot: 1, given: -7 }]);
    assert_all(rows(&case, &out, 1), &f16::ZERO, "rows of slot 1");
    let out = spoilt(&operator, &case, &[0, 1, 2], |tensors| tensors.lengths[2] = 201);
    assert_eq!(out.report.mistakes, [Mistake::Length { slot: 2, given: 201 }]);
}

#[test]
fn parts_of_one_slot_by_all_cores_are_joined() {
    let mut long = case(&[24 * 128 + 5], KvLayout::paged(128, 30));
    (long.base.num_heads, long.base.num_heads_k) = (4, 1);
    check(&serving(|config| config.threads = 2), &long).unwrap();
}

#[test]
fn operands_that_are_missing_or_of_no_use_are_told() {
    let operator = serving(|config| config.threads = 1);
    let device = operator.device();
    let case = case(&[20, 20], KvLayout::padded());
    let plan = plan(&case.problem(), device.soc()).unwrap();
    let buffer = Buffer::alloc(device, 1 << 20).unwrap();
    let own = || Buffer::alloc(device, 1 << 20).unwrap();
    let (o, workspace) =
        (own(), Buffer::alloc(device, usize::try_from(plan.workspace_bytes()).unwrap()).unwrap());
    let args = Args::new(&buffer, &buffer, &buffer, &buffer, &o, &workspace).with_block_table(&buffer);
    let error = operator.launch(&Stream::new(device).unwrap(), &plan, args).unwrap_err();
    assert_eq!(
        error.to_string(),
        "serving launch: block_table is given, but K and V are not paged; lse is missing, but the plan writes it; status \
         is missing, but the plan writes it"
    );
}
