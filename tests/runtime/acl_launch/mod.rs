//! Launches: argument lists and their misuse through the raw table, kernels that fail, and the safe layer
//! above.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "a child tells its parent how far it is")]
#![allow(unsafe_code, reason = "calls C functions, partly wrongly")]
#![allow(clippy::undocumented_unsafe_blocks, reason = "what is passed wrongly is the subject of each test")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "sequences of C calls")]

#[cfg(unix)]
mod arguments;
#[cfg(unix)]
mod callbacks;
#[cfg(target_os = "linux")]
mod images;
mod launcher;
mod raw;
mod safe;
mod threads;

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// Compiles `kernels.cpp`, with these macros.
fn compile(output: &Path, defines: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let status = Command::new(compiler)
        .args([
            "-std=c++17",
            "-O1",
            "-fPIC",
            "-shared",
            "-fvisibility=hidden",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-I",
        ])
        .arg(root.join("ascendc/sim"))
        .args(defines)
        .arg("-o")
        .arg(output)
        .arg(root.join("tests/runtime/acl_launch/kernels.cpp"))
        .status()
        .unwrap();
    assert!(status.success());
}

/// The image of `kernels.cpp`, compiled once.
fn image() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("kernels.so");
        compile(&output, &[]);
        std::fs::read(output).unwrap()
    })
}
