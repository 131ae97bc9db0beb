//! `fastattention plan`.

use anyhow::Result;
use fastattention::{attention, Soc};

use crate::shape::ShapeArgs;

/// A shape given by flags.
#[derive(clap::Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    shape: ShapeArgs,
    /// Also list every candidate tiling: those that work by estimated cycles, the others with the reason.
    #[arg(long)]
    explain: bool,
}

impl Plan {
    pub(crate) fn execute(self) -> Result<()> {
        let problem = self.shape.problem().with_lse();
        let plan = attention::plan(&problem, Soc::by_name(&self.shape.soc)?)?;
        let mut text = plan.to_string();
        if self.explain {
            let mut candidates = plan.candidates().to_vec();
            candidates.sort_by(|a, b| a.cycles.total_cmp(&b.cycles));
            text.push_str("\ncandidates by estimated cycles (they rank tilings; they are no prediction)\n");
            for c in candidates {
                text.push_str(&format!("{:12.0}  {}\n", c.cycles, c.candidate));
            }
            text.push_str("\nrejected\n");
            for r in plan.rejected() {
                text.push_str(&format!("  {}: {}\n", r.candidate, r.reason));
            }
        }
        crate::print(text.trim_end())
    }
}
