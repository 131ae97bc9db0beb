//! What one layer computes, and how its ranks share it.

use std::fmt;
use std::ops::Range;

use super::sequences::{Sequence, Sequences};
use crate::attention;
use crate::matmul::{self, BLayout};
use crate::runtime::Repeat;
use crate::spec::{spec_builders, AttentionSpec, Footprint, Mask, Reason, Shape};
use crate::{DType, Soc};

/// What follows the attention.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Linear {
    /// `y = x w_o`, sums in f32, rounded once to the operands' dtype. The layout is that of this rank's part
    /// of the weight: `[in_features, hidden]`, or `[hidden, in_features]` as most checkpoints store it.
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
/// | `spec.dtype` | | of q, k, v, w_o and y: f16 or bf16 |
/// | `sequences` | | lengths, in order |
/// | `spec.num_heads`, `spec.num_heads_k` | , `num_heads` | heads of the whole layer; `ranks` divides both, or `num_heads_k` divides `ranks` and ranks share a kv head |
/// | `spec.head_dim`, `spec.head_dim_v` | , `head_dim` | rows of q and k, of v |
/// | `spec.mask`, `spec.softmax_scale`, `spec.score_dtype` | none, `1/sqrt(head_dim)`, f32 | as in [`attention::Problem`] |
/// | `hidden` | | columns of y |
/// | `ranks` | | devices that share the layer; 1 is attention and projection alone |
/// | `linear` | [`Linear::Weight`] `[in_features, hidden]` | the projection |
/// | `has_attention` | `true` | `false`: the attention's output exists, only projection and AllReduce remain |
/// | `weight_is_cold` | `false` | `true`: the weight is read from HBM in each block |
/// | `q_stride`, `k_stride`, `v_stride` | dense `[rows, heads, dim]` | elements between rows, heads of this rank's tensors |
///
/// The attention's output o (`[rows, heads of this rank, head_dim_v]`) and y (`[rows, hidden]`) are dense.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Problem {
    /// Types, heads, mask and scale of the whole layer.
    pub spec: AttentionSpec,
    /// Sequences.
    pub sequences: Sequences,
    /// Columns of y.
    pub hidden: u32,
    /// Ranks.
    pub ranks: u32,
    /// Projection.
    pub linear: Linear,
    /// Whether the attention is computed here.
    pub has_attention: bool,
    /// The weight is not in L2 when a block starts, and need not be there afterwards
    /// ([`matmul::Problem::is_b_cold`]): one block with few rows of a model that has more weights than L2
    /// holds.
    pub weight_is_cold: bool,
    /// Row and head stride of q, unless dense.
    pub q_stride: Option<[u64; 2]>,
    /// Row and head stride of k, unless dense.
    pub k_stride: Option<[u64; 2]>,
    /// Row and head stride of v, unless dense.
    pub v_stride: Option<[u64; 2]>,
}

/// Sequences of equal lengths that follow each other: one batch for the attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) sequence: Sequence,
    pub(super) count: u32,
    pub(super) first_row: u32,
    pub(super) first_key: u32,
}

/// `count` heads from `first` on, of those that there are: a rank beyond the last one holds none.
fn some(first: u64, count: u32, all: u32) -> Range<u32> {
    let narrow = |place: u64| u32::try_from(place).unwrap_or(u32::MAX).min(all);
    narrow(first)..narrow(first + u64::from(count))
}

impl Problem {
    /// `batch` sequences of self-attention with `num_heads` heads, projected to `hidden` columns on `ranks`
    /// devices.
    pub fn new(
        dtype: DType,
        [batch, seqlen, num_heads, head_dim]: [u32; 4],
        hidden: u32,
        ranks: u32,
    ) -> Self {
        let sequence = Sequence { seqlen_q: seqlen, seqlen_k: seqlen };
        Self {
            spec: AttentionSpec::new(dtype, num_heads, head_dim),
            sequences: Sequences::repeated(sequence, batch),
            hidden,
            ranks,
            linear: Linear::Weight(BLayout::Kn),
            has_attention: true,
            weight_is_cold: false,
            q_stride: None,
            k_stride: None,
            v_stride: None,
        }
    }

    /// Sets the sequences.
    #[must_use]
    pub fn with_sequences(self, sequences: Vec<Sequence>) -> Self {
        Self { sequences: sequences.into(), ..self }
    }

    spec_builders!();

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

    /// Says that the weight comes from HBM; see [`Self::weight_is_cold`].
    #[must_use]
    pub fn with_cold_weight(self) -> Self {
        Self { weight_is_cold: true, ..self }
    }

    /// Heads of q on each rank.
    pub fn local_heads(&self) -> u32 {
        self.spec.num_heads / self.ranks.max(1)
    }

    /// Heads of k and v on each rank; ranks that share one hold a copy each.
    pub fn local_heads_k(&self) -> u32 {
        (self.spec.num_heads_k / self.ranks.max(1)).max(1)
    }

    /// The heads of q that `rank` holds.
    pub fn heads_of(&self, rank: u32) -> Range<u32> {
        let first = u64::from(rank) * u64::from(self.local_heads());
        some(first, self.local_heads(), self.spec.num_heads)
    }

    /// The heads of k and v that `rank` holds.
    pub fn heads_k_of(&self, rank: u32) -> Range<u32> {
        let first = u64::from(rank) * u64::from(self.spec.num_heads_k) / u64::from(self.ranks.max(1));
        some(first, self.local_heads_k(), self.spec.num_heads_k)
    }

    /// Columns of the attention's output on each rank, and rows of its part of the weight; `u32::MAX` for
    /// more, which no plan takes.
    pub fn in_features(&self) -> u32 {
        self.local_heads().saturating_mul(self.spec.head_dim_v)
    }

    /// Rows of q, o and y; `u64::MAX` for more, which no plan takes.
    pub fn rows(&self) -> u64 {
        u64::try_from(self.sequences.sum(|s| s.seqlen_q)).unwrap_or(u64::MAX)
    }

    /// Rows of k and v; `u64::MAX` for more, which no plan takes.
    pub fn keys(&self) -> u64 {
        u64::try_from(self.sequences.sum(|s| s.seqlen_k)).unwrap_or(u64::MAX)
    }

    /// Every reason why `soc` cannot run this layer; empty when it can.
    pub fn refusals(&self, soc: &Soc) -> Vec<Reason> {
        let mut found = self.sharing_refusals();
        if !found.is_empty() {
            return found;
        }
        if self.has_attention {
            for batch in self.batches() {
                found.extend(self.attention(&batch).refusals(soc).into_iter().map(|r| r.of("attention")));
            }
        }
        let features = u64::from(self.local_heads()) * u64::from(self.spec.head_dim_v);
        if u32::try_from(features).is_err() {
            found.push(Reason::unsupported(format!(
                "heads of a rank * head_dim_v = {} * {} is more than {}",
                self.local_heads(),
                self.spec.head_dim_v,
                u32::MAX
            )));
        } else if let Some(product) = self.product(self.planned_rows()) {
            found.extend(product.refusals(soc).into_iter().map(|r| r.of("projection")));
        }
        if found.is_empty() {
            found.extend(self.too_large(soc));
        }
        found
    }

    /// Sequences and their strides can need more memory together than any batch of them does.
    fn too_large(&self, soc: &Soc) -> Option<Reason> {
        Reason::of_operands(["q", "k", "v", "o", "y"], self.footprints(), &soc.name, soc.hbm_bytes)
    }

    /// Of this rank's q, k, v, o and y.
    fn footprints(&self) -> [Footprint; 5] {
        let mut used = self.operand_bytes();
        if self.has_attention {
            for (used, (row_bytes, steps)) in used.iter_mut().zip(self.steps()) {
                let own = steps.iter().filter(|step| step.bytes > 0).map(|step| u128::from(step.extent));
                *used = own.fold(row_bytes.into(), u128::saturating_mul);
            }
        }
        let mut used = used.into_iter();
        self.operand_bytes().map(|span| Footprint { span, used: used.next().unwrap_or(span) })
    }

    /// Rows for which the projection's tile is chosen: one where there are none.
    pub(super) fn planned_rows(&self) -> u32 {
        // `sharing_refusals` bounds them.
        u32::try_from(self.rows()).unwrap_or(u32::MAX).max(1)
    }

    /// Bytes that the buffers of this rank's q, k, v, o and y must hold, in this order.
    pub(super) fn operand_bytes(&self) -> [u128; 5] {
        let size = self.spec.dtype.size_bytes() as u128;
        let mut bytes = [0; 5];
        for batch in if self.has_attention { self.batches() } else { Vec::new() } {
            let shape = self.attention(&batch).shape();
            let [q, k, v, ..] = shape.operand_bytes().map(u128::from);
            for ((needed, start), own) in bytes.iter_mut().zip(self.offsets(&batch, &shape)).zip([q, k, v]) {
                *needed = start.saturating_add(own).max(*needed);
            }
        }
        let rows = u128::from(self.rows()) * size;
        bytes[3] = rows * u128::from(self.in_features());
        bytes[4] = rows * u128::from(self.hidden);
        bytes
    }

    /// Bytes at which the q, k, v and o of a batch start.
    pub(super) fn offsets(&self, batch: &Batch, shape: &Shape) -> [u128; 4] {
        let size = self.spec.dtype.size_bytes() as u128;
        let (row, key) = (u128::from(batch.first_row) * size, u128::from(batch.first_key) * size);
        let at = |place: u128, stride: [u64; 3]| place * u128::from(stride[1]);
        [at(row, shape.q_stride), at(key, shape.k_stride), at(key, shape.v_stride), at(row, shape.o_stride)]
    }

    // A list of independent checks.
    fn sharing_refusals(&self) -> Vec<Reason> {
        let mut found = Vec::new();
        let mut invalid = |text: String| found.push(Reason::invalid(text));
        for (name, value) in [
            ("ranks", self.ranks),
            ("hidden", self.hidden),
            ("num_heads", self.spec.num_heads),
            ("num_heads_k", self.spec.num_heads_k),
        ] {
            if value == 0 {
                invalid(format!("{name} = 0, wanted at least 1"));
            }
        }
        if self.ranks > 0 && !self.spec.num_heads.is_multiple_of(self.ranks) {
            invalid(format!(
                "num_heads = {}, a multiple of ranks = {} wanted",
                self.spec.num_heads, self.ranks
            ));
        }
        let (ranks, heads_k) = (self.ranks.max(1), self.spec.num_heads_k.max(1));
        if !heads_k.is_multiple_of(ranks) && !ranks.is_multiple_of(heads_k) {
            invalid(format!("num_heads_k = {heads_k}, a multiple or a divisor of ranks = {ranks} wanted"));
        }
        if self.spec.num_heads_k > 0 && !self.spec.num_heads.is_multiple_of(heads_k) {
            invalid(format!(
                "num_heads = {}, a multiple of num_heads_k = {heads_k} wanted",
                self.spec.num_heads
            ));
        }
        if !matches!(self.spec.dtype, DType::F16 | DType::Bf16) {
            invalid(format!("dtype = {}, f16 or bf16 wanted", self.spec.dtype));
        }
        for (name, rows) in
            [("rows", self.sequences.sum(|s| s.seqlen_q)), ("keys", self.sequences.sum(|s| s.seqlen_k))]
        {
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
    pub(super) fn batches(&self) -> Vec<Batch> {
        let mut batches: Vec<Batch> = Vec::new();
        let (mut row, mut key) = (0u64, 0u64);
        // `sharing_refusals` bounds both sums.
        let narrow = |place: u64| u32::try_from(place).unwrap_or(u32::MAX);
        for &(sequence, count) in &self.sequences.groups {
            batches.push(Batch { sequence, count, first_row: narrow(row), first_key: narrow(key) });
            row += u64::from(count) * u64::from(sequence.seqlen_q);
            key += u64::from(count) * u64::from(sequence.seqlen_k);
        }
        batches.retain(|batch| batch.sequence.seqlen_q > 0);
        batches
    }

    /// The attention of a batch on one rank.
    pub(super) fn attention(&self, batch: &Batch) -> attention::Problem {
        let (heads, heads_k) = (self.local_heads(), self.local_heads_k());
        let Sequence { seqlen_q, seqlen_k } = batch.sequence;
        let stride = |given: Option<[u64; 2]>, rows: u32, heads: u32, dim: u32| {
            let [row, head] = given.unwrap_or(dense(heads, dim));
            Some([u64::from(rows).saturating_mul(row), row, head])
        };
        let spec = AttentionSpec { num_heads: heads, num_heads_k: heads_k, ..self.spec };
        attention::Problem {
            spec,
            seqlen_k,
            q_stride: stride(self.q_stride, seqlen_q, heads, spec.head_dim),
            k_stride: stride(self.k_stride, seqlen_k, heads_k, spec.head_dim),
            v_stride: stride(self.v_stride, seqlen_k, heads_k, spec.head_dim_v),
            ..attention::Problem::new(spec.dtype, [batch.count, seqlen_q, heads, spec.head_dim])
        }
    }

    /// Where the rows of this rank's q, k and v lie: bytes of a row, and its repetitions.
    pub(super) fn steps(&self) -> [(u64, [Repeat; 2]); 3] {
        let size = self.spec.dtype.size_bytes() as u64;
        let tensor = |given: Option<[u64; 2]>, rows: u64, heads: u32, dim: u32| {
            let [row, head] = given.unwrap_or(dense(heads, dim)).map(|stride| stride.saturating_mul(size));
            let steps =
                [Repeat { extent: rows, bytes: row }, Repeat { extent: u64::from(heads), bytes: head }];
            (u64::from(dim) * size, steps)
        };
        [
            tensor(self.q_stride, self.rows(), self.local_heads(), self.spec.head_dim),
            tensor(self.k_stride, self.keys(), self.local_heads_k(), self.spec.head_dim),
            tensor(self.v_stride, self.keys(), self.local_heads_k(), self.spec.head_dim_v),
        ]
    }

    /// The projection of so many rows on one rank, unless it is the caller's.
    pub(super) fn product(&self, rows: u32) -> Option<matmul::Problem> {
        match self.linear {
            Linear::Weight(layout) => {
                let extents = [rows, self.hidden, self.in_features()];
                let product = matmul::Problem::new(self.spec.dtype, extents).with_b_layout(layout);
                Some(if self.weight_is_cold { product.with_cold_b() } else { product })
            }
            Linear::Caller { .. } => None,
        }
    }
}

/// Row and head stride without gaps.
fn dense(heads: u32, dim: u32) -> [u64; 2] {
    [u64::from(heads) * u64::from(dim), u64::from(dim)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cold_weight_is_that_of_the_product() {
        let problem = Problem::new(DType::F16, [1, 64, 8, 64], 256, 2);
        for (problem, is_cold) in [(problem.clone(), false), (problem.with_cold_weight(), true)] {
            assert_eq!(problem.product(16).map(|product| product.is_b_cold), Some(is_cold));
        }
    }
}
