//! The buffers of a tiling in L1 and UB.

use super::candidate::{is_narrow, score_bytes, Candidate, BLOCK_N, TILE};
use super::mask::MASK_DIM;
use super::memory_map::{MemoryMap, Region};
use crate::spec::Shape;
use crate::Soc;

/// Largest score slice: CANN's FlashAttention designs hold UB buffers to 32 KiB (paper.md §4).
const MAX_SLICE_BYTES: u32 = 32 * 1024;

/// Buffers in L1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct L1Buffers {
    pub(super) map: MemoryMap,
    pub(super) q: Region,
    pub(super) k: Region,
    pub(super) v: Region,
    pub(super) p: Region,
}

/// Buffers in UB.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct UbBuffers {
    pub(super) map: MemoryMap,
    pub(super) s: Region,
    pub(super) p: Region,
    pub(super) acc: Region,
    pub(super) tmp: Region,
    pub(super) brcb: Region,
    pub(super) stats: Region,
    pub(super) mask: Region,
}

impl L1Buffers {
    /// L1: one buffer of Q, two each of K and V (`chunk_p` keys), three of P (`tile_m` rows of `chunk_p`
    /// keys), of which the Cube takes most in the same time. Q is loaded when the item before has ended, so a
    /// second one would be of no use. Every size is a multiple of 512 bytes, as each has two factors of 16 or
    /// more and two bytes an element.
    ///
    /// dav-c220.md §1.5 wants ping and pong in different 256 KiB halves; buffers of a pair lie side by side
    /// here, since tiling data has one offset a pair.
    ///
    /// Returns `chunk_p` with the map: 256 keys where they fit, as rows of 512 bytes are the shortest that L2
    /// gives at its full rate, else 128.
    pub(super) fn new(candidate: &Candidate, shape: &Shape, soc: &Soc) -> Result<(u32, Self), String> {
        let Candidate { block_m, block_n, chunk_n, .. } = *candidate;
        let mut why = None;
        for chunk_p in [2 * TILE, TILE] {
            let chunk_p = chunk_p.min(block_n);
            let mut map = MemoryMap::new("L1", soc.core.usable_l1_bytes());
            let q = map.push("q", block_m * shape.head_dim * 2, 1);
            let k = map.push("k", chunk_n * shape.head_dim * 2, 2);
            let v = map.push("v", chunk_p * shape.head_dim_v * 2, 2);
            let p = map.push("p", block_m.min(TILE) * chunk_p * 2, 3);
            match check_fit(&map) {
                Ok(()) => return Ok((chunk_p, Self { map, q, k, v, p })),
                Err(reason) => why = Some(reason),
            }
        }
        Err(why.unwrap_or_default())
    }
}

impl UbBuffers {
    /// UB with the largest slice of the softmax that fits: whole groups of 8 rows of block_n scores, and of
    /// o, of which each buffer must hold 8 rows.
    pub(super) fn new(
        candidate: &Candidate,
        shape: &Shape,
        soc: &Soc,
        rows_v: u32,
        slice_rows: u32,
    ) -> Result<(u32, Self), String> {
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
            let ub = Self::with_slice(candidate, shape, soc, [rows_v, slice_rows, slice_bytes]);
            match check_fit(&ub.map) {
                Ok(()) => return Ok((slice_bytes, ub)),
                Err(reason) => too_big = Some(reason),
            }
            slice_bytes -= group;
        }
        Err(too_big.unwrap_or_else(|| format!("no slice of at least {smallest} bytes is possible")))
    }

    /// Regions of UB as flash_fwd.cpp lists them. In f32 five slices are under way, which leave through two
    /// buffers; in f16 four, which leave as they are.
    fn with_slice(
        candidate: &Candidate,
        shape: &Shape,
        soc: &Soc,
        [rows_v, slice_rows, slice_bytes]: [u32; 3],
    ) -> Self {
        let mut map = MemoryMap::new("UB", soc.core.usable_ub_bytes());
        let (slices, p_bytes, tmp_bytes, mask_bytes) = if is_narrow(shape) {
            (4, slice_bytes / 4, slice_bytes / 2 + slice_bytes / 4, slice_bytes / 16)
        } else {
            (5, slice_bytes / 2, slice_bytes / 8 + slice_bytes / 64, slice_bytes / 32)
        };
        let s = map.push("s", slice_bytes, slices);
        let p = map.push("p", p_bytes.next_multiple_of(256), 2);
        let acc = map.push_at_phase("acc", rows_v * shape.head_dim_v * 4, 1, 256);
        let tmp = map.push("tmp", tmp_bytes.next_multiple_of(256), 2);
        let brcb = map.push_at_phase("brcb", 2 * rows_v.next_multiple_of(16) * 32 + 256, 1, 0);
        let arrays = candidate.bundle_steps + if shape.adds_mean() { 11 } else { 9 };
        let stats = map.push("stats", rows_v.next_multiple_of(64) * 4, arrays);
        // A slice of `pitch` columns has as many rows as fit slice_bytes, each of max(32, pitch / 8) bytes of
        // bits.
        let mask = map.push("mask", (slice_rows * 32).max(mask_bytes).next_multiple_of(256), 2);
        Self { map, s, p, acc, tmp, brcb, stats, mask }
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
