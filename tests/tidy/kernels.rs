//! What kernel text may name, and that its lists agree with those of Rust.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use fastattention::layer::{activation, argmax, embedding, norm};
use fastattention::DType::{Bf16, F16, F32};
use fastattention::{append, attention, baseline, matmul, merge, parallel, serving};

use crate::search::{code_lines, files, forbid, names, read};

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
    // Calls of AscendC are written `AscendC::`; memories have AscendC's names.
    for dir in ["ascendc/kernels", "ascendc/include"] {
        forbid(dir, &[".cpp", ".h"], &["using namespace", "smem", "warp"], &[]);
    }
}

/// The kernels of `variants.def`, by family.
fn variants() -> BTreeMap<String, Vec<String>> {
    let text = read("ascendc/kernels/variants.def");
    let mut of_family: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("FA_KERNEL(")) {
        let (words, _) = line.split_once(')').unwrap();
        let mut words = words.split(", ").map(str::to_owned);
        let (family, kernel) = (words.next().unwrap(), words.next().unwrap());
        of_family.entry(family).or_default().push(kernel);
    }
    of_family
}

/// Where an operator chooses a kernel it names those of the family, in the order of the file.
#[test]
fn kernel_variants_are_those_that_the_planner_names() {
    let mut variants = variants();
    let mut check = |family: &str, named: Vec<fastattention::Result<&str>>| {
        let named: Vec<&str> = named.into_iter().map(Result::unwrap).collect();
        assert_eq!(variants.remove(family).unwrap_or_default(), named, "{family}");
    };
    let scores = [(F16, F32), (Bf16, F32), (F16, F16)];
    check("FLASH_FWD", scores.map(|(d, scores)| attention::kernel_name(d, scores)).into());
    check("FLASH_FWD_MATMUL", scores.map(|(d, scores)| parallel::kernel_name(d, scores)).into());
    check("FLASH_DECODE", [F16, Bf16].map(serving::kernel_name).into());
    let products = [(F16, F16), (Bf16, Bf16), (F16, F32), (Bf16, F32)];
    check("MATMUL", products.map(|(d, out)| matmul::kernel_name(d, out)).into());
    let merges = [(F16, F16), (Bf16, Bf16), (F32, F32), (F32, F16), (F32, Bf16)];
    check("MERGE", merges.map(|(d, out)| merge::kernel_name(d, out)).into());
    let mut norms = vec![[F16; 3], [Bf16; 3], [F32; 3]];
    norms.extend([F16, Bf16].map(|d| [d, F32, d]));
    norms.extend([F16, Bf16].map(|d| [d, d, F32]));
    norms.extend([F16, Bf16].map(|d| [d, F32, F32]));
    check("ACTIVATION", [F16, Bf16, F32].map(|d| Ok(activation::kernel_name(d))).into());
    check("ARGMAX", [F16, Bf16, F32].map(|d| Ok(argmax::kernel_name(d))).into());
    check("EMBEDDING", [F16, Bf16, F32].map(|d| Ok(embedding::kernel_name(d))).into());
    let norms = norms.into_iter().map(|[d, weights, residual]| norm::kernel_name(d, weights, residual));
    check("NORM", norms.collect());
    let appends = |i: usize| [F16, Bf16].map(|d| append::kernel_names(d).map(|names| names[i])).into();
    check("KV_APPEND", appends(0));
    check("KV_APPEND_ROTARY", appends(1));
    let softmaxes = products.into_iter().chain([(F32, F32)]);
    check("SOFTMAX", softmaxes.map(|(d, scores)| baseline::softmax_kernel_name(d, scores)).collect());
    let passes = products.into_iter().chain([(F32, F16), (F32, Bf16)]);
    check("SCORE_PASS", passes.map(|(d, out)| baseline::score_pass_kernel_name(d, out)).collect());
    check("ADD", [F16, F32].map(baseline::add_kernel_name).into());
    // Those of one name, or of two, are named where they are loaded: the test below finds them there.
    let rest: Vec<&str> = variants.keys().map(String::as_str).collect();
    assert_eq!(rest, ["COPY", "READ_L1", "READ_UB", "SELF_TEST", "SHIFT_KEYS", "VECTOR_STREAM"]);
}

/// Names of kernels in the code of the library are those of `variants.def`, each of them.
#[test]
fn every_kernel_is_named_by_the_library_and_no_other() {
    let in_file: BTreeSet<String> = variants().into_values().flatten().collect();
    let mut named = BTreeSet::new();
    // What tests name may be wrong on purpose.
    for path in files("src", &[".rs"]).into_iter().filter(|path| !path.ends_with("tests.rs")) {
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("mod tests {").next().unwrap_or_default();
        let literals = text.split("\"fa_").skip(1).filter_map(|rest| rest.split('"').next());
        named.extend(literals.map(|rest| format!("fa_{rest}")));
    }
    assert_eq!(in_file, named, "variants.def, and the literals of src");
}

/// The intrinsics of `isa.def`.
fn issued() -> Vec<String> {
    let text = read("ascendc/sim/isa.def");
    let text: String = text.lines().filter(|line| !line.starts_with("//")).collect();
    text.split("X(").skip(1).filter_map(|part| part.split(')').next()).map(str::to_owned).collect()
}

#[test]
fn every_instruction_can_be_issued_and_every_one_issued_is_modelled() {
    let issued = issued();
    let once: BTreeSet<&str> = issued.iter().map(String::as_str).collect();
    assert_eq!(once.len(), issued.len(), "isa.def has a name twice");
    let modelled: BTreeSet<&str> = fastattention::sim::instructions().iter().map(|i| i.mnemonic).collect();
    assert_eq!(once, modelled, "ascendc/sim/isa.def and the families of the instruction set differ");
}

/// Each has a function of CANN's name, and a test that names it: of the machine, or of what headers issue.
#[test]
fn every_instruction_is_in_a_header_and_in_a_test() {
    let all = |paths: Vec<std::path::PathBuf>| -> String {
        paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
    };
    let mut headers = files("ascendc/sim", &[".h"]);
    headers.extend(files("ascendc/sim/casts.def", &[".def"]));
    let is_test = |path: &std::path::PathBuf| path.to_string_lossy().contains("test");
    let machine = files("crates/dav-c220/src", &[".rs"]).into_iter().filter(is_test);
    let tests = machine.chain(files("tests/simulator/headers", &["expected.txt"])).collect();
    for (what, text) in [("header", all(headers)), ("test", all(tests))] {
        let missing: Vec<String> = issued().into_iter().filter(|name| !names(&text, name)).collect();
        assert_eq!(missing, Vec::<String>::new(), "in no {what}");
    }
}
