//! `fastattention layer`: a tensor-parallel layer with tiling-AllReduce, planned and in model time.

#[cfg(feature = "sim")]
mod simulation;

use std::path::PathBuf;

use anyhow::Result;
use fastattention::attention::Mask;
use fastattention::matmul::BLayout;
use fastattention::parallel::{plan, plan_with, Linear, Problem};
use fastattention::DType;
use fastattention_cli::chip::ChipArgs;
#[cfg(feature = "sim")]
use fastattention_cli::output::Output;
use fastattention_cli::print;
use fastattention_cli::shape::{parse_b_layout, parse_dtype, parse_score_dtype};

/// The layer, and what to do with it.
#[derive(clap::Args)]
pub(crate) struct Layer {
    /// Rows of each sequence.
    #[arg(long)]
    seqlen: u32,
    /// Sequences.
    #[arg(long, default_value_t = 1)]
    batch: u32,
    /// Heads of q of the whole layer.
    #[arg(long, default_value_t = 40)]
    num_heads: u32,
    /// Heads of k and v of the whole layer [default: num_heads].
    #[arg(long)]
    num_heads_k: Option<u32>,
    /// Elements of a row of q and k.
    #[arg(long, default_value_t = 128)]
    head_dim: u32,
    /// Elements of a row of v [default: head_dim].
    #[arg(long)]
    head_dim_v: Option<u32>,
    /// Columns of the layer's output.
    #[arg(long, default_value_t = 5120)]
    hidden: u32,
    /// Devices that share the layer.
    #[arg(long, default_value_t = 8)]
    ranks: u32,
    /// Element type of all operands: f16 or bf16.
    #[arg(long, default_value = "f16", value_parser = parse_dtype)]
    dtype: DType,
    /// The attention's output is there: only the projection and its AllReduce.
    #[arg(long, conflicts_with_all = ["num_heads_k", "head_dim_v", "score_dtype", "mask"])]
    no_attention: bool,
    /// Type in which scores go from the Cube to the vector cores: f32 or f16.
    #[arg(long, default_value = "f32", value_parser = parse_score_dtype)]
    score_dtype: DType,
    /// Mask: none, causal or window:L,R. L and R are the keys that a query sees to its left and right, * is
    /// no limit.
    #[arg(long, default_value = "causal", value_parser = fastattention_cli::mask::parse_mask)]
    mask: Mask,
    /// How the weight lies: kn ([in_features, hidden]) or nk ([hidden, in_features]).
    #[arg(long, default_value = "kn", value_parser = parse_b_layout)]
    b_layout: BLayout,
    /// Rows of each block, with commas between them [default: chosen].
    #[arg(long, value_delimiter = ',')]
    block_rows: Option<Vec<u32>>,
    #[command(flatten)]
    chip: ChipArgs,
    /// Run all ranks on simulated devices in model time, and compare with everything as one block.
    #[arg(long)]
    simulate: bool,
    /// Chrome trace of all ranks to write, with a process for each.
    #[arg(long, requires = "simulate")]
    trace: Option<PathBuf>,
}

impl Layer {
    pub(crate) fn execute(self) -> Result<()> {
        #[cfg(not(feature = "sim"))]
        if self.simulate || self.trace.is_some() {
            return Err(crate::no_simulator::error("layer --simulate"));
        }
        #[cfg(feature = "sim")]
        let output = self.trace.as_deref().map(|path| Output::check(path, None)).transpose()?;
        let soc = self.chip.soc()?;
        let problem = self.problem();
        let plan = match &self.block_rows {
            Some(rows) => plan_with(&problem, soc, rows)?,
            None => plan(&problem, soc)?,
        };
        print(plan.to_string().trim_end())?;
        #[cfg(feature = "sim")]
        if self.simulate {
            simulation::run(&plan, soc, self.trace.as_deref().zip(output))?;
        }
        Ok(())
    }

    fn problem(&self) -> Problem {
        let shape = [self.batch, self.seqlen, self.num_heads, self.head_dim];
        let projection = Problem::new(self.dtype, shape, self.hidden, self.ranks)
            .with_linear(Linear::Weight(self.b_layout));
        if self.no_attention {
            return projection.without_attention();
        }
        projection
            .with_num_heads_k(self.num_heads_k.unwrap_or(self.num_heads))
            .with_head_dim_v(self.head_dim_v.unwrap_or(self.head_dim))
            .with_score_dtype(self.score_dtype)
            .with_mask(self.mask)
    }
}
