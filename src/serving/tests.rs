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
    let wrong = Problem { rows: 17, ..problem().with_head_dim_v(24) };
    let wrong = wrong.with_mask(Mask::Window { left: Some(4), right: None }).with_score_dtype(DType::F16);
    let text = refusal(&wrong);
    for reason in [
        "serving on Ascend910B2: ",
        "rows = 17; supported: 1 to 16 query rows of a slot",
        "head_dim_v = 24 is not a multiple of 16 from 16 to 256; nearest supported: 16 or 32",
        "mask = window(left 4, right all) has no kernel; supported: none, causal",
        "score_dtype = f16 has no kernel; supported: f32",
    ] {
        assert!(text.contains(reason), "{reason:?} in {text:?}");
    }
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
fn what_cannot_be_counted_is_refused() {
    let many = Problem { slots: u32::MAX, max_keys: i32::MAX.unsigned_abs(), ..problem() };
    let text = refusal(&many);
    assert!(text.contains("pieces of 128 keys; at most 2147483647 supported"), "{text}");
    let far = Problem { o_stride: Some([1 << 40, 1 << 40, 1 << 31]), ..problem() };
    assert!(refusal(&far).contains("o_stride: head stride = 2147483648 leaves more than 2147483647 bytes"));
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
    assert!(Report::from_words(&[3, 0, 0, 0, 0, 0, 0, 0]).is_err());
}

/// Random problems: what is not refused fits the memories, as the kernel lays them out, and its launch bounds
/// do not depend on lengths.
#[test]
fn plans_fit_the_chip() {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut planned = 0;
    for _ in 0..20_000 {
        let heads_k = rng.u32(1..=12);
        let shape = [rng.u32(0..300), rng.u32(1..=16), heads_k * rng.u32(1..=40), 16 * rng.u32(1..=16)];
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
        assert!(data.task_heads * data.task_rows <= 64 && data.rows_v <= 32, "{plan}");
        assert_eq!(heads_k % data.task_heads, 0, "{plan}");
        assert_eq!(
            [data.block_n % data.chunk_n, data.block_n % 64, data.chunk_n % data.tile],
            [0; 3],
            "{plan}"
        );
        let packed = data.rows * (data.num_heads / data.num_heads_k);
        assert!((data.num_row_blocks - 1) * data.task_rows < packed, "{plan}");
        assert!(data.num_row_blocks * data.task_rows >= packed, "{plan}");
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
