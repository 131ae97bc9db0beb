//! Scores handed over in f16: the case table's f16 problems, by the same rule as with f32. The plain implementation rounds its
//! scores to f16, too, so the tolerance of o stays; that of lse grows by the rounding of a score.

#![allow(clippy::unwrap_used, reason = "helpers of a test")]

mod common;

use common::cases::{self, Case};
use common::run::{run, Bench};
use fastattention::attention::{plan, Problem};
use fastattention::{DType, ErrorKind, Soc};

/// Every one of so many cases.
const EVERY: usize = 5;

#[test]
fn the_case_table_holds() {
    let bench = Bench::new(|_| {});
    let is_supported = |c: &Case| c.dtype == DType::F16 && c.softmax_scale.is_none_or(|s| s > 0.0);
    let f16 = cases::all().into_iter().filter(is_supported);
    let mut failures = Vec::new();
    for case in f16.step_by(EVERY).map(|c| Case { score_dtype: DType::F16, ..c }) {
        if let Err(e) = run(&bench, &case, None).and_then(|results| results.check()) {
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
