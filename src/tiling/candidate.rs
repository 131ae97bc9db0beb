//! Candidate tilings: what is tried, and why one is rejected.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::buffers::{L1Buffers, UbBuffers};
use super::order::Order;
use super::shift::MEAN_ROWS;
use super::Shape;
use crate::{DType, Soc};

/// Level 2 on the Cube: rows, columns and depth of one Mmad. Two such operands fill L0A and L0B, two results
/// L0C.
pub(super) const TILE: u32 = 128;

const BLOCK_M: [u32; 6] = [256, 128, 96, 64, 32, 16];
pub(super) const BLOCK_N: [u32; 5] = [1024, 512, 256, 128, 64];
const CHUNK_N: [u32; 4] = [1024, 512, 256, 128];

/// (num_stages, preload, fewest steps of a bundle), the preferred first. Two QK blocks run ahead of PV as in
/// CANN's operators (paper.md §4); three of bundles of four, as the Cube then takes PV of four in a row.
const PIPELINES: [(u32, u32, u32); 4] = [(4, 3, 4), (4, 2, 1), (3, 2, 1), (2, 1, 1)];

/// Steps of a bundle. Long ones spare L2 most, and end an item latest. Blocks of few rows are for problems
/// that end soon, and are not tried with bundles.
const BUNDLES: [u32; 3] = [1, 2, 4];

/// Most QK blocks ahead of PV, and most ring slots: far below the 15 that a cross-core counter holds
/// (dav-c220.md §4.3).
const MAX_PRELOAD: u32 = 3;
const MAX_STAGES: u32 = 8;

/// Most steps of a bundle, and the fewest keys of a step in a bundle of several: the kernel scales rows of P
/// again in pieces of at least 64 of them.
const MAX_BUNDLE_STEPS: u32 = 4;
const BUNDLE_BLOCK_N: u32 = 256;

/// The free choices of a tiling; fields as in [`FlashFwdTilingData`](super::FlashFwdTilingData).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Query rows of a work item.
    pub block_m: u32,
    /// Keys of one hand-over.
    pub block_n: u32,
    /// Keys of one L1 buffer.
    pub chunk_n: u32,
    /// Ring slots in the workspace.
    pub num_stages: u32,
    /// QK blocks ahead of PV.
    pub preload: u32,
    /// Steps of a bundle: they have one row maximum, and the Cube adds up their P V.
    pub bundle_steps: u32,
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "block_m {}, block_n {}, chunk_n {}, num_stages {}, preload {}, bundle_steps {}",
            self.block_m, self.block_n, self.chunk_n, self.num_stages, self.preload, self.bundle_steps
        )
    }
}

/// A candidate that cannot be used, or would only waste memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// What was tried.
    pub candidate: Candidate,
    /// Why not.
    pub reason: String,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.candidate, self.reason)
    }
}

impl Candidate {
    /// Ring slots of P: a bundle's are read together.
    pub(super) fn p_slots(&self) -> u32 {
        self.num_stages + self.bundle_steps - 1
    }

    /// What the kernel takes, beyond fitting the memories; `Err` names the field and what it may be.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { block_m, block_n, chunk_n, num_stages, preload, bundle_steps } = *self;
        if !BLOCK_M.contains(&block_m) {
            return Err(format!("block_m = {block_m} is none of {BLOCK_M:?}"));
        }
        if !BLOCK_N.contains(&block_n) {
            return Err(format!("block_n = {block_n} is none of {BLOCK_N:?}"));
        }
        if chunk_n == 0 || block_n % chunk_n != 0 || chunk_n % TILE.min(block_n) != 0 {
            let unit = TILE.min(block_n);
            return Err(format!(
                "chunk_n = {chunk_n} is not a multiple of {unit} that divides block_n = {block_n}"
            ));
        }
        if !(1..=MAX_PRELOAD).contains(&preload) {
            return Err(format!("preload = {preload} is not from 1 to {MAX_PRELOAD}"));
        }
        if !(preload + 1..=MAX_STAGES).contains(&num_stages) {
            return Err(format!(
                "num_stages = {num_stages} is not from preload + 1 = {} to {MAX_STAGES}",
                preload + 1
            ));
        }
        if !(1..=MAX_BUNDLE_STEPS).contains(&bundle_steps) {
            return Err(format!("bundle_steps = {bundle_steps} is not from 1 to {MAX_BUNDLE_STEPS}"));
        }
        if bundle_steps > 1 && block_n < BUNDLE_BLOCK_N {
            return Err(format!(
                "bundle_steps = {bundle_steps} with block_n = {block_n}; block_n is at least \
                 {BUNDLE_BLOCK_N} then"
            ));
        }
        Ok(())
    }
}

/// Every candidate, in the order of preference between equals.
pub(super) fn all() -> impl Iterator<Item = Candidate> {
    let blocks = BLOCK_M.into_iter().flat_map(|m| BLOCK_N.into_iter().map(move |n| (m, n)));
    blocks.flat_map(|(block_m, block_n)| {
        let chunks = CHUNK_N.into_iter().chain((block_n < TILE).then_some(block_n));
        let chunks = chunks.filter(move |&chunk_n| chunk_n <= block_n);
        let has_bundles = block_m >= TILE && block_n >= BUNDLE_BLOCK_N;
        let bundles = BUNDLES.into_iter().filter(move |&steps| steps == 1 || has_bundles);
        let chunks = chunks.flat_map(move |chunk_n| bundles.clone().map(move |steps| (chunk_n, steps)));
        chunks.flat_map(move |(chunk_n, bundle_steps)| {
            let pipelines = PIPELINES.into_iter().filter(move |&(.., fewest)| bundle_steps >= fewest);
            pipelines.map(move |(num_stages, preload, _)| Candidate {
                block_m,
                block_n,
                chunk_n,
                num_stages,
                preload,
                bundle_steps,
            })
        })
    })
}

/// A candidate with its buffers placed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tiling {
    pub(super) candidate: Candidate,
    pub(super) chunk_p: u32,
    pub(super) tile_m: u32,
    pub(super) slice_rows: u32,
    pub(super) slice_bytes: u32,
    pub(super) rows_v: u32,
    pub(super) order: Order,
    pub(super) l1: L1Buffers,
    pub(super) ub: UbBuffers,
    pub(super) workspace_p_offset_bytes: u64,
    pub(super) workspace_o_offset_bytes: u64,
    pub(super) workspace_mean_offset_bytes: u64,
    pub(super) workspace_core_bytes: u64,
}

impl Tiling {
    /// Places the buffers of `candidate`, or says why that cannot be.
    pub(super) fn new(candidate: Candidate, shape: &Shape, soc: &Soc) -> Result<Self, String> {
        let Candidate { block_m, block_n, num_stages, .. } = candidate;
        candidate.check()?;
        let tile_m = block_m.min(TILE);
        let accumulators = shape.head_dim_v.div_ceil(TILE);
        if accumulators > 2 {
            return Err(format!(
                "PV needs {accumulators} L0C accumulators of {tile_m} x {TILE}, L0C holds 2"
            ));
        }
        let (chunk_p, l1) = L1Buffers::new(&candidate, shape, soc)?;
        let rows_v = (block_m / 2).next_multiple_of(8);
        let slice_rows = rows_v.min(if is_narrow(shape) { 32 } else { 64 });
        let (slice_bytes, ub) = UbBuffers::new(&candidate, shape, soc, rows_v, slice_rows)?;
        let order = Order::new(shape, block_m, soc.cube_cores)?;
        let slots = |count: u32| u64::from(count) * u64::from(block_m);
        let s = slots(num_stages) * u64::from(block_n) * u64::from(score_bytes(shape));
        let p = slots(candidate.p_slots()) * u64::from(block_n) * 2;
        let o = slots(2) * u64::from(shape.head_dim_v) * 4;
        let mean = if shape.adds_mean() { slots(num_stages) * u64::from(MEAN_ROWS) * 4 } else { 0 };
        let workspace_core_bytes = s + p + o + mean;
        let workspace = workspace_core_bytes * u64::from(order.num_cores);
        if workspace > soc.l2_bytes / 2 {
            return Err(format!(
                "workspace of {workspace} bytes is more than half of L2 ({} bytes)",
                soc.l2_bytes
            ));
        }
        Ok(Self {
            candidate,
            chunk_p,
            tile_m,
            slice_rows,
            slice_bytes,
            rows_v,
            order: order.in_groups(shape, soc.l2_bytes - workspace),
            l1,
            ub,
            workspace_p_offset_bytes: s,
            workspace_o_offset_bytes: s + p,
            workspace_mean_offset_bytes: s + p + o,
            workspace_core_bytes,
        })
    }
}

/// Rejects blocks that are at least half empty whatever the data.
pub(super) fn suits(candidate: Candidate, shape: &Shape) -> Result<(), String> {
    let Candidate { block_m, block_n, bundle_steps, .. } = candidate;
    if block_m > 16 && shape.seqlen_q <= block_m / 2 {
        return Err(format!("at least half of block_m is empty, as seqlen_q is {}", shape.seqlen_q));
    }
    let widest = shape.widest(block_m);
    if block_n > 64 && widest <= block_n / 2 {
        return Err(format!("at least half of block_n is empty, as a row block sees {widest} keys at most"));
    }
    if bundle_steps > 1 && widest <= bundle_steps / 2 * block_n {
        return Err(format!("bundle_steps is more than needed, as a row block sees {widest} keys at most"));
    }
    Ok(())
}

/// Whether scores are f16.
pub(super) fn is_narrow(shape: &Shape) -> bool {
    shape.score_dtype == DType::F16
}

/// By how much a row's largest score may exceed the maximum in use, within a bundle, in the unit in which the
/// kernel keeps maxima: P is at most exp(8) or, in f16, exp(4), where its rounding grows with the exponent.
pub(super) fn headroom(shape: &Shape) -> f32 {
    if is_narrow(shape) {
        4.0 / shape.softmax_scale
    } else {
        8.0
    }
}

/// Bytes of a score on its way from the Cube to the vector cores.
pub(super) fn score_bytes(shape: &Shape) -> u32 {
    if is_narrow(shape) {
        2
    } else {
        4
    }
}
