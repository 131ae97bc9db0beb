//! Which module may name which, and where unsafe code and the names of C functions stand.

use std::fs;

use crate::search::{code_lines, files, forbid, root};

/// The operators, which run on any engine.
const OPERATORS: [&str; 8] = [
    "src/append",
    "src/attention",
    "src/baseline",
    "src/cooperative",
    "src/matmul",
    "src/merge",
    "src/parallel",
    "src/serving",
];

/// What fills the table of functions, and the packages of it.
const ENGINES: [&str; 8] = [
    "crate::acl",
    "crate::hccl",
    "crate::sim",
    "crate::cpu",
    "ascend_sys",
    "ascend_sim",
    "dav_c220",
    "fastattention_cpu",
];

/// Parts of the names of ACL's and HCCL's functions and types.
const C_NAMES: [&str; 5] = ["aclrt", "aclmdl", "aclGet", "aclInit", "Hccl"];

#[test]
fn pure_modules_know_no_backend_no_io_and_no_unsafe() {
    let above = ["crate::driver", "crate::runtime", "crate::attention", "std::fs", "std::net", "unsafe"];
    for dir in ["src/tiling", "src/reference"] {
        forbid(
            dir,
            &[".rs"],
            &[&ENGINES[..], &above[..], &["std::env", "std::io", "std::process"]].concat(),
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
        "crate::cooperative",
        "crate::matmul",
        "crate::merge",
        "crate::parallel",
        "crate::serving",
        "crate::tiling",
    ];
    let engines =
        ["crate::acl", "crate::hccl", "crate::runtime", "crate::cpu", "crate::sim", "crate::soc", "Soc"];
    for dir in ["src/spec", "src/reference"] {
        forbid(dir, &[".rs"], &[&above[..], &engines[..], &["std::fs", "std::net", "unsafe"]].concat(), &[]);
    }
    forbid("src/spec", &[".rs"], &["ascend_sys"], &["error.rs"]);
}

#[test]
fn operators_name_no_backend() {
    for dir in OPERATORS {
        forbid(dir, &[".rs"], &[&ENGINES[..], &C_NAMES[..], &["crate::driver", "unsafe {"]].concat(), &[]);
    }
}

/// Above the table of functions the code is the same on every engine: it calls the runtime, not C functions.
#[test]
fn names_of_c_functions_stand_beside_the_table_of_functions() {
    for path in files("src", &[".rs"]) {
        let below = path.strip_prefix(root().join("src")).unwrap().to_path_buf();
        // The runtime calls the functions, errors know their codes, sim and cpu configure HCCL.
        if ["runtime", "spec/error.rs", "sim", "cpu"].iter().any(|start| below.starts_with(start)) {
            continue;
        }
        for (number, line) in code_lines(&path) {
            let name = C_NAMES.iter().find(|name| line.contains(**name));
            assert_eq!(name, None, "{}:{number}: {}", path.display(), line.trim());
        }
    }
    for dir in ["cli/src", "lab/src", "llama/src", "crates/dav-c220/src"] {
        forbid(dir, &[".rs"], &C_NAMES, &[]);
    }
}

/// `acl` and `hccl` load the libraries of CANN, `sim` and `cpu` implement their functions.
#[test]
fn the_fillers_of_the_function_table_do_not_know_each_other() {
    let above = ["crate::runtime", "crate::attention"];
    let simulated = ["crate::tiling", "crate::cpu", "crate::acl", "crate::hccl"];
    forbid("src/sim", &[".rs"], &[&above[..], &simulated].concat(), &[]);
    // Its kernels read the tiling data of plans.
    let native = ["crate::sim", "dav_c220", "crate::acl", "crate::hccl"];
    forbid("src/cpu", &[".rs"], &[&above[..], &native].concat(), &[]);
    for file in ["src/acl.rs", "src/hccl.rs"] {
        let others = ["crate::tiling", "crate::sim", "crate::cpu", "ascend_sim", "dav_c220"];
        forbid(file, &[".rs"], &[&above[..], &others].concat(), &[]);
    }
    let machine = ["ascend_sys", "ascend_sim"];
    forbid("crates/dav-c220/src", &[".rs"], &machine, &[]);
    forbid("crates/ascend-sim/src", &[".rs"], &["dav_c220"], &[]);
    forbid("crates/ascend-sys/src", &[".rs"], &["ascend_sim", "dav_c220"], &[]);
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

/// Where unsafe code may be: what calls C functions or is called by C, native kernels, and the memory that
/// both share. Each place gives a reason.
#[test]
fn unsafe_code_is_confined() {
    let places = [
        "src/acl.rs",
        "src/cpu/call.rs",
        "src/cpu/engine.rs",
        "src/cpu/kernels",
        "src/cuda/args.rs",
        "src/cuda/driver.rs",
        "src/hccl.rs",
        "src/runtime",
        "src/sim/device.rs",
        "crates/ascend-sim/src",
        "crates/ascend-sys/src",
        "crates/cpu-kernels/src",
        "crates/dav-c220/src/access/memory/words.rs",
        "crates/dav-c220/src/image",
        "crates/dav-c220/src/isa/cube.rs",
        "crates/dav-c220/src/isa/vec_wide.rs",
        "crates/dav-c220/src/machine",
        "crates/testkit/src",
        "dropin/src/lib.rs",
        "lab/src/twin",
        "llama/src/files/mapping.rs",
    ];
    let mut seen = vec![false; places.len()];
    let sources = ["src", "crates", "cli/src", "lab/src", "dropin/src", "llama/src"];
    for path in sources.iter().flat_map(|dir| files(dir, &[".rs"])) {
        let text = fs::read_to_string(&path).unwrap();
        let below = path.strip_prefix(root()).unwrap();
        if below.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        // From one attribute to the next line that may hold another.
        for allowed in
            text.split("allow(").skip(1).filter(|part| part.trim_start().starts_with("unsafe_code"))
        {
            let place = places.iter().position(|place| below.starts_with(place));
            let place =
                place.unwrap_or_else(|| panic!("{}: unsafe code is not for this file", below.display()));
            seen[place] = true;
            let reason = allowed.split(")]").next().unwrap_or_default();
            assert!(reason.contains("reason = "), "{}: {reason}", below.display());
        }
    }
    let unused: Vec<_> = places.iter().zip(seen).filter(|(_, seen)| !seen).map(|(place, _)| place).collect();
    assert_eq!(unused, Vec::<&&str>::new(), "places without unsafe code");
}
