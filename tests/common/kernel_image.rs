//! Images of kernels whose text a test writes.

#[path = "../../build/sim_kernels.rs"]
mod sim_kernels;

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) use sim_kernels::Registration;
use sim_kernels::{registration, Compiler, SimLibrary};

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
    let compiler = Compiler::find(env!("FA_BUILD_TARGET"), scratch.path()).unwrap();
    library.build(&compiler).unwrap_or_else(|e| panic!("{e}"));
    fs::read(output).unwrap()
}
