//! Plans and refusals.

use super::*;
use crate::Soc;

fn soc() -> &'static Soc {
    Soc::by_name("Ascend910B2").unwrap()
}

fn problem() -> Problem {
    Problem::new(DType::F16, [4, 1, 32, 128], 4096, KvLayout::paged(128, 200)).with_num_heads_k(8)
}

fn refusal(problem: &Problem) -> String {
    plan(problem, soc()).unwrap_err().to_string()
}

#[test]
fn every_reason_is_told_at_once() {
    let wrong = Problem { rows: 0, ..problem().with_head_dim_v(24) }.with_score_dtype(DType::F16);
    let text = refusal(&wrong);
    for reason in [
        "serving on Ascend910B2: ",
        "rows = 0, wanted at least 1 query row of a slot",
        "head_dim_v = 24 is not a multiple of 16 from 16 to 256; nearest supported: 16 or 32",
        "score_dtype = f16 has no kernel; supported: f32",
    ] {
        assert!(text.contains(reason), "{reason:?} in {text:?}");
    }
}

#[test]
fn a_chip_that_is_too_small_is_told_before_planning() {
    let mut small = soc().clone();
    (small.core.l1_bytes, small.core.ub_bytes) = (300 * 1024, 24 * 1024);
    let texts: Vec<String> = problem().refusals(&small).into_iter().map(|reason| reason.text).collect();
    assert!(texts.iter().any(|text| text.contains("bytes of UB, which has")), "{texts:?}");
    assert!(texts.iter().any(|text| text.contains("bytes of L1, which has")), "{texts:?}");
    assert_eq!(
        plan(&problem(), &small).unwrap_err().to_string(),
        format!("serving on {}: {}", small.name, texts.join("; "))
    );
}

#[test]
fn counts_that_are_not_known_yet_hide_no_reason() {
    let kv = KvLayout::paged(16, 0);
    let early = |head_dim| Problem::new(DType::F32, [0, 1, 30, head_dim], 0, kv).with_num_heads_k(8);
    let texts: Vec<String> = early(100).refusals(soc()).into_iter().map(|reason| reason.text).collect();
    assert_eq!(texts.len(), 4, "{texts:?}");
    for (text, start) in
        texts.iter().zip(["dtype = f32", "num_heads = 30", "head_dim = 100", "head_dim_v = 100"])
    {
        assert!(text.starts_with(start), "{texts:?}");
    }
    assert_eq!(Problem::new(DType::F16, [0, 1, 32, 128], 0, kv).refusals(soc()), []);
}

#[test]
fn a_table_that_has_no_room_for_the_keys_is_refused() {
    let kv = KvLayout::paged(16, 100).with_table_width(255);
    assert_eq!(
        refusal(&Problem { kv, ..problem() }),
        "serving on Ascend910B2: table_width = 255 with page_size = 16 is room for 4080 keys, max_keys = 4096 wants a \
         width of at least 256"
    );
    let kv = KvLayout::paged(0, 0);
    let text = refusal(&Problem { kv, ..problem() });
    assert!(text.contains("page_size = 0, wanted at least 1; num_pages = 0 with max_keys = 4096"), "{text}");
}

#[test]
fn a_list_of_pages_that_has_no_room_for_the_keys_is_refused() {
    let listed = |entries| Problem { kv: KvLayout::paged(16, 100).with_csr_table(entries), ..problem() };
    assert_eq!(
        refusal(&listed(255)),
        "serving on Ascend910B2: table entries = 255 with page_size = 16 is room for 4080 keys, max_keys = 4096 wants a \
         list of at least 256"
    );
    assert!(refusal(&listed(1 << 31)).contains("table entries = 2147483648 is more than 2147483647"));
    // Rows of a table would take 1024 entries.
    let plan = plan(&listed(256), soc()).unwrap();
    assert_eq!([plan.table_bytes(), plan.page_starts_bytes()], [1024, 20]);
}

#[test]
fn what_cannot_be_counted_is_refused() {
    let most = i32::MAX.unsigned_abs();
    let text = refusal(&Problem { slots: u32::MAX, max_keys: most, ..problem() });
    assert!(text.contains("slots = 4294967295 is more than 2147483647"), "{text}");
    let text = refusal(&Problem { slots: most, max_keys: most, ..problem() });
    assert!(text.contains("2147483647 query rows of 32 heads against max_keys = 2147483647 make"), "{text}");
    // No slot has a row, so that q and o take no bytes.
    let kv = KvLayout::paged(1, 1).with_table_width(u32::MAX);
    let lists = Problem { slots: most, total_rows: Some(0), kv, max_keys: 1, ..problem() };
    let text = refusal(&lists.checked());
    assert!(text.contains("block_table 36893488121649299460, page_starts 0, status 68719476704)"), "{text}");
    let far = Problem { o_stride: Some([1 << 40, 1 << 40, 1 << 31]), ..problem() };
    assert!(refusal(&far).contains("o_stride: head stride = 2147483648 leaves more than 2147483647 bytes"));
}

/// q that all heads share leaves room in memory for so many rows.
#[test]
fn heads_of_lse_that_no_copy_reaches_are_refused() {
    let with_rows = |rows: u32| {
        let kv = KvLayout::padded();
        let same = Problem::new(DType::F16, [1, rows, 2, 16], 1, kv);
        let packed = Problem::packed(DType::F16, [rows, 2, 16], [1, 1], 1, kv);
        [same, packed].map(|problem| Problem { q_stride: Some([0, 16, 0]), ..problem }.with_lse())
    };
    let most = 1 << 29;
    assert!(with_rows(most).iter().all(|problem| plan(problem, soc()).is_ok()));
    let [same, packed] = with_rows(most + 1);
    assert!(plan(&Problem { want_lse: false, ..same }, soc()).is_ok());
    for (problem, name) in [(same, "rows"), (packed, "total_rows")] {
        assert_eq!(
            refusal(&problem),
            format!(
                "serving on Ascend910B2: {name} = 536870913 with lse leaves more than 2147483647 bytes between two heads \
                 of a row of lse; nearest supported: 536870912"
            )
        );
    }
}

#[test]
fn reports_are_read_and_others_refused() {
    let words = [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, -5, 0, 0, 0, 0, 0, 2, 3, 99, 0, 0, 0, 0, 0];
    let report = Report::from_words(&words).unwrap();
    assert_eq!(
        report.mistakes,
        [Mistake::Length { slot: 1, given: -5 }, Mistake::Page { slot: 2, entry: 3, given: 99 }]
    );
    assert_eq!(report.mistakes[1].to_string(), "slot 2 has page 99 in entry 3 of its block table");
    assert!(Report::from_words(&words[1..]).is_err());
    assert!(Report::from_words(&[5, 0, 0, 0, 0, 0, 0, 0]).is_err());
    let rows = Report::from_words(&[3, 20, -7, 0, 0, 0, 0, 0]).unwrap();
    assert_eq!(rows.mistakes, [Mistake::Rows { slot: 0, start: 20, end: -7 }]);
    let starts = Report::from_words(&[4, -1, 9, 0, 0, 0, 0, 0]).unwrap();
    assert_eq!(starts.mistakes, [Mistake::PageStarts { slot: 0, start: -1, end: 9 }]);
    assert_eq!(rows.mistakes[0].to_string(), "slot 0 has row_starts 20 and -7");
}

/// Random problems: what is not refused fits the memories, as the kernel lays them out, and its launch bounds
/// do not depend on lengths.
#[test]
fn plans_fit_the_chip() {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut planned = 0;
    for _ in 0..20_000 {
        let heads_k = rng.u32(1..=12);
        let most_rows = [16, 300, 10_000][rng.usize(0..3)];
        let shape =
            [rng.u32(0..300), rng.u32(1..=most_rows), heads_k * rng.u32(1..=200), 16 * rng.u32(1..=16)];
        let kv = match rng.bool() {
            true => KvLayout::padded(),
            false => KvLayout::paged(rng.u32(1..=512), rng.u32(1..5000)),
        };
        let kv = if rng.bool() { kv } else { kv.with_heads_first() };
        let problem = Problem::new(DType::Bf16, shape, rng.u32(0..200_000), kv)
            .with_num_heads_k(heads_k)
            .with_head_dim_v(16 * rng.u32(1..=16));
        let Ok(plan) = plan(&problem, soc()) else { continue };
        planned += 1;
        let data = plan.tiling_data();
        let most = if data.head_dim.max(data.head_dim_v) <= 128 { 128 } else { 64 };
        assert!(data.task_heads * data.task_rows <= most && data.rows_v <= most / 2, "{plan}");
        assert_eq!(heads_k % data.task_heads, 0, "{plan}");
        assert_eq!(
            [data.block_n % data.chunk_n, data.block_n % 64, data.chunk_n % data.tile],
            [0; 3],
            "{plan}"
        );
        let group = data.num_heads / data.num_heads_k;
        assert!((data.row_parts - 1) * data.task_rows < group, "{plan}");
        assert!(data.row_parts == 1 || data.block_rows == 1, "{plan}");
        assert!(data.row_parts * data.task_rows >= data.block_rows * group, "{plan}");
        // L0C holds the accumulators of all heads of a task in one half.
        assert!(
            data.task_heads * data.task_rows.next_multiple_of(16) * data.head_dim_v * 4 <= 65536,
            "{plan}"
        );
        assert!((1..=24).contains(&plan.num_cores()), "{plan}");
        assert_eq!(plan.workspace_bytes() % 32, 0, "{plan}");
    }
    assert!(planned > 10_000, "{planned}");
}
