// SPDX-License-Identifier: MIT OR Apache-2.0
// What the planner hands to the kernels. Every field is described in src/tiling/tiling_data.rs, which holds the same
// structure; a test compares sizes and offsets.
#pragma once
#include <cstdint>

namespace fa {

struct FlashFwdTilingData {
    uint32_t batch;
    uint32_t num_heads;
    uint32_t num_heads_k;
    uint32_t head_dim;
    uint32_t head_dim_v;
    uint32_t seqlen_q;
    uint32_t seqlen_k;
    uint32_t block_m;
    uint32_t block_n;
    uint32_t chunk_n;
    uint32_t chunk_p;
    uint32_t tile_m;
    uint32_t tile_n;
    uint32_t tile_k;
    uint32_t slice_rows;
    uint32_t slice_bytes;
    uint32_t num_stages;
    uint32_t preload;
    uint32_t num_cores;
    uint32_t num_blocks_m;
    int32_t window_left;
    int32_t window_right;
    float softmax_scale;
    uint32_t want_lse;
    uint32_t mask_dim;
    uint32_t rows_v;
    uint32_t l1_q_offset_bytes;
    uint32_t l1_q_bytes;
    uint32_t l1_k_offset_bytes;
    uint32_t l1_k_bytes;
    uint32_t l1_v_offset_bytes;
    uint32_t l1_v_bytes;
    uint32_t l1_p_offset_bytes;
    uint32_t l1_p_bytes;
    uint32_t ub_s_offset_bytes;
    uint32_t ub_p_offset_bytes;
    uint32_t ub_acc_offset_bytes;
    uint32_t ub_tmp_offset_bytes;
    uint32_t ub_tmp_bytes;
    uint32_t ub_brcb_offset_bytes;
    uint32_t ub_stats_offset_bytes;
    uint32_t ub_mask_offset_bytes;
    uint64_t workspace_core_bytes;
    uint64_t workspace_p_offset_bytes;
    uint64_t workspace_o_offset_bytes;
    uint64_t q_stride[3];
    uint64_t k_stride[3];
    uint64_t v_stride[3];
    uint64_t o_stride[3];
};

}  // namespace fa
