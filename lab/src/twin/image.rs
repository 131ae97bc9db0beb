//! An image of all kernels, compiled with CANN's own headers in CPU-twin mode, whose intrinsics are those of
//! the simulator.
//!
//! CANN declares the intrinsics of the twin as C++ functions (`stub_fun.h`) and keeps their definitions in a
//! closed library. Here each declaration of an intrinsic that the simulator has gets a definition that
//! forwards to it (`ascendc/twin/twin.h`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{bail, Context, Result};
use fastattention_cli::kernels::{shortened, write_all, TwinMode};

use super::declarations::{declarations, lines_of, Declaration};

/// A file below `ascendc`.
macro_rules! ascendc {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../ascendc/", $name))
    };
}

/// Files below `ascendc`, with their paths.
macro_rules! files {
    ($($name:literal)*) => { &[$(($name, ascendc!($name))),*] };
}

/// The CPU twin, and what it takes from the simulator's headers: all that stands below AscendC.
const TWIN_FILES: &[(&str, &str)] = files![
    "sim/casts.def" "sim/entries.cpp" "sim/float_bits.h" "sim/intrinsics_move.h" "sim/intrinsics_scalar.h"
    "sim/intrinsics_vector.h" "sim/isa.def" "sim/issue.h" "sim/machine_abi.h" "sim/register.h"
    "twin/twin.cpp" "twin/twin.h"
];

/// The list of instructions: `X(name)`.
const ISA: &str = ascendc!("sim/isa.def");

/// Flags, barriers and registers: the intrinsics with a result are `inline int64_t name()`.
const INTRINSICS_SCALAR: &str = ascendc!("sim/intrinsics_scalar.h");

/// Declares the intrinsics.
const INTRINSICS: &str = "stub_fun.h";

/// In the names of headers, in folders `utils`, that declare functions of CANN's checking tool.
const CHECKS: &str = "_check_";

/// Options with which automatic variables start as 0, also where a constructor begins (g++, clang++ from 16,
/// clang++ before). CANN's headers read bytes that they never wrote: `GetScalarBitcodeValue` returns the 64
/// bits of a union after writing the 16 or 32 of an element.
const ZEROING: [&[&str]; 3] = [
    &["-ftrivial-auto-var-init=zero", "-fno-lifetime-dse"],
    &["-ftrivial-auto-var-init=zero"],
    &[
        "-ftrivial-auto-var-init=zero",
        "-enable-trivial-auto-var-init-zero-knowing-it-will-be-removed-from-clang",
    ],
];

/// Compiles and links the image below `folder` and returns its path.
///
/// # Errors
/// What a compiler or linker printed; the linker names what this release needs and the twin lacks.
pub(super) fn build(twin_mode: &TwinMode, folder: &Path) -> Result<PathBuf> {
    let kernel_files = write_all(folder, TWIN_FILES)?;
    let [sim, twin] = ["sim", "twin"].map(|name| folder.join(name));
    let zeroing = zeroing(twin_mode)?;
    let twin_command = || {
        let mut command = twin_mode.command(folder);
        command.args(["-DFASIM_TWIN", "-O1", "-fPIC", "-fvisibility=hidden"]).args(zeroing);
        command.arg("-I").arg(&sim).arg("-I").arg(&twin);
        command
    };
    let generated = twin.join("intrinsics.cpp");
    let mut preprocess = twin_command();
    preprocess.args(["-E", "-x", "c++"]).arg(twin.join("twin.h"));
    fs::write(&generated, definitions(&run("preprocessing CANN's headers", preprocess)?))
        .with_context(|| format!("writing {}", generated.display()))?;
    let mut units: Vec<PathBuf> = kernel_files.iter().map(|file| folder.join(file)).collect();
    units.extend([sim.join("entries.cpp"), twin.join("twin.cpp"), generated]);
    let mut link = twin_mode.plain_command();
    let image = folder.join("libfa_kernels_twin.so");
    // Everything must be found, or the kernel would end the process where it first calls what is missing.
    link.args(["-shared", "-Wl,--no-undefined", "-o"]).arg(&image);
    for unit in &units {
        let object = unit.with_extension("o");
        let mut command = twin_command();
        command.arg("-c").arg(unit).arg("-o").arg(&object);
        run(&format!("compiling {}", unit.display()), command)?;
        link.arg(object);
    }
    run("linking the image", link)?;
    Ok(image)
}

/// The first of [`ZEROING`] that the compiler takes.
fn zeroing(twin_mode: &TwinMode) -> Result<&'static [&'static str]> {
    for options in ZEROING {
        let mut command = twin_mode.plain_command();
        command.args(options).args(["-fsyntax-only", "-x", "c++", "-"]).stdin(Stdio::null());
        if command.output().with_context(|| format!("running {command:?}"))?.status.success() {
            return Ok(options);
        }
    }
    bail!("the compiler does not take {}; the twin needs g++ 12, clang++ 8 or later", ZEROING[1].join(" "))
}

/// Runs a compiler or linker and returns what it wrote to its standard output.
fn run(what: &str, mut command: Command) -> Result<String> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    bail!("{what}: {}\n{}", output.status, shortened(&String::from_utf8_lossy(&output.stderr)))
}

/// The text of a unit that defines the intrinsics, and the checks: they find nothing, the machine checks for
/// itself.
fn definitions(preprocessed: &str) -> String {
    let modelled = modelled_names();
    let mut text = String::from("#include \"twin.h\"\n");
    for d in declarations(&lines_of(preprocessed, declares_the_twin)) {
        let Declaration { result, name, param_names, .. } = &d;
        if modelled.contains(name.as_str()) && !is_of_another_chip(&d) {
            let operands: String = param_names.iter().map(|p| format!(", {}", operand(p))).collect();
            text += &d.define(&format!("return ::fasim::forward<{result}>(FASIM_TARGET({name}){operands});"));
        } else if result == "bool" && name.starts_with("Check") {
            text += &d.define("return true;");
        }
    }
    text
}

/// A parameter of an intrinsic as it is handed on. Pointers are translated by their type; `vgather` and
/// `vgatherb` take the address of what they read as a number (`kernel_operator_vec_gather_impl.h`).
fn operand(param: &str) -> String {
    match param {
        "offsetAddr" => format!("::fasim::ub_offset({param})"),
        _ => param.to_owned(),
    }
}

/// Whether a header declares what CANN's closed libraries define.
fn declares_the_twin(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name == INTRINSICS
        || (name.contains(CHECKS) && file.parent().is_some_and(|folder| folder.ends_with("utils")))
}

/// Overloads on vector registers, which dav-c220 does not have.
fn is_of_another_chip(d: &Declaration) -> bool {
    d.params.contains("vector_")
}

/// Intrinsics of our headers: those of the instruction list, and reads of special registers.
fn modelled_names() -> BTreeSet<&'static str> {
    let listed = ISA.split("X(").skip(1).filter_map(|rest| rest.split_once(')'));
    let reads = INTRINSICS_SCALAR.split("inline int64_t ").skip(1).filter_map(|r| r.split_once('('));
    listed.chain(reads).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_a_number_is_translated() {
        // As CANN 8.1.RC1 and AscendC 9.1 declare them.
        let header = "# 1 \"/cann/stub_fun.h\"\n\
            void vgather(uint16_t* dst, uint32_t* src, uint32_t offsetAddr, uint16_t dstRepeatStride, uint8_t repeat);\n\
            void vabs(half* dst, half* src, uint64_t config);\n";
        let text = definitions(header);
        assert!(
            text.contains(", dst, src, ::fasim::ub_offset(offsetAddr), dstRepeatStride, repeat); }"),
            "{text}"
        );
        assert!(text.contains(", dst, src, config); }"), "{text}");
    }

    #[test]
    fn names_of_the_instruction_list_and_of_special_registers_are_found() {
        let names = modelled_names();
        let modelled: Vec<_> = fastattention::sim::instructions().iter().map(|i| i.mnemonic).collect();
        let (reads, issued): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| !modelled.contains(name));
        assert!(issued.len() > 150 && issued.contains(&"mad") && issued.contains(&"vconv_deq"), "{issued:?}");
        assert!(reads.contains(&"get_block_num") && reads.iter().all(|r| r.starts_with("get_")), "{reads:?}");
    }
}
