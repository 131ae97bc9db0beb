//! `fastattention plan`.

use std::path::PathBuf;

use anyhow::Result;
use fastattention::attention;
use fastattention_cli::print;
use fastattention_cli::shape::ShapeArgs;

/// A plan to print.
#[derive(clap::Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    shape: ShapeArgs,
    /// Results of `fastattention tune` to choose from.
    #[arg(long)]
    tuned: Option<PathBuf>,
    /// Also list every candidate tiling: those that work by predicted model time, the others with the
    /// reason.
    #[arg(long)]
    explain: bool,
}

impl Plan {
    pub(crate) fn execute(self) -> Result<()> {
        let (problem, chip) = (self.shape.problem().with_lse(), self.shape.chip());
        let (soc, plan) = match &self.tuned {
            Some(path) => {
                let soc = chip.known_soc()?;
                (soc, attention::plan_tuned(&problem, soc, &crate::tuned::read(path, soc)?)?)
            }
            None => {
                let soc = chip.soc()?;
                (soc, attention::plan(&problem, soc)?)
            }
        };
        let mut text = plan.to_string();
        if self.explain {
            let mut candidates = plan.candidates().to_vec();
            candidates.sort_by(|a, b| a.cycles.total_cmp(&b.cycles));
            text.push_str("\ncandidates by predicted model time (us on the cores, operands in L2)\n");
            for c in candidates {
                let us = c.cycles / f64::from(soc.clock_mhz);
                text.push_str(&format!("{us:12.1}  {}\n", c.candidate));
            }
            text.push_str("\nrejected\n");
            for r in plan.rejected() {
                text.push_str(&format!("  {}: {}\n", r.candidate, r.reason));
            }
        }
        print(text.trim_end())
    }
}
