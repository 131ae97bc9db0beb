//! Widths, names of files, tables of performance.

use std::fs;

use crate::search::{files, root};

/// Where code is.
const DIRS: [&str; 11] =
    ["src", "crates", "cli", "lab", "dropin", "llama", "tests", "examples", "benches", "ascendc", "cuda"];

/// rustfmt and clang-format (`.ci/run`) keep code within 110 columns and leave comments alone.
#[test]
fn comments_are_at_most_110_wide() {
    let endings = [".rs", ".cpp", ".h", ".c", ".cu", ".cuh"];
    let mut wide = Vec::new();
    for path in DIRS.iter().flat_map(|dir| files(dir, &endings)) {
        if path.components().any(|part| part.as_os_str() == "target" || part.as_os_str() == "bindings") {
            continue;
        }
        for (i, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            // A row of a table cannot be broken.
            let is_table = line.trim_start().trim_start_matches(['/', '!']).trim_start().starts_with('|');
            if line.trim_start().starts_with("//") && line.chars().count() > 110 && !is_table {
                wide.push(format!("{}:{}: {line}", path.display(), i + 1));
            }
        }
    }
    assert!(wide.is_empty(), "{}", wide.join("\n"));
}

/// A name says what is in a file, not that it is of use.
#[test]
fn no_file_is_called_helper_or_the_like() {
    let endings = [".rs", ".cpp", ".h", ".c", ".cu", ".cuh", ".py"];
    for path in DIRS.iter().flat_map(|dir| files(dir, &endings)) {
        for part in path.strip_prefix(root()).unwrap().iter().map(|part| part.to_string_lossy()) {
            let name = part.split('.').next().unwrap_or_default();
            let is_vague = ["common", "helper", "helpers", "misc", "util", "utils"].contains(&name);
            assert!(!is_vague, "{}", path.display());
        }
    }
}

#[test]
fn every_table_of_performance_tells_its_commit() {
    for path in files("docs/performance", &[".csv"]) {
        let text = fs::read_to_string(&path).unwrap();
        let header = text.lines().next().unwrap_or_default();
        assert!(header.ends_with(",commit,commit_date"), "{}: {header}", path.display());
        assert!(!text.contains("-dirty"), "{}: made from files that no commit has", path.display());
    }
}
