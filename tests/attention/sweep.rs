//! Attention against f64 over the whole case table (`common/cases.rs`), by FlashAttention's tolerance rule.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;

use fastattention::attention::FlashAttention;
use fastattention_testkit::cases::{self, Case};
use fastattention_testkit::device::attention;
use fastattention_testkit::run::run;

/// The table is at least this large (the crate's promise).
const LEAST_CASES: usize = 2000;

#[test]
fn every_case_is_within_twice_the_error_of_a_plain_implementation() {
    let cases = cases::all();
    assert!(cases.len() >= LEAST_CASES, "only {} cases", cases.len());
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                // One device each: launches of one device run one after the other.
                let operator = attention(|config| config.threads = 1);
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = check(&operator, case) {
                        failures.lock().unwrap().push(format!("{case:?}\n    {why}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    let shown = failures.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {} cases failed:\n{shown}", failures.len(), cases.len());
}

fn check(operator: &FlashAttention, case: &Case) -> Result<(), String> {
    let result = run(operator, case, None)?;
    result.check()
}
