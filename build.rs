//! Builds the kernels.
//!
//! For the simulator: `ascendc/kernels/*.cpp` and `ascendc/sim/entries.cpp` become one shared library, whose
//! path the crate reads from `FA_BUILD_SIM_KERNELS`. For an NPU, where CANN is installed: each file becomes a
//! device image, which the crate embeds by the expression `npu_kernels.rs` in cargo's output folder. The
//! kernel text itself is embedded from the list `kernel_sources.rs` there.
//!
//! Each structure of tiling data becomes a Rust structure, in a file with its name; `tiling_data_layouts.rs`
//! is for the test that compares both. The operands of each family of kernels become a Rust structure in
//! `operands.rs`, and what a kernel in Rust finds of them one in `arguments.rs`. With feature `cuda` the table
//! of the Volta kernels, `cuda/kernels.csv`, becomes Rust tables in `cuda_kernels.rs`.

use std::path::{Path, PathBuf};
use std::{env, fs, process};

use kernel_build::npu::config::Config;
use kernel_build::npu::{self, Request, Switch, CMAKE_VARIABLE, SWITCH_VARIABLE};
use kernel_build::sim_kernels::SimLibrary;
use kernel_build::{cann_roots, interfaces, tiling_data, volta, Compiler, ROOT_VARIABLES};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=ascendc");
    println!("cargo::rerun-if-changed=cuda/kernels.csv");
    for name in ["CXX", "CXXFLAGS"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    // Under a sanitizer `cc` would compile the kernels with that of the C++ compiler, whose run-time library
    // cannot share a process with that of Rust's. Nothing else runs in this process yet.
    env::remove_var("CARGO_CFG_SANITIZE");
    if let Err(why) = build() {
        eprintln!("{why}");
        process::exit(1);
    }
}

fn build() -> Result<(), String> {
    write_source_list()?;
    write_tiling_data()?;
    write_operands()?;
    if env::var_os("CARGO_FEATURE_CUDA").is_some() {
        let ptx = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("cuda/ptx");
        write("cuda_kernels.rs", volta::tables_to_rust(&read("cuda/kernels.csv")?, &ptx)?)?;
    }
    build_npu_kernels()?;
    if env::var_os("CARGO_FEATURE_SIM").is_some() {
        println!("cargo::rustc-env=FA_BUILD_SIM_KERNELS={}", build_sim_kernels()?.display());
    }
    Ok(())
}

fn build_sim_kernels() -> Result<PathBuf, String> {
    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    let ascendc = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("ascendc");
    let mut sources = npu::source_files(&ascendc)?;
    sources.retain(|path| path.extension().is_some_and(|e| e == "cpp"));
    sources.push(ascendc.join("sim/entries.cpp"));
    let output = out_dir.join("libfa_kernels_sim.so");
    let compiler = Compiler::find(&variable("TARGET")?, &out_dir)?;
    let library = SimLibrary {
        ascendc: &ascendc,
        sources: &sources,
        objects: &out_dir.join("sim_kernels"),
        output: &output,
        flags: &[],
    };
    library.build(&compiler)?;
    Ok(output)
}

/// Without CANN this writes why, and is silent unless a variable says where it is.
fn build_npu_kernels() -> Result<(), String> {
    println!("cargo::rerun-if-changed=cann.toml");
    for name in ROOT_VARIABLES.into_iter().chain(["HOME", SWITCH_VARIABLE, CMAKE_VARIABLE]) {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let ascendc = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("ascendc");
    let out = PathBuf::from(variable("OUT_DIR")?).join("npu_kernels");
    fs::create_dir_all(&out).map_err(|e| format!("cannot create {}: {e}", out.display()))?;
    let config = Config::parse("cann.toml", &read("cann.toml")?)?;
    let request = Request {
        ascendc: &ascendc,
        out: &out,
        config: &config,
        families: &npu::families(&ascendc, &config)?,
        switch: Switch::parse(
            env::var_os(SWITCH_VARIABLE).map(|v| v.to_string_lossy().into_owned()).as_deref(),
        )?,
        roots: &cann_roots(|name| env::var_os(name)),
        cmake: &env::var_os(CMAKE_VARIABLE).map_or_else(|| PathBuf::from("cmake"), PathBuf::from),
    };
    let outcome = request.build()?;
    let named =
        ROOT_VARIABLES.into_iter().any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()));
    if let Some(note) = outcome.note(named) {
        println!("cargo::warning={note}");
    }
    for path in outcome.depends_on() {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    write("npu_kernels.rs", outcome.to_rust())
}

/// Writes a Rust expression: every file of kernel text with its path below `ascendc`, sorted.
fn write_source_list() -> Result<(), String> {
    let ascendc = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("ascendc");
    let mut text = String::from("&[\n");
    for path in npu::source_files(&ascendc)? {
        let below = path.strip_prefix(&ascendc).map_err(|e| format!("{}: {e}", path.display()))?;
        // With one kind of separator on every host.
        let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
        text += &format!("({:?}, include_str!({:?})),\n", parts.join("/"), path);
    }
    write("kernel_sources.rs", text + "]\n")
}

/// Writes a Rust structure for each of C++, and a list of their layouts.
fn write_tiling_data() -> Result<(), String> {
    let structures = tiling_data::structures(&read("ascendc/include/fa/tiling_data.h")?)?;
    for structure in &structures {
        write(&format!("{}.rs", structure.name), structure.to_rust())?;
    }
    let layouts: String = structures.iter().map(tiling_data::Structure::layout_to_rust).collect();
    write("tiling_data_layouts.rs", format!("&[\n{layouts}]\n"))
}

/// Writes a Rust structure for the operands of each family of kernels.
fn write_operands() -> Result<(), String> {
    let interfaces = interfaces::interfaces(&read("ascendc/kernels/families.h")?)?;
    write("operands.rs", interfaces.iter().map(interfaces::Interface::to_rust).collect())?;
    write("arguments.rs", interfaces.iter().map(interfaces::Interface::to_rust_kernel).collect())
}

/// Reads a file of this package.
fn read(path: &str) -> Result<String, String> {
    let path = Path::new(&variable("CARGO_MANIFEST_DIR")?).join(path);
    fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

/// Writes a file in cargo's output folder.
fn write(name: &str, text: String) -> Result<(), String> {
    let path = Path::new(&variable("OUT_DIR")?).join(name);
    fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("cargo did not set {name}"))
}
