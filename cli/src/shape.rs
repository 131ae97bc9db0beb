//! An attention problem given by flags.

use fastattention::attention::{Layout, Mask, Problem};
use fastattention::matmul::BLayout;
use fastattention::DType;

use crate::chip::ChipArgs;

/// Elements of a row where none are given.
pub const HEAD_DIM: u32 = 128;

/// Flags of a problem and the SoC to solve it on.
#[derive(Debug, clap::Args)]
pub struct ShapeArgs {
    /// Rows of q.
    #[arg(long)]
    seqlen_q: u32,
    #[command(flatten)]
    flags: ShapeFlags,
}

/// The same but for the rows of q.
#[derive(Debug, clap::Args)]
pub struct ShapeFlags {
    /// Sequences.
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
    #[arg(long, default_value_t = HEAD_DIM)]
    head_dim: u32,
    /// Elements of a row of v [default: head_dim].
    #[arg(long)]
    head_dim_v: Option<u32>,
    /// Element type of q, k, v and o: f16 or bf16.
    #[arg(long, default_value = "f16", value_parser = parse_dtype)]
    dtype: DType,
    /// Type in which scores go from the Cube to the vector cores: f32 or f16.
    #[arg(long, default_value = "f32", value_parser = parse_score_dtype)]
    score_dtype: DType,
    /// Subtract the mean of the keys from each before the scores are made: f16 then holds the scores of
    /// inputs with a large bias. For --score-dtype f16.
    #[arg(long)]
    shift_keys: bool,
    /// Order of the dimensions: bsnd (rows before heads) or bnsd (heads before rows).
    #[arg(long, default_value = "bsnd", value_parser = parse_layout)]
    layout: Layout,
    /// Mask: none, causal or window:L,R. L and R are the keys that a query sees to its left and right, * is
    /// no limit.
    #[arg(long, default_value = "none", value_parser = crate::mask::parse_mask)]
    mask: Mask,
    /// Factor of the scores [default: 1/sqrt(head_dim)].
    #[arg(long, allow_hyphen_values = true, value_parser = parse_scale)]
    softmax_scale: Option<f32>,
    #[command(flatten)]
    chip: ChipArgs,
}

/// `f16` or `bf16`.
///
/// # Errors
/// What the text is, and what is wanted.
pub fn parse_dtype(text: &str) -> Result<DType, String> {
    match text {
        "f16" => Ok(DType::F16),
        "bf16" => Ok(DType::Bf16),
        _ => Err(format!("dtype {text:?} is not f16 or bf16")),
    }
}

/// `f32` or `f16`.
///
/// # Errors
/// What the text is, and what is wanted.
pub fn parse_score_dtype(text: &str) -> Result<DType, String> {
    match text {
        "f32" => Ok(DType::F32),
        "f16" => Ok(DType::F16),
        _ => Err(format!("score dtype {text:?} is not f32 or f16")),
    }
}

/// `kn` or `nk`.
///
/// # Errors
/// What the text is, and what is wanted.
pub fn parse_b_layout(text: &str) -> Result<BLayout, String> {
    match text {
        "kn" => Ok(BLayout::Kn),
        "nk" => Ok(BLayout::Nk),
        _ => Err(format!("layout of b {text:?} is not kn or nk")),
    }
}

/// `f16`, `bf16` or `f32`.
///
/// # Errors
/// What the text is, and what is wanted.
pub fn parse_dtype_out(text: &str) -> Result<DType, String> {
    match text {
        "f32" => Ok(DType::F32),
        _ => parse_dtype(text).map_err(|_| format!("dtype of the result {text:?} is not f16, bf16 or f32")),
    }
}

/// `bsnd` or `bnsd`.
///
/// # Errors
/// What the text is, and what is wanted.
pub fn parse_layout(text: &str) -> Result<Layout, String> {
    match text {
        "bsnd" => Ok(Layout::Bsnd),
        "bnsd" => Ok(Layout::Bnsd),
        _ => Err(format!("layout {text:?} is not bsnd or bnsd")),
    }
}

/// A number of f32; what is not near one is refused, where the standard library's parser would take infinity
/// or 0 for it.
///
/// # Errors
/// The text is no number, or one that f32 does not hold.
pub fn parse_scale(text: &str) -> Result<f32, String> {
    let Ok(scale) = text.parse::<f32>() else {
        return Err(format!("softmax scale {text:?} is not a number"));
    };
    let is_written_zero = || {
        let digits = text.split(['e', 'E']).next().unwrap_or_default();
        !digits.contains(|c: char| ('1'..='9').contains(&c))
    };
    let is_written_infinite = || !text.contains(|c: char| c.is_ascii_digit());
    if scale.is_infinite() && !is_written_infinite() {
        return Err(format!("softmax scale {text:?} is beyond f32, wanted at most {:e} in size", f32::MAX));
    }
    if scale == 0.0 && !is_written_zero() {
        return Err(format!(
            "softmax scale {text:?} is 0 in f32, wanted 0 or at least {:e} in size",
            f32::from_bits(1)
        ));
    }
    Ok(scale)
}

impl ShapeArgs {
    /// The chip.
    pub fn chip(&self) -> &ChipArgs {
        &self.flags.chip
    }

    /// The problem, without lse.
    pub fn problem(&self) -> Problem {
        self.flags.problem(self.seqlen_q)
    }
}

impl ShapeFlags {
    /// The chip.
    pub fn chip(&self) -> &ChipArgs {
        &self.chip
    }

    /// The problem with that many rows of q, without lse.
    pub fn problem(&self, seqlen_q: u32) -> Problem {
        let mut problem = Problem::new(self.dtype, [self.batch, seqlen_q, self.num_heads, self.head_dim])
            .with_seqlen_k(self.seqlen_k.unwrap_or(seqlen_q))
            .with_num_heads_k(self.num_heads_k.unwrap_or(self.num_heads))
            .with_head_dim_v(self.head_dim_v.unwrap_or(self.head_dim))
            .with_score_dtype(self.score_dtype)
            .with_layout(self.layout)
            .with_mask(self.mask);
        problem.spec.softmax_scale = self.softmax_scale;
        problem.shift_keys = self.shift_keys;
        problem
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn scales_are_numbers_of_f32_or_refused() {
        for (text, scale) in [
            ("0.125", 0.125),
            ("-1e-3", -1e-3),
            ("-.5", -0.5),
            ("+2", 2.0),
            ("0", 0.0),
            ("-0.00e9", 0.0),
            ("1e-45", f32::from_bits(1)),
            ("3.4e38", 3.4e38),
            ("-inf", f32::NEG_INFINITY),
            ("Infinity", f32::INFINITY),
        ] {
            assert_eq!(parse_scale(text).unwrap(), scale, "{text}");
        }
        assert!(parse_scale("nan").unwrap().is_nan());
        for text in ["1e39", "-1e39", "340282356779733661637539395458142568448", "1e999999"] {
            let error = parse_scale(text).unwrap_err();
            assert_eq!(
                error,
                format!("softmax scale {text:?} is beyond f32, wanted at most 3.4028235e38 in size")
            );
        }
        for text in ["1e-50", "-1e-46", "0.00001e-45", "1e-999999"] {
            let error = parse_scale(text).unwrap_err();
            assert_eq!(
                error,
                format!("softmax scale {text:?} is 0 in f32, wanted 0 or at least 1e-45 in size")
            );
        }
        for text in ["", "x", "--mask", "0x10", "1,5"] {
            assert_eq!(parse_scale(text).unwrap_err(), format!("softmax scale {text:?} is not a number"));
        }
    }
}
