//! The one table of attention cases: lengths x masks x dtypes x head dims, with heads, batch, layout and
//! values rotating.

use fastattention::tiling::Mask;
use fastattention::DType;

/// How q, k and v are filled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Values {
    /// Standard normal.
    Normal,
    /// Normal times 8: scores of several hundred, so that one key takes nearly all the weight.
    LargeLogits,
    /// q and k of zero: every visible key has the same weight.
    EqualScores,
    /// Negative zeros in q and v, ones elsewhere.
    NegativeZero,
    /// Scores that grow along the keys: each block raises the row maximum, so every rescale factor is used.
    Growing,
}

/// Order of the dimensions in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layout {
    /// `[batch, seqlen, heads, dim]`, dense.
    Bsnd,
    /// `[batch, heads, seqlen, dim]`, dense.
    Bnsd,
    /// BSND as a slice of a larger tensor: gaps between rows and between heads.
    Gaps,
    /// The same with gaps of whole 16 bytes of f16. The table has it only where an engine asks for it.
    AlignedGaps,
}

/// One attention problem with its data.
#[derive(Clone, Debug)]
pub struct Case {
    /// Of q, k, v and o.
    pub dtype: DType,
    /// Type in which scores go from the Cube to the vector cores.
    pub score_dtype: DType,
    /// Sequences.
    pub batch: u32,
    /// Heads of q.
    pub num_heads: u32,
    /// Heads of k and v.
    pub num_heads_k: u32,
    /// Elements of a row of q and k.
    pub head_dim: u32,
    /// Elements of a row of v and o.
    pub head_dim_v: u32,
    /// Rows of q.
    pub seqlen_q: u32,
    /// Rows of k and v.
    pub seqlen_k: u32,
    /// Which keys a row sees.
    pub mask: Mask,
    /// `None`: the default.
    pub softmax_scale: Option<f32>,
    /// Of the operands.
    pub values: Values,
    /// Of the operands.
    pub layout: Layout,
    /// Of the random values.
    pub seed: u64,
}

/// (seqlen_q, seqlen_k): ones, odd numbers, tile edges on both sides, unequal lengths, no keys.
const LENGTHS: &[(u32, u32)] = &[
    (1, 1),
    (1, 17),
    (1, 300),
    (3, 2),
    (7, 7),
    (16, 15),
    (15, 16),
    (17, 33),
    (64, 64),
    (63, 65),
    (65, 63),
    (100, 1),
    (128, 128),
    (127, 129),
    (129, 257),
    (40, 0),
    (200, 90),
    (90, 200),
    (113, 203),
    (256, 256),
    (31, 511),
    (257, 64),
    (24, 640),
    (2, 1025),
];

const MASKS: &[Mask] = &[
    Mask::None,
    Mask::Causal,
    Mask::Window { left: Some(0), right: Some(0) },
    Mask::Window { left: Some(37), right: Some(0) },
    Mask::Window { left: Some(5), right: Some(70) },
    Mask::Window { left: None, right: Some(9) },
    Mask::Window { left: Some(130), right: None },
];

const HEAD_DIMS: &[(u32, u32)] = &[
    (16, 16),
    (32, 64),
    (48, 32),
    (64, 64),
    (80, 80),
    (96, 112),
    (128, 128),
    (160, 96),
    (192, 128),
    (224, 240),
    (256, 256),
];

/// (batch, num_heads, num_heads_k): MHA, GQA, MQA.
const HEADS: &[(u32, u32, u32)] = &[(1, 1, 1), (1, 2, 2), (2, 2, 1), (1, 4, 2), (2, 1, 1), (1, 3, 1)];

const VALUES: &[Values] = &[
    Values::Normal,
    Values::Normal,
    Values::LargeLogits,
    Values::Normal,
    Values::Growing,
    Values::EqualScores,
    Values::Normal,
    Values::NegativeZero,
];

const LAYOUTS: &[Layout] = &[Layout::Bsnd, Layout::Bnsd, Layout::Bsnd, Layout::Gaps];

/// Head dims tried for each combination of lengths, mask and dtype.
const DIMS_PER_COMBINATION: usize = 6;

/// The whole table. Rotations use strides that share no factor with the lists, so that combinations spread.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for &(seqlen_q, seqlen_k) in LENGTHS {
        for &mask in MASKS {
            for dtype in [DType::F16, DType::Bf16] {
                for _ in 0..DIMS_PER_COMBINATION {
                    let i = cases.len();
                    let (head_dim, head_dim_v) = HEAD_DIMS[i % HEAD_DIMS.len()];
                    let (batch, num_heads, num_heads_k) = HEADS[(i / 5 + i) % HEADS.len()];
                    cases.push(Case {
                        dtype,
                        score_dtype: DType::F32,
                        batch,
                        num_heads,
                        num_heads_k,
                        head_dim,
                        head_dim_v,
                        seqlen_q,
                        seqlen_k,
                        mask,
                        softmax_scale: [None, None, Some(0.3), None, Some(-0.05), None, Some(0.0)][i % 7],
                        values: VALUES[(i / 7 + i) % VALUES.len()],
                        layout: LAYOUTS[(i / 3) % LAYOUTS.len()],
                        seed: i as u64,
                    });
                }
            }
        }
    }
    cases
}
