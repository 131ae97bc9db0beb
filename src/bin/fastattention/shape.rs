//! An attention problem given by flags.

use fastattention::attention::{Layout, Mask, Problem};
use fastattention::{DType, Soc};

/// Flags of a problem and the SoC to solve it on.
#[derive(clap::Args)]
pub(crate) struct ShapeArgs {
    /// Rows of q.
    #[arg(long)]
    seqlen_q: u32,
    #[command(flatten)]
    flags: ShapeFlags,
}

/// The same but for the rows of q.
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
    #[arg(long, default_value_t = 128)]
    head_dim: u32,
    /// Elements of a row of v [default: head_dim].
    #[arg(long)]
    head_dim_v: Option<u32>,
    /// f16 or bf16.
    #[arg(long, default_value = "f16", value_parser = parse_dtype)]
    dtype: DType,
    /// Type in which scores go from the Cube to the vector cores: f32 or f16.
    #[arg(long, default_value = "f32", value_parser = parse_score_dtype)]
    score_dtype: DType,
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

pub(crate) fn parse_dtype(text: &str) -> Result<DType, String> {
    match text {
        "f16" => Ok(DType::F16),
        "bf16" => Ok(DType::Bf16),
        _ => Err(format!("dtype {text:?} is not f16 or bf16")),
    }
}

pub(crate) fn parse_score_dtype(text: &str) -> Result<DType, String> {
    match text {
        "f32" => Ok(DType::F32),
        "f16" => Ok(DType::F16),
        _ => Err(format!("score dtype {text:?} is not f32 or f16")),
    }
}

pub(crate) fn parse_layout(text: &str) -> Result<Layout, String> {
    match text {
        "bsnd" => Ok(Layout::Bsnd),
        "bnsd" => Ok(Layout::Bnsd),
        _ => Err(format!("layout {text:?} is not bsnd or bnsd")),
    }
}

impl ShapeArgs {
    pub(crate) fn soc(&self) -> anyhow::Result<&'static Soc> {
        self.flags.soc()
    }

    /// The problem, without lse.
    pub(crate) fn problem(&self) -> Problem {
        self.flags.problem(self.seqlen_q)
    }
}

impl ShapeFlags {
    pub(crate) fn soc(&self) -> anyhow::Result<&'static Soc> {
        Ok(Soc::by_name(&self.soc)?)
    }

    /// The problem with that many rows of q, without lse.
    pub(crate) fn problem(&self, seqlen_q: u32) -> Problem {
        let mut problem = Problem::new(self.dtype, [self.batch, seqlen_q, self.num_heads, self.head_dim])
            .with_seqlen_k(self.seqlen_k.unwrap_or(seqlen_q))
            .with_num_heads_k(self.num_heads_k.unwrap_or(self.num_heads))
            .with_head_dim_v(self.head_dim_v.unwrap_or(self.head_dim))
            .with_score_dtype(self.score_dtype)
            .with_mask(self.mask);
        problem.softmax_scale = self.softmax_scale;
        problem
    }
}
