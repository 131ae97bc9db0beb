//! `fastattention-lab charts`.

use std::path::PathBuf;

use anyhow::Result;
use fastattention_cli::sweep::{self, Defaults, Sweep};

use crate::chart::Files;

/// What to run, and where to draw it.
#[derive(clap::Args)]
pub(crate) struct Charts {
    #[command(flatten)]
    sweep: Sweep,
    /// Folder for the charts.
    #[arg(long)]
    svg: PathBuf,
}

impl Charts {
    pub(crate) fn execute(self) -> Result<()> {
        let workloads = self.sweep.workloads(&Defaults::SWEEP)?;
        let files = Files::check(&self.svg, &workloads)?;
        let outcome = sweep::run(&workloads);
        if !outcome.rows.is_empty() {
            files.write(&outcome.rows)?;
        }
        outcome.check()
    }
}
