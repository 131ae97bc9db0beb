//! The structures that the planner hands to the kernels, byte for byte (`ascendc/include/fa/tiling_data.h`).

use bytemuck::{Pod, Zeroable};

/// Tiling data of `flash_fwd`. Offsets and sizes are bytes where the name says so, else elements.
///
/// Work order: `C = num_cores`, `BH = batch * num_heads`, `G = group_heads`, `I = G * num_blocks_m` items a group. The k-th item of core
/// `c` has position `p = k*C + (if k is even { c } else { C - 1 - c })`. Of `W = num_items / C * C` items each has one position; every item behind them has
/// `tail_parts` positions, for its parts of `block_m / tail_parts` rows. The `p`-th item dealt is
/// `i = first_item + num_items - 1 - p`, or the one that mirrors it among those of its group that are launched, if an odd number of groups
/// lies between `i` and `first_item`. With `g = i / I`, and `n = min(G, BH - g*G)` heads in that group, item `i` is row block
/// `i % I / n` of head `h % num_heads` of batch `h / num_heads`, where `h = g*G + i % I % n`.
/// Later row blocks see more keys under a causal mask, so costs fall and rise without a jump, and are dealt back and forth. K and V of
/// a group stay in L2 meanwhile.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct FlashFwdTilingData {
    /// Batches.
    pub batch: u32,
    /// Heads of q and o.
    pub num_heads: u32,
    /// Heads of k and v; divides `num_heads`.
    pub num_heads_k: u32,
    /// Elements of a q or k row, a multiple of 16.
    pub head_dim: u32,
    /// Elements of a v or o row, a multiple of 16.
    pub head_dim_v: u32,
    /// Rows of q.
    pub seqlen_q: u32,
    /// Rows of k and v.
    pub seqlen_k: u32,
    /// Level 1: query rows of a work item; a multiple of 16.
    pub block_m: u32,
    /// Level 1: keys of one Cube/Vector hand-over; a multiple of `chunk_n`, at most `mask_dim`.
    pub block_n: u32,
    /// Keys of one K buffer in L1; a multiple of `tile_n`.
    pub chunk_n: u32,
    /// Keys of one P buffer and of one V buffer in L1; a multiple of `tile_k`.
    pub chunk_p: u32,
    /// Level 2 (Cube): rows of one Mmad; `block_m / tile_m` is whole.
    pub tile_m: u32,
    /// Level 2 (Cube): columns of one Mmad, keys in QK^T and value columns in PV; 128.
    pub tile_n: u32,
    /// Level 2 (Cube): depth of one Mmad; 128.
    pub tile_k: u32,
    /// Level 2 (Vector): most rows of a score slice in UB; a multiple of 8.
    pub slice_rows: u32,
    /// Level 2 (Vector): bytes of a score slice in UB, of f32 or, with f16 scores, f16.
    pub slice_bytes: u32,
    /// Ring slots of S, P and O in the workspace; at least `preload + 1`.
    pub num_stages: u32,
    /// QK^T blocks that the Cube issues ahead of PV.
    pub preload: u32,
    /// Groups launched.
    pub num_cores: u32,
    /// Row blocks per head: `ceil(seqlen_q / block_m)`.
    pub num_blocks_m: u32,
    /// Keys visible to the left of the diagonal; -1 = all.
    pub window_left: i32,
    /// Keys visible to the right of the diagonal; -1 = all. Causal is 0.
    pub window_right: i32,
    /// Scale of the scores before the softmax.
    pub softmax_scale: f32,
    /// 1 when `lse` is written.
    pub want_lse: u32,
    /// M of the M-mask, which has 2M rows of 2M bits.
    pub mask_dim: u32,
    /// Query rows of an item that one AIV holds: `ceil(block_m / 2)` rounded up to 8.
    pub rows_v: u32,
    /// L1: two Q buffers of `l1_q_bytes` from here.
    pub l1_q_offset_bytes: u32,
    /// `block_m * head_dim * 2`.
    pub l1_q_bytes: u32,
    /// L1: two K buffers.
    pub l1_k_offset_bytes: u32,
    /// `chunk_n * head_dim * 2`.
    pub l1_k_bytes: u32,
    /// L1: two V buffers.
    pub l1_v_offset_bytes: u32,
    /// `chunk_p * head_dim_v * 2`.
    pub l1_v_bytes: u32,
    /// L1: two P buffers.
    pub l1_p_offset_bytes: u32,
    /// `tile_m * chunk_p * 2`.
    pub l1_p_bytes: u32,
    /// UB: five score slices of `slice_bytes`; four with f16 scores.
    pub ub_s_offset_bytes: u32,
    /// UB: two 16-bit output slices of `slice_bytes / 2`; `slice_bytes / 4` with f16 scores.
    pub ub_p_offset_bytes: u32,
    /// UB: accumulator, `rows_v * head_dim_v` f32; 256 modulo 512.
    pub ub_acc_offset_bytes: u32,
    /// UB: scratch of two row reductions, `ub_tmp_bytes` each: an eighth of a slice, and an eighth of that; with f16 scores half a
    /// slice, and half of that.
    pub ub_tmp_offset_bytes: u32,
    /// Bytes of one scratch.
    pub ub_tmp_bytes: u32,
    /// UB: two copies of `rows_v` blocks of 32 bytes for row values spread over a block, 256 bytes apart modulo 512.
    pub ub_brcb_offset_bytes: u32,
    /// UB: `num_stages + 9` arrays of `ceil64(rows_v)` f32: row maxima, sums, rescale factors, scratch.
    pub ub_stats_offset_bytes: u32,
    /// UB: two mask windows of `ub_mask_bytes`: a bit for each score of a slice, rows in whole blocks of 32 bytes.
    pub ub_mask_offset_bytes: u32,
    /// Bytes of one mask window.
    pub ub_mask_bytes: u32,
    /// Heads, of all batches, that are worked on together.
    pub group_heads: u32,
    /// First item of the launch.
    pub first_item: u32,
    /// Items of the launch.
    pub num_items: u32,
    /// Parts of each item of the last round; 1 when they are dealt whole.
    pub tail_parts: u32,
    /// 0; keeps the 64-bit fields aligned.
    pub reserved: u32,
    /// Workspace: bytes of one core. Slot `s` of S is at `core * this + s * block_m * block_n *` bytes of a score (4 or 2).
    pub workspace_core_bytes: u64,
    /// Workspace: offset of the P ring in a core's part; slots of `block_m * block_n * 2` bytes.
    pub workspace_p_offset_bytes: u64,
    /// Workspace: offset of the O ring in a core's part; slots of `block_m * head_dim_v * 4` bytes.
    pub workspace_o_offset_bytes: u64,
    /// q: elements between batches, rows, heads.
    pub q_stride: [u64; 3],
    /// k: elements between batches, rows, heads.
    pub k_stride: [u64; 3],
    /// v: elements between batches, rows, heads.
    pub v_stride: [u64; 3],
    /// o: elements between batches, rows, heads.
    pub o_stride: [u64; 3],
}

impl FlashFwdTilingData {
    /// The bytes that the kernel receives.
    pub fn as_bytes(&self) -> &[u8] {
        bytemuck::bytes_of(self)
    }
}
