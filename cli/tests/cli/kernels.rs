//! `fastattention kernels`, without CANN: the headers are those of the simulator, in the folders where a CANN
//! has its own.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::tool;

const TWIN: &str = "tools/tikicpulib/lib/include";

fn check(cann: &Path) -> Command {
    let mut command = tool();
    command.args(["kernels", "check", "--cann"]).arg(cann);
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

/// A folder that looks like a CANN: the main header in `main`, `text` after what it includes, and the twin's
/// headers, empty.
fn fake_cann(main: &str, text: &str) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let sim = concat!(env!("CARGO_MANIFEST_DIR"), "/../ascendc/sim/kernel_operator.h");
    let header = format!("#pragma once\n#include {sim:?}\n{text}");
    write(&root.path().join(main).join("kernel_operator.h"), &header);
    for name in ["stub_def.h", "stub_fun.h", "kernel_fp16.h", "simt_stub.h"] {
        write(&root.path().join(TWIN).join(name), "");
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

#[test]
fn kernels_compile_with_the_headers_of_each_layout() {
    for (main, arch) in [
        ("ascendc/include/basic_api", ""),
        ("ascendc/include/basic_api", "aarch64-linux"),
        ("asc/include", "x86_64-linux"),
        ("", ""),
    ] {
        let cann = fake_cann(format!("{arch}/{main}").trim_start_matches('/'), "");
        if main == "asc/include" {
            write(&cann.path().join(arch).join("asc/include/kernel_tiling/kernel_tiling.h"), "");
        }
        let (code, stdout, stderr) = outcome(check(cann.path()));
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{main} {arch}: {stdout}");
        let reports: Vec<_> = stdout.lines().skip(1).map(str::to_owned).collect();
        assert_eq!(reports, names().iter().map(|name| format!("{name}: ok")).collect::<Vec<_>>());
    }
}

#[test]
fn the_macros_of_twin_mode_are_defined() {
    let asked =
        "#if !ASCENDC_CPU_DEBUG || !__CCE_KT_TEST__ || __CCE_AICORE__ != 220 || __NPU_ARCH__ != 2201\n\
                 #error no twin\n#endif\n";
    let cann = fake_cann("ascendc/include/basic_api", asked);
    let (code, stdout, _) = outcome(check(cann.path()));
    assert_eq!(code, Some(0), "{stdout}");
}

#[test]
fn a_broken_header_fails_every_kernel_and_is_shown() {
    let cann = fake_cann("ascendc/include/basic_api", "#error this release is broken\n");
    let (code, stdout, stderr) = outcome(check(cann.path()));
    assert_eq!(code, Some(1));
    for name in names() {
        assert!(stdout.contains(&format!("{name}: failed\n")), "{stdout}");
    }
    assert!(stdout.matches("this release is broken").count() >= names().len(), "{stdout}");
    assert!(stdout.contains("ascendc/include/basic_api/kernel_operator.h"), "the file is named: {stdout}");
    let count = names().len();
    assert_eq!(stderr, format!("error: {count} of {count} kernels do not compile with these headers\n"));
}

#[test]
fn a_call_that_a_release_lacks_fails_only_the_kernels_that_use_it() {
    // As if a release had renamed Mmad.
    let cann = fake_cann("ascendc/include/basic_api", "#define Mmad no_such_function\n");
    let (code, stdout, stderr) = outcome(check(cann.path()));
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.contains("fa_copy: ok\n"), "{stdout}");
    assert!(stdout.contains("fa_flash_fwd_f16: failed\n") && stdout.contains("no_such_function"), "{stdout}");
    assert!(stderr.ends_with("kernels do not compile with these headers\n"), "{stderr}");
}

#[test]
fn a_folder_without_headers_lists_what_was_looked_for() {
    let empty = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) = outcome(check(empty.path()));
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    let shown = empty.path().display();
    assert!(stderr.starts_with(&format!("error: no AscendC headers in {shown}; looked for:\n")), "{stderr}");
    for place in ["ascendc/include/basic_api", "aarch64-linux/asc/include", "include"] {
        assert!(stderr.contains(&format!("\n  {shown}/{place}/kernel_operator.h\n")), "{stderr}");
    }
    let (code, _, stderr) = outcome(check(&empty.path().join("absent")));
    assert_eq!((code, stderr), (Some(1), format!("error: {shown}/absent given, a folder wanted\n")));
}

#[test]
fn missing_headers_of_the_twin_are_named_and_may_lie_elsewhere() {
    let cann = fake_cann("ascendc/include/basic_api", "");
    let elsewhere = tempfile::tempdir().unwrap();
    fs::rename(cann.path().join(TWIN).join("stub_fun.h"), elsewhere.path().join("stub_fun.h")).unwrap();
    let (code, stdout, stderr) = outcome(check(cann.path()));
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("are without stub_fun.h, which the CPU twin needs"), "{stderr}");
    assert!(stderr.contains(&format!("\n  {}/{TWIN}\n", cann.path().display())), "{stderr}");

    let mut command = check(cann.path());
    command.arg("--include").arg(elsewhere.path());
    let (code, stdout, stderr) = outcome(command);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
}

#[test]
fn without_a_compiler_the_error_says_how_to_get_one() {
    let cann = fake_cann("ascendc/include/basic_api", "");
    let mut absent = check(cann.path());
    absent.env("CXX", "/nonexistent/c++");
    let mut empty_path = check(cann.path());
    empty_path.env_remove("CXX").env("PATH", "");
    for command in [absent, empty_path] {
        let (code, stdout, stderr) = outcome(command);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
        assert!(
            stderr.contains("needs a C++17 compiler") && stderr.contains("set CXX to its path"),
            "{stderr}"
        );
    }
}

#[test]
fn the_list_names_every_kernel_with_its_arguments() {
    let mut command = tool();
    command.args(["kernels", "list"]);
    let (code, stdout, stderr) = outcome(command);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let listed: Vec<_> = stdout.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(listed, names());
    let words = |name: &str| {
        let line = stdout.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(words("fa_copy"), "fa_copy - KERNEL_TYPE_AIV_ONLY (GM_ADDR dst, GM_ADDR src, uint64_t bytes)");
    let flash = words("fa_flash_fwd_bf16");
    assert!(flash.starts_with("fa_flash_fwd_bf16 bf16 KERNEL_TYPE_MIX_AIC_1_2 (GM_ADDR q, "), "{flash}");
    assert_eq!(flash.matches("GM_ADDR").count(), 8, "{flash}");
}
