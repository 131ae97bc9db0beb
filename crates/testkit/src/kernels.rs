//! Images of kernels whose text a test writes.

use std::fs;
use std::path::{Path, PathBuf};

pub use kernel_build::sim_kernels::Registration;
use kernel_build::sim_kernels::{registration, SimLibrary};
use kernel_build::{Compiler, TARGET};

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where the crate's own kernels are.
pub fn ascendc() -> PathBuf {
    root().join("ascendc")
}

/// Compiles kernels into one library for the simulator, as one translation unit, because the headers are most
/// of the work.
pub fn compile(text: &str, kernels: &[Registration<'_>]) -> Vec<u8> {
    compile_with(text, kernels, &[])
}

/// As [`compile`], with further arguments of the compiler.
pub fn compile_with(text: &str, kernels: &[Registration<'_>], flags: &[&str]) -> Vec<u8> {
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("kernels.cpp");
    fs::write(&source, text.to_owned() + &registration(kernels)).unwrap();
    let output = scratch.path().join("kernels.so");
    let library = SimLibrary {
        ascendc: &ascendc(),
        sources: &[source],
        objects: &scratch.path().join("objects"),
        output: &output,
        flags,
    };
    let compiler = Compiler::find(TARGET, scratch.path()).unwrap();
    library.build(&compiler).unwrap_or_else(|e| panic!("{e}"));
    fs::read(output).unwrap()
}
