//! Combinations in which each two levels of two features meet.

use std::collections::BTreeSet;

use fastrand::Rng;

/// A level of a feature and one of a later feature.
type Pair = [(usize, usize); 2];

/// Rows with one level of each feature, such that each pair is in one of them. Each row starts with a pair
/// that is missing; the other features follow in random order, each with the level that brings the most
/// missing pairs (as in AETG, Cohen et al., IEEE Transactions on Software Engineering 23(7), 1997).
pub(crate) fn cover(levels: &[usize], seed: u64) -> Vec<Vec<usize>> {
    let mut rng = Rng::with_seed(seed);
    let mut missing = all_pairs(levels);
    let mut rows = Vec::new();
    while let Some(&[first, second]) = missing.iter().nth(rng.usize(..missing.len().max(1))) {
        let mut row = vec![None; levels.len()];
        row[first.0] = Some(first.1);
        row[second.0] = Some(second.1);
        let mut order: Vec<usize> = (0..levels.len()).filter(|feature| row[*feature].is_none()).collect();
        rng.shuffle(&mut order);
        for feature in order {
            let mut of_feature: Vec<usize> = (0..levels[feature]).collect();
            rng.shuffle(&mut of_feature);
            let gain = |level: &usize| {
                pairs_with(&row, feature, *level).filter(|pair| missing.contains(pair)).count()
            };
            row[feature] = of_feature.into_iter().max_by_key(gain);
        }
        let row: Vec<usize> = row.into_iter().flatten().collect();
        for (feature, level) in row.iter().enumerate() {
            for (later, of_later) in row.iter().enumerate().skip(feature + 1) {
                missing.remove(&[(feature, *level), (later, *of_later)]);
            }
        }
        rows.push(row);
    }
    rows
}

fn all_pairs(levels: &[usize]) -> BTreeSet<Pair> {
    let features = 0..levels.len();
    let later = |feature: usize| features.clone().skip(feature + 1).map(move |later| (feature, later));
    let two = features.clone().flat_map(later);
    two.flat_map(|(a, b)| (0..levels[a]).flat_map(move |i| (0..levels[b]).map(move |j| [(a, i), (b, j)])))
        .collect()
}

/// The pairs of a level with those that a row has already.
fn pairs_with(row: &[Option<usize>], feature: usize, level: usize) -> impl Iterator<Item = Pair> + '_ {
    row.iter().enumerate().filter_map(move |(other, of_other)| {
        let (own, its) = ((feature, level), (other, (*of_other)?));
        Some(if feature < other { [own, its] } else { [its, own] })
    })
}

#[test]
fn each_two_levels_meet() {
    let levels = [2, 5, 3, 1, 4];
    for seed in 0..20 {
        let rows = cover(&levels, seed);
        for [(a, i), (b, j)] in all_pairs(&levels) {
            assert!(rows.iter().any(|row| (row[a], row[b]) == (i, j)), "seed {seed}");
        }
        assert!(rows.len() < 40, "{} rows", rows.len());
    }
    assert_eq!(cover(&levels, 3), cover(&levels, 3));
}
