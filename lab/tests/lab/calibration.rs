//! Published measurements of the 910B series against model time (docs/timing.md).

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{fails, succeeds};

/// Largest error of a row that counts as reproduced, and of the median.
const TOLERANCE: f64 = 0.15;
const MEDIAN: f64 = 0.07;

struct Row {
    id: String,
    metric: String,
    error: f64,
    /// The published kernel is ours.
    is_fitted: bool,
}

fn file(name: &str) -> String {
    std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn table() -> toml::Table {
    file("calibration.toml").parse().unwrap()
}

/// Ids of rows that are listed as not met.
fn unmet() -> BTreeSet<String> {
    table()["unmet"].as_table().unwrap().keys().cloned().collect()
}

fn calibrate(arguments: &[&str]) -> Vec<Row> {
    let text = succeeds(&[&["calibrate", "--csv"], arguments].concat());
    text.lines()
        .skip(1)
        .map(|line| {
            let [id, metric, published, model, _, is_fitted] =
                line.split(',').take(6).collect::<Vec<_>>().try_into().unwrap();
            let (published, model): (f64, f64) = (published.parse().unwrap(), model.parse().unwrap());
            Row {
                id: id.to_owned(),
                metric: metric.to_owned(),
                error: (model / published - 1.0).abs(),
                is_fitted: is_fitted == "true",
            }
        })
        .collect()
}

/// Every row of our own kernels is met or listed with a reason, and the median is met.
fn check(rows: &[Row], least: usize) {
    let unmet = unmet();
    let fitted: Vec<&Row> = rows.iter().filter(|r| r.is_fitted).collect();
    assert!(fitted.len() >= least, "{} rows ran", fitted.len());
    for row in &fitted {
        assert!(
            row.error <= TOLERANCE || unmet.contains(&row.id),
            "{} {}: {:.1} % off, and docs/timing.md does not say why",
            row.id,
            row.metric,
            100.0 * row.error
        );
    }
    let mut errors: Vec<f64> = fitted.iter().map(|r| r.error).collect();
    errors.sort_by(f64::total_cmp);
    let median = errors[errors.len() / 2];
    assert!(median <= MEDIAN, "median {:.1} %", 100.0 * median);
}

#[test]
fn short_runs_reproduce_the_published_values() {
    check(&calibrate(&[]), 60);
}

#[test]
#[ignore = "minutes: matrix products of 8192 x 8192 x 8192 on 24 cores"]
fn all_runs_reproduce_the_published_values() {
    let rows = calibrate(&["--all"]);
    check(&rows, 120);
    for id in unmet() {
        let is_off = |r: &&Row| r.id == id && r.error > TOLERANCE;
        assert!(rows.iter().any(|r| is_off(&r)), "{id} is listed as not met, and is");
    }
}

#[test]
fn a_run_gives_the_same_cycles_every_time() {
    let cycles = || {
        let rows = calibrate(&["--only", "bw-l2-001"]);
        rows.iter().map(|r| r.error).collect::<Vec<_>>()
    };
    assert_eq!(cycles(), cycles());
}

#[test]
fn the_page_lists_every_row_and_every_reason() {
    let page = file("../docs/timing.md");
    let table = table();
    for run in table["run"].as_array().unwrap() {
        for row in run["row"].as_array().unwrap() {
            let id = row["id"].as_str().unwrap();
            assert!(page.contains(id), "docs/timing.md does not list {id}");
        }
    }
    for (id, why) in table["unmet"].as_table().unwrap() {
        assert!(page.contains(why.as_str().unwrap()), "docs/timing.md does not say why {id} is not met");
    }
}

#[test]
fn an_unknown_row_is_refused() {
    let error = fails(&["calibrate", "--only", "no-such-row"]);
    assert_eq!(error, "--only \"no-such-row\": no row of this selection starts with it");
}
