//! What one layer computes, and how its ranks share it.

use std::fmt;
use std::ops::Range;

use crate::attention;
use crate::matmul::{self, BLayout};
use crate::runtime::Step;
use crate::tiling::{Mask, Reason};
use crate::{DType, ErrorKind, Soc};

/// Lengths of one sequence of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sequence {
    /// Rows of q and of the output.
    pub seqlen_q: u32,
    /// Rows of k and v.
    pub seqlen_k: u32,
}

/// What follows the attention.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Linear {
    /// `y = x w_o`, sums in f32, rounded once to the operands' dtype. The layout is that of this rank's part of the weight:
    /// `[in_features, hidden]`, or `[hidden, in_features]` as most checkpoints store it.
    Weight(BLayout),
    /// The caller's own, which a launch calls for each block.
    Caller {
        /// What it takes, for the choice of blocks: microseconds of a launch without rows.
        launch_us: f64,
        /// Microseconds of each row.
        row_us: f64,
    },
}

impl fmt::Display for Linear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Linear::Weight(layout) => write!(f, "Weight({layout})"),
            Linear::Caller { launch_us, row_us } => {
                write!(f, "Caller with launch_us = {launch_us}, row_us = {row_us}")
            }
        }
    }
}

/// A tensor-parallel layer: `y = sum over ranks of (attention(q, k, v) w_o)`, each rank with its heads.
///
/// Sequences are packed: the rows of all of them follow each other, as do their keys, and lengths may differ.
///
/// | field | default | meaning |
/// | --- | --- | --- |
/// | `dtype` | | of q, k, v, w_o and y: f16 or bf16 |
/// | `sequences` | | lengths, in order |
/// | `num_heads`, `num_heads_k` | , `num_heads` | heads of the whole layer; `ranks` divides both, or `num_heads_k` divides `ranks` and ranks share a kv head |
/// | `head_dim`, `head_dim_v` | , `head_dim` | rows of q and k, of v |
/// | `mask`, `softmax_scale`, `score_dtype` | none, `1/sqrt(head_dim)`, f32 | as in [`attention::Problem`] |
/// | `hidden` | | columns of y |
/// | `ranks` | | devices that share the layer; 1 is attention and projection alone |
/// | `linear` | [`Linear::Weight`] `[in_features, hidden]` | the projection |
/// | `has_attention` | `true` | `false`: the attention's output exists, only projection and AllReduce remain |
/// | `q_stride`, `k_stride`, `v_stride` | dense `[rows, heads, dim]` | elements between rows, heads of this rank's tensors |
///
/// The attention's output o (`[rows, heads of this rank, head_dim_v]`) and y (`[rows, hidden]`) are dense.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Problem {
    /// Element type.
    pub dtype: DType,
    /// Sequences.
    pub sequences: Vec<Sequence>,
    /// Heads of q, of the whole layer.
    pub num_heads: u32,
    /// Heads of k and v, of the whole layer.
    pub num_heads_k: u32,
    /// Elements of a row of q and k.
    pub head_dim: u32,
    /// Elements of a row of v.
    pub head_dim_v: u32,
    /// Which keys a row sees.
    pub mask: Mask,
    /// Factor of the scores.
    pub softmax_scale: Option<f32>,
    /// Type in which scores are handed over.
    pub score_dtype: DType,
    /// Columns of y.
    pub hidden: u32,
    /// Ranks.
    pub ranks: u32,
    /// Projection.
    pub linear: Linear,
    /// Whether the attention is computed here.
    pub has_attention: bool,
    /// Row and head stride of q, unless dense.
    pub q_stride: Option<[u64; 2]>,
    /// Row and head stride of k, unless dense.
    pub k_stride: Option<[u64; 2]>,
    /// Row and head stride of v, unless dense.
    pub v_stride: Option<[u64; 2]>,
}

/// Sequences of equal lengths that follow each other: one batch for the attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) sequence: Sequence,
    pub(super) count: u32,
    pub(super) first_row: u32,
    pub(super) first_key: u32,
}

impl Problem {
    /// `batch` sequences of self-attention with `num_heads` heads, projected to `hidden` columns on `ranks` devices.
    pub fn new(
        dtype: DType,
        [batch, seqlen, num_heads, head_dim]: [u32; 4],
        hidden: u32,
        ranks: u32,
    ) -> Self {
        let sequence = Sequence { seqlen_q: seqlen, seqlen_k: seqlen };
        Self {
            dtype,
            sequences: vec![sequence; batch as usize],
            num_heads,
            num_heads_k: num_heads,
            head_dim,
            head_dim_v: head_dim,
            mask: Mask::None,
            softmax_scale: None,
            score_dtype: DType::F32,
            hidden,
            ranks,
            linear: Linear::Weight(BLayout::Kn),
            has_attention: true,
            q_stride: None,
            k_stride: None,
            v_stride: None,
        }
    }

    /// Sets the sequences.
    #[must_use]
    pub fn with_sequences(self, sequences: Vec<Sequence>) -> Self {
        Self { sequences, ..self }
    }

    /// Sets the heads of k and v.
    #[must_use]
    pub fn with_num_heads_k(self, num_heads_k: u32) -> Self {
        Self { num_heads_k, ..self }
    }

    /// Sets the row of v.
    #[must_use]
    pub fn with_head_dim_v(self, head_dim_v: u32) -> Self {
        Self { head_dim_v, ..self }
    }

    /// Sets the factor of the scores.
    #[must_use]
    pub fn with_softmax_scale(self, softmax_scale: f32) -> Self {
        Self { softmax_scale: Some(softmax_scale), ..self }
    }

    /// Sets the type in which scores are handed over ([`attention::Problem::with_score_dtype`]).
    #[must_use]
    pub fn with_score_dtype(self, score_dtype: DType) -> Self {
        Self { score_dtype, ..self }
    }

    /// Sets the mask.
    #[must_use]
    pub fn with_mask(self, mask: Mask) -> Self {
        Self { mask, ..self }
    }

    /// Sets the projection.
    #[must_use]
    pub fn with_linear(self, linear: Linear) -> Self {
        Self { linear, ..self }
    }

    /// Leaves the attention out: its output is an operand.
    #[must_use]
    pub fn without_attention(self) -> Self {
        Self { has_attention: false, ..self }
    }

    /// Heads of q on each rank.
    pub fn local_heads(&self) -> u32 {
        self.num_heads / self.ranks.max(1)
    }

    /// Heads of k and v on each rank; ranks that share one hold a copy each.
    pub fn local_heads_k(&self) -> u32 {
        (self.num_heads_k / self.ranks.max(1)).max(1)
    }

    /// The heads of q that `rank` holds.
    pub fn heads_of(&self, rank: u32) -> Range<u32> {
        let heads = self.local_heads();
        rank * heads..(rank + 1) * heads
    }

    /// The heads of k and v that `rank` holds.
    pub fn heads_k_of(&self, rank: u32) -> Range<u32> {
        let first = u64::from(rank) * u64::from(self.num_heads_k) / u64::from(self.ranks.max(1));
        let first = u32::try_from(first).unwrap_or(u32::MAX);
        first..first + self.local_heads_k()
    }

    /// Columns of the attention's output on each rank, and rows of its part of the weight.
    pub fn in_features(&self) -> u32 {
        self.local_heads().saturating_mul(self.head_dim_v)
    }

    /// Rows of q, o and y.
    pub fn rows(&self) -> u64 {
        self.sequences.iter().map(|s| u64::from(s.seqlen_q)).sum()
    }

    /// Rows of k and v.
    pub fn keys(&self) -> u64 {
        self.sequences.iter().map(|s| u64::from(s.seqlen_k)).sum()
    }

    /// Every reason why `soc` cannot run this layer; empty when it can.
    pub fn refusals(&self, soc: &Soc) -> Vec<Reason> {
        let mut found = self.sharing_refusals();
        if !found.is_empty() {
            return found;
        }
        if self.has_attention {
            for run in self.runs() {
                let reasons = self.attention(&run).refusals(soc);
                found.extend(
                    reasons.into_iter().map(|r| Reason { text: format!("attention: {}", r.text), ..r }),
                );
            }
        }
        if let Some(product) = self.product(u32::try_from(self.rows()).unwrap_or(u32::MAX)) {
            let reasons = product.refusals(soc);
            found
                .extend(reasons.into_iter().map(|r| Reason { text: format!("projection: {}", r.text), ..r }));
        }
        found
    }

    fn sharing_refusals(&self) -> Vec<Reason> {
        let mut found = Vec::new();
        let mut invalid = |text: String| found.push(Reason { kind: ErrorKind::InvalidArgument, text });
        for (name, value) in [
            ("ranks", self.ranks),
            ("hidden", self.hidden),
            ("num_heads", self.num_heads),
            ("num_heads_k", self.num_heads_k),
        ] {
            if value == 0 {
                invalid(format!("{name} = 0, wanted at least 1"));
            }
        }
        if self.ranks > 0 && !self.num_heads.is_multiple_of(self.ranks) {
            invalid(format!("num_heads = {}, a multiple of ranks = {} wanted", self.num_heads, self.ranks));
        }
        let (ranks, heads_k) = (self.ranks.max(1), self.num_heads_k.max(1));
        if !heads_k.is_multiple_of(ranks) && !ranks.is_multiple_of(heads_k) {
            invalid(format!("num_heads_k = {heads_k}, a multiple or a divisor of ranks = {ranks} wanted"));
        }
        if self.num_heads_k > 0 && !self.num_heads.is_multiple_of(heads_k) {
            invalid(format!("num_heads = {}, a multiple of num_heads_k = {heads_k} wanted", self.num_heads));
        }
        if !matches!(self.dtype, DType::F16 | DType::Bf16) {
            invalid(format!("dtype = {}, f16 or bf16 wanted", self.dtype));
        }
        for (name, rows) in [("rows", self.rows()), ("keys", self.keys())] {
            if i32::try_from(rows).is_err() {
                invalid(format!("sequences have {rows} {name}, at most {} wanted", i32::MAX));
            }
        }
        if let Linear::Caller { launch_us, row_us } = self.linear {
            for (name, us) in [("launch_us", launch_us), ("row_us", row_us)] {
                if !us.is_finite() || us < 0.0 {
                    invalid(format!("linear: {name} = {us}, a time of at least 0 wanted"));
                }
            }
        }
        found
    }

    /// Batches of equal lengths; sequences without rows only take up keys.
    pub(super) fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let (mut first_row, mut first_key) = (0u32, 0u32);
        for &sequence in &self.sequences {
            match runs.last_mut() {
                Some(run) if run.sequence == sequence => run.count += 1,
                _ => runs.push(Run { sequence, count: 1, first_row, first_key }),
            }
            // `refusals` bounds both sums.
            first_row = first_row.saturating_add(sequence.seqlen_q);
            first_key = first_key.saturating_add(sequence.seqlen_k);
        }
        runs.retain(|run| run.sequence.seqlen_q > 0);
        runs
    }

    /// The attention of a run on one rank.
    pub(super) fn attention(&self, run: &Run) -> attention::Problem {
        let (heads, heads_k) = (self.local_heads(), self.local_heads_k());
        let Sequence { seqlen_q, seqlen_k } = run.sequence;
        let stride = |given: Option<[u64; 2]>, rows: u32, heads: u32, dim: u32| {
            let [row, head] = given.unwrap_or(dense(heads, dim));
            Some([u64::from(rows).saturating_mul(row), row, head])
        };
        attention::Problem {
            seqlen_k,
            num_heads_k: heads_k,
            head_dim_v: self.head_dim_v,
            score_dtype: self.score_dtype,
            mask: self.mask,
            softmax_scale: self.softmax_scale,
            q_stride: stride(self.q_stride, seqlen_q, heads, self.head_dim),
            k_stride: stride(self.k_stride, seqlen_k, heads_k, self.head_dim),
            v_stride: stride(self.v_stride, seqlen_k, heads_k, self.head_dim_v),
            ..attention::Problem::new(self.dtype, [run.count, seqlen_q, heads, self.head_dim])
        }
    }

    /// Where the rows of this rank's q, k and v lie: bytes of a row, and its repetitions.
    pub(super) fn steps(&self) -> [(u64, [Step; 2]); 3] {
        let size = self.dtype.size_bytes() as u64;
        let tensor = |given: Option<[u64; 2]>, rows: u64, heads: u32, dim: u32| {
            let [row, head] = given.unwrap_or(dense(heads, dim)).map(|stride| stride.saturating_mul(size));
            let steps = [Step { extent: rows, bytes: row }, Step { extent: u64::from(heads), bytes: head }];
            (u64::from(dim) * size, steps)
        };
        [
            tensor(self.q_stride, self.rows(), self.local_heads(), self.head_dim),
            tensor(self.k_stride, self.keys(), self.local_heads_k(), self.head_dim),
            tensor(self.v_stride, self.keys(), self.local_heads_k(), self.head_dim_v),
        ]
    }

    /// The projection of so many rows on one rank, unless it is the caller's.
    pub(super) fn product(&self, rows: u32) -> Option<matmul::Problem> {
        match self.linear {
            Linear::Weight(layout) => {
                let extents = [rows, self.hidden, self.in_features()];
                Some(matmul::Problem::new(self.dtype, extents).with_b_layout(layout))
            }
            Linear::Caller { .. } => None,
        }
    }
}

/// Row and head stride without gaps.
fn dense(heads: u32, dim: u32) -> [u64; 2] {
    [u64::from(heads) * u64::from(dim), u64::from(dim)]
}
