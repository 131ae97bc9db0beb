//! Attention against f64 over the whole case table (`testkit::cases`), by FlashAttention's tolerance rule.

use fastattention::attention::FlashAttention;
use fastattention_testkit::cases::{self, Case};
use fastattention_testkit::device::attention;
use fastattention_testkit::run::{check_all, run};

/// The table is at least this large (the crate's promise).
const LEAST_CASES: usize = 2000;

#[test]
fn every_case_is_within_twice_the_error_of_a_plain_implementation() {
    let cases = cases::all();
    assert!(cases.len() >= LEAST_CASES, "only {} cases", cases.len());
    check_all(&cases, || attention(|config| config.threads = 1), check);
}

fn check(operator: &FlashAttention, case: &Case) -> Result<(), String> {
    let result = run(operator, case, None)?;
    result.check()
}
