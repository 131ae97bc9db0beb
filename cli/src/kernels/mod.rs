//! `fastattention kernels`: the kernels of the crate, and what a compiler makes of them with the headers of
//! an installed CANN.

mod headers;
mod sources;
mod twin_mode;

use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use kernel_build::variants::Kernel;

use crate::progress::Progress;
use crate::{pool, print};
pub use sources::{names, write_all};
pub use twin_mode::{shortened, TwinMode};

/// What to do with the kernels of the crate.
#[derive(Debug, clap::Subcommand)]
pub enum Kernels {
    /// List the kernels: name, element type, kernel type, arguments.
    List,
    /// Compile every kernel with CANN's own headers, for this host, without output.
    Check(Check),
}

/// Where the headers are.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// Root of a CANN installation (what ASCEND_HOME_PATH names), a folder with its headers, or an AscendC
    /// source checkout.
    #[arg(long, value_name = "DIR")]
    cann: PathBuf,
    /// A further folder of headers, searched after those of CANN; may be given several times.
    #[arg(long, value_name = "DIR")]
    include: Vec<PathBuf>,
}

impl Kernels {
    /// # Errors
    /// What did not work, or that kernels do not compile.
    pub fn execute(self) -> Result<()> {
        match self {
            Self::List => list(),
            Self::Check(check) => check.execute().map(|_| ()),
        }
    }
}

fn list() -> Result<()> {
    let kernels = sources::kernels()?;
    let width = kernels.iter().map(|k| k.name.len()).max().unwrap_or_default();
    for k in kernels {
        let args = k.args.join(", ");
        print(format_args!("{:width$}  {:4}  {:23}  ({args})", k.name, k.dtype, k.kernel_type))?;
    }
    Ok(())
}

impl Check {
    /// Compiles every kernel by itself, and says how that went. Returns the compiler with these headers.
    ///
    /// # Errors
    /// No headers or no compiler were found, or kernels do not compile.
    pub fn execute(&self) -> Result<TwinMode> {
        for folder in self.include.iter().chain([&self.cann]) {
            if !folder.is_dir() {
                bail!("{} given, a folder wanted", folder.display());
            }
        }
        // Absolute, because the compiler runs elsewhere.
        let absolute = |path: &PathBuf| std::path::absolute(path).with_context(|| path.display().to_string());
        let cann = absolute(&self.cann)?;
        let include = self.include.iter().map(absolute).collect::<Result<Vec<_>>>()?;
        let scratch = tempfile::tempdir().context("creating a temporary folder")?;
        let twin_mode = TwinMode::find(&cann, &include, scratch.path())?;
        print(format_args!("headers: {} ({})", cann.display(), twin_mode.layout()))?;

        let kernels = sources::kernels()?;
        let progress = Progress::of("compiling kernels", kernels.len() as u64);
        let compile = |kernel: &Kernel| {
            let outcome = compile(kernel, &twin_mode, &scratch.path().join(&kernel.name));
            progress.add(1);
            outcome
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let outcomes = pool::run(&kernels, threads, |_| 1.0, compile, |_| {})?;
        drop(progress);
        let num_failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        for (kernel, outcome) in kernels.iter().zip(outcomes) {
            match outcome {
                Ok(()) => print(format_args!("{}: ok", kernel.name))?,
                Err(why) => print(format_args!("{}: failed\n{}", kernel.name, shortened(&why)))?,
            }
        }
        if num_failed > 0 {
            bail!("{num_failed} of {} kernels do not compile with these headers", kernels.len());
        }
        Ok(twin_mode)
    }
}

/// Compiles one kernel without output. The inner error is what the compiler printed.
fn compile(kernel: &Kernel, twin_mode: &TwinMode, folder: &Path) -> Result<Result<(), String>> {
    sources::write_alone(kernel, folder)?;
    let mut command = twin_mode.command(folder);
    command.arg("-fsyntax-only").arg(folder.join(&kernel.file));
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    Ok(Err(format!("{}{}", String::from_utf8_lossy(&output.stderr), output.status)))
}
