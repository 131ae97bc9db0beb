//! `fastattention-lab twin`: the kernels as CANN's own headers compile them, against the kernels as ours do.

mod attention;
mod compare;
mod declarations;
mod image;
mod layer;
mod operators;
mod side_by_side;

use anyhow::{Context, Result};
use fastattention_cli::kernels::Check;

/// Where the headers are, and which cases to run.
#[derive(clap::Args)]
pub(crate) struct Twin {
    #[command(flatten)]
    check: Check,
    /// Of the attention table, run every N-th case only.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    every: u16,
}

impl Twin {
    pub(crate) fn execute(self) -> Result<()> {
        let compiler = self.check.execute()?;
        let scratch = tempfile::tempdir().context("creating a temporary folder")?;
        let image = image::build(&compiler, scratch.path())?;
        side_by_side::run(&image, usize::from(self.every))
    }
}
