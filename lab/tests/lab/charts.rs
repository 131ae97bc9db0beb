//! `fastattention-lab charts`.

use std::fs;

use tempfile::tempdir;

use super::{fails, lab, succeeds, text};

const NAMES: [&str; 3] = ["time.svg", "pipes.svg", "roofline_Ascend910B2.svg"];

const SHAPE: [&str; 6] = ["charts", "--num-heads", "2", "--head-dim", "64", "--mask"];

#[test]
fn charts_say_what_they_show() {
    let folder = tempdir().unwrap();
    let svg = folder.path().join("charts");
    let told =
        succeeds(&[&SHAPE[..], &["none,window:16,0", "--seqlen-q", "64,128", "--svg", text(&svg)]].concat());
    assert_eq!(told, "");
    for name in NAMES {
        let chart = fs::read_to_string(svg.join(name)).unwrap();
        assert!(chart.starts_with("<svg") && chart.trim_end().ends_with("</svg>"), "{name}");
        assert!(chart.contains("odel time"), "{name} says what it shows");
    }
}

#[test]
fn problems_without_rows_or_keys_have_charts() {
    let folder = tempdir().unwrap();
    for (op, shape) in [
        ("flash_fwd,standard", "--seqlen-q 0,64 --seqlen-k 0,64 --batch 0,1 --mask none,causal"),
        ("matmul,copy", "--seqlen-q 0,64 --batch 0,1 --mask none"),
    ] {
        let line =
            format!("charts --num-heads 2 --head-dim 64 {shape} --op {op} --svg {}", text(folder.path()));
        succeeds(&line.split(' ').collect::<Vec<_>>());
        for name in NAMES {
            let chart = fs::read_to_string(folder.path().join(name)).unwrap();
            assert!(chart.trim_end().ends_with("</svg>") && !chart.contains("NaN"), "{name}");
        }
    }
}

#[test]
fn what_was_finished_is_drawn_when_another_case_fails() {
    let folder = tempdir().unwrap();
    let output =
        lab(&[&SHAPE[..], &["none", "--seqlen-q", "64,4294967295", "--svg", text(folder.path())]].concat());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.starts_with("error: 1 of 2 cases failed\nflash_fwd on Ascend910B2: "), "{stderr}");
    assert!(folder.path().join("time.svg").exists());
}

#[test]
fn files_are_checked_before_the_work() {
    let scratch = tempdir().unwrap();
    fs::write(scratch.path().join("file"), "kept").unwrap();
    // Cases that take hours, were they run.
    let refused = |folder: &str| {
        fails(&[
            "charts",
            "--seqlen-q",
            "1048576",
            "--num-heads",
            "64",
            "--svg",
            text(&scratch.path().join(folder)),
        ])
    };
    assert!(refused("file").starts_with("making folder "));
    for name in NAMES {
        fs::create_dir_all(scratch.path().join("taken").join(name)).unwrap();
        let message = refused("taken");
        assert!(message.contains(&format!("{name} exists and is not a regular file")), "{message}");
        fs::remove_dir(scratch.path().join("taken").join(name)).unwrap();
    }
    assert_eq!(fs::read_to_string(scratch.path().join("file")).unwrap(), "kept");
}
