//! How an append is cut.

use std::fmt;

use serde::Serialize;
use smallvec::SmallVec;

use super::pieces::{Side, BLOCK_BYTES};
use super::rotary::{Scratch, BANK_CYCLE_BYTES};
use super::{kernel_names, KvAppendRotaryTilingData, KvAppendTilingData, Pairing, Problem, STATUS_WORDS};
use crate::record;
use crate::spec::Reason;
use crate::{Result, Soc};

/// Most tiles in UB; the kernel has so many flags.
const MAX_BUFFERS: u64 = 4;

/// Fewest: one is read while the one before is written.
const MIN_BUFFERS: u64 = 2;

/// A tile has no more bytes, unless one token does. Larger ones keep the first write of a core waiting.
const TILE_BYTES: u64 = 32 * 1024;

/// A tile has no more tokens where keys are rotated: repeats of an instruction.
const MAX_ROTARY_TOKENS: u64 = 255;

/// A planned append; prints itself. It serves every launch of up to `tokens` tokens, whatever their places.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    problem: Problem,
    soc: Soc,
    num_cores: u32,
    tile_tokens: u32,
    num_buffers: u32,
}

/// Plans an append.
///
/// # Errors
/// All reasons of [`Problem::refusals`] in one error.
pub fn plan(problem: &Problem, soc: &Soc) -> Result<Plan> {
    Reason::refuse(&format!("append on {}", soc.name), &problem.refusals(soc))?;
    let num_cores = problem.tokens.min(soc.vector_cores);
    let token_bytes = problem.token_bytes().max(1);
    let usable = tiles_bytes(problem, soc);
    let with_buffers = |buffers: u64| buffers * token_bytes + factor_bytes(problem);
    let fits = |buffers: &u64| with_buffers(*buffers) <= usable;
    let num_buffers = (MIN_BUFFERS..=MAX_BUFFERS).rev().find(fits).unwrap_or(MIN_BUFFERS);
    let most = (usable / with_buffers(num_buffers)).min(TILE_BYTES / token_bytes);
    let most = if problem.rotary.is_some() { most.min(MAX_ROTARY_TOKENS) } else { most };
    let core_tokens = problem.tokens.div_ceil(num_cores.max(1)).max(1);
    let tile_tokens = most.clamp(1, core_tokens.into());
    Ok(Plan {
        problem: *problem,
        soc: soc.clone(),
        num_cores,
        tile_tokens: narrow(tile_tokens),
        num_buffers: narrow(num_buffers),
    })
}

/// Bytes of UB that grow with a tile, but are there once.
fn factor_bytes(problem: &Problem) -> u64 {
    problem.rotary.map_or(0, |rotary| Scratch::of(&rotary).factor_bytes)
}

/// UB without the block of the status and what a rotation always needs.
fn tiles_bytes(problem: &Problem, soc: &Soc) -> u64 {
    let scratch = problem.rotary.map_or(0, |rotary| Scratch::of(&rotary).fixed_bytes());
    u64::from(soc.core.usable_ub_bytes()).saturating_sub(BLOCK_BYTES + problem.odd_row_bytes() + scratch)
}

/// Bytes that the rows of one token may have in UB.
pub(super) fn most_token_bytes(problem: &Problem, soc: &Soc) -> u64 {
    let usable = tiles_bytes(problem, soc).saturating_sub(factor_bytes(problem));
    usable / MIN_BUFFERS / BLOCK_BYTES * BLOCK_BYTES
}

/// Of numbers that UB or a copy bounds.
/// All that the kernel receives, as bytes.
pub(super) fn joined(
    tiling: &KvAppendTilingData,
    rotary: Option<&KvAppendRotaryTilingData>,
) -> SmallVec<[u8; 512]> {
    let mut bytes = SmallVec::from_slice(tiling.as_bytes());
    if let Some(rotary) = rotary {
        bytes.extend_from_slice(rotary.as_bytes());
    }
    bytes
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

impl Plan {
    /// What is planned.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// What it is planned for.
    pub fn soc(&self) -> &Soc {
        &self.soc
    }

    /// Vector cores of a launch; 0 when there is nothing to launch.
    pub fn num_cores(&self) -> u32 {
        self.num_cores
    }

    /// Bytes that the buffers of k, v, `k_cache` and `v_cache` must hold, in this order.
    pub fn operand_bytes(&self) -> [u64; 4] {
        let ([k, v], [k_cache, v_cache]) = (self.problem.rows(), self.problem.caches());
        [k, v, k_cache, v_cache].map(|tensor| tensor.span_bytes())
    }

    /// Bytes that the buffers of q and `q_out` must hold; 0 without them.
    pub fn query_bytes(&self) -> [u64; 2] {
        let queries = self.problem.rotary.and_then(|rotary| rotary.queries(&self.problem));
        queries.map_or([0; 2], |tensors| tensors.map(|tensor| tensor.span_bytes()))
    }

    /// Bytes of `positions`; 0 without rotation.
    pub fn positions_bytes(&self) -> u64 {
        let words = self.problem.rotary.map_or(0, |rotary| rotary.position_type.words());
        4 * u64::from(words) * u64::from(self.problem.tokens)
    }

    /// Bytes of the table; 0 without rotation.
    pub fn table_bytes(&self) -> u64 {
        self.problem.rotary.map_or(0, |rotary| rotary.table_bytes())
    }

    /// Bytes of `places`.
    pub fn places_bytes(&self) -> u64 {
        4 * u64::from(self.problem.place_type.words()) * u64::from(self.problem.tokens)
    }

    /// Bytes of `status`: i32 `[num_cores, 8]`.
    pub fn status_bytes(&self) -> u64 {
        4 * STATUS_WORDS as u64 * u64::from(self.num_cores)
    }

    /// Bytes of the tiling data.
    pub fn tiling_data_bytes(&self) -> u64 {
        self.all_tiling_data().len() as u64
    }

    /// The tiling data, of a rotation behind the others; without memory of its own.
    pub(super) fn all_tiling_data(&self) -> SmallVec<[u8; 512]> {
        joined(&self.tiling_data(), self.rotary_tiling_data().as_ref())
    }

    /// What the kernel receives.
    pub fn tiling_data(&self) -> KvAppendTilingData {
        let p = &self.problem;
        let (rows, caches, pieces) = (p.rows(), p.caches(), p.pieces());
        let gaps = [0, 1].map(|i| pieces[i].from.joined_gap_bytes(&rows[i], self.tile_tokens));
        let [run_k, run_v] = [0, 1].map(|i| pieces[i].page_gap_bytes(&caches[i]));
        // Between the two copies of K lies half of what is left out between its pieces.
        let runs = run_k.zip(run_v).filter(|_| !p.splits_k());
        let out_gaps = runs.map_or(pieces.map(|p| p.to.gap_bytes), |(k, v)| [k, v]);
        let tile = |i: usize| u64::from(self.tile_tokens) * pieces[i].row_bytes;
        let buffer = self.buffer_bytes();
        KvAppendTilingData {
            token_stride: rows.map(|t| t.stride[1]),
            page_stride: caches.map(|t| t.stride[0]),
            place_stride: caches.map(|t| t.stride[1]),
            tokens: p.tokens,
            num_places: narrow(p.num_places()),
            page_size: p.pages()[1],
            place_words: p.place_type.words(),
            in_bursts: pieces.map(|p| narrow(p.from.count)),
            in_burst_bytes: pieces.map(|p| narrow(p.from.bytes)),
            in_gap_bytes: [0, 1].map(|i| narrow(gaps[i].unwrap_or(pieces[i].from.gap_bytes))),
            is_joined: gaps.map(|gap| gap.is_some().into()),
            out_bursts: pieces.map(|p| narrow(p.to.count)),
            out_burst_bytes: pieces.map(|p| narrow(p.to.bytes)),
            out_gap_bytes: out_gaps.map(narrow),
            row_bytes: pieces.map(|p| narrow(p.row_bytes)),
            ub_rows_offset_bytes: [0, narrow(tile(0))],
            tile_tokens: self.tile_tokens,
            num_buffers: self.num_buffers,
            buffer_bytes: narrow(buffer),
            ub_status_offset_bytes: narrow(u64::from(self.num_buffers) * buffer),
            num_cores: self.num_cores,
            want_status: p.is_checked.into(),
            joins_rows: runs.is_some().into(),
            ub_odd_offset_bytes: if p.splits_k() { narrow(buffer - self.odd_bytes()) } else { 0 },
        }
    }

    /// Of K, V, q and the table of a tile.
    fn buffer_bytes(&self) -> u64 {
        u64::from(self.tile_tokens) * self.problem.token_bytes()
    }

    /// Of K with exchanged halves, at the end of a buffer.
    fn odd_bytes(&self) -> u64 {
        u64::from(self.tile_tokens) * self.problem.odd_row_bytes()
    }

    /// What the kernel receives besides; `None` without rotation.
    pub fn rotary_tiling_data(&self) -> Option<KvAppendRotaryTilingData> {
        let p = &self.problem;
        let rotary = p.rotary?;
        let (scratch, tokens) = (Scratch::of(&rotary), u64::from(self.tile_tokens));
        let q = rotary.queries(p).zip(rotary.pieces(p));
        let strides = q.map_or([0; 2], |(tensors, _)| tensors.map(|t| t.stride[1]));
        let q_row_bytes = q.map_or(0, |(_, pieces)| pieces.row_bytes);
        let sides = q.map_or([Side::default(); 2], |(_, pieces)| [pieces.from, pieces.to]);
        let gaps = q.map_or([None; 2], |([from, to], pieces)| {
            [(pieces.from, from), (pieces.to, to)]
                .map(|(side, own)| side.joined_gap_bytes(&own, self.tile_tokens))
        });
        let kv_bytes: u64 = p.pieces().iter().map(|pieces| tokens * pieces.row_bytes).sum();
        let halves = u64::from(self.num_buffers) * self.buffer_bytes() + BLOCK_BYTES;
        let x = (halves + p.odd_row_bytes()).next_multiple_of(BANK_CYCLE_BYTES);
        let spread = x + scratch.xy_bytes;
        Some(KvAppendRotaryTilingData {
            q_token_stride: strides[0],
            q_out_token_stride: strides[1],
            q_bursts: sides.map(|side| narrow(side.count)),
            q_burst_bytes: sides.map(|side| narrow(side.bytes)),
            q_gap_bytes: [0, 1].map(|i| narrow(gaps[i].unwrap_or(sides[i].gap_bytes))),
            q_is_joined: gaps.map(|gap| gap.is_some().into()),
            q_row_bytes: narrow(q_row_bytes),
            num_heads: if rotary.has_q { p.cache.spec.num_heads } else { 0 },
            num_heads_k: p.cache.spec.num_heads_k,
            head_dim: p.cache.spec.head_dim,
            dims: rotary.dims,
            max_positions: rotary.max_positions,
            position_words: rotary.position_type.words(),
            is_adjacent: (rotary.pairing == Pairing::Adjacent).into(),
            chunk_rows: narrow(scratch.chunk_rows),
            ub_q_offset_bytes: narrow(kv_bytes),
            ub_table_offset_bytes: narrow(kv_bytes + tokens * q_row_bytes),
            ub_x_offset_bytes: narrow(x),
            ub_y_offset_bytes: narrow(x + scratch.y_bytes),
            ub_spread_offset_bytes: narrow(spread),
            ub_factors_offset_bytes: narrow(spread + scratch.spread_bytes),
            ub_halves_offset_bytes: narrow(halves),
        })
    }
}

record::json_of_problem!(Plan, "append", Problem, Chosen);

/// What the planner chose.
#[derive(Serialize)]
pub(crate) struct Chosen {
    kernel: &'static str,
    num_cores: u32,
    tiling_data_bytes: u64,
    tile_tokens: u32,
    num_buffers: u32,
}

impl Plan {
    /// For readers of the plan's text.
    fn to_chosen(&self) -> Result<Chosen> {
        Ok(Chosen {
            kernel: kernel_names(self.problem.cache.spec.dtype)?[usize::from(self.problem.rotary.is_some())],
            num_cores: self.num_cores,
            tiling_data_bytes: self.tiling_data_bytes(),
            tile_tokens: self.tile_tokens,
            num_buffers: self.num_buffers,
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p, s) = (&self.problem, &self.problem.cache.spec);
        write!(
            f,
            "append {} on {}: tokens {}, num_heads_k {}, head_dim {}, head_dim_v {}, {}{}; tiles of {} tokens, {} in \
             UB, on {} cores",
            s.dtype,
            self.soc.name,
            p.tokens,
            s.num_heads_k,
            s.head_dim,
            s.head_dim_v,
            p.cache.kv,
            p.rotary.map_or(String::new(), |rotary| rotary.told(s.num_heads)),
            self.tile_tokens,
            self.num_buffers,
            self.num_cores
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use super::super::Rotary;
    use super::*;
    use crate::serving::{self, KvLayout};
    use crate::DType;

    fn of([heads, heads_k, head_dim, dims]: [u32; 4], pairing: Pairing) -> Problem {
        let cache = serving::Problem::new(DType::F16, [1, 1, heads, head_dim], 1, KvLayout::paged(16, 10));
        let cache = cache.with_num_heads_k(heads_k).with_head_dim_v(20);
        Problem::new(5000, &cache).with_rotary(Rotary::new(pairing, dims, 7).with_q())
    }

    #[test]
    fn what_lies_in_ub_fits_and_does_not_overlap() {
        let soc = Soc::by_name("Ascend910B2").unwrap();
        let mut planned = 0;
        for heads in [1, 2, 8, 31, 200] {
            for [head_dim, dims] in [[16, 16], [64, 48], [128, 128], [256, 240], [576, 64], [4080, 512]] {
                for pairing in [Pairing::Halves, Pairing::Adjacent] {
                    let problem = of([heads, heads.div_ceil(3), head_dim, dims], pairing);
                    let Ok(plan) = plan(&problem, soc) else { continue };
                    planned += 1;
                    let (t, r) = (plan.tiling_data(), plan.rotary_tiling_data().unwrap());
                    let (tokens, row) = (t.tile_tokens, 4 * dims);
                    let kv = tokens * (t.row_bytes[0] + t.row_bytes[1]);
                    assert_eq!(
                        [r.ub_q_offset_bytes, r.ub_table_offset_bytes],
                        [kv, kv + tokens * r.q_row_bytes]
                    );
                    assert_eq!(t.buffer_bytes, r.ub_table_offset_bytes + tokens * row, "{plan}");
                    assert!((2..=4).contains(&t.num_buffers) && (1..=255).contains(&tokens), "{plan}");
                    assert!(r.ub_x_offset_bytes >= t.ub_status_offset_bytes + 32, "{plan}");
                    assert!(r.ub_y_offset_bytes >= r.ub_x_offset_bytes + r.chunk_rows * row, "{plan}");
                    let mut end = r.ub_y_offset_bytes + r.chunk_rows * row;
                    if pairing == Pairing::Adjacent {
                        assert!(r.ub_spread_offset_bytes >= end, "{plan}");
                        assert!(r.ub_factors_offset_bytes >= r.ub_spread_offset_bytes + 2 * row, "{plan}");
                        end = r.ub_factors_offset_bytes + tokens * 2 * row + 256;
                    }
                    assert!(end <= soc.core.usable_ub_bytes(), "{plan}: {end}");
                }
            }
        }
        assert!(planned > 40, "{planned}");
    }

    #[test]
    fn plans_tell_their_rotation() {
        let soc = Soc::by_name("Ascend910B2").unwrap();
        let text = plan(&of([32, 8, 128, 64], Pairing::Adjacent), soc).unwrap().to_string();
        assert!(
            text.contains(
                ", 10 pages of 16 keys, 64 elements rotated in adjacent pairs, q of 32 heads, too;"
            ),
            "{text}"
        );
    }
}
