// SPDX-License-Identifier: MIT OR Apache-2.0
// What the planners hand to the kernels. From this text the build makes the Rust structures of the same
// names (crates/kernel-build/src/tiling_data.rs). So a field is a line `type name;` or `type name[count];`,
// with its meaning in the comment above it; types are uint32_t, int32_t, uint64_t and float. There is no
// padding: where alignment would bring some, a field fills the place.
#pragma once
#include <cstdint>

namespace fa {

// Tiling data of `flash_fwd`. Offsets and sizes are bytes where the name says so, else elements.
//
// Work order: `C = num_cores`, `BH = batch * num_heads`, `G = group_heads`, `I = G * num_blocks_m` items a
// group. The k-th item of core `c` has position `p = k*C + (if k is even { c } else { C - 1 - c })`. Of `W =
// num_items / C * C` items each has one position; every item behind them has `tail_parts` positions, for its
// parts of `block_m / tail_parts` rows. The `p`-th item dealt is `i = first_item + num_items - 1 - p`, or the
// one that mirrors it among those of its group that are launched, if an odd number of groups lies between `i`
// and `first_item`. With `g = i / I`, and `n = min(G, BH - g*G)` heads in that group, item `i` is row block
// `i % I / n` of head `h % num_heads` of batch `h / num_heads`, where `h = g*G + i % I % n`. Later row blocks
// see more keys under a causal mask, so costs fall and rise without a jump, and are dealt back and forth. K
// and V of a group stay in L2 meanwhile.
struct FlashFwdTilingData {
    // Batches.
    uint32_t batch;
    // Heads of q and o.
    uint32_t num_heads;
    // Heads of k and v; divides `num_heads`.
    uint32_t num_heads_k;
    // Elements of a q or k row, a multiple of 16.
    uint32_t head_dim;
    // Elements of a v or o row, a multiple of 16.
    uint32_t head_dim_v;
    // Rows of q.
    uint32_t seqlen_q;
    // Rows of k and v.
    uint32_t seqlen_k;
    // Level 1: query rows of a work item; a multiple of 16.
    uint32_t block_m;
    // Level 1: keys of one Cube/Vector hand-over; a multiple of `chunk_n`, at most `mask_dim`.
    uint32_t block_n;
    // Keys of one K buffer in L1; a multiple of `tile_n`.
    uint32_t chunk_n;
    // Keys of one P buffer and of one V buffer in L1; a multiple of `tile_k`.
    uint32_t chunk_p;
    // Level 2 (Cube): rows of one Mmad; `block_m / tile_m` is whole.
    uint32_t tile_m;
    // Level 2 (Cube): columns of one Mmad, keys in QK^T and value columns in PV; 128.
    uint32_t tile_n;
    // Level 2 (Cube): depth of one Mmad; 128.
    uint32_t tile_k;
    // Level 2 (Vector): most rows of a score slice in UB; a multiple of 8.
    uint32_t slice_rows;
    // Level 2 (Vector): bytes of a score slice in UB, of f32 or, with f16 scores, f16.
    uint32_t slice_bytes;
    // Ring slots of S in the workspace; at least `preload + 1`. P has `bundle_steps - 1` more, O has two.
    uint32_t num_stages;
    // QK^T blocks that the Cube issues ahead of PV.
    uint32_t preload;
    // Steps of a bundle: their P V is summed in L0C and handed over once; at least 1.
    uint32_t bundle_steps;
    // By how much, at most, the maximum that a row's scores are reduced by lies below the largest of them,
    // within a bundle; in the unit of the maximum.
    float headroom;
    // Groups launched.
    uint32_t num_cores;
    // Row blocks per head: `ceil(seqlen_q / block_m)`.
    uint32_t num_blocks_m;
    // Keys visible to the left of the diagonal; -1 = all.
    int32_t window_left;
    // Keys visible to the right of the diagonal; -1 = all. Causal is 0.
    int32_t window_right;
    // Scale of the scores before the softmax.
    float softmax_scale;
    // 1 when `lse` is written.
    uint32_t want_lse;
    // M of the M-mask, which has 2M rows of 2M bits.
    uint32_t mask_dim;
    // Query rows of an item that one AIV holds: `ceil(block_m / 2)` rounded up to 8.
    uint32_t rows_v;
    // L1: the Q buffer, of `l1_q_bytes`.
    uint32_t l1_q_offset_bytes;
    // `block_m * head_dim * 2`.
    uint32_t l1_q_bytes;
    // L1: two K buffers.
    uint32_t l1_k_offset_bytes;
    // `chunk_n * head_dim * 2`.
    uint32_t l1_k_bytes;
    // L1: two V buffers.
    uint32_t l1_v_offset_bytes;
    // `chunk_p * head_dim_v * 2`.
    uint32_t l1_v_bytes;
    // L1: three P buffers.
    uint32_t l1_p_offset_bytes;
    // `tile_m * chunk_p * 2`.
    uint32_t l1_p_bytes;
    // UB: five score slices of `slice_bytes`; four with f16 scores.
    uint32_t ub_s_offset_bytes;
    // UB: two 16-bit output slices of `slice_bytes / 2`; `slice_bytes / 4` with f16 scores.
    uint32_t ub_p_offset_bytes;
    // UB: accumulator, `rows_v * head_dim_v` f32; 256 modulo 512.
    uint32_t ub_acc_offset_bytes;
    // UB: scratch of two row reductions, `ub_tmp_bytes` each: an eighth of a slice, and an eighth of that;
    // with f16 scores half a slice, and half of that.
    uint32_t ub_tmp_offset_bytes;
    // Bytes of one scratch.
    uint32_t ub_tmp_bytes;
    // UB: two copies of `rows_v` blocks of 32 bytes for row values spread over a block, 256 bytes apart
    // modulo 512.
    uint32_t ub_brcb_offset_bytes;
    // UB: `bundle_steps + 9` arrays of `ceil64(rows_v)` f32: row maxima, sums, rescale factors, scratch; with
    // `adds_mean` two more.
    uint32_t ub_stats_offset_bytes;
    // UB: two mask windows of `ub_mask_bytes`: a bit for each score of a slice, rows in whole blocks of 32
    // bytes.
    uint32_t ub_mask_offset_bytes;
    // Bytes of one mask window.
    uint32_t ub_mask_bytes;
    // Heads, of all batches, that are worked on together.
    uint32_t group_heads;
    // First item of the launch.
    uint32_t first_item;
    // Items of the launch.
    uint32_t num_items;
    // Parts of each item of the last round; 1 when they are dealt whole.
    uint32_t tail_parts;
    // 1 when k comes from `shift_keys` and lse is written: behind the keys of a head lie 16 rows of what was
    // subtracted.
    uint32_t adds_mean;
    // Workspace: bytes of one core. Slot `s` of S is at `core * this + s * block_m * block_n *` bytes of a
    // score (4 or 2).
    uint64_t workspace_core_bytes;
    // Workspace: offset of the P ring in a core's part; slots of `block_m * block_n * 2` bytes.
    uint64_t workspace_p_offset_bytes;
    // Workspace: offset of the O ring in a core's part; slots of `block_m * head_dim_v * 4` bytes.
    uint64_t workspace_o_offset_bytes;
    // Workspace: offset of the ring of q times what was subtracted from the keys, slots of `block_m * 64`
    // bytes; without `adds_mean` the end of the part.
    uint64_t workspace_mean_offset_bytes;
    // q: elements between batches, rows, heads.
    uint64_t q_stride[3];
    // k: elements between batches, rows, heads.
    uint64_t k_stride[3];
    // v: elements between batches, rows, heads.
    uint64_t v_stride[3];
    // o: elements between batches, rows, heads.
    uint64_t o_stride[3];
};

// Tiling data of `shift_keys`. Heads are those of k, of all batches. A tile is `tile_rows` rows of a head.
struct ShiftKeysTilingData {
    // Heads of k in a batch.
    uint32_t num_heads_k;
    // Elements of a row, a multiple of 16.
    uint32_t head_dim;
    // Rows of a head.
    uint32_t seqlen_k;
    // Rows of a tile, at most 255.
    uint32_t tile_rows;
    // Tiles of a head: `ceil(seqlen_k / tile_rows)`.
    uint32_t head_tiles;
    // 1 / `seqlen_k`.
    float inverse_seqlen_k;
    // UB: two tiles of k.
    uint32_t ub_in_offset_bytes;
    // UB: two tiles of the result.
    uint32_t ub_out_offset_bytes;
    // UB: a tile in f32.
    uint32_t ub_wide_offset_bytes;
    // UB: sums, a tile in f32; 256 modulo 512 from `wide`.
    uint32_t ub_sum_offset_bytes;
    // UB: the mean of a head.
    uint32_t ub_mean_offset_bytes;
    // UB: a bit for each column.
    uint32_t ub_bits_offset_bytes;
    // Tiles of one core.
    uint64_t core_tiles;
    // Tiles of all heads.
    uint64_t num_tiles;
    // k: elements between batches, rows, heads.
    uint64_t k_stride[3];
    // Result: elements between heads.
    uint64_t head_stride;
};

// Tiling data of `flash_decode`. Offsets and sizes are bytes where the name says so, else elements. All of it
// follows from upper bounds; lengths and pages are read from GM (flash_decode_work.h).
struct FlashDecodeTilingData {
    // Slots: sequences that a launch has room for.
    uint32_t slots;
    // Heads of q and o.
    uint32_t num_heads;
    // Heads of k and v; divides `num_heads`.
    uint32_t num_heads_k;
    // Elements of a q or k row, a multiple of 16.
    uint32_t head_dim;
    // Elements of a v or o row, a multiple of 16.
    uint32_t head_dim_v;
    // Query rows of each slot; the most that a slot can have when q is packed.
    uint32_t rows;
    // 1 when `row_starts` says which rows of q and o are those of a slot.
    uint32_t is_packed;
    // Rows of packed q and o.
    uint32_t total_rows;
    // Keys that a row sees before its own place, the last row's being the last key; -1: all.
    int32_t window_left;
    // Keys that a row sees behind its own place; -1: all.
    int32_t window_right;
    // Most keys of a slot; greater lengths count as this.
    uint32_t max_keys;
    // Keys of a page.
    uint32_t page_size;
    // Pages of the cache; 0 when K and V lie slot by slot.
    uint32_t num_pages;
    // Entries of the block table from one slot to the next; 0 of a list.
    uint32_t table_width;
    // 1 when the block table is one list for all slots, and `page_starts` says which entries are a slot's.
    uint32_t is_csr;
    // Entries of that list.
    uint32_t table_entries;
    // How a key lies in its page (fa/kv_cache.h).
    uint32_t k_format;
    // How a value lies in its page.
    uint32_t v_format;
    // Columns of q and k in L1: `head_dim`, or twice as many where pieces of 8 elements fill half a row each.
    uint32_t score_depth;
    // Keys that are read begin at a multiple of this; divides `unit_keys`.
    uint32_t key_align;
    // K/V heads of a task; divides `num_heads_k`, and is 1 unless their rows lie side by side.
    uint32_t task_heads;
    // Packed query rows of one K/V head in a task: row `r` is query row `r / G` of the `r % G`-th of the `G`
    // heads of q that share it.
    uint32_t task_rows;
    // Query rows of a row block.
    uint32_t block_rows;
    // Tasks that share the `G` packed rows of one query row; 1 unless `block_rows` is 1.
    uint32_t row_parts;
    // Keys of a unit, what is dealt to cores; a multiple of 16.
    uint32_t unit_keys;
    // 1 when no task is split, and every step is one unit.
    uint32_t is_invariant;
    // Most keys of one Cube/Vector hand-over; `tile` times a power of two.
    uint32_t block_n;
    // Most scores that an AIV holds of a hand-over, unless it has no more than `tile` keys. The keys of a
    // task's hand-overs are halved until its rows have so few.
    uint32_t max_scores;
    // Workspace: elements from one stage of S or P to the next.
    uint32_t stage_scores;
    // Keys of one K or V buffer in L1; a multiple of `tile`.
    uint32_t chunk_n;
    // Keys and depth of one Mmad; 128.
    uint32_t tile;
    // Ring slots of S, P and O in the workspace: `preload + 1`.
    uint32_t num_stages;
    // Steps by which QK^T runs ahead of PV.
    uint32_t preload;
    // Groups launched.
    uint32_t num_cores;
    // Rows of a task that one AIV holds: half of `task_heads * task_rows`, rounded up.
    uint32_t rows_v;
    // Scale of the scores before the softmax.
    float softmax_scale;
    // 1 when `lse` is written.
    uint32_t want_lse;
    // 1 when `status` is written.
    uint32_t want_status;
    // L1: two Q buffers of `l1_q_bytes`, from 0.
    uint32_t l1_q_bytes;
    // L1: two P buffers, behind Q.
    uint32_t l1_p_bytes;
    // L1: four K and V buffers, behind P.
    uint32_t l1_kv_bytes;
    // UB: two slices of scores, f32, from 0.
    uint32_t ub_s_bytes;
    // UB: probabilities, behind them; `ub_s_bytes / 2`.
    uint32_t ub_p_offset_bytes;
    // UB: rows of o in 16 bits.
    uint32_t ub_out_offset_bytes;
    // UB: accumulator, `rows_v * head_dim_v` f32.
    uint32_t ub_acc_offset_bytes;
    // UB: P V of a step, likewise.
    uint32_t ub_o_offset_bytes;
    // UB: scratch of row reductions.
    uint32_t ub_tmp_offset_bytes;
    // UB: three times two copies of `rows_v` blocks of 32 bytes, `ub_blocks_bytes` apart.
    uint32_t ub_blocks_offset_bytes;
    // Bytes of two copies.
    uint32_t ub_blocks_bytes;
    // UB: `3 * num_stages + 4` arrays of `ceil64(rows_v)` f32.
    uint32_t ub_stats_offset_bytes;
    // Workspace: bytes of one core's rings.
    uint64_t workspace_core_bytes;
    // Workspace: offset of the P ring in a core's part.
    uint64_t workspace_p_offset_bytes;
    // Workspace: offset of the O ring in a core's part.
    uint64_t workspace_o_offset_bytes;
    // Workspace: partial accumulators of two parts a core, f32 `[2 * num_cores, task rows, head_dim_v]`.
    uint64_t workspace_parts_offset_bytes;
    // Workspace: their maxima, f32 `[2 * num_cores, task rows, 8]`.
    uint64_t workspace_max_offset_bytes;
    // Workspace: their sums, likewise.
    uint64_t workspace_sum_offset_bytes;
    // q: elements between slots (0 when packed), rows, heads.
    uint64_t q_stride[3];
    // k: elements between pages (or slots), rows, heads, or pieces of heads.
    uint64_t k_stride[3];
    // v: likewise.
    uint64_t v_stride[3];
    // o: elements between slots (0 when packed), rows, heads.
    uint64_t o_stride[3];
    // lse: elements between slots (0 when packed) and heads.
    uint64_t lse_stride[2];
};

// Tiling data of `kv_append`. Strides are elements. Of each pair the first is of K, the second of V.
//
// The heads of a token are read as pieces and written as pieces: one piece where they lie side by side.
struct KvAppendTilingData {
    // From a token to the next.
    uint64_t token_stride[2];
    // From a page of the cache to the next.
    uint64_t page_stride[2];
    // From a row of a page to the next.
    uint64_t place_stride[2];
    // Tokens.
    uint32_t tokens;
    // Places of the cache.
    uint32_t num_places;
    // Rows of a page; 0 when the cache has no place.
    uint32_t page_size;
    // 32-bit words of a place: 1 or 2.
    uint32_t place_words;
    // Pieces of a token as it is read.
    uint32_t in_bursts[2];
    // Bytes of one.
    uint32_t in_burst_bytes[2];
    // Bytes between two of one copy.
    uint32_t in_gap_bytes[2];
    // 1 when the pieces of a tile are one copy, else those of a token are.
    uint32_t is_joined[2];
    // Pieces of a token as it is written.
    uint32_t out_bursts[2];
    // Bytes of one.
    uint32_t out_burst_bytes[2];
    // Bytes between two of one copy.
    uint32_t out_gap_bytes[2];
    // Bytes of a token in UB, a multiple of 32.
    uint32_t row_bytes[2];
    // Where the rows start in a buffer.
    uint32_t ub_rows_offset_bytes[2];
    // Tokens of a tile.
    uint32_t tile_tokens;
    // Tiles in UB: 2 to 4.
    uint32_t num_buffers;
    // Bytes of one, a multiple of 32.
    uint32_t buffer_bytes;
    // A block in UB.
    uint32_t ub_status_offset_bytes;
    // Vector cores launched.
    uint32_t num_cores;
    // 1 when `status` is written.
    uint32_t want_status;
    // 1 when rows that follow each other in a page are one copy.
    uint32_t joins_rows;
    // Where a buffer has K once more, with the halves of each block of 32 bytes exchanged: pieces of half a
    // block are written as two copies, those of even number as they lie and the others from there. 0: K has
    // no such pieces.
    uint32_t ub_odd_offset_bytes;
};

// What `kv_append_rotary` is told besides `KvAppendTilingData`. Strides are elements.
//
// The first `dims` elements of each head of q and k are rotated. A buffer of the ring holds rows of K, V, q
// and the table.
struct KvAppendRotaryTilingData {
    // q: from a token to the next.
    uint64_t q_token_stride;
    // `q_out`: likewise.
    uint64_t q_out_token_stride;
    // Pieces of a token of q as it is read, and as it is written.
    uint32_t q_bursts[2];
    // Bytes of one.
    uint32_t q_burst_bytes[2];
    // Bytes between two of one copy.
    uint32_t q_gap_bytes[2];
    // 1 when the pieces of a tile are one copy, else those of a token are.
    uint32_t q_is_joined[2];
    // Bytes of a token of q in UB, a multiple of 32.
    uint32_t q_row_bytes;
    // Heads of q; 0 when there is no q.
    uint32_t num_heads;
    // Heads of K.
    uint32_t num_heads_k;
    // Elements of a head, a multiple of 16.
    uint32_t head_dim;
    // Elements of a head that are rotated, a multiple of 16.
    uint32_t dims;
    // Rows of the table.
    uint32_t max_positions;
    // 32-bit words of a position: 1 or 2.
    uint32_t position_words;
    // 1 when elements side by side are a pair, 0 when one of each half are.
    uint32_t is_adjacent;
    // Heads that are rotated at once, of one token or of several.
    uint32_t chunk_rows;
    // Where rows of q start in a buffer.
    uint32_t ub_q_offset_bytes;
    // Where rows of the table start in a buffer.
    uint32_t ub_table_offset_bytes;
    // f32 `[chunk_rows, dims]`, as the next one: what is rotated.
    uint32_t ub_x_offset_bytes;
    // Products with the sines.
    uint32_t ub_y_offset_bytes;
    // Adjacent pairs: u32 `[2, dims]`.
    uint32_t ub_spread_offset_bytes;
    // Adjacent pairs: f32 `[tile_tokens, 2, dims]`.
    uint32_t ub_factors_offset_bytes;
    // With `ub_odd_offset_bytes`: u32 for each word of a row of K, the byte of the row that it gets.
    uint32_t ub_halves_offset_bytes;
};

// Tiling data of `matmul`. Offsets and sizes are bytes where the name says so, else elements.
//
// The order of blocks is described in `ascendc/kernels/matmul_tiles.h`.
struct MatmulTilingData {
    // Rows of A and C.
    uint32_t m;
    // Columns of B and C.
    uint32_t n;
    // Columns of A, rows of B.
    uint32_t k;
    // Extents of the three batch dimensions.
    uint32_t batch[3];
    // 1 when B lies as `[n, k]`.
    uint32_t b_is_nk;
    // Rows of a block, the unit that cores are dealt.
    uint32_t block_m;
    // Columns of a block.
    uint32_t block_n;
    // Rows of a tile, what stays in L0C while k runs; a multiple of 16.
    uint32_t tile_m;
    // Columns of a tile; a multiple of 16.
    uint32_t tile_n;
    // Depth of one Mmad; a multiple of 16.
    uint32_t tile_k;
    // Steps of `tile_k` that one copy brings to L1, of A.
    uint32_t step_k_a;
    // The same, of B.
    uint32_t step_k_b;
    // Buffers of A and of B in L1: 1 or 2.
    uint32_t l1_buffers;
    // Buffers in L0A and L0B: 1 or 2.
    uint32_t l0_buffers;
    // Tiles in L0C: 1 or 2.
    uint32_t l0c_buffers;
    // 1 when unitFlag orders M and FIX.
    uint32_t unit_flag;
    // Blocks launched.
    uint32_t num_cores;
    // Block rows, or columns, of a band.
    uint32_t swizzle;
    // 1 when bands are made of block columns.
    uint32_t swizzle_along_n;
    // L1: the buffers of A.
    uint32_t l1_a_offset_bytes[2];
    // L1: the buffers of B.
    uint32_t l1_b_offset_bytes[2];
    // 1 when B is read past L2.
    uint32_t b_past_l2;
    // 1 when the product is added to what C holds; C is then f32.
    uint32_t accumulates;
    // 0; the next field is aligned to 8 bytes.
    uint32_t reserved;
    // A: elements between rows.
    uint64_t a_stride;
    // B as it lies: elements between rows.
    uint64_t b_stride;
    // C: elements between rows.
    uint64_t c_stride;
    // A: elements between batches.
    uint64_t a_batch_stride[3];
    // B: elements between batches.
    uint64_t b_batch_stride[3];
    // C: elements between batches.
    uint64_t c_batch_stride[3];
};

// Tiling data of `merge`. Offsets are bytes in UB, strides elements.
//
// Rows lie along three axes: two outer ones, and an inner one along which lse is dense.
struct MergeTilingData {
    // Device addresses of the partial results. Sources behind the last one are 0.
    uint64_t o_parts[4];
    // Device addresses of the lse of the partial results.
    uint64_t lse_parts[4];
    // Strides of the partial o of each source: part, outer axes, inner axis.
    uint64_t o_parts_stride[16];
    // Strides of the partial lse of each source: part, outer axes.
    uint64_t lse_parts_stride[12];
    // Strides of o: outer axes, inner axis.
    uint64_t o_stride[3];
    // Strides of lse: outer axes.
    uint64_t lse_stride[2];
    // Parts of each source.
    uint32_t parts_of[4];
    // Parts of all sources.
    uint32_t num_parts;
    // Extents: outer axes, inner axis.
    uint32_t extent[3];
    // Elements of a row, a multiple of 16.
    uint32_t dim;
    // Rows of a tile, a multiple of 8.
    uint32_t tile_rows;
    // Vector cores launched.
    uint32_t num_cores;
    // Two tiles of a part.
    uint32_t ub_in_offset_bytes;
    // A part in f32, unless the parts are.
    uint32_t ub_x_offset_bytes;
    // The sum in f32, unless the result is. 256 bytes behind a multiple of 512.
    uint32_t ub_sum_offset_bytes;
    // Two tiles of the result, at such a place, too.
    uint32_t ub_out_offset_bytes;
    // Bytes from one of them to the next.
    uint32_t out_bytes;
    // Two arrays of lse of all parts.
    uint32_t ub_lse_offset_bytes;
    // Weights of all parts.
    uint32_t ub_weights_offset_bytes;
    // An array of that size.
    uint32_t ub_tmp_offset_bytes;
    // Weights spread over blocks, twice (SpreadRows).
    uint32_t ub_spread_offset_bytes;
    // Row values: maximum, sum, twice lse.
    uint32_t ub_rows_offset_bytes;
    // Keeps the size a multiple of 8.
    uint32_t reserved;
};

// Tiling data of `activation`.
struct ActivationTilingData {
    // Elements between rows of x.
    uint64_t x_stride;
    // Of up.
    uint64_t up_stride;
    // Of y.
    uint64_t y_stride;
    // Rows; 1 where all rows follow each other.
    uint32_t rows;
    // Elements of a row.
    uint32_t dim;
    // Rows of a tile.
    uint32_t tile_rows;
    // Columns of a tile, a multiple of 16.
    uint32_t chunk;
    // Vector cores launched.
    uint32_t num_cores;
    // 1: the result is multiplied with up.
    uint32_t is_gated;
    // Degree of the polynomial of the exponent.
    uint32_t degree;
    // Where the square that it takes ends.
    float square_limit;
    // Its coefficients, from that of 1 on.
    float coefficients[8];
    // UB: two tiles of x.
    uint32_t ub_x_offset_bytes;
    // UB: two tiles of up.
    uint32_t ub_up_offset_bytes;
    // UB: two tiles of y.
    uint32_t ub_out_offset_bytes;
    // UB: x in f32, unless it is.
    uint32_t ub_wide_offset_bytes;
    // UB: the exponent, then the result.
    uint32_t ub_power_offset_bytes;
    // UB: the square of x, then up in f32.
    uint32_t ub_square_offset_bytes;
};

// Tiling data of `argmax`.
struct ArgmaxTilingData {
    // Elements between rows of x.
    uint64_t x_stride;
    // Rows.
    uint32_t rows;
    // Elements of a row.
    uint32_t dim;
    // Columns of a chunk, a multiple of 64.
    uint32_t chunk;
    // Vector cores launched, no more than there are rows.
    uint32_t num_cores;
    // UB: two chunks.
    uint32_t ub_x_offset_bytes;
    // UB: the chunk with the largest element.
    uint32_t ub_found_offset_bytes;
    // UB: a chunk in f32, unless it is.
    uint32_t ub_wide_offset_bytes;
    // UB: scratch of a row tree, an eighth of a chunk in f32 and an eighth of that.
    uint32_t ub_tree_offset_bytes;
    // UB: the largest element of each chunk of a row, one in each 32 bytes.
    uint32_t ub_maxima_offset_bytes;
    // UB: a bit for each element of a chunk.
    uint32_t ub_bits_offset_bytes;
    // UB: two blocks with an index.
    uint32_t ub_index_offset_bytes;
    // UB: where all of that ends.
    uint32_t ub_end_bytes;
};

// Tiling data of `embedding`.
struct EmbeddingTilingData {
    // Elements between rows of the table.
    uint64_t table_stride;
    // Of y.
    uint64_t y_stride;
    // Tokens.
    uint32_t tokens;
    // Rows of the table.
    uint32_t num_ids;
    // Elements of a row.
    uint32_t dim;
    // 32-bit words of an id.
    uint32_t id_words;
    // Tokens of a tile.
    uint32_t tile_tokens;
    // Columns of a tile, a multiple of 16.
    uint32_t chunk;
    // Tiles in UB, from its start on.
    uint32_t num_buffers;
    // Vector cores launched.
    uint32_t num_cores;
    // 1: wrong ids are told.
    uint32_t want_status;
    // UB: a row of NaN.
    uint32_t ub_none_offset_bytes;
    // UB: the status.
    uint32_t ub_status_offset_bytes;
    // Keeps the size a multiple of 8.
    uint32_t reserved;
};

// Tiling data of `norm`. A slice is some rows in UB, in f32 and chunk by chunk.
struct NormTilingData {
    // Elements between rows of x.
    uint64_t x_stride;
    // Of the residual.
    uint64_t r_stride;
    // Of the sum.
    uint64_t h_stride;
    // Of y.
    uint64_t y_stride;
    // Rows.
    uint32_t rows;
    // Elements of a row.
    uint32_t dim;
    // Rows of a slice; 1 where a row has several chunks.
    uint32_t slice_rows;
    // Columns of a chunk, a multiple of 64.
    uint32_t chunk;
    // Vector cores launched, no more than there are rows.
    uint32_t num_cores;
    // 1: a residual is added, and the sum goes out.
    uint32_t has_residual;
    // 1: the mean is subtracted (LayerNorm).
    uint32_t is_centred;
    // 1: a bias is added.
    uint32_t has_bias;
    // Added to the mean square.
    float eps;
    // 1 / dim.
    float inverse_dim;
    // UB: two chunks of x.
    uint32_t ub_x_offset_bytes;
    // UB: two chunks of the residual, behind them.
    uint32_t ub_r_offset_bytes;
    // UB: two chunks that go out.
    uint32_t ub_out_offset_bytes;
    // UB: the slice.
    uint32_t ub_slice_offset_bytes;
    // UB: a chunk in f32.
    uint32_t ub_tmp_offset_bytes;
    // UB: scratch of a row tree, an eighth of that.
    uint32_t ub_wide_offset_bytes;
    // UB: an eighth of the eighth.
    uint32_t ub_narrow_offset_bytes;
    // UB: the weights.
    uint32_t ub_weight_offset_bytes;
    // UB: the bias.
    uint32_t ub_bias_offset_bytes;
    // UB: a chunk of the weights in f32, unless they are.
    uint32_t ub_weight_chunk_offset_bytes;
    // UB: a chunk of the bias, likewise.
    uint32_t ub_bias_chunk_offset_bytes;
    // UB: row values spread over blocks, twice (SpreadRows).
    uint32_t ub_spread_offset_bytes;
    // UB: four arrays of 64 f32.
    uint32_t ub_stats_offset_bytes;
    // Keeps the size a multiple of 8.
    uint32_t reserved;
};

// Tiling data of `score_pass`.
struct ScorePassTilingData {
    // Matrices of scores: batch times heads.
    uint32_t num_heads;
    // Rows of one matrix.
    uint32_t rows;
    // Columns.
    uint32_t cols;
    // Elements between rows, of x and of y.
    uint32_t pitch;
    // Columns of a tile, a multiple of 16.
    uint32_t chunk;
    // Rows of a tile.
    uint32_t tile_rows;
    // Vector cores launched.
    uint32_t num_cores;
    // 1 when a mask is added.
    uint32_t has_mask;
    // Factor of the scores, where no mask is added and no type changes.
    float scale;
    // UB: two tiles of x.
    uint32_t ub_x_offset_bytes;
    // UB: two tiles of the mask, behind x.
    uint32_t ub_mask_offset_bytes;
    // UB: two tiles of y, behind the mask.
    uint32_t ub_y_offset_bytes;
    // UB: a tile of x in f32.
    uint32_t ub_wide_offset_bytes;
    // UB: a tile of the mask in f32.
    uint32_t ub_wide_mask_offset_bytes;
};

// Tiling data of `softmax`.
struct SoftmaxTilingData {
    // Matrices of scores: batch times heads.
    uint32_t num_heads;
    // Rows of one matrix.
    uint32_t rows;
    // Columns.
    uint32_t cols;
    // Elements between rows, of scores and of P.
    uint32_t pitch;
    // Columns of a chunk, a multiple of 64.
    uint32_t chunk;
    // Rows of a slice.
    uint32_t slice_rows;
    // Vector cores launched.
    uint32_t num_cores;
    // 1 when there is a mask.
    uint32_t has_mask;
    // Factor of the scores.
    float softmax_scale;
    // UB: two chunks of scores.
    uint32_t ub_in_offset_bytes;
    // UB: two chunks of the mask, behind the scores.
    uint32_t ub_mask_offset_bytes;
    // UB: two chunks of P, behind the mask.
    uint32_t ub_out_offset_bytes;
    // UB: the slice in f32, chunk by chunk.
    uint32_t ub_x_offset_bytes;
    // UB: one chunk in f32 of scratch.
    uint32_t ub_tmp_offset_bytes;
    // UB: 32 bytes a row, a row's value repeated.
    uint32_t ub_spread_offset_bytes;
    // UB: three arrays of 64 f32.
    uint32_t ub_stats_offset_bytes;
};

// Tiling data of `add`.
struct AddTilingData {
    // Elements.
    uint64_t n;
    // Elements of one core.
    uint64_t core_elements;
    // Elements of one tile.
    uint32_t tile;
    // Buffers of each operand: 1 or 2.
    uint32_t buffers;
    // UB: buffers of x.
    uint32_t x_offset_bytes[2];
    // UB: buffers of y.
    uint32_t y_offset_bytes[2];
    // UB: buffers of z.
    uint32_t z_offset_bytes[2];
    // 1: x and y are read past L2.
    uint32_t past_l2;
    // 0; the structure is whole words of 8 bytes.
    uint32_t reserved;
};

// Tiling data of `read_ub` and `read_l1`.
struct ReadTilingData {
    // Elements between rows in GM.
    uint64_t pitch;
    // Rows of the matrix.
    uint32_t rows;
    // Columns of the matrix.
    uint32_t cols;
    // Rows of a group, what one core reads when each has its own.
    uint32_t core_rows;
    // Columns that are read `passes` times before the next are.
    uint32_t slice_cols;
    // Rows of one copy.
    uint32_t tile_rows;
    // Columns of one copy.
    uint32_t tile_cols;
    // Times that each slice is read.
    uint32_t passes;
    // `ReadOrder` as a number.
    uint32_t order;
    // Cores launched.
    uint32_t num_cores;
    // Buffers on chip.
    uint32_t buffers;
    // Bytes of a buffer.
    uint32_t buffer_bytes;
    // 1: L2 is left out.
    uint32_t past_l2;
};

// Tiling data of `vector_stream`.
struct VectorStreamTilingData {
    // `VectorOp` as a number.
    uint32_t op;
    // Instructions.
    uint32_t count;
    // Repeats of one instruction.
    uint32_t repeat;
    // 1 for a barrier behind each instruction.
    uint32_t barrier;
    // Scalar operand.
    float scalar;
    // UB: destination.
    uint32_t dst_offset_bytes;
    // UB: first source.
    uint32_t src0_offset_bytes;
    // UB: second source.
    uint32_t src1_offset_bytes;
    // Blocks of 32 bytes between the blocks of a repeat: destination, first and second source.
    uint32_t block_stride[3];
    // Blocks of 32 bytes between repeats, likewise.
    uint32_t repeat_stride[3];
};

// Tiling data of `self_test`.
struct SelfTestTilingData {
    // Added to every element of the result.
    float magic;
    // Each group multiplies by the operand of the group so far behind it; 0: no group waits for another.
    uint32_t partner_distance;
};

}  // namespace fa
