// SPDX-License-Identifier: MIT OR Apache-2.0
// Which tiles of a 16-bit matrix in GM a core reads, and in which order. See read_ub.cpp and read_l1.cpp.
#pragma once
#include "fa/arch.h"
#include "fa/tiling_data.h"

namespace fa {

// Values of ReadTilingData::order (src/baseline/read.rs).
constexpr uint32_t kReadOwnRows = 0;  // a core reads its own core_rows rows
constexpr uint32_t kReadAllRows = 1;  // every core reads all rows, all from the first
constexpr uint32_t kReadRotated = 2;  // every core reads all rows, core c from row c * core_rows

// Walks, for each group of core_rows rows and each slice of slice_cols columns, `passes` times over the tiles
// of that part, row of tiles by row of tiles.
class ReadCursor {
  public:
    __aicore__ inline ReadCursor(const ReadTilingData& t, uint32_t core)
        : t_(t), core_(core), num_groups_(ceil_div(t.rows, t.core_rows)) {
        has_group_ = t.order == kReadOwnRows ? core < num_groups_ : true;
        start_group();
    }

    // Goes to the next tile; false at the end.
    __aicore__ inline bool next() {
        if (!has_group_) return false;
        if (is_started_) advance();
        is_started_ = true;
        return has_group_;
    }
    __aicore__ inline uint64_t offset() const { return row_ * t_.pitch + col_; }
    __aicore__ inline uint32_t rows() const { return min_u32(t_.tile_rows, end_row_ - row_); }
    __aicore__ inline uint32_t cols() const { return min_u32(t_.tile_cols, slice_end() - col_); }

  private:
    __aicore__ inline uint32_t slice_end() const { return min_u32(slice_ + t_.slice_cols, t_.cols); }

    __aicore__ inline void start_group() {
        uint32_t group = core_;
        if (t_.order == kReadAllRows) group = turn_;
        if (t_.order == kReadRotated) group = (turn_ + core_) % num_groups_;
        first_row_ = group * t_.core_rows;
        end_row_ = min_u32(first_row_ + t_.core_rows, t_.rows);
        row_ = first_row_;
        slice_ = 0;
        col_ = 0;
        pass_ = 0;
    }

    __aicore__ inline void advance() {
        col_ += t_.tile_cols;
        if (col_ < slice_end()) return;
        col_ = slice_;
        row_ += t_.tile_rows;
        if (row_ < end_row_) return;
        row_ = first_row_;
        if (++pass_ < t_.passes) return;
        pass_ = 0;
        slice_ += t_.slice_cols;
        col_ = slice_;
        if (slice_ < t_.cols) return;
        ++turn_;
        has_group_ = t_.order != kReadOwnRows && turn_ < num_groups_;
        start_group();
    }

    const ReadTilingData& t_;
    uint32_t core_;
    uint32_t num_groups_;
    bool has_group_ = false;
    bool is_started_ = false;
    uint32_t turn_ = 0;
    uint32_t first_row_ = 0;
    uint32_t end_row_ = 0;
    uint32_t row_ = 0;
    uint32_t slice_ = 0;
    uint32_t col_ = 0;
    uint32_t pass_ = 0;
};

// Calls copy(buffer number, cursor) for every tile. Nothing uses what is read, so nothing but the next copy
// to the same buffer has to wait: a barrier each time round the buffers.
template <typename Copy>
__aicore__ inline void read_tiles(const ReadTilingData& t, const Copy& copy) {
    ReadCursor tiles(t, block_index());
    uint32_t buffer = 0;
    while (tiles.next()) {
        if (buffer == t.buffers) {
            AscendC::PipeBarrier<PIPE_MTE2>();
            buffer = 0;
        }
        copy(buffer, tiles);
        ++buffer;
    }
}

}  // namespace fa
