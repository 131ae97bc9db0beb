//! `fastattention plan`.

use std::path::PathBuf;

use anyhow::Result;
use fastattention::attention::{self, Mask, Problem};
use fastattention::{DType, Soc};

/// A shape given by flags, but for the rows of q.
#[derive(clap::Args)]
pub(crate) struct ShapeFlags {
    /// Batch size.
    #[arg(long, default_value_t = 1)]
    batch: u32,
    /// Rows of k and v [default: seqlen_q].
    #[arg(long)]
    seqlen_k: Option<u32>,
    /// Heads of q.
    #[arg(long)]
    num_heads: u32,
    /// Heads of k and v [default: num_heads].
    #[arg(long)]
    num_heads_k: Option<u32>,
    /// Elements of a row of q and k.
    #[arg(long)]
    head_dim: u32,
    /// Elements of a row of v [default: head_dim].
    #[arg(long)]
    head_dim_v: Option<u32>,
    /// f16 or bf16.
    #[arg(long, default_value = "f16", value_parser = parse_dtype)]
    dtype: DType,
    /// none, causal or window:L,R.
    #[arg(long, default_value = "none", value_parser = crate::parse_mask)]
    mask: Mask,
    /// Factor of the scores [default: 1/sqrt(head_dim)].
    #[arg(long, allow_negative_numbers = true)]
    softmax_scale: Option<f32>,
    /// SoC to plan for.
    #[arg(long, default_value = "Ascend910B2")]
    soc: String,
}

impl ShapeFlags {
    pub(crate) fn soc(&self) -> Result<&'static Soc> {
        Ok(Soc::by_name(&self.soc)?)
    }

    pub(crate) fn problem(&self, seqlen_q: u32) -> Problem {
        let mut problem = Problem::new(self.dtype, [self.batch, seqlen_q, self.num_heads, self.head_dim])
            .with_seqlen_k(self.seqlen_k.unwrap_or(seqlen_q))
            .with_num_heads_k(self.num_heads_k.unwrap_or(self.num_heads))
            .with_head_dim_v(self.head_dim_v.unwrap_or(self.head_dim))
            .with_mask(self.mask)
            .with_lse();
        problem.softmax_scale = self.softmax_scale;
        problem
    }
}

/// A plan to print.
#[derive(clap::Args)]
pub(crate) struct Plan {
    /// Rows of q.
    #[arg(long)]
    seqlen_q: u32,
    #[command(flatten)]
    shape: ShapeFlags,
    /// Results of `fastattention tune` to choose from.
    #[arg(long)]
    tuned: Option<PathBuf>,
    /// Also list every candidate tiling: those that work by predicted model time, the others with the reason.
    #[arg(long)]
    explain: bool,
}

fn parse_dtype(text: &str) -> Result<DType, String> {
    match text {
        "f16" => Ok(DType::F16),
        "bf16" => Ok(DType::Bf16),
        _ => Err(format!("dtype {text:?} is not f16 or bf16")),
    }
}

impl Plan {
    pub(crate) fn execute(self) -> Result<()> {
        let (problem, soc) = (self.shape.problem(self.seqlen_q), self.shape.soc()?);
        let plan = match &self.tuned {
            Some(path) => attention::plan_tuned(&problem, soc, &crate::tune::read(path, soc)?)?,
            None => attention::plan(&problem, soc)?,
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
        crate::print(text.trim_end())
    }
}
