//! An attention problem given by flags.

use fastattention::attention::{Mask, Problem};
use fastattention::DType;

/// Flags of a problem and the SoC to solve it on.
#[derive(clap::Args)]
pub(crate) struct ShapeArgs {
    /// Batch size.
    #[arg(long, default_value_t = 1)]
    batch: u32,
    /// Rows of q.
    #[arg(long)]
    seqlen_q: u32,
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
    /// none, causal or window:L,R.
    #[arg(long, default_value = "none", value_parser = crate::parse_mask)]
    mask: Mask,
    /// Factor of the scores [default: 1/sqrt(head_dim)].
    #[arg(long, allow_negative_numbers = true)]
    softmax_scale: Option<f32>,
    /// SoC to plan for.
    #[arg(long, default_value = "Ascend910B2")]
    pub(crate) soc: String,
}

pub(crate) fn parse_dtype(text: &str) -> Result<DType, String> {
    match text {
        "f16" => Ok(DType::F16),
        "bf16" => Ok(DType::Bf16),
        _ => Err(format!("dtype {text:?} is not f16 or bf16")),
    }
}

impl ShapeArgs {
    /// The problem, without lse.
    pub(crate) fn problem(&self) -> Problem {
        let mut problem =
            Problem::new(self.dtype, [self.batch, self.seqlen_q, self.num_heads, self.head_dim])
                .with_seqlen_k(self.seqlen_k.unwrap_or(self.seqlen_q))
                .with_num_heads_k(self.num_heads_k.unwrap_or(self.num_heads))
                .with_head_dim_v(self.head_dim_v.unwrap_or(self.head_dim))
                .with_mask(self.mask);
        problem.softmax_scale = self.softmax_scale;
        problem
    }
}
