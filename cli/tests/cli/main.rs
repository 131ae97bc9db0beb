//! The command line tool, run as a user does, on the simulator or on machines made up with variables.
#![allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]

mod acl_library;
mod cases;
mod doctor;
#[cfg(target_os = "linux")]
mod doctor_recorded;
mod empty;
#[cfg(unix)]
mod extremes;
mod files;
mod kernels;
mod model_time;
#[cfg(unix)]
mod outputs;
mod plan;
mod replay;
mod run;
mod run_refusals;

use std::path::Path;
use std::process::{Command, Output};

/// The tool itself.
const TOOL: &str = env!("CARGO_BIN_EXE_fastattention");

/// The tool without the variables whose names begin so.
fn tool_without(prefixes: &[&str]) -> Command {
    let mut command = Command::new(TOOL);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if prefixes.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}

/// The tool without its own variables, so that `sim:0` is the default one.
fn tool() -> Command {
    tool_without(&["FASTATTENTION_"])
}

fn fastattention(args: &[&str]) -> Output {
    tool().args(args).output().unwrap()
}

/// Stdout. There is nothing on stderr: it is no terminal, so nothing is drawn.
#[track_caller]
fn succeeds(args: &[&str]) -> String {
    let output = fastattention(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""), "{args:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Exit code 1, nothing on stdout, one error on stderr (returned without the word `error:`).
#[track_caller]
fn fails(args: &[&str]) -> String {
    let output = fastattention(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "{args:?}");
    stderr.strip_prefix("error: ").unwrap_or_else(|| panic!("{args:?}: {stderr}")).trim_end().to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
