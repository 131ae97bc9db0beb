//! `fastattention-lab twin`, without CANN: the headers are those of the simulator, in the folders where a
//! CANN has its own.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::lab;

fn twin(cann: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fastattention-lab"));
    command.args(["twin", "--cann"]).arg(cann);
    command
}

/// Exit code, stdout, stderr.
fn outcome(mut command: Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A folder that looks like a CANN: the main header, and the twin's headers, empty.
fn fake_cann() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let sim = concat!(env!("CARGO_MANIFEST_DIR"), "/../ascendc/sim/kernel_operator.h");
    let main = root.path().join("ascendc/include/basic_api/kernel_operator.h");
    write(&main, &format!("#pragma once\n#include {sim:?}\n"));
    for name in ["stub_def.h", "stub_fun.h", "kernel_fp16.h"] {
        write(&root.path().join("tools/tikicpulib/lib/include").join(name), "");
    }
    root
}

/// Names of the kernels, as the file that the build reads has them.
fn names() -> Vec<String> {
    let text =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../ascendc/kernels/variants.def")).unwrap();
    let names = text.lines().filter(|line| line.starts_with("FA_"));
    let names: Vec<_> = names.map(|line| line.split([',', ')']).nth(1).unwrap().trim().to_owned()).collect();
    assert!(names.len() >= 3, "{names:?}");
    names
}

/// Root of a CANN for the test below, which is skipped without, and folders for `--include`, separated as in
/// PATH.
const CANN: &str = "FA_TEST_CANN";
const CANN_INCLUDE: &str = "FA_TEST_CANN_INCLUDE";

#[test]
fn kernels_compiled_with_canns_headers_issue_the_same_instructions() {
    let Ok(cann) = std::env::var(CANN) else {
        eprintln!("skipped: {CANN} names no CANN installation");
        return;
    };
    let mut command = twin(Path::new(&cann));
    let folders = std::env::var_os(CANN_INCLUDE).unwrap_or_default();
    // No folder at all is split into one without a name.
    for folder in std::env::split_paths(&folders).filter(|folder| !folder.as_os_str().is_empty()) {
        command.arg("--include").arg(folder);
    }
    command.args(["--every", "100"]);
    let (code, stdout, stderr) = outcome(command);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    let cases = |name: &str| {
        let line =
            stdout.lines().find(|line| line.starts_with(&format!("{name}: ")) && !line.ends_with(": ok"));
        let rest = line
            .and_then(|line| line.split_once(": ")?.1.strip_suffix(" cases, same results and instructions"));
        rest.and_then(|count| count.parse().ok()).unwrap_or(0)
    };
    for name in names() {
        assert!(cases(&name) >= 2, "{name}: {stdout}");
    }
    assert_eq!([cases("fa_copy"), cases("fa_flash_fwd_f16_scores_f16")], [5, 8], "{stdout}");
    assert!(stdout.contains(" instructions are the same\n"), "{stdout}");
}

#[test]
fn a_release_that_the_twin_does_not_know_is_said_and_not_run() {
    // Compiles, but has none of what the twin takes from CANN's headers.
    let cann = fake_cann();
    let command = twin(cann.path());
    let (code, stdout, stderr) = outcome(command);
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stderr.starts_with("error: compiling ") && stderr.contains(": error: "), "{stderr}");
    assert!(!stdout.contains("same results"), "{stdout}");
}

#[test]
fn a_step_of_no_case_is_refused() {
    let output = lab(&["twin", "--cann", "unused", "--every", "0"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("error: invalid value '0' for '--every"), "{stderr}");
}
