//! Assumptions, numbered sources, sources of instructions and rates.

use std::fs;
use std::path::PathBuf;

use crate::search::{files, read, root};

/// Files whose comments name assumptions and numbered sources.
fn with_citations() -> Vec<PathBuf> {
    let dirs = ["src", "ascendc", "crates", "cli/src", "lab/src"];
    let mut found: Vec<_> = dirs.iter().flat_map(|dir| files(dir, &[".rs", ".h", ".cpp"])).collect();
    found.push(root().join("cann.toml"));
    found
}

#[test]
fn every_assumption_is_listed_in_the_sources() {
    let listed = fs::read_to_string(root().join("docs/sources.md")).unwrap();
    let mut seen = 0;
    for path in with_citations() {
        let text = fs::read_to_string(&path).unwrap();
        for part in text.split("ASSUMPTION(").skip(1) {
            let id = part.split(')').next().unwrap_or_default();
            assert!(
                listed.contains(&format!("`{id}`")),
                "{}: ASSUMPTION({id}) is not in docs/sources.md",
                path.display()
            );
            seen += 1;
        }
    }
    assert!(seen > 0, "no ASSUMPTION found: the search is broken");
}

#[test]
fn every_citation_of_a_numbered_source_resolves() {
    for page in ["dav-c220.md", "acl-runtime.md", "paper.md"] {
        let text = fs::read_to_string(root().join("docs").join(page)).unwrap();
        let numbers: Vec<_> =
            text.lines().filter_map(|l| l.strip_prefix("| ")?.split(' ').next()).map(str::to_owned).collect();
        let mut seen = 0;
        for path in with_citations() {
            let source = fs::read_to_string(&path).unwrap();
            for part in source.split(page).skip(1) {
                let cited = part.trim_start_matches([' ', '§', '`']);
                let number: String = cited.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
                let number = number.trim_end_matches('.').to_owned();
                if number.is_empty() {
                    continue;
                }
                assert!(
                    numbers.contains(&number),
                    "{}: {page} {number} is not in docs/{page}",
                    path.display()
                );
                seen += 1;
            }
        }
        assert!(seen > 0, "nothing cites {page}: the search is broken");
    }
}

#[test]
fn every_instruction_has_a_source() {
    for instruction in fastattention::sim::instructions() {
        assert!(!instruction.source.is_empty(), "{} has no source", instruction.mnemonic);
    }
}

/// Does a comment cite a row of measurements, a page, or mark an assumption?
fn cites(comment: &str) -> bool {
    let is_row = |part: &str| part.starts_with(|c: char| c.is_ascii_lowercase()) && part.contains('-');
    comment.contains(".md") || comment.contains("ASSUMPTION(") || comment.split('[').skip(1).any(is_row)
}

/// Each figure of model time stands below a comment with its source, which may be that of several.
#[test]
fn every_rate_has_a_source() {
    let (mut is_timing, mut comment, mut seen) = (false, String::new(), 0);
    let mut was_comment = false;
    for line in read("cann.toml").lines() {
        let is_comment = line.starts_with('#');
        if is_comment && !was_comment {
            comment.clear();
        }
        if is_comment {
            comment += line;
        } else if line.starts_with('[') {
            is_timing = line.starts_with("[timing");
            if !was_comment {
                comment.clear();
            }
        } else if let Some((name, figure)) = line.split_once('=').filter(|_| is_timing) {
            assert!(cites(&comment) || cites(figure), "{name}has no source: {comment:?}");
            seen += 1;
        }
        was_comment = is_comment;
    }
    assert!(seen > 80, "{seen} rates found: the search is broken");
    assert!(
        !cites("# A sum [of 3] takes so long.") && cites("# [vec-th-3]: so long."),
        "the check is broken"
    );
}
