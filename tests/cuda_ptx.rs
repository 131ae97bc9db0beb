//! The committed PTX of the Volta kernels belongs to the sources beside it (`cuda/make_ptx.py` makes it).
#![allow(clippy::unwrap_used, reason = "helpers of tests; a failure here fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

/// What `make_ptx.py` answers where NVRTC 12.9 is not installed.
const NOT_FOUND: i32 = 77;

fn cuda() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda")
}

fn sha256(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Files of `cuda/<folder>` with the ending, by their names relative to `cuda`.
fn files(folder: &str, ending: &str) -> Vec<String> {
    let entries = fs::read_dir(cuda().join(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    names.filter(|name| name.ends_with(ending)).map(|name| format!("{prefix}{name}")).collect()
}

#[test]
fn sources_and_ptx_are_those_of_the_manifest() {
    let manifest = fs::read_to_string(cuda().join("ptx/manifest.txt")).unwrap();
    let listed: BTreeMap<String, String> = manifest
        .lines()
        .map(|line| {
            line.split_once("  ").unwrap_or_else(|| panic!("manifest.txt: {line:?} is not `hash  name`"))
        })
        .map(|(hash, name)| (name.to_owned(), hash.to_owned()))
        .collect();
    let present: BTreeMap<String, String> = [("", ".cu"), ("", ".csv"), ("sm70", ".cuh"), ("ptx", ".ptx")]
        .iter()
        .flat_map(|(folder, ending)| files(folder, ending))
        .map(|name| (name.clone(), sha256(&cuda().join(&name))))
        .collect();
    assert!(present.len() >= 10, "too few files: {:?}", present.keys());
    assert_eq!(present, listed, "run `python3 cuda/make_ptx.py`");
}

#[test]
fn ptx_is_for_old_drivers_and_holds_the_kernel_of_its_name() {
    let names = files("ptx", ".ptx");
    assert!(!names.is_empty());
    for name in names {
        let text = fs::read_to_string(cuda().join(&name)).unwrap();
        let lines = |start: &str| {
            text.lines().filter(|l| l.starts_with(start)).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(lines(".version"), [".version 6.4"], "{name}");
        assert_eq!(lines(".target"), [".target sm_70"], "{name}");
        let kernel = Path::new(&name).file_stem().unwrap().to_str().unwrap();
        assert_eq!(lines(".visible .entry"), [format!(".visible .entry {kernel}(")], "{name}");
        // A variable in global memory would be a constant that the compiler did not fold.
        assert_eq!(lines(".global"), [""; 0], "{name}");
    }
}

/// Makes the PTX anew, and asks ptxas for registers and spills, where the compilers can be had from pip.
#[test]
fn ptx_is_what_the_sources_give() {
    let script = cuda().join("make_ptx.py");
    let Ok(run) = Command::new("python3").arg(script).arg("--check").output() else {
        eprintln!("skipped: no python3");
        return;
    };
    if run.status.code() == Some(NOT_FOUND) {
        eprintln!("skipped: {}", String::from_utf8_lossy(&run.stderr).trim());
        return;
    }
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

/// The script for owners of a V100, without a GPU: its table, its verdict on answers, its file.
#[test]
fn the_benchmark_for_owners_tests_itself() {
    let has_numpy = Command::new("python3").args(["-c", "import numpy"]).output();
    if !has_numpy.is_ok_and(|run| run.status.success()) {
        eprintln!("skipped: no python3 with numpy");
        return;
    }
    let run = Command::new("python3").arg(cuda().join("bench_v100.py")).arg("--self-test").output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}
