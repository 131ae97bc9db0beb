//! C programs, written against the documented functions, run on the library: as they are, under
//! AddressSanitizer and under ThreadSanitizer.
//!
//! The sanitizers instrument the programs. The library is not instrumented: AddressSanitizer sees in it the
//! calls of `memcpy`, `malloc` and the like, so it finds overruns of the program's buffers by copies, leaks
//! and double frees of the program, not stray accesses by the library's own code (which is mostly safe Rust).
//! ThreadSanitizer sees the order and the accesses to the program's memory that the library announces
//! (`ascend-sim/src/acl/order.rs`): it finds races of the program, a missing synchronisation among them, not
//! races inside the library. Two programs that are wrong on purpose show that it does find them.
#![allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use kernel_build::sim_kernels::{registration, Registration, SimLibrary};
use kernel_build::{Compiler, TARGET};

mod installed;

/// Folder of headers of a CANN (with `acl/acl.h`), to compile the programs against in the place of
/// `acl_decls.h`.
const INCLUDE_VARIABLE: &str = "FASTATTENTION_ACL_INCLUDE";

/// What the tests of this file share: the installed library and a kernel image.
struct Installed {
    folder: tempfile::TempDir,
    lib64: PathBuf,
    image: PathBuf,
}

fn installed() -> &'static Installed {
    static INSTALLED: OnceLock<Installed> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let lib64 = installed::library(folder.path(), "9.1");
        let image = build_image(folder.path());
        Installed { folder, lib64, image }
    })
}

/// `fa_copy` as an image of its own.
fn build_image(folder: &Path) -> PathBuf {
    let ascendc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ascendc");
    let list = folder.join("list.cpp");
    let params = "GM_ADDR dst, GM_ADDR src, uint64_t bytes";
    let kernels = [Registration { name: "fa_copy", params, kernel_type: "kAivOnly" }];
    std::fs::write(&list, registration(&kernels)).unwrap();
    let image = folder.join("kernels.so");
    let library = SimLibrary {
        ascendc: &ascendc,
        sources: &[ascendc.join("kernels/copy.cpp"), list],
        objects: &folder.join("objects"),
        output: &image,
        flags: &[],
    };
    library.build(&Compiler::find(TARGET, folder).unwrap()).unwrap();
    image
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sanitizer {
    None,
    Address,
    Thread,
}

/// How a program is linked to the library.
#[derive(Clone, Copy, Debug)]
enum Link {
    Name,
    RuntimeAndHccl,
    FullPath,
}

fn compile(name: &str, sanitizer: Sanitizer, link: Link) -> PathBuf {
    let installed = installed();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    let program = installed.folder.path().join(format!("{name}-{sanitizer:?}-{link:?}"));
    let mut command = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    command.args(["-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-I"]).arg(&sources);
    if let Some(include) = std::env::var_os(INCLUDE_VARIABLE) {
        // Headers of the vendor have warnings of their own.
        command.arg("-DGENUINE_ACL_HEADERS").arg("-isystem").arg(&include);
        if Path::new(&include).join("hccl/hccl.h").exists() {
            command.arg("-DGENUINE_HCCL_HEADERS");
        }
    }
    match sanitizer {
        Sanitizer::None => {}
        Sanitizer::Address => drop(command.arg("-fsanitize=address")),
        Sanitizer::Thread => drop(command.arg("-fsanitize=thread")),
    }
    command.arg("-o").arg(&program).arg(sources.join(name).with_extension("c"));
    match link {
        Link::Name => drop(command.arg("-L").arg(&installed.lib64).arg("-lascendcl")),
        Link::RuntimeAndHccl => drop(command.arg("-L").arg(&installed.lib64).args(["-lacl_rt", "-lhccl"])),
        Link::FullPath => {
            command.arg(installed.lib64.join("libhccl.so")).arg(installed.lib64.join("libacl_rt.so"));
        }
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    program
}

fn run(program: &Path, sanitizer: Sanitizer, args: &[&Path], variables: &[(&str, &Path)]) -> Output {
    let installed = installed();
    let mut command = Command::new(program);
    command.args(args).env("LD_LIBRARY_PATH", &installed.lib64).env("FASTATTENTION_SIM_DEVICES", "8");
    command.envs(variables.iter().copied());
    if sanitizer == Sanitizer::Thread {
        let suppressions = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/tsan.supp");
        command.env("TSAN_OPTIONS", format!("suppressions={}", suppressions.display()));
    }
    command.output().unwrap()
}

fn expect_success(name: &str, sanitizer: Sanitizer, link: Link) {
    let program = compile(name, sanitizer, link);
    let image: &[&Path] = if name == "kernel" { &[&installed().image] } else { &[] };
    let output = run(&program, sanitizer, image, &[]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}, {sanitizer:?}, {link:?}: {}\n{text}", output.status);
}

const PROGRAMS: [&str; 7] = ["errors", "contexts", "memory", "streams", "kernel", "allreduce", "processes"];

#[test]
fn programs_run() {
    for name in PROGRAMS {
        expect_success(name, Sanitizer::None, Link::Name);
    }
}

#[test]
fn the_other_names_serve_as_well() {
    expect_success("allreduce", Sanitizer::None, Link::RuntimeAndHccl);
    expect_success("allreduce", Sanitizer::None, Link::FullPath);
}

#[test]
fn programs_run_under_address_sanitizer() {
    for name in PROGRAMS {
        expect_success(name, Sanitizer::Address, Link::Name);
    }
}

#[test]
fn programs_run_under_thread_sanitizer() {
    for name in PROGRAMS {
        expect_success(name, Sanitizer::Thread, Link::Name);
    }
}

fn expect_report(name: &str, sanitizer: Sanitizer, report: &str) {
    let output = run(&compile(name, sanitizer, Link::Name), sanitizer, &[], &[]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains(report), "{name}: {}\n{text}", output.status);
}

#[test]
fn address_sanitizer_finds_a_copy_into_a_buffer_that_is_too_small() {
    expect_report("too_small", Sanitizer::Address, "heap-buffer-overflow");
}

#[test]
fn thread_sanitizer_finds_a_missing_synchronisation() {
    expect_report("unsynchronised", Sanitizer::Thread, "data race");
}

/// An ELF file with one NPU kernel: a function compiled for the host, with the machine's number at byte 18 of
/// the header replaced.
fn npu_binary(kernel: &str, folder: &Path) -> PathBuf {
    let (source, object) = (folder.join("npu.c"), folder.join("npu.o"));
    std::fs::write(&source, format!("void {kernel}(void) {{}}\n")).unwrap();
    let status = Command::new("cc").arg("-c").arg(&source).arg("-o").arg(&object).status().unwrap();
    assert!(status.success());
    let mut bytes = std::fs::read(&object).unwrap();
    bytes[18..20].copy_from_slice(&0x1029u16.to_le_bytes());
    std::fs::write(&object, bytes).unwrap();
    object
}

#[test]
fn a_program_that_loads_an_npu_binary_is_told_what_to_do_or_runs_the_host_build() {
    let installed = installed();
    let binary = npu_binary("fa_copy_mix_aiv", installed.folder.path());
    let program = compile("kernel", Sanitizer::None, Link::Name);
    let output = run(&program, Sanitizer::None, &[&binary], &[]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(text.contains("code for an NPU, with the kernels fa_copy; the simulator runs"), "{text}");
    let output =
        run(&program, Sanitizer::None, &[&binary], &[("FASTATTENTION_SIM_KERNELS", &installed.image)]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
