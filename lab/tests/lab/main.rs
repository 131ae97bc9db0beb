//! The laboratory's commands, run as a user does.
#![allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]

mod calibration;
mod charts;
mod report;
mod twin;

use std::path::Path;
use std::process::{Command, Output};

fn lab(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fastattention-lab")).args(args).output().unwrap()
}

/// Stdout.
#[track_caller]
fn succeeds(args: &[&str]) -> String {
    let output = lab(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""), "{args:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Stderr, without the word `error:`.
#[track_caller]
fn fails(args: &[&str]) -> String {
    let output = lab(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
    stderr.strip_prefix("error: ").unwrap_or_else(|| panic!("{args:?}: {stderr}")).trim_end().to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn isa_lists_instructions_with_pipe_and_source() {
    let text = succeeds(&["isa"]);
    let line = text.lines().find(|l| l.starts_with("mad ")).unwrap();
    assert!(line.contains(" M ") && line.contains("dav-c220.md"), "{line}");
}

#[test]
fn a_soc_that_is_not_known_is_refused() {
    for args in [&["report"][..], &["charts", "--svg", "unused"]] {
        assert_eq!(
            fails(&[args, &["--soc", "910B"]].concat()),
            "SoC \"910B\" given, one of Ascend910B1, Ascend910B2, Ascend910B3, Ascend910B4 wanted"
        );
    }
}
