//! `fastattention bench`.

use std::path::PathBuf;

use anyhow::Result;
use fastattention_cli::output::Output;
use fastattention_cli::sweep::{self, Defaults, Sweep};
use fastattention_cli::{print, table};

/// What to run, and where to write it.
#[derive(clap::Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    sweep: Sweep,
    /// CSV file for all columns.
    #[arg(long)]
    csv: Option<PathBuf>,
}

impl Bench {
    pub(crate) fn execute(self) -> Result<()> {
        let csv = self.csv.as_deref().map(|path| Output::check(path, None)).transpose()?;
        let outcome = sweep::run(&self.sweep.workloads(&Defaults::SWEEP)?);
        if !outcome.rows.is_empty() {
            if let Some(csv) = csv {
                csv.write_bytes(table::csv(&outcome.rows).as_bytes())?;
            }
            print(table::text(&outcome.rows).trim_end())?;
        }
        outcome.check()
    }
}
