//! An image of all kernels, compiled with CANN's own headers in CPU-twin mode, whose intrinsics are those of the simulator.
//!
//! CANN declares the intrinsics of the twin as C++ functions (`stub_fun.h`) and keeps their definitions in a closed library.
//! Here each declaration of an intrinsic that the simulator has gets a definition that forwards to it (`ascendc/twin/twin.h`).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

use super::cann::Headers;
use super::declarations::{declarations, Declaration};
use super::sources;
use super::twin_command;
use crate::compiler::Compiler;

/// Declares the intrinsics.
const INTRINSICS: &str = "stub_fun.h";

/// In the names of headers, in folders `utils`, that declare functions of CANN's checking tool, in namespace `AscendC::check`.
const CHECKS: &str = "_check_";

/// Compiles and links the image below `folder` and returns its path.
///
/// # Errors
/// What a compiler or linker printed; the linker names what this release needs and the twin lacks.
pub(crate) fn build(compiler: &Compiler, headers: &Headers, folder: &Path) -> Result<PathBuf> {
    let kernel_files = sources::write_all_to(folder)?;
    let [sim, twin] = ["sim", "twin"].map(|name| folder.join(name));
    let generated = twin.join("intrinsics.cpp");
    fs::write(&generated, definitions(headers)?)
        .with_context(|| format!("writing {}", generated.display()))?;
    let mut units: Vec<PathBuf> = kernel_files.iter().map(|file| folder.join(file)).collect();
    units.extend([sim.join("entries.cpp"), twin.join("twin.cpp"), generated]);
    let mut link = compiler.command();
    let image = folder.join("libfa_kernels_twin.so");
    // Everything must be found, or the kernel would end the process where it first calls what is missing.
    link.args(["-shared", "-Wl,--no-undefined", "-o"]).arg(&image);
    for unit in &units {
        let object = unit.with_extension("o");
        let mut command = twin_command(compiler, headers, folder);
        command.args(["-DFASIM_TWIN", "-O1", "-fPIC", "-fvisibility=hidden"]);
        command.arg("-I").arg(&sim).arg("-I").arg(&twin);
        command.arg("-c").arg(unit).arg("-o").arg(&object);
        run(&format!("compiling {}", unit.display()), command)?;
        link.arg(object);
    }
    run("linking the image", link)?;
    Ok(image)
}

fn run(what: &str, mut command: Command) -> Result<()> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    if output.status.success() {
        return Ok(());
    }
    bail!("{what}: {}\n{}", output.status, super::shortened(&String::from_utf8_lossy(&output.stderr)))
}

/// The text of a unit that defines the intrinsics, and the checks: they find nothing, the machine checks for itself.
fn definitions(headers: &Headers) -> Result<String> {
    let declared = declarations(&headers.read(INTRINSICS)?);
    let modelled = modelled_names();
    let mut text = String::from("#include \"twin.h\"\n");
    for d in declared.iter().filter(|d| modelled.contains(d.name.as_str()) && !is_of_another_chip(d)) {
        let Declaration { result, name, params, param_names } = d;
        let operands: String = param_names.iter().map(|p| format!(", {p}")).collect();
        writeln!(
            text,
            "{result} {name}({params}) {{ return ::fasim::forward<{result}>(FASIM_TARGET({name}){operands}); }}"
        )?;
    }
    text += "namespace AscendC::check {\n";
    for header in headers.utilities(CHECKS)? {
        for d in declarations(&header).iter().filter(|d| d.result == "bool" && d.name.starts_with("Check")) {
            writeln!(text, "{} {}({}) {{ return true; }}", d.result, d.name, d.params)?;
        }
    }
    Ok(text + "}\n")
}

/// Overloads on vector registers, which dav-c220 does not have.
fn is_of_another_chip(d: &Declaration) -> bool {
    d.params.contains("vector_")
}

/// Intrinsics of our headers: those of the instruction list, and reads of special registers.
fn modelled_names() -> BTreeSet<&'static str> {
    let listed = sources::ISA.split("X(").skip(1).filter_map(|rest| rest.split_once(')'));
    let reads = sources::INTRINSICS_SCALAR.split("inline int64_t ").skip(1).filter_map(|r| r.split_once('('));
    listed.chain(reads).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_instruction_list_and_of_special_registers_are_found() {
        let names = modelled_names();
        let modelled: Vec<_> = fastattention::sim::instructions().iter().map(|i| i.mnemonic).collect();
        let (reads, issued): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| !modelled.contains(name));
        assert!(issued.len() > 150 && issued.contains(&"mad") && issued.contains(&"vconv_deq"), "{issued:?}");
        assert!(reads.contains(&"get_block_num") && reads.iter().all(|r| r.starts_with("get_")), "{reads:?}");
    }
}
