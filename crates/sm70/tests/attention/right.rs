//! The problems run as shipped.

use fastattention_sm70::Sums;

use super::launch::run_and_check;
use super::problem::Problem;
use super::table::{decode, forward};

fn assert_right(problems: &[Problem], sums: Sums) {
    let wrong = problems.iter().filter_map(|problem| {
        let why = run_and_check(problem, sums).err()?;
        Some(format!("{}: {why}", problem.name))
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{} of {} problems:\n{}", wrong.len(), problems.len(), wrong.join("\n"));
}

#[test]
fn forward_agrees_with_f64() {
    assert_right(&forward(), Sums::Nearest);
}

#[test]
fn decode_agrees_with_f64() {
    assert_right(&decode(), Sums::Nearest);
}

/// One problem of each kernel and of each kind of values.
#[test]
fn problems_agree_with_f64_if_sums_are_cut() {
    let sample =
        |problem: &Problem| problem.name.starts_with("values") || problem.name.ends_with("causal tails");
    let problems: Vec<_> = forward().into_iter().filter(sample).collect();
    assert!(problems.len() > 20);
    assert_right(&problems, Sums::Truncated);
}

#[test]
#[ignore = "twice the time of the table: cargo test -p fastattention-sm70 -- --ignored"]
fn every_problem_agrees_with_f64_if_sums_are_cut() {
    assert_right(&forward(), Sums::Truncated);
    assert_right(&decode(), Sums::Truncated);
}
