//! The committed bindings against genuine CANN headers, by the C++ compiler: every size, offset, constant and
//! signature. How they are fetched, and which variables choose others: `docs/bindings.md`.
#![allow(clippy::unwrap_used, reason = "helpers of tests; a failure here fails the test")]

mod headers;
mod program;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use headers::Headers;
use kernel_build::{run, Compiler, TARGET};
use program::Program;

fn committed(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/ascend-sys/src/bindings").join(file)
}

#[test]
#[allow(clippy::print_stdout, reason = "what was compared, or why nothing was")]
fn the_bindings_are_those_of_genuine_headers() {
    let headers = match Headers::find() {
        Ok(headers) => headers,
        Err(why) if headers::is_required() => panic!("{why}"),
        Err(why) => {
            println!("skipped: {why}");
            return;
        }
    };
    let words = headers.words();
    let mut program = Program::new(|name| words.contains(name));
    for file in ["acl.rs", "hccl.rs", "later.rs"] {
        program.add(&std::fs::read_to_string(committed(file)).unwrap());
    }
    let scratch = tempfile::tempdir().unwrap();
    let compiler = Compiler::find(TARGET, scratch.path()).unwrap_or_else(|e| panic!("{e}"));
    let check = |text: &str| {
        let source = scratch.path().join("abi.cpp");
        std::fs::write(&source, text).unwrap();
        let mut command = compiler.command();
        command.args(["-std=c++17", "-fsyntax-only", "-Wno-deprecated-declarations"]).arg(&source);
        command.args(headers.folders.iter().map(|folder| format!("-I{}", folder.display())));
        run(command)
    };
    check(program.text()).unwrap_or_else(|e| panic!("{}: {e}", headers.origin));
    let wrong = program.text().replace("sizeof(HcclRootInfoDef) == 4108", "sizeof(HcclRootInfoDef) == 4104");
    assert!(check(&wrong).unwrap_err().contains("HcclRootInfoDef"), "the check cannot fail");

    let absent: Vec<_> = program.absent.iter().map(String::as_str).collect();
    println!("{}: {} assertions hold; not in these headers: {absent:?}", headers.origin, program.assertions);
    if headers.are_default {
        assert!(program.assertions > 300, "{} assertions: the bindings were not read", program.assertions);
        assert_eq!(absent, [""; 0], "the newest headers have everything that the crate uses");
    }
}

/// What bindgen makes of the headers that this build was pointed at (feature `bindgen`) is what is committed.
#[cfg(feature = "bindgen")]
#[test]
#[allow(clippy::print_stdout, reason = "says what was compared")]
fn the_committed_files_are_up_to_date() {
    let version = |text: &str| {
        let line = text.lines().find(|line| line.contains("ACL_MINOR_VERSION")).map(str::to_owned);
        line.unwrap_or_else(|| panic!("no version in\n{text}"))
    };
    let bless = std::env::var_os("FA_BLESS").is_some_and(|v| v == "1");
    for file in ["acl.rs", "hccl.rs", "later.rs"] {
        let made = std::fs::read_to_string(Path::new(ascend_sys::BINDINGS_FOLDER).join(file)).unwrap();
        let kept = std::fs::read_to_string(committed(file)).unwrap();
        if version(&made) != version(&kept) {
            println!("{file}: not compared: {} made, {} committed", version(&made), version(&kept));
        } else if bless {
            std::fs::write(committed(file), made).unwrap();
        } else {
            fastattention_testkit::compare::assert_same_text(
                &kept,
                &made,
                &format!("{file}; FA_BLESS=1 writes what bindgen makes"),
            );
            println!("{file}: as made from the headers");
        }
    }
}

/// Every function that `ascend-sys` lists has a generated signature: the compiler compares these.
#[test]
fn the_program_names_every_listed_function() {
    let mut program = Program::new(|_| true);
    for file in ["acl.rs", "hccl.rs", "later.rs"] {
        program.add(&std::fs::read_to_string(committed(file)).unwrap());
    }
    let named: BTreeSet<&str> =
        program.text().split("decltype(&").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(named.contains("aclrtLaunchKernelWithConfig") && named.contains("HcclAllReduce"), "{named:?}");
    assert!(named.contains("aclrtLaunchKernelWithHostArgs"), "{named:?}");
    assert!(named.len() > 80, "{}", named.len());
}
