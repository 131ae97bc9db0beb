//! Builds the kernels for the simulator: `ascendc/kernels/*.cpp` and `ascendc/sim/entries.cpp` become one shared library,
//! whose path the crate reads from `FASTATTENTION_SIM_KERNELS`.

#[path = "build/sim_kernels.rs"]
mod sim_kernels;

use std::path::{Path, PathBuf};
use std::{env, fs, process};

use sim_kernels::{Compiler, SimLibrary};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build/sim_kernels.rs");
    println!("cargo::rerun-if-changed=ascendc");
    println!("cargo::rerun-if-env-changed=CXX");
    if let Ok(target) = env::var("TARGET") {
        // The tests build kernels of their own.
        println!("cargo::rustc-env=FASTATTENTION_TARGET={target}");
    }
    match build_kernels() {
        Ok(path) => println!("cargo::rustc-env=FASTATTENTION_SIM_KERNELS={}", path.display()),
        Err(why) => {
            eprintln!("{why}");
            process::exit(1);
        }
    }
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
    let entries = fs::read_dir(folder).map_err(|e| format!("cannot read {}: {e}", folder.display()))?;
    let mut sources = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| format!("cannot read {}: {e}", folder.display()))?.path();
        if path.extension().is_some_and(|e| e == "cpp") {
            sources.push(path);
        }
    }
    sources.sort();
    Ok(sources)
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("cargo did not set {name}"))
}
