//! All features of the operator by pairs: each shard is a set of cases in which each two levels of two
//! features meet.

mod check;
mod features;
mod refusals;
mod strides;

use fastattention_testkit::run::check_all;

use crate::cover::cover;

use check::check;
use features::{Combination, LEVELS};

/// Shards of the long run, which has more than 6000 cases.
const SHARDS: u64 = 80;

fn shard(number: u64) -> Vec<Combination> {
    let rows = cover(&LEVELS, number);
    let seed = |i: usize| number << 16 | i as u64;
    rows.iter().enumerate().map(|(i, levels)| Combination::new(levels, seed(i))).collect()
}

#[test]
fn each_pair_of_features_is_right() {
    let cases = shard(0);
    assert!(cases.len() >= 64, "{} cases", cases.len());
    check_all(&cases, || (), |(), case| check(case));
}

/// `FA_SHARDS=20..40` takes some of the shards.
#[test]
#[ignore = "20 minutes: cargo test --test attention serving::pairwise -- --ignored --nocapture"]
fn each_pair_of_features_is_right_in_all_shards() {
    let given = std::env::var("FA_SHARDS").ok();
    let range = given.as_ref().map_or(Some((0, SHARDS)), |range| {
        let (first, end) = range.split_once("..")?;
        Some((first.parse().ok()?, end.parse().ok()?))
    });
    let (first, end) = range.unwrap_or_else(|| panic!("FA_SHARDS = {given:?} given, such as 20..40 wanted"));
    let mut count = 0;
    for number in first..end {
        let cases = shard(number);
        check_all(&cases, || (), |(), case| check(case));
        count += cases.len();
        eprintln!("shard {number}: {} cases are right, {count} so far", cases.len());
    }
    assert!(given.is_some() || count >= 6000, "{count} cases");
}
