//! Rules of the layout that the compiler cannot check (`docs/architecture.md`).

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "helpers of a test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `dir` with one of the endings.
fn files(dir: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(dir)];
    while let Some(at) = open.pop() {
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
fn code_lines(path: &Path) -> Vec<(usize, String)> {
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .enumerate()
        .map(|(i, line)| (i + 1, line.split("//").next().unwrap_or_default().to_owned()))
        .collect()
}

fn forbid(dir: &str, endings: &[&str], words: &[&str], exempt: &[&str]) {
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

#[test]
fn pure_modules_know_no_backend_no_io_and_no_unsafe() {
    for dir in ["src/tiling", "src/reference"] {
        forbid(
            dir,
            &[".rs"],
            &[
                "crate::sim",
                "crate::acl",
                "crate::driver",
                "crate::runtime",
                "crate::attention",
                "std::fs",
                "std::net",
                "unsafe",
            ],
            &[],
        );
    }
}

/// What every engine shares lies below all of them. Errors read the codes of CANN's interfaces.
#[test]
fn the_vocabulary_knows_no_operator_and_no_engine() {
    let above = [
        "crate::append",
        "crate::attention",
        "crate::baseline",
        "crate::matmul",
        "crate::merge",
        "crate::parallel",
        "crate::serving",
        "crate::tiling",
    ];
    let engines = ["crate::acl", "crate::hccl", "crate::runtime", "crate::sim", "crate::soc", "Soc"];
    for dir in ["src/spec", "src/reference"] {
        forbid(dir, &[".rs"], &[&above[..], &engines[..], &["std::fs", "std::net", "unsafe"]].concat(), &[]);
    }
    forbid("src/spec", &[".rs"], &["ascend_sys"], &["error.rs"]);
}

#[test]
fn operators_name_no_backend() {
    for dir in [
        "src/append",
        "src/attention",
        "src/baseline",
        "src/matmul",
        "src/merge",
        "src/parallel",
        "src/serving",
    ] {
        forbid(dir, &[".rs"], &["crate::sim", "crate::acl", "crate::driver", "unsafe {"], &[]);
    }
}

#[test]
fn the_two_fillers_of_the_function_table_do_not_know_each_other() {
    forbid(
        "src/sim",
        &[".rs"],
        &["crate::acl", "crate::hccl", "crate::runtime", "crate::attention", "crate::tiling"],
        &[],
    );
}

/// The storeys of the simulated machine, from the lowest up.
const STOREYS: [&str; 5] = ["access", "isa", "time", "machine", "image"];

#[test]
fn a_storey_of_the_machine_names_only_those_below_it() {
    let machine = "crates/dav-c220/src";
    for (i, storey) in STOREYS.iter().enumerate() {
        let above: Vec<String> = STOREYS[i + 1..].iter().map(|above| format!("crate::{above}")).collect();
        let mut hidden: Vec<&str> = above.iter().map(String::as_str).collect();
        // Paths of several names are written out, so that none hides a storey.
        hidden.push("crate::{");
        forbid(&format!("{machine}/{storey}"), &[".rs"], &hidden, &[]);
    }
}

#[test]
fn one_file_opens_a_device_and_names_both() {
    let naming_both: Vec<_> = files("src/runtime", &[".rs"])
        .into_iter()
        .filter(|p| {
            let text = fs::read_to_string(p).unwrap();
            text.contains("crate::acl") && text.contains("crate::sim")
        })
        .collect();
    assert_eq!(naming_both.len(), 1, "{naming_both:?}");
}

#[test]
fn kernels_know_only_ascendc_and_fa() {
    let allowed = |include: &str| {
        include == "kernel_operator.h"
            || include.starts_with("fa/")
            || include.starts_with("flash_fwd")
            || include.starts_with("flash_decode")
            || include.starts_with("kv_append")
            || ["matmul_kernel.h", "matmul_tiles.h", "read_tiles.h"].contains(&include)
            || include == "families.h"
            || include == "variants.def"
            || include == "<cstdint>"
    };
    for dir in ["ascendc/kernels", "ascendc/include"] {
        for path in files(dir, &[".cpp", ".h"]) {
            for (number, line) in code_lines(&path) {
                let Some(name) = line.trim().strip_prefix("#include") else { continue };
                let name = name.trim().trim_matches('"');
                assert!(allowed(name), "{}:{number} includes {name}", path.display());
            }
        }
    }
    forbid("ascendc/kernels", &[".cpp", ".h"], &["#ifdef", "#if ", "fasim", "FASIM"], &[]);
    // One header tells CANN's compilers apart; the simulator is none of them.
    forbid("ascendc/include", &[".h"], &["#ifdef", "#if "], &["fa/entry.h"]);
    forbid("ascendc/include", &[".h"], &["fasim", "FASIM"], &[]);
}

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
fn kernel_variants_are_those_that_the_planner_names() {
    let text = fs::read_to_string(root().join("ascendc/kernels/variants.def")).unwrap();
    let in_file = |family: &str| -> Vec<String> {
        text.lines()
            .filter_map(|l| l.strip_prefix("FA_KERNEL(")?.strip_prefix(family)?.strip_prefix(", "))
            .filter_map(|l| l.split([',', ')']).next())
            .map(str::to_owned)
            .collect()
    };
    let (f16, bf16, f32) = (fastattention::DType::F16, fastattention::DType::Bf16, fastattention::DType::F32);
    let scores = [(f16, f32), (bf16, f32), (f16, f16)];
    let flash_fwd = scores.map(|(d, scores)| fastattention::attention::kernel_name(d, scores).unwrap());
    assert_eq!(in_file("FLASH_FWD"), flash_fwd);
    let fused = scores.map(|(d, scores)| fastattention::parallel::kernel_name(d, scores).unwrap());
    assert_eq!(in_file("FLASH_FWD_MATMUL"), fused);
    let matmul = [(f16, f16), (bf16, bf16), (f16, f32), (bf16, f32)]
        .map(|(d, out)| fastattention::matmul::kernel_name(d, out).unwrap());
    assert_eq!(in_file("MATMUL"), matmul);
    let merge = [(f16, f16), (bf16, bf16), (f32, f32), (f32, f16), (f32, bf16)]
        .map(|(d, out)| fastattention::merge::kernel_name(d, out).unwrap());
    assert_eq!(in_file("MERGE"), merge);
    let [append, append_bf16] = [f16, bf16].map(|d| fastattention::append::kernel_names(d).unwrap());
    assert_eq!(in_file("KV_APPEND"), [append[0], append_bf16[0]]);
    assert_eq!(in_file("KV_APPEND_ROTARY"), [append[1], append_bf16[1]]);
    let softmax = [(f16, f16), (bf16, bf16), (f16, f32), (bf16, f32)]
        .map(|(d, scores)| fastattention::baseline::softmax_kernel_name(d, scores).unwrap());
    assert_eq!(in_file("SOFTMAX"), softmax);
    assert_eq!(in_file("ADD"), [f16, f32].map(|d| fastattention::baseline::add_kernel_name(d).unwrap()));
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
fn a_program_that_uses_the_library_gets_nothing_of_the_tool() {
    let mut seen = 0;
    for path in files("crates", &["Cargo.toml"]).into_iter().chain([root().join("Cargo.toml")]) {
        let manifest: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
        let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
        for name in dependencies.into_iter().flat_map(toml::Table::keys) {
            let is_of_the_tool = ["anyhow", "clap", "csv", "flate2", "indicatif", "plotters", "safetensors"]
                .contains(&&**name);
            assert!(!is_of_the_tool, "{}: {name}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen} dependencies found: the search is broken");
}

#[test]
fn every_instruction_has_a_source() {
    for instruction in fastattention::sim::instructions() {
        assert!(!instruction.source.is_empty(), "{} has no source", instruction.mnemonic);
    }
}

#[test]
fn every_instruction_can_be_issued_and_every_one_issued_is_modelled() {
    let text = fs::read_to_string(root().join("ascendc/sim/isa.def")).unwrap();
    let text: String = text.lines().filter(|line| !line.starts_with("//")).collect();
    let issued: BTreeSet<&str> = text.split("X(").skip(1).filter_map(|part| part.split(')').next()).collect();
    let modelled: BTreeSet<&str> = fastattention::sim::instructions().iter().map(|i| i.mnemonic).collect();
    assert_eq!(issued, modelled, "ascendc/sim/isa.def and the families of the instruction set differ");
}

/// rustfmt and clang-format (`.ci/run`) keep code within 110 columns and leave comments alone.
#[test]
fn comments_are_at_most_110_wide() {
    let dirs = ["src", "crates", "cli", "lab", "dropin", "tests", "examples", "benches", "ascendc", "cuda"];
    let endings = [".rs", ".cpp", ".h", ".c", ".cu", ".cuh"];
    let mut wide = Vec::new();
    for path in dirs.iter().flat_map(|dir| files(dir, &endings)) {
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

#[test]
fn every_table_of_performance_tells_its_commit() {
    for path in files("docs/performance", &[".csv"]) {
        let text = fs::read_to_string(&path).unwrap();
        let header = text.lines().next().unwrap_or_default();
        assert!(header.ends_with(",commit,commit_date"), "{}: {header}", path.display());
        assert!(!text.contains("-dirty"), "{}: made from files that no commit has", path.display());
    }
}
