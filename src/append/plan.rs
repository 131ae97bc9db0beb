//! How an append is cut.

use std::fmt;

use serde::Serialize;

use super::pieces::BLOCK_BYTES;
use super::{kernel_name, KvAppendTilingData, Problem, STATUS_WORDS};
use crate::record::{self, Recorded};
use crate::spec::{Reason, Tensor};
use crate::{Result, Soc};

/// Most tiles in UB; the kernel has so many flags.
const MAX_BUFFERS: u64 = 4;

/// Fewest: one is read while the one before is written.
const MIN_BUFFERS: u64 = 2;

/// A tile has no more bytes, unless one token does. Larger ones keep the first write of a core waiting.
const TILE_BYTES: u64 = 32 * 1024;

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
    let token_bytes = problem.token_bytes();
    let usable = tiles_bytes(soc);
    let fits = |buffers: &u64| buffers * token_bytes <= usable;
    let num_buffers = (MIN_BUFFERS..=MAX_BUFFERS).rev().find(fits).unwrap_or(MIN_BUFFERS);
    let room = (usable / num_buffers).min(TILE_BYTES);
    let core_tokens = problem.tokens.div_ceil(num_cores.max(1)).max(1);
    let tile_tokens = (room / token_bytes.max(1)).clamp(1, core_tokens.into());
    Ok(Plan {
        problem: *problem,
        soc: soc.clone(),
        num_cores,
        tile_tokens: narrow(tile_tokens),
        num_buffers: narrow(num_buffers),
    })
}

/// UB without the block of the status.
fn tiles_bytes(soc: &Soc) -> u64 {
    u64::from(soc.core.usable_ub_bytes()).saturating_sub(BLOCK_BYTES)
}

/// Bytes that K and V of one token may have in UB.
pub(super) fn most_token_bytes(soc: &Soc) -> u64 {
    tiles_bytes(soc) / MIN_BUFFERS / BLOCK_BYTES * BLOCK_BYTES
}

/// Of numbers that UB or a copy bounds.
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
        // `refusals` has found each to fit the device.
        [k, v, k_cache, v_cache].map(|t: Tensor| u64::try_from(t.footprint().span).unwrap_or(u64::MAX))
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
        size_of::<KvAppendTilingData>() as u64
    }

    /// What the kernel receives.
    pub fn tiling_data(&self) -> KvAppendTilingData {
        let p = &self.problem;
        let (rows, caches, pieces) = (p.rows(), p.caches(), p.pieces());
        let gaps = [0, 1].map(|i| pieces[i].joined_gap_bytes(&rows[i], self.tile_tokens));
        let [run_k, run_v] = [0, 1].map(|i| pieces[i].page_gap_bytes(&caches[i]));
        let runs = run_k.zip(run_v);
        let out_gaps = runs.map_or(pieces.map(|p| p.to.gap_bytes), |(k, v)| [k, v]);
        let tile = |i: usize| u64::from(self.tile_tokens) * pieces[i].row_bytes;
        let buffer = tile(0) + tile(1);
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
            reserved: 0,
        }
    }

    /// The plan as one line of JSON: `version`, `operator`, `soc`, `problem`, and `chosen`, what the planner
    /// chose.
    ///
    /// # Errors
    /// `Internal`: a defect of this crate.
    pub fn to_json(&self) -> Result<String> {
        record::to_json(self)
    }

    /// Reads what [`Self::to_json`] wrote: plans its problem, and compares.
    ///
    /// # Errors
    /// `InvalidArgument` for text that is something else, has another version or SoC, lacks a field, or has
    /// one that is unknown or not what [`plan`] makes of the problem; what [`plan`] refuses.
    pub fn from_json(text: &str, soc: &Soc) -> Result<Self> {
        record::from_json(text, soc)
    }
}

/// What the planner chose.
#[derive(Serialize)]
pub(crate) struct Chosen {
    kernel: &'static str,
    num_cores: u32,
    tiling_data_bytes: u64,
    tile_tokens: u32,
    num_buffers: u32,
}

impl Recorded for Plan {
    const OPERATOR: &'static str = "append";
    type Problem = Problem;
    type Chosen = Chosen;

    fn problem(&self) -> &Problem {
        &self.problem
    }

    fn soc(&self) -> &Soc {
        &self.soc
    }

    fn chosen(&self) -> Result<Chosen> {
        Ok(Chosen {
            kernel: kernel_name(self.problem.cache.spec.dtype)?,
            num_cores: self.num_cores,
            tiling_data_bytes: self.tiling_data_bytes(),
            tile_tokens: self.tile_tokens,
            num_buffers: self.num_buffers,
        })
    }

    fn plan(problem: &Problem, soc: &Soc) -> Result<Self> {
        plan(problem, soc)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p, s) = (&self.problem, &self.problem.cache.spec);
        write!(
            f,
            "append {} on {}: tokens {}, num_heads_k {}, head_dim {}, head_dim_v {}, {}; tiles of {} tokens, {} in UB, \
             on {} cores",
            s.dtype,
            self.soc.name,
            p.tokens,
            s.num_heads_k,
            s.head_dim,
            s.head_dim_v,
            p.cache.kv,
            self.tile_tokens,
            self.num_buffers,
            self.num_cores
        )
    }
}
