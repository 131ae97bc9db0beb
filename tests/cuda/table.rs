//! The problems: those of the one table that have f16, in strides that the kernels take, and some with many
//! keys for decode.

use fastattention::attention::Mask;
use fastattention::DType;
use fastattention_testkit::cases::{self, Case, Layout, Values};

/// Every problem.
pub(crate) fn all() -> Vec<Case> {
    [of_the_table(), more()].concat()
}

/// One of some, and all that the table has nothing like.
pub(crate) fn sample() -> Vec<Case> {
    of_the_table().into_iter().step_by(23).chain(more()).collect()
}

pub(crate) fn of_the_table() -> Vec<Case> {
    let halves = cases::all().into_iter().filter(|case| case.dtype == DType::F16);
    let table = halves.enumerate().map(|(i, case)| {
        // Head dims of the table are multiples of 16; half of them are made odd multiples of 8, a quarter in
        // q and k only.
        let [less, less_v] = [i % 2, i / 2 % 2].map(|odd| 8 * u32::try_from(odd).unwrap());
        let layout = if case.layout == Layout::Gaps { Layout::AlignedGaps } else { case.layout };
        Case { head_dim: case.head_dim - less, head_dim_v: case.head_dim_v - less_v, layout, ..case }
    });
    table.collect()
}

/// Enough keys for several splits on a V100, with packed rows that fill a block, do not, or take several;
/// windows that hide the first keys; the head dims of a kernel that the table misses.
pub(crate) fn more() -> Vec<Case> {
    let causal = Mask::Causal;
    let window = Mask::Window { left: Some(700), right: Some(0) };
    [
        // batch, seqlen_q, num_heads, num_heads_k, head_dim, head_dim_v, seqlen_k, mask
        (1, 1, 1, 1, 64, 64, 2049, Mask::None),
        (1, 1, 8, 2, 128, 128, 1500, Mask::None),
        (2, 3, 10, 2, 128, 64, 1111, causal),
        (1, 5, 16, 2, 72, 136, 1300, causal),
        (1, 16, 1, 1, 256, 256, 1030, causal),
        (3, 2, 4, 1, 40, 40, 1777, window),
        (1, 9, 6, 3, 200, 8, 900, window),
        (2, 130, 2, 1, 96, 88, 150, causal),
    ]
    .into_iter()
    .zip(0..)
    .map(|((batch, seqlen_q, num_heads, num_heads_k, head_dim, head_dim_v, seqlen_k, mask), i)| Case {
        dtype: DType::F16,
        score_dtype: DType::F32,
        batch,
        num_heads,
        num_heads_k,
        head_dim,
        head_dim_v,
        seqlen_q,
        seqlen_k,
        mask,
        softmax_scale: None,
        values: if i % 2 == 0 { Values::Normal } else { Values::Growing },
        layout: [Layout::Bsnd, Layout::Bnsd, Layout::AlignedGaps][i % 3],
        seed: 1000 + i as u64,
    })
    .collect()
}

/// What exponentials and their sum may add to lse: the exponent of a probability is a number of some 100 or
/// more in f32, for its result carries a factor of 2^-101, and it is rounded where it is made, as is the
/// maximum beside it.
pub(crate) fn softmax_error(_keys: usize) -> f64 {
    128.0 * f64::exp2(-22.0)
}
