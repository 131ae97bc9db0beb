//! Images of kernels whose text a test writes.

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) use kernel_build::sim_kernels::Registration;
use kernel_build::sim_kernels::{registration, SimLibrary};
use kernel_build::{Compiler, TARGET};

/// Where the crate's own kernels are.
pub(crate) fn ascendc() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ascendc")
}

/// Compiles kernels into one library for the simulator, as one translation unit, because the headers are most of the work.
pub(crate) fn compile(text: &str, kernels: &[Registration<'_>]) -> Vec<u8> {
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("kernels.cpp");
    fs::write(&source, text.to_owned() + &registration(kernels)).unwrap();
    let output = scratch.path().join("kernels.so");
    let library = SimLibrary {
        ascendc: &ascendc(),
        sources: &[source],
        objects: &scratch.path().join("objects"),
        output: &output,
    };
    let compiler = Compiler::find(TARGET, scratch.path()).unwrap();
    library.build(&compiler).unwrap_or_else(|e| panic!("{e}"));
    fs::read(output).unwrap()
}
