//! Rotation of keys and queries by the positions of their tokens.

use serde::{Deserialize, Serialize};

use super::pieces::{Pieces, BLOCK_BYTES};
use super::{PlaceType, Problem, MAX_HEADS};
use crate::spec::{Reason, Tensor};
use crate::tiling::MAX_SEQLEN;

/// Most elements of a head that are rotated.
pub const MAX_ROTARY_DIMS: u32 = 512;

/// Most elements of a head of which some are rotated: a repeat stride has 8 bits.
pub const MAX_ROTARY_HEAD_DIM: u32 = 4080;

/// `dims` and `head_dim` are multiples: halves of them in f32, and heads, are blocks of UB.
const DIMS_STEP: u32 = 16;

/// Of x and of y in UB, each.
const CHUNK_BYTES: u64 = 32 * 1024;

/// Of a repeat.
const REPEAT_BYTES: u64 = 256;

/// Repeats of an instruction.
const MAX_REPEATS: u64 = 255;

/// After so many bytes UB's groups of banks come again (dav-c220.md 1.5). x starts at a multiple, and y half
/// of it away, so that both are read at once.
pub(super) const BANK_CYCLE_BYTES: u64 = 512;
const BANK_SHIFT_BYTES: u64 = BANK_CYCLE_BYTES / 2;

/// Which elements of a head are a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Pairing {
    /// `i` and `i + dims / 2`: GPT-NeoX, Llama.
    Halves,
    /// `2 i` and `2 i + 1`: GPT-J, RoFormer \[interleaved\].
    Adjacent,
}

/// How keys, and queries if wanted, are rotated: each pair `(x, y)` of the first `dims` elements of a head
/// becomes `(x cos - y sin, y cos + x sin)`. The other elements are copied.
///
/// Products and sums are f32, and each result is rounded once. Source: Su et al., RoFormer (arXiv
/// 2104.09864), section 3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Rotary {
    /// Elements of a head that are rotated: a multiple of 16.
    pub dims: u32,
    /// Which of them are a pair.
    pub pairing: Pairing,
    /// Rows of the table.
    pub max_positions: u32,
    /// Type of `positions`.
    pub position_type: PlaceType,
    /// Whether q is rotated, too: `[tokens, num_heads, head_dim]`, heads as the cache's problem has them.
    pub has_q: bool,
    /// Strides of q: token, head; dense unless given.
    pub q_stride: Option<[u64; 2]>,
    /// Strides of `q_out`, likewise.
    pub q_out_stride: Option<[u64; 2]>,
}

impl Rotary {
    /// Of keys alone, with positions below `max_positions`, as i32.
    pub fn new(pairing: Pairing, dims: u32, max_positions: u32) -> Self {
        Self {
            dims,
            pairing,
            max_positions,
            position_type: PlaceType::I32,
            has_q: false,
            q_stride: None,
            q_out_stride: None,
        }
    }

    /// Sets the type of the positions.
    #[must_use]
    pub fn with_position_type(self, position_type: PlaceType) -> Self {
        Self { position_type, ..self }
    }

    /// Rotates q, too.
    #[must_use]
    pub fn with_q(self) -> Self {
        Self { has_q: true, ..self }
    }

    /// The same with strides of q and `q_out`: token, head.
    #[must_use]
    pub fn with_q_strides(self, q: [u64; 2], q_out: [u64; 2]) -> Self {
        Self { has_q: true, q_stride: Some(q), q_out_stride: Some(q_out), ..self }
    }

    /// Radians that each of `dims / 2` pairs turns from one position to the next: `base^(-2 i / dims)`.
    /// Scaled frequencies (linear, Llama 3, YaRN) are made of these by the caller.
    pub fn frequencies(base: f64, dims: u32) -> Vec<f64> {
        (0..dims / 2).map(|i| base.powf(-2.0 * f64::from(i) / f64::from(dims))).collect()
    }

    /// The table of frequencies, f32 `[max_positions, 2, frequencies]`: the cosines of a position, then its
    /// sines, both times `magnitude` (1 but for YaRN). Angles are f64, which keeps late positions exact; a
    /// table in f32 arithmetic, as other libraries make it, is off by 0.004 radians at position 100 000.
    pub fn table(frequencies: &[f64], max_positions: u32, magnitude: f64) -> Vec<f32> {
        let row = |position| {
            let angles = move |of: fn(f64) -> f64| {
                #[allow(clippy::cast_possible_truncation, reason = "rounds to f32")]
                frequencies.iter().map(move |f| (magnitude * of(f64::from(position) * f)) as f32)
            };
            angles(f64::cos).chain(angles(f64::sin))
        };
        (0..max_positions).flat_map(row).collect()
    }

    /// Bytes of the table.
    pub(super) fn table_bytes(&self) -> u64 {
        u64::from(self.max_positions) * self.table_row_bytes()
    }

    /// For a plan's text.
    pub(super) fn told(&self, num_heads: u32) -> String {
        let pairs = match self.pairing {
            Pairing::Halves => "pairs of halves",
            Pairing::Adjacent => "adjacent pairs",
        };
        let q = if self.has_q { format!(", q of {num_heads} heads, too") } else { String::new() };
        format!(", {} elements rotated in {pairs}{q}", self.dims)
    }

    /// Of a token in UB.
    pub(super) fn table_row_bytes(&self) -> u64 {
        4 * u64::from(self.dims)
    }

    /// q and `q_out`; none without q.
    pub(super) fn queries(&self, problem: &Problem) -> Option<[Tensor; 2]> {
        let spec = &problem.cache.spec;
        let (heads, dim) = (u64::from(spec.num_heads), u64::from(spec.head_dim));
        let of = |name, stride: Option<[u64; 2]>, is_output| {
            let [token, head] = stride.unwrap_or([heads * dim, dim]);
            let extent = [1, problem.tokens.into(), heads];
            let size = spec.dtype.size_bytes() as u64;
            Tensor { name, extent, dim, size, stride: [0, token, head], is_output }
        };
        self.has_q.then(|| [of("q", self.q_stride, false), of("q_out", self.q_out_stride, true)])
    }

    /// How q is copied.
    pub(super) fn pieces(&self, problem: &Problem) -> Option<Pieces> {
        self.queries(problem).map(|[q, q_out]| Pieces::of(&q, &q_out))
    }

    pub(super) fn wrong_sizes(&self, problem: &Problem) -> Vec<Reason> {
        let spec = &problem.cache.spec;
        let mut found =
            Vec::from_iter(Reason::of_head_dim("head_dim", spec.head_dim, DIMS_STEP, MAX_ROTARY_HEAD_DIM));
        if found.is_empty() {
            let most = spec.head_dim.min(MAX_ROTARY_DIMS);
            found.extend(Reason::of_head_dim("rotary.dims", self.dims, DIMS_STEP, most));
        }
        if self.max_positions == 0 {
            found.push(Reason::invalid("rotary.max_positions = 0, wanted at least 1"));
        }
        if self.max_positions > MAX_SEQLEN {
            found.push(Reason::unsupported(format!(
                "rotary.max_positions = {} is more than {MAX_SEQLEN}",
                self.max_positions
            )));
        }
        if self.has_q && spec.num_heads == 0 {
            found.push(Reason::invalid("num_heads = 0 with q, wanted at least 1"));
        }
        if self.has_q && spec.num_heads > MAX_HEADS {
            found.push(Reason::unsupported(format!(
                "num_heads = {} is more than {MAX_HEADS}",
                spec.num_heads
            )));
        }
        found
    }
}

/// What the rotation keeps in UB beside the tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scratch {
    pub(super) chunk_rows: u64,
    /// From x to y.
    pub(super) y_bytes: u64,
    /// Of x and y.
    pub(super) xy_bytes: u64,
    /// Of adjacent pairs, else 0: spread cosines and sines of a token,
    pub(super) factor_bytes: u64,
    /// and offsets that spread them. Instructions take whole repeats of both, so these are kept apart.
    pub(super) spread_bytes: u64,
}

impl Scratch {
    pub(super) fn of(rotary: &Rotary) -> Self {
        let row = rotary.table_row_bytes().max(BLOCK_BYTES);
        let chunk_rows = (CHUNK_BYTES / row).clamp(1, MAX_REPEATS);
        let y_bytes = (chunk_rows * row).next_multiple_of(BANK_CYCLE_BYTES) + BANK_SHIFT_BYTES;
        let factor_bytes = if rotary.pairing == Pairing::Adjacent { 2 * row } else { 0 };
        let spread_bytes = factor_bytes.next_multiple_of(REPEAT_BYTES);
        Self { chunk_rows, y_bytes, xy_bytes: y_bytes + chunk_rows * row, factor_bytes, spread_bytes }
    }

    /// Whatever a tile has, and what lies before x.
    pub(super) fn fixed_bytes(&self) -> u64 {
        let behind_factors = if self.factor_bytes > 0 { REPEAT_BYTES } else { 0 };
        BANK_CYCLE_BYTES + self.xy_bytes + self.spread_bytes + behind_factors
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "rounds to f32")]
mod tests {
    use super::*;

    #[test]
    fn tables_hold_cosines_then_sines() {
        let frequencies = Rotary::frequencies(10_000.0, 4);
        assert_eq!(frequencies, [1.0, 0.01]);
        let table = Rotary::table(&frequencies, 3, 2.0);
        let two = [2.0 * 2f64.cos(), 2.0 * 0.02f64.cos(), 2.0 * 2f64.sin(), 2.0 * 0.02f64.sin()];
        assert_eq!(table[..4], [2.0, 2.0, 0.0, 0.0]);
        assert_eq!(table[8..], two.map(|x| x as f32));
        assert!(Rotary::table(&[], 3, 1.0).is_empty() && Rotary::frequencies(1e4, 1).is_empty());
    }

    #[test]
    fn scratch_keeps_its_parts_apart() {
        for pairing in [Pairing::Halves, Pairing::Adjacent] {
            for dims in (16..=MAX_ROTARY_DIMS).step_by(16) {
                let scratch = Scratch::of(&Rotary::new(pairing, dims, 1));
                let chunk = scratch.chunk_rows * 4 * u64::from(dims);
                assert!((1..=MAX_REPEATS).contains(&scratch.chunk_rows) && chunk <= CHUNK_BYTES, "{dims}");
                assert!(scratch.y_bytes >= chunk, "{dims}: {} of {chunk}", scratch.y_bytes);
                assert_eq!(scratch.y_bytes % BANK_CYCLE_BYTES, BANK_SHIFT_BYTES, "{dims}");
                assert_eq!(scratch.xy_bytes, scratch.y_bytes + chunk);
            }
        }
    }
}
