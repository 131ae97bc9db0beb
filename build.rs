//! Builds the kernels for the simulator: `ascendc/kernels/*.cpp` and `ascendc/sim/entries.cpp` become one shared library,
//! whose path the crate reads from `FA_BUILD_SIM_KERNELS`. The kernel text itself is embedded by the command line tool,
//! from the list `kernel_sources.rs` in cargo's output folder.
//!
//! `FA_BUILD_BINDINGS` is the folder of the bindings to CANN: the committed ones, or with feature `bindgen` those that
//! `build/bindings.rs` makes of installed headers.

#[cfg(feature = "bindgen")]
#[path = "build/bindings.rs"]
mod bindings;
#[path = "build/sim_kernels.rs"]
mod sim_kernels;

use std::path::{Path, PathBuf};
use std::{env, fs, process};

use sim_kernels::{Compiler, SimLibrary};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=ascendc");
    println!("cargo::rerun-if-env-changed=CXX");
    if let Ok(target) = env::var("TARGET") {
        // The tests build kernels of their own.
        println!("cargo::rustc-env=FA_BUILD_TARGET={target}");
    }
    if let Err(why) = build() {
        eprintln!("{why}");
        process::exit(1);
    }
}

fn build() -> Result<(), String> {
    write_source_list()?;
    println!("cargo::rustc-env=FA_BUILD_SIM_KERNELS={}", build_kernels()?.display());
    println!("cargo::rustc-env=FA_BUILD_BINDINGS={}", bindings_folder()?.display());
    Ok(())
}

fn bindings_folder() -> Result<PathBuf, String> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    #[cfg(feature = "bindgen")]
    match bindings::generate(&root, Path::new(&variable("OUT_DIR")?))? {
        Some(folder) => return Ok(folder),
        None => println!(
            "cargo::warning=feature bindgen: no CANN headers found (FASTATTENTION_CANN_INCLUDE names their folders); \
             using the committed bindings"
        ),
    }
    Ok(root.join("src/driver/bindings"))
}

fn build_kernels() -> Result<PathBuf, String> {
    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    let ascendc = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("ascendc");
    let mut sources = kernel_sources(&ascendc.join("kernels"))?;
    sources.push(ascendc.join("sim/entries.cpp"));
    let output = out_dir.join("libfa_kernels_sim.so");
    let compiler = Compiler::find(&variable("TARGET")?, &out_dir)?;
    let library = SimLibrary {
        ascendc: &ascendc,
        sources: &sources,
        objects: &out_dir.join("sim_kernels"),
        output: &output,
    };
    library.build(&compiler)?;
    Ok(output)
}

fn kernel_sources(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut sources = sorted_files(folder)?;
    sources.retain(|path| path.extension().is_some_and(|e| e == "cpp"));
    Ok(sources)
}

fn sorted_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("cannot read {}: {e}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| format!("cannot read {}: {e}", folder.display()))?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Writes a Rust expression: every file of kernel text with its path below `ascendc`, sorted.
fn write_source_list() -> Result<(), String> {
    let ascendc = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("ascendc");
    let mut text = String::from("&[\n");
    for folder in ["include/fa", "kernels"] {
        for path in sorted_files(&ascendc.join(folder))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            text += &format!("({:?}, include_str!({:?})),\n", format!("{folder}/{name}"), path);
        }
    }
    let list = Path::new(&variable("OUT_DIR")?).join("kernel_sources.rs");
    fs::write(&list, text + "]\n").map_err(|e| format!("cannot write {}: {e}", list.display()))
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("cargo did not set {name}"))
}
