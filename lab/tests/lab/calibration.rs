//! Published measurements of the 910B series against model time (docs/timing.md).

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{fails, succeeds, text};

/// Largest error of a row that counts as reproduced, and of the median.
const TOLERANCE: f64 = 0.15;
const MEDIAN: f64 = 0.055;
/// Least share of the rows that are reproduced.
const SHARE: f64 = 0.85;

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
    let met = fitted.iter().filter(|r| r.error <= TOLERANCE).count();
    assert!(met as f64 >= SHARE * fitted.len() as f64, "{met} of {} rows", fitted.len());
    let mut errors: Vec<f64> = fitted.iter().map(|r| r.error).collect();
    errors.sort_by(f64::total_cmp);
    let median = errors[errors.len() / 2];
    assert!(median <= MEDIAN, "median {:.1} %", 100.0 * median);
}

#[test]
fn short_runs_reproduce_the_published_values() {
    check(&calibrate(&[]), 75);
}

#[test]
#[ignore = "minutes: matrix products of 8192 x 8192 x 8192 on 24 cores"]
fn all_runs_reproduce_the_published_values() {
    let rows = calibrate(&["--all"]);
    check(&rows, 140);
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

/// A row of microseconds for a sum on one core, which the model gives at `value`.
fn rows_file(soc: &str, value: f64) -> String {
    format!(
        "[[run]]\nwhat = \"a sum\"\nsoc = {soc:?}\nsource = \"a test\"\nlaunches = 2\n\
         kernel = {{ add = {{ n = 4096, tile = 1024, buffers = 2, cores = 1, y_gap_bytes = 256 }} }}\n\
         row = [{{ id = \"mine\", metric = \"task\", value = {value} }}, \
         {{ id = \"mine\", metric = \"core\", value = 5 }}]\n"
    )
}

/// The model's values of a file, in the order of its rows.
fn model_of(arguments: &[&str]) -> Vec<f64> {
    let text = succeeds(&[&["calibrate", "--csv"], arguments].concat());
    text.lines().skip(1).map(|line| line.split(',').nth(3).unwrap().parse().unwrap()).collect()
}

#[test]
fn rows_of_a_file_are_compared_with_figures_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (rows, figures) = (folder.path().join("rows.toml"), folder.path().join("figures.toml"));
    std::fs::write(&rows, rows_file("910B2", 20.0)).unwrap();
    let own = model_of(&["--rows", text(&rows)]);
    assert!((own[0] - own[1] - 0.5).abs() < 0.002, "{own:?}");
    std::fs::write(&figures, "timing.control.launch_us = 4\n").unwrap();
    let changed = model_of(&["--rows", text(&rows), "--soc-file", text(&figures)]);
    assert!((changed[0] - own[0] - 3.5).abs() < 0.002 && changed[1] == own[1], "{changed:?} {own:?}");
    let table = succeeds(&["calibrate", "--rows", text(&rows)]);
    assert!(
        table.contains("of 2 values within 15 %") && table.contains("outside: mine: not explained"),
        "{table}"
    );
}

#[test]
fn files_that_are_no_rows_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.toml");
    let rows = rows_file("910B2", 20.0);
    for (content, wanted) in [
        (String::new(), "missing field `run`"),
        ("run = []".to_owned(), "run = [] given, at least one wanted"),
        (rows.replace("value = 20", "value = -20"), "mine: value = -20 given, a number above 0 wanted"),
        (
            rows.replace("tile = 1024", "tile = 1025"),
            "a sum: add: tile = 1025 given, a multiple of 16 above 0",
        ),
        (
            rows.replace("n = 4096", "n = 9223372036854775807"),
            "a sum: add: n = 9223372036854775807 given, at most as many elements wanted as the 68719476736 bytes",
        ),
        (
            rows.replace("cores = 1,", "cores = 4000000000,"),
            "a sum: add: num_cores = 4000000000 given, 1 to 48 wanted",
        ),
        (rows_file("310P", 20.0), "a sum: SoC \"310P\" is not described in cann.toml"),
        (
            rows.replace(
                "add = {",
                "read = { to_l1 = true, shape = [4294967295, 4294967295], tile = [1, 16], cores = 1 } }\n#",
            ),
            "a sum: read: rows = 4294967295 is more than 2147483647",
        ),
        (
            rows.replace(
                "add = {",
                "vector = { op = \"tan\", f32 = true, count = 1, repeat = 1, at = [0, 0, 0] } }\n#",
            ),
            "a sum: op = \"tan\" given, one of [Add, Sub,",
        ),
        ("\0".to_owned(), "TOML parse error"),
    ] {
        std::fs::write(&file, &content).unwrap();
        let error = fails(&["calibrate", "--rows", text(&file)]);
        assert!(error.contains(wanted) && !error.contains("panicked"), "{content}: {error}");
    }
    let error = fails(&["calibrate", "--rows", "/no/such/rows"]);
    assert!(error.starts_with("reading /no/such/rows: "), "{error}");
}

/// Rows made with another launch time than that of cann.toml: the fit finds it.
#[test]
fn a_fit_finds_the_figure_that_rows_were_made_with() {
    let folder = tempfile::tempdir().unwrap();
    let rows = folder.path().join("rows.toml");
    std::fs::write(&rows, rows_file("910B2", 20.0)).unwrap();
    let task = model_of(&["--rows", text(&rows)])[0];
    // The sum took 0.1 us longer than the model says.
    std::fs::write(&rows, rows_file("910B2", task + 0.1)).unwrap();
    let told = succeeds(&["calibrate", "--rows", text(&rows), "--fit", "timing.control.launch_us"]);
    assert!(
        told.starts_with("timing.control.launch_us = 0.5: model over published at 0.45, 0.5 and 0.55\n"),
        "{told}"
    );
    assert!(told.contains("1 of 2 rows do not move"), "the time of the cores stays: {told}");
    let proposal: f64 = told
        .lines()
        .find_map(|line| line.strip_prefix("timing.control.launch_us = ")?.parse().ok())
        .unwrap_or_else(|| panic!("{told}"));
    assert!((proposal - 0.6).abs() < 0.02, "{told}");

    let error = fails(&["calibrate", "--fit", "timing.control.launch"]);
    assert!(error.contains("is no number of cann.toml; there are timing.control.launch_us"), "{error}");
    let told = succeeds(&["calibrate", "--rows", text(&rows), "--fit", "timing.cube.latency"]);
    assert!(told.contains("2 of 2 rows do not move") && told.contains("no proposal"), "{told}");
}

#[test]
fn a_chip_is_timed_and_a_simulator_only_rehearses() {
    let folder = tempfile::tempdir().unwrap();
    let rows = folder.path().join("rows.toml");
    let kernel = "{ op = \"add\", f32 = true, count = 4, repeat = 2, at = [0, 1024, 2048] }";
    let rows_of_it = "{ id = \"adds\", metric = \"v_cycles\", value = 9 }, \
                      { id = \"adds\", metric = \"v\", value = 1 }";
    let vector = format!(
        "[[run]]\nwhat = \"adds\"\nsoc = \"910B1\"\nsource = \"a test\"\n\
         kernel = {{ vector = {kernel} }}\nrow = [{rows_of_it}]\n"
    );
    std::fs::write(&rows, rows_file("910B2", 20.0) + &vector).unwrap();
    let device = ["calibrate", "--device", "sim:0", "--rows", text(&rows)];
    let error = fails(&device);
    assert!(error.contains("it is simulated, and its events have the host's time"), "{error}");
    let rehearse = [&device[..], &["--rehearse", "--repetitions", "3", "--warm-up", "1"]].concat();
    let told = succeeds(&rehearse);
    assert!(
        told.starts_with(
            "host time of the simulated sim:0 (Ascend910B2), median of 3 launches after 1: a rehearsal"
        ),
        "{told}"
    );
    assert!(!told.contains("measured"), "{told}");
    let cells = |id: &str, metric: &str| -> Vec<String> {
        let line = told.lines().find(|l| l.starts_with(id) && l.contains(metric)).unwrap();
        line[26..].split_whitespace().take(4).map(str::to_owned).collect()
    };
    let [published, model, time, ratio]: [String; 4] = cells("mine", "task").try_into().unwrap();
    assert_eq!(published, "20.000");
    let [model, time, ratio]: [f64; 3] = [model, time, ratio].map(|cell| cell.parse().unwrap());
    assert!((model / time - ratio).abs() < 0.001 && time > 0.0, "{told}");
    assert_eq!(cells("adds", "V us")[0], "-", "published for another chip");
    assert_eq!(cells("adds", "V us")[2], "-", "no event tells it");
    let csv = succeeds(&[&rehearse[..], &["--csv"]].concat());
    assert!(csv.starts_with("id,metric,published,model,host_time,ratio,soc,clock,"), "{csv}");
}
