//! `fastattention-lab report`.

use std::fs;
use std::path::Path;

use tempfile::tempdir;

use super::{fails, lab, succeeds, text};

#[test]
fn a_report_fills_the_performance_section_of_a_readme_and_nothing_else() {
    let folder = tempdir().unwrap();
    let (readme, files) = (folder.path().join("README.md"), folder.path().join("files"));
    fs::write(&readme, "before\n<!-- model-time:begin -->\nold\n<!-- model-time:end -->\nafter\n").unwrap();
    let files_flags = ["--csv", text(&files), "--svg", text(&files)];
    let args: Vec<_> = ["report", "--max-seqlen", "512", "--only", "tiling,mask", "--readme", text(&readme)]
        .into_iter()
        .chain(files_flags)
        .collect();
    let printed = succeeds(&args);
    let written = fs::read_to_string(&readme).unwrap();
    assert_eq!(
        written,
        format!("before\n<!-- model-time:begin -->\n{printed}<!-- model-time:end -->\nafter\n")
    );
    assert!(printed.starts_with("Model time of the simulator, never measured on a chip.\n"), "{printed}");
    succeeds(&args);
    assert_eq!(fs::read_to_string(&readme).unwrap(), written, "model time repeats itself");
    let stale = written.replace("| gain | ", "| gain | 77");
    assert_ne!(stale, written);
    fs::write(&readme, stale.replace("<!-- model-time:end", "\n### Other\n\nkept\n<!-- model-time:end"))
        .unwrap();
    succeeds(&["report", "--max-seqlen", "512", "--only", "tiling", "--readme", text(&readme)]);
    let with_other = written.replace("<!-- model-time:end", "\n### Other\n\nkept\n<!-- model-time:end");
    assert_eq!(fs::read_to_string(&readme).unwrap(), with_other, "sections of other topics stay");

    // The gain is the ratio of the two cases in the file.
    let mut reader = csv::Reader::from_path(files.join("tiling.csv")).unwrap();
    let header = reader.headers().unwrap().clone();
    let at = |name: &str| header.iter().position(|h| h == name).unwrap();
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    let us = |is_wanted: &dyn Fn(&str) -> bool| -> f64 {
        let found = rows.iter().find(|row| is_wanted(&row[at("tiling")])).unwrap();
        found[at("model_core_us")].parse().unwrap()
    };
    assert_eq!(rows.len(), 2, "{rows:?}");
    let one_level = us(&|tiling| tiling.starts_with("block_m 128, block_n 128, chunk_n 128"));
    let gain = one_level / us(&|tiling| tiling == "planned");
    let told = printed.lines().find_map(|line| line.strip_prefix("| gain | ")).unwrap();
    let told: f64 = told.trim_end_matches(" |").parse().unwrap();
    assert!((told - gain).abs() < 0.01 && gain > 1.0, "{told}, {gain}");
    for name in ["tiling.svg", "mask.svg"] {
        let chart = fs::read_to_string(files.join(name)).unwrap();
        assert!(chart.contains("model time, not measured"), "{name} says what it shows");
    }

    fs::write(&readme, "no markers").unwrap();
    let error = fails(&args);
    assert!(error.contains("has no lines <!-- model-time:begin -->"), "{error}");
    assert_eq!(fs::read_to_string(&readme).unwrap(), "no markers");
}

#[test]
fn numbers_that_leave_nothing_to_run_are_refused() {
    let output = lab(&["report", "--threads", "0"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.starts_with("error: invalid value '0' for '--threads"), "{stderr}");
    for (only, most) in [("rates", "512"), ("rates,layer", "0")] {
        let message = fails(&["report", "--only", only, "--max-seqlen", most]);
        assert_eq!(message, format!("no topic has a case with at most {most} rows of q and k"));
    }
    let message = fails(&["report", "--only", "layer", "--svg", "unused"]);
    assert_eq!(message, "--svg given, none wanted: the topic layer has no chart");
    assert!(!Path::new("unused").exists());
}

#[test]
fn files_are_checked_before_the_work() {
    let scratch = tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    fs::write(path("file"), "kept").unwrap();
    for name in ["csv/layer.csv", "svg/rates.svg", "readme/x"] {
        fs::create_dir_all(path(name)).unwrap();
    }
    for (option, output, told) in [
        ("--csv", "file", "making folder "),
        ("--csv", "csv", "layer.csv exists and is not a regular file"),
        ("--svg", "svg", "rates.svg exists and is not a regular file"),
        ("--readme", "readme/x", "x exists and is not a regular file"),
    ] {
        // Cases that take an hour, were they run.
        let message = fails(&["report", "--only", "rates,layer", option, text(&path(output))]);
        assert!(message.contains(told), "{option} {output}: {message}");
    }
    assert_eq!(fs::read_to_string(path("file")).unwrap(), "kept");
}
