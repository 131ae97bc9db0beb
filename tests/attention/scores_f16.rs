//! Scores handed over in f16, and their softmax in f16: the case table's f16 problems, by the same rule as
//! with f32. The plain implementation rounds its scores to f16, too, so the tolerance of o stays; that of lse
//! grows by the rounding of a score and by that of the softmax.

use fastattention::attention::{plan, Problem};
use fastattention::{DType, ErrorKind, Soc};
use fastattention_testkit::cases::{self, Case};
use fastattention_testkit::device::{attention, is_host};
use fastattention_testkit::run::run;

/// Every one of so many cases.
const EVERY: usize = 5;

#[test]
fn the_case_table_holds() {
    let operator = attention(|_| {});
    let is_supported = |c: &Case| c.dtype == DType::F16 && c.softmax_scale.is_none_or(|s| s > 0.0);
    let f16 = cases::all().into_iter().filter(is_supported);
    let mut failures = Vec::new();
    for case in f16.step_by(EVERY).map(|c| Case { score_dtype: DType::F16, ..c }) {
        if let Err(e) = run(&operator, &case, None).and_then(|results| results.check()) {
            failures.push(format!("{e}\n{case:?}"));
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_scores_take_half_the_workspace() {
    let soc = Soc::by_name("Ascend910B2").unwrap();
    let wide = Problem::new(DType::F16, [1, 4096, 8, 128]);
    let candidate = plan(&wide, soc).unwrap().chosen();
    let bytes = |problem: &Problem| {
        let plan = fastattention::attention::plan_with(problem, soc, candidate).unwrap();
        plan.workspace_bytes() / u64::from(plan.num_cores())
    };
    let slots = u64::from(candidate.num_stages) * u64::from(candidate.block_m) * u64::from(candidate.block_n);
    assert_eq!(bytes(&wide) - bytes(&wide.with_score_dtype(DType::F16)), 2 * slots);
}

#[test]
fn other_types_of_scores_are_refused() {
    let soc = Soc::by_name("Ascend910B2").unwrap();
    for (dtype, scores) in [(DType::Bf16, DType::F16), (DType::F16, DType::Bf16), (DType::Bf16, DType::Bf16)]
    {
        let problem = Problem::new(dtype, [1, 64, 1, 64]).with_score_dtype(scores);
        let error = plan(&problem, soc).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(
            error.to_string().contains(&format!("score_dtype = {scores} with dtype = {dtype}")),
            "{error}"
        );
    }
}

#[test]
fn scales_that_f16_cannot_take_are_refused() {
    let soc = Soc::by_name("Ascend910B2").unwrap();
    let problem = |scale: f32| {
        Problem::new(DType::F16, [1, 64, 1, 64]).with_score_dtype(DType::F16).with_softmax_scale(scale)
    };
    for scale in [0.0, -0.125, 4e-4, 65536.0] {
        let error = plan(&problem(scale), soc).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let text =
            format!("softmax_scale = {scale} with score_dtype = f16; supported: from 0.00048828125 to 65504");
        assert!(error.to_string().contains(&text), "{error}");
    }
    for scale in [f32::exp2(-11.0), 1.0, 65504.0] {
        assert!(plan(&problem(scale), soc).is_ok(), "{scale}");
    }
}

/// Row 0 has one score beyond f16 below, row 1 only such scores, row 2 one above; row 3 has none.
#[test]
fn scores_beyond_f16_hide_their_key_or_spoil_their_row() {
    // The host's scores are f32.
    if is_host() {
        return;
    }
    const DIM: u8 = 16;
    const KEYS: u8 = 20;
    let operator = attention(|_| {});
    let problem = Problem::new(DType::F16, [1, 4, 1, DIM.into()])
        .with_seqlen_k(KEYS.into())
        .with_score_dtype(DType::F16)
        .with_lse();
    let f16s = |values: Vec<f32>| values.into_iter().map(half::f16::from_f32).collect::<Vec<_>>();
    // q[0] picks what key 0 alone has, q[1] what all have.
    let row = |at: usize, value: f32| {
        let mut row = vec![0.0; DIM.into()];
        row[at] = value;
        row
    };
    let q = f16s([row(0, -300.0), row(1, -300.0), row(0, 300.0), row(2, 1.0)].concat());
    let key = |j: u8| {
        let mut key = row(1, 300.0);
        key[0] = if j == 0 { 300.0 } else { 0.0 };
        key
    };
    let k = f16s((0..KEYS).flat_map(key).collect());
    let v = f16s((0..KEYS).flat_map(|j| vec![f32::from(j); DIM.into()]).collect());
    let out = fastattention::attention::host::attention_on(&operator, &problem, &q, &k, &v).unwrap();
    let o = |i: usize| out.o[i * usize::from(DIM)].to_f32();
    // The mean of the keys 1 to 19.
    assert!((o(0) - 10.0).abs() < 0.01, "{}", o(0));
    assert!((out.lse[0] - 19f32.ln()).abs() < 1e-3, "{}", out.lse[0]);
    assert_eq!((o(1), out.lse[1]), (0.0, f32::NEG_INFINITY));
    assert!(o(2).is_nan() && out.lse[2].is_nan(), "{} {}", o(2), out.lse[2]);
    assert!((o(3) - 9.5).abs() < 0.01, "{}", o(3));
}
