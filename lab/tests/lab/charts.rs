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

/// A product's rows are the axis, whether they are given or those of a linear layer.
#[test]
fn the_lengths_of_a_product_are_one_line() {
    for (lines, x_desc, shape) in [
        (1, "rows", "--op matmul --m 64,128 --n 64 --k 64"),
        (1, "seqlen_q", "--op matmul --seqlen-q 64,128 --num-heads 2 --head-dim 64"),
        (2, "seqlen_q", "--op flash_fwd,matmul --seqlen-q 64,128 --num-heads 2 --head-dim 64 --mask none"),
    ] {
        let folder = tempdir().unwrap();
        let command = format!("charts {shape} --svg {}", text(folder.path()));
        succeeds(&command.split(' ').collect::<Vec<_>>());
        let chart = fs::read_to_string(folder.path().join("time.svg")).unwrap();
        // Each with a sample in the legend.
        let drawn = chart.lines().filter(|l| l.starts_with("<polyline") && l.contains("stroke-width=\"2\""));
        assert_eq!(drawn.count(), 2 * lines, "{shape}: {chart}");
        assert!(chart.lines().any(|line| line == x_desc), "{shape}: {chart}");
    }
}

#[test]
fn chips_that_differ_have_rooflines_of_their_own() {
    let folder = tempdir().unwrap();
    let chips = ["--seqlen-q", "64", "--soc", "910b2,910b1", "--cores", "8,24", "--svg", text(folder.path())];
    succeeds(&[&SHAPE[..], &["none"], &chips].concat());
    let mut names: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("roofline"))
        .collect();
    names.sort();
    let wanted = ["B1_1850MHz_24", "B1_1850MHz_8", "B2_1800MHz_24", "B2_1800MHz_8"];
    assert_eq!(names, wanted.map(|chip| format!("roofline_Ascend910{chip}cores.svg")));
    let chart = fs::read_to_string(folder.path().join(&names[3])).unwrap();
    assert!(chart.contains("Roofline of Ascend910B2, 1800 MHz, 8 cores in model time"), "{chart}");
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
