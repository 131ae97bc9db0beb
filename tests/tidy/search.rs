//! Files of the repository, and words in them.

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file of the repository.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Every file below `dir` with one of the endings.
pub(crate) fn files(dir: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(dir)];
    while let Some(at) = open.pop() {
        if at.is_file() {
            found.push(at);
            continue;
        }
        for entry in fs::read_dir(&at).unwrap_or_else(|e| panic!("{}: {e}", at.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if endings.iter().any(|e| path.to_string_lossy().ends_with(e)) {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{dir} has no {endings:?}: the rule below would check nothing");
    found
}

/// Lines of a file without comments, numbered from 1.
pub(crate) fn code_lines(path: &Path) -> Vec<(usize, String)> {
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .enumerate()
        .map(|(i, line)| (i + 1, line.split("//").next().unwrap_or_default().to_owned()))
        .collect()
}

/// Is the name in the text, and not only part of a longer one?
pub(crate) fn names(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let (before, behind) = (&text[..at], &text[at + name.len()..]);
        !before.ends_with(is_part) && !behind.starts_with(is_part)
    })
}

/// No code of a folder, or a file, contains one of the words, but for files whose paths end so.
#[track_caller]
pub(crate) fn forbid(dir: &str, endings: &[&str], words: &[&str], exempt: &[&str]) {
    let mut violations = Vec::new();
    for path in files(dir, endings) {
        if exempt.iter().any(|e| path.ends_with(e)) {
            continue;
        }
        for (number, line) in code_lines(&path) {
            for word in words {
                if line.contains(word) {
                    violations.push(format!("{}:{number}: {}", path.display(), line.trim()));
                }
            }
        }
    }
    assert!(violations.is_empty(), "{dir} must not name {words:?}:\n{}", violations.join("\n"));
}
