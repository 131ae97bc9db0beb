// SPDX-License-Identifier: MIT OR Apache-2.0
// What the planners hand to the kernels. Every field is described in the Rust structure of the same name
// (src/tiling/tiling_data.rs, src/matmul/tiling_data.rs, src/baseline/tiling_data.rs); a test compares sizes and offsets.
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
    uint32_t ub_mask_bytes;
    uint32_t group_heads;
    uint32_t first_item;
    uint32_t num_items;
    uint32_t tail_parts;
    uint32_t reserved;
    uint64_t workspace_core_bytes;
    uint64_t workspace_p_offset_bytes;
    uint64_t workspace_o_offset_bytes;
    uint64_t q_stride[3];
    uint64_t k_stride[3];
    uint64_t v_stride[3];
    uint64_t o_stride[3];
};

struct MatmulTilingData {
    uint32_t m;
    uint32_t n;
    uint32_t k;
    uint32_t batch[3];
    uint32_t b_is_nk;
    uint32_t block_m;
    uint32_t block_n;
    uint32_t tile_m;
    uint32_t tile_n;
    uint32_t tile_k;
    uint32_t step_k_a;
    uint32_t step_k_b;
    uint32_t l1_buffers;
    uint32_t l0_buffers;
    uint32_t l0c_buffers;
    uint32_t unit_flag;
    uint32_t num_cores;
    uint32_t swizzle;
    uint32_t swizzle_along_n;
    uint32_t l1_a_offset_bytes[2];
    uint32_t l1_b_offset_bytes[2];
    uint32_t reserved;
    uint64_t a_stride;
    uint64_t b_stride;
    uint64_t c_stride;
    uint64_t a_batch_stride[3];
    uint64_t b_batch_stride[3];
    uint64_t c_batch_stride[3];
};

struct SoftmaxTilingData {
    uint32_t num_heads;
    uint32_t rows;
    uint32_t cols;
    uint32_t pitch;
    uint32_t chunk;
    uint32_t slice_rows;
    uint32_t num_cores;
    uint32_t has_mask;
    float softmax_scale;
    uint32_t ub_in_offset_bytes;
    uint32_t ub_mask_offset_bytes;
    uint32_t ub_out_offset_bytes;
    uint32_t ub_x_offset_bytes;
    uint32_t ub_tmp_offset_bytes;
    uint32_t ub_spread_offset_bytes;
    uint32_t ub_stats_offset_bytes;
};

struct AddTilingData {
    uint64_t n;
    uint64_t core_elements;
    uint32_t tile;
    uint32_t buffers;
    uint32_t x_offset_bytes[2];
    uint32_t y_offset_bytes[2];
    uint32_t z_offset_bytes[2];
};

struct ReadTilingData {
    uint64_t pitch;
    uint32_t rows;
    uint32_t cols;
    uint32_t core_rows;
    uint32_t slice_cols;
    uint32_t tile_rows;
    uint32_t tile_cols;
    uint32_t passes;
    uint32_t order;
    uint32_t num_cores;
    uint32_t buffers;
    uint32_t buffer_bytes;
    uint32_t reserved;
};

struct VectorStreamTilingData {
    uint32_t op;
    uint32_t count;
    uint32_t repeat;
    uint32_t barrier;
    float scalar;
    uint32_t dst_offset_bytes;
    uint32_t src0_offset_bytes;
    uint32_t src1_offset_bytes;
    uint32_t block_stride[3];
    uint32_t repeat_stride[3];
};

}  // namespace fa
