// SPDX-License-Identifier: MIT OR Apache-2.0
// Which tiles of C a core makes, and in which order. See matmul.cpp.
#pragma once
#include "fa/arch.h"
#include "fa/tiling_data.h"

namespace fa {

// One tile of C: what stays in L0C while k runs.
struct MatmulTile {
    uint64_t batch[3];
    uint32_t row;   // in C
    uint32_t col;   // in C
    uint32_t rows;  // valid, at most tile_m
    uint32_t cols;  // valid, at most tile_n
};

// First element of the matrix of a batch.
__aicore__ inline uint64_t batch_offset(const uint64_t (&stride)[3], const MatmulTile& tile) {
    return tile.batch[0] * stride[0] + tile.batch[1] * stride[1] + tile.batch[2] * stride[2];
}

// Walks the tiles of one core: its blocks are those with number core, core + num_cores, ...; within a block,
// down the rows of one column of tiles after the other.
//
// Numbers run over the batches and within one in bands of `swizzle` block rows (block columns if
// swizzle_along_n), across the band first, and backwards in every other band: the blocks that the cores make
// at one time are then near each other in both directions, so that the rows of A and columns of B that they
// read are few and stay in L2.
class MatmulTileCursor {
  public:
    __aicore__ inline MatmulTileCursor(const MatmulTilingData& t, uint32_t core)
        : t_(t),
          next_block_(core),
          blocks_m_(ceil_div(t.m, t.block_m)),
          blocks_n_(ceil_div(t.n, t.block_n)),
          num_blocks_(static_cast<uint64_t>(t.batch[0]) * t.batch[1] * t.batch[2] * blocks_m_ * blocks_n_) {}

    // Goes to the next tile; false at the end.
    __aicore__ inline bool next() {
        row_ += t_.tile_m;
        if (row_ >= end_row_) {
            row_ = first_row_;
            col_ += t_.tile_n;
        }
        if (col_ >= end_col_ && !next_block()) return false;
        tile_.row = row_;
        tile_.col = col_;
        tile_.rows = min_u32(t_.tile_m, end_row_ - row_);
        tile_.cols = min_u32(t_.tile_n, end_col_ - col_);
        return true;
    }
    __aicore__ inline const MatmulTile& tile() const { return tile_; }

  private:
    __aicore__ inline bool next_block() {
        if (next_block_ >= num_blocks_) return false;
        const uint64_t per_batch = static_cast<uint64_t>(blocks_m_) * blocks_n_;
        const uint64_t batch = next_block_ / per_batch;
        tile_.batch[2] = batch % t_.batch[2];
        tile_.batch[1] = batch / t_.batch[2] % t_.batch[1];
        tile_.batch[0] = batch / t_.batch[2] / t_.batch[1];
        place(next_block_ % per_batch);
        next_block_ += t_.num_cores;
        return true;
    }

    // Sets the bounds of the block with this number in its batch.
    __aicore__ inline void place(uint64_t number) {
        const bool along_n = t_.swizzle_along_n != 0;
        const uint32_t across_count = along_n ? blocks_n_ : blocks_m_;
        const uint32_t along_count = along_n ? blocks_m_ : blocks_n_;
        const uint64_t per_band = static_cast<uint64_t>(t_.swizzle) * along_count;
        const auto band = static_cast<uint32_t>(number / per_band);
        const auto inside = static_cast<uint32_t>(number % per_band);
        const uint32_t first = band * t_.swizzle;
        const uint32_t width = min_u32(t_.swizzle, across_count - first);
        const uint32_t across = first + inside % width;
        const uint32_t along = band % 2 == 0 ? inside / width : along_count - 1 - inside / width;
        first_row_ = (along_n ? along : across) * t_.block_m;
        col_ = (along_n ? across : along) * t_.block_n;
        row_ = first_row_;
        end_row_ = first_row_ + min_u32(t_.block_m, t_.m - first_row_);
        end_col_ = col_ + min_u32(t_.block_n, t_.n - col_);
    }

    const MatmulTilingData& t_;
    uint64_t next_block_;
    uint32_t blocks_m_;
    uint32_t blocks_n_;
    uint64_t num_blocks_;
    MatmulTile tile_{};
    uint32_t first_row_ = 0;
    uint32_t row_ = 0;
    uint32_t end_row_ = 0;
    uint32_t col_ = 0;
    uint32_t end_col_ = 0;
};

// Walks the pieces of `depth` along k that the tiles of a core need of one operand.
class MatmulChunkCursor {
  public:
    __aicore__ inline MatmulChunkCursor(const MatmulTilingData& t, uint32_t core, uint32_t depth)
        : tiles_(t, core), k_(t.k), depth_(depth), next_k_(t.k) {}

    __aicore__ inline bool next() {
        if (next_k_ >= k_) {
            if (!tiles_.next()) return false;
            next_k_ = 0;
        }
        first_ = next_k_;
        next_k_ += depth_;
        return true;
    }
    __aicore__ inline const MatmulTile& tile() const { return tiles_.tile(); }
    __aicore__ inline uint32_t first() const { return first_; }
    __aicore__ inline uint32_t depth() const { return min_u32(depth_, k_ - first_); }

  private:
    MatmulTileCursor tiles_;
    uint32_t k_;
    uint32_t depth_;
    uint32_t next_k_;
    uint32_t first_ = 0;
};

}  // namespace fa
