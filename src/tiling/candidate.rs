//! Candidate tilings: what is tried, and why one is rejected.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::mask::MASK_DIM;
use super::memory_map::MemoryMap;
use super::order::Order;
use super::Shape;
use crate::{DType, Soc};

/// Level 2 on the Cube: rows, columns and depth of one Mmad. Two such operands fill L0A and L0B, two results L0C.
pub(super) const TILE: u32 = 128;

/// Largest score slice: CANN's FlashAttention designs hold UB buffers to 32 KiB (paper.md §4).
const MAX_SLICE_BYTES: u32 = 32 * 1024;

const BLOCK_M: [u32; 6] = [256, 128, 96, 64, 32, 16];
const BLOCK_N: [u32; 5] = [1024, 512, 256, 128, 64];
const CHUNK_N: [u32; 4] = [1024, 512, 256, 128];

/// (num_stages, preload), the preferred first. Two QK blocks run ahead of PV as in CANN's operators (paper.md §4).
const PIPELINES: [(u32, u32); 3] = [(4, 2), (3, 2), (2, 1)];

/// Most QK blocks ahead of PV, and most ring slots: far below the 15 that a cross-core counter holds (dav-c220.md §4.3).
const MAX_PRELOAD: u32 = 3;
const MAX_STAGES: u32 = 8;

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
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "block_m {}, block_n {}, chunk_n {}, num_stages {}, preload {}",
            self.block_m, self.block_n, self.chunk_n, self.num_stages, self.preload
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
    /// What the kernel takes, beyond fitting the memories; `Err` names the field and what it may be.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { block_m, block_n, chunk_n, num_stages, preload } = *self;
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
        Ok(())
    }
}

/// Every candidate, in the order of preference between equals.
pub(super) fn all() -> impl Iterator<Item = Candidate> {
    let blocks = BLOCK_M.into_iter().flat_map(|m| BLOCK_N.into_iter().map(move |n| (m, n)));
    blocks.flat_map(|(block_m, block_n)| {
        let chunks = CHUNK_N.into_iter().chain((block_n < TILE).then_some(block_n));
        let chunks = chunks.filter(move |&chunk_n| chunk_n <= block_n);
        chunks.flat_map(move |chunk_n| {
            PIPELINES.into_iter().map(move |(num_stages, preload)| Candidate {
                block_m,
                block_n,
                chunk_n,
                num_stages,
                preload,
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
    pub(super) l1: MemoryMap,
    pub(super) ub: MemoryMap,
    pub(super) workspace_p_offset_bytes: u64,
    pub(super) workspace_o_offset_bytes: u64,
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
        let (chunk_p, l1) = l1_map(&candidate, shape, soc)?;
        let rows_v = (block_m / 2).next_multiple_of(8);
        let slice_rows = rows_v.min(if is_narrow(shape) { 32 } else { 64 });
        let (slice_bytes, ub) = ub_map(&candidate, shape, soc, rows_v, slice_rows)?;
        let order = Order::new(shape, block_m, soc.cube_cores)?;
        let slot = u64::from(num_stages) * u64::from(block_m);
        let (s, p) =
            (slot * u64::from(block_n) * u64::from(score_bytes(shape)), slot * u64::from(block_n) * 2);
        let workspace_core_bytes = s + p + slot * u64::from(shape.head_dim_v) * 4;
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
            workspace_core_bytes,
        })
    }
}

/// Rejects blocks that are at least half empty whatever the data.
pub(super) fn suits(candidate: Candidate, shape: &Shape) -> Result<(), String> {
    let Candidate { block_m, block_n, .. } = candidate;
    if block_m > 16 && shape.seqlen_q <= block_m / 2 {
        return Err(format!("at least half of block_m is empty, as seqlen_q is {}", shape.seqlen_q));
    }
    let widest = shape.widest(block_m);
    if block_n > 64 && widest <= block_n / 2 {
        return Err(format!("at least half of block_n is empty, as a row block sees {widest} keys at most"));
    }
    Ok(())
}

/// L1: two buffers each of Q, K, P (`tile_m` rows of `chunk_p` keys) and V (`chunk_p` keys). Every size is a multiple of 512 bytes, as each has two factors of 16 or more and two bytes an element.
///
/// dav-c220.md §1.5 wants ping and pong in different 256 KiB halves; buffers of a pair lie side by side here, since
/// tiling data has one offset a pair.
///
/// Returns `chunk_p` with the map: 256 keys where they fit, as rows of 512 bytes are the shortest that L2 gives at its
/// full rate, else 128.
fn l1_map(candidate: &Candidate, shape: &Shape, soc: &Soc) -> Result<(u32, MemoryMap), String> {
    let Candidate { block_m, block_n, chunk_n, .. } = *candidate;
    let mut why = None;
    for chunk_p in [2 * TILE, TILE] {
        let chunk_p = chunk_p.min(block_n);
        let mut l1 = MemoryMap::new("L1", soc.core.l1_bytes - soc.core.reserved_bytes);
        l1.push("q", block_m * shape.head_dim * 2, 2);
        l1.push("k", chunk_n * shape.head_dim * 2, 2);
        l1.push("v", chunk_p * shape.head_dim_v * 2, 2);
        l1.push("p", block_m.min(TILE) * chunk_p * 2, 2);
        match check_fit(&l1) {
            Ok(()) => return Ok((chunk_p, l1)),
            Err(reason) => why = Some(reason),
        }
    }
    Err(why.unwrap_or_default())
}

/// UB with the largest slice of the softmax that fits: whole groups of 8 rows of block_n scores, and of o, of which each buffer
/// must hold 8 rows.
fn ub_map(
    candidate: &Candidate,
    shape: &Shape,
    soc: &Soc,
    rows_v: u32,
    slice_rows: u32,
) -> Result<(u32, MemoryMap), String> {
    let size = score_bytes(shape);
    let group = 8 * candidate.block_n * size;
    let o_row = shape.head_dim_v.next_multiple_of(64) * 4;
    let columns = (candidate.block_n * size).max(o_row);
    let largest = (slice_rows * columns).min(MAX_SLICE_BYTES) / group * group;
    // In f16, o passes through quarters of a slice.
    let smallest = (8 * o_row * (4 / size)).next_multiple_of(group);
    let mut too_big = None;
    let mut slice_bytes = largest.max(smallest);
    while slice_bytes >= smallest && slice_bytes > 0 {
        let ub = ub_map_with(candidate, shape, soc, [rows_v, slice_rows, slice_bytes]);
        match check_fit(&ub) {
            Ok(()) => return Ok((slice_bytes, ub)),
            Err(reason) => too_big = Some(reason),
        }
        slice_bytes -= group;
    }
    Err(too_big.unwrap_or_else(|| format!("no slice of at least {smallest} bytes is possible")))
}

/// Regions of UB as flash_fwd.cpp lists them. In f32 five slices are under way, which leave through two buffers; in f16 four,
/// which leave as they are.
fn ub_map_with(
    candidate: &Candidate,
    shape: &Shape,
    soc: &Soc,
    [rows_v, slice_rows, slice_bytes]: [u32; 3],
) -> MemoryMap {
    let sizes = soc.core;
    let capacity = sizes.ub_bytes - sizes.reserved_bytes - sizes.select_reserved_bytes;
    let mut ub = MemoryMap::new("UB", capacity);
    let (slices, out, tmp, mask) = if is_narrow(shape) {
        (4, slice_bytes / 4, slice_bytes / 2 + slice_bytes / 4, slice_bytes / 16)
    } else {
        (5, slice_bytes / 2, slice_bytes / 8 + slice_bytes / 64, slice_bytes / 32)
    };
    ub.push("s", slice_bytes, slices);
    ub.push("p", out.next_multiple_of(256), 2);
    ub.push_at_phase("acc", rows_v * shape.head_dim_v * 4, 1, 256);
    ub.push("tmp", tmp.next_multiple_of(256), 2);
    ub.push_at_phase("brcb", 2 * rows_v.next_multiple_of(16) * 32 + 256, 1, 0);
    ub.push("stats", rows_v.next_multiple_of(64) * 4, candidate.num_stages + 9);
    // A slice of `pitch` columns has as many rows as fit slice_bytes, each of max(32, pitch / 8) bytes of bits.
    ub.push("mask", (slice_rows * 32).max(mask).next_multiple_of(256), 2);
    ub
}

/// Whether scores are f16.
pub(super) fn is_narrow(shape: &Shape) -> bool {
    shape.score_dtype == DType::F16
}

/// Bytes of a score on its way from the Cube to the vector cores.
pub(super) fn score_bytes(shape: &Shape) -> u32 {
    if is_narrow(shape) {
        2
    } else {
        4
    }
}

fn check_fit(map: &MemoryMap) -> Result<(), String> {
    debug_assert!(
        map.regions.iter().all(|r| r.offset_bytes % 256 == 0),
        "every buffer size is a multiple of 256"
    );
    debug_assert!(MASK_DIM >= BLOCK_N[0], "a slice must fit the M-mask");
    if map.fits() {
        return Ok(());
    }
    Err(format!("{} needs {} bytes, {} usable", map.memory, map.used_bytes(), map.capacity_bytes))
}
