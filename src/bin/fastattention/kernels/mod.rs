//! `fastattention kernels`.

mod cann;
mod compare;
mod declarations;
mod run_twin;
pub(crate) mod sources;
mod twin;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Error, Result};
use kernel_build::{Compiler, TARGET};

use cann::Headers;
use sources::Kernel;

/// Macros of CPU-twin mode for dav-c220, of CANN 8 (acl-runtime.md 5.1) and 9 (`__NPU_ARCH__`); neither minds the other's.
const TWIN_MACROS: [&str; 7] = [
    "-DASCENDC_CPU_DEBUG=1",
    "-DASCENDC_DEBUG=1",
    "-D__CCE_KT_TEST__=1",
    "-D__CCE_AICORE__=220",
    "-D__DAV_C220__",
    "-D__NPU_ARCH__=2201",
    "-DTILING_KEY_VAR=0",
];

/// Lines of a compiler's output that are shown for a kernel; one wrong include can bring thousands.
const SHOWN_LINES: usize = 60;

/// What to do with the kernels of this crate.
#[derive(clap::Subcommand)]
pub(crate) enum Kernels {
    /// List the kernels: name, element type, kernel type, arguments.
    List,
    /// Compile every kernel with CANN's own headers, for this host, without output.
    Check(Check),
}

/// Where the headers are.
#[derive(clap::Args)]
pub(crate) struct Check {
    /// Root of a CANN installation (what ASCEND_HOME_PATH names), a folder with its headers, or an AscendC source checkout.
    #[arg(long, value_name = "DIR")]
    cann: PathBuf,
    /// A further folder of headers, searched after those of CANN; may be given several times.
    #[arg(long, value_name = "DIR")]
    include: Vec<PathBuf>,
    /// Run the kernels, too: compiled with CANN's headers, on the simulator's instructions. Every instruction and result must
    /// be that of the kernels compiled with the simulator's headers.
    #[arg(long)]
    run: bool,
    /// With --run: every N-th case of the attention table.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "run", value_parser = clap::value_parser!(u16).range(1..))]
    every: u16,
}

impl Kernels {
    pub(crate) fn execute(self) -> Result<()> {
        match self {
            Self::List => list(),
            Self::Check(check) => check.execute(),
        }
    }
}

fn list() -> Result<()> {
    let kernels = sources::kernels()?;
    let width = kernels.iter().map(|k| k.name.len()).max().unwrap_or_default();
    for k in kernels {
        let args = k.args.join(", ");
        crate::print(format_args!("{:width$}  {:4}  {:23}  ({args})", k.name, k.dtype, k.kernel_type))?;
    }
    Ok(())
}

impl Check {
    fn execute(self) -> Result<()> {
        for folder in self.include.iter().chain([&self.cann]) {
            if !folder.is_dir() {
                bail!("{} given, a folder wanted", folder.display());
            }
        }
        // Absolute, because the compiler runs elsewhere.
        let absolute = |path: &PathBuf| std::path::absolute(path).with_context(|| path.display().to_string());
        let cann = absolute(&self.cann)?;
        let include = self.include.iter().map(absolute).collect::<Result<Vec<_>>>()?;
        let headers = Headers::find(&cann, &include)?;
        let scratch = tempfile::tempdir().context("creating a temporary folder")?;
        let compiler = Compiler::find(TARGET, scratch.path()).map_err(Error::msg)?;
        crate::print(format_args!("headers: {} ({})", cann.display(), headers.layout))?;

        let kernels = sources::kernels()?;
        let mut num_failed = 0;
        for kernel in &kernels {
            let outcome = compile(kernel, &compiler, &headers, &scratch.path().join(&kernel.name))?;
            num_failed += usize::from(outcome.is_err());
            match outcome {
                Ok(()) => crate::print(format_args!("{}: ok", kernel.name))?,
                Err(why) => crate::print(format_args!("{}: failed\n{}", kernel.name, shortened(&why)))?,
            }
        }
        if num_failed > 0 {
            bail!("{num_failed} of {} kernels do not compile with these headers", kernels.len());
        }
        if self.run {
            let image = twin::build(&compiler, &headers, &scratch.path().join("twin"))?;
            run_twin::run(&image, usize::from(self.every))?;
        }
        Ok(())
    }
}

/// Compiles one kernel without output. The inner error is what the compiler printed.
fn compile(
    kernel: &Kernel,
    compiler: &Compiler,
    headers: &Headers,
    folder: &Path,
) -> Result<Result<(), String>> {
    sources::write_alone(kernel, folder)?;
    let mut command = twin_command(compiler, headers, folder);
    command.arg("-fsyntax-only").arg(folder.join(&kernel.file));
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    Ok(Err(format!("{}{}", String::from_utf8_lossy(&output.stderr), output.status)))
}

/// A compiler call for kernel text below `folder`, with CANN's headers in CPU-twin mode.
fn twin_command(compiler: &Compiler, headers: &Headers, folder: &Path) -> Command {
    let mut command = compiler.command();
    // Without warnings: nearly all would be about CANN's headers, and the simulator's build makes ours errors.
    command.args(["-std=c++17", "-w"]).args(TWIN_MACROS);
    if compiler.is_like_clang() {
        // CANN's headers narrow variables in braces, which g++ only warns of.
        command.arg("-Wno-c++11-narrowing");
    }
    for include in &headers.includes {
        command.arg("-I").arg(include);
    }
    command.arg("-I").arg(folder.join("include"));
    command
}

fn shortened(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut shown: String = lines.iter().take(SHOWN_LINES).map(|line| format!("  {line}\n")).collect();
    if let Some(left_out @ 1..) = lines.len().checked_sub(SHOWN_LINES) {
        shown += &format!("  ... {left_out} more lines\n");
    }
    shown.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_output_is_cut_and_says_so() {
        assert_eq!(shortened("a\nb"), "  a\n  b");
        let text = "x\n".repeat(SHOWN_LINES + 2);
        assert_eq!(shortened(&text).lines().count(), SHOWN_LINES + 1);
        assert!(shortened(&text).ends_with("... 2 more lines"));
    }
}
