// SPDX-License-Identifier: MIT OR Apache-2.0
// Row-wise operations on an f16 slice [rows, pitch] in UB, pitch 64 times a power of two.
//
// An f16 block reduction takes seven cycles a repeat and an f16 addition one (AscendC vector performance
// tables), so rows are folded, neighbouring groups of 128 columns onto each other: two sources 256 bytes
// apart lie in different bank groups. No function here ends with a barrier: callers put independent work
// beside each other before they wait.
#pragma once
#include "fa/row_ops.h"

namespace fa {

constexpr uint32_t kLanesF16 = 128;  // f16 elements of one vector repeat
constexpr uint32_t kBlockF16 = 16;   // f16 elements of a DataBlock

// Columns that a row takes at least when rows of a slice are counted: then 64 columns in f32 of all of them
// fit half of it.
constexpr uint32_t kNarrowestF16 = 256;

// Half a slice, and a quarter.
struct TreeScratch {
    AscendC::LocalTensor<uint8_t> half_slice;
    AscendC::LocalTensor<uint8_t> quarter_slice;
};

// Reduction of each row to one f32: folds in f16 down to 64 columns, which are widened, and a RowTree of
// these. Every level is one step(); the caller puts a barrier between levels.
template <RowReduce kOp>
class RowTreeF16 {
  public:
    __aicore__ static inline uint32_t num_steps(uint32_t pitch) {
        uint32_t steps = 3;
        for (uint32_t width = pitch; width > kLanesF32; width /= 2) ++steps;
        return steps;
    }

    __aicore__ inline RowTreeF16() {}
    // `values` gets the results. From one level to the next the scratch changes. What is widened needs 256
    // bytes a row: of a row of 128 columns, that goes to the larger one.
    __aicore__ inline RowTreeF16(const AscendC::LocalTensor<half>& rows, const TreeScratch& scratch,
                                 const AscendC::LocalTensor<float>& values, uint32_t num_rows, uint32_t pitch)
        : now_(rows), values_(values), rows_(num_rows), width_(pitch) {
        const bool is_swapped = pitch == kLanesF16;
        next_[0] = is_swapped ? scratch.quarter_slice : scratch.half_slice;
        next_[1] = is_swapped ? scratch.half_slice : scratch.quarter_slice;
    }

    __aicore__ inline bool is_done() const { return is_wide_ && tree_.is_done(); }

    __aicore__ inline void step() {
        if (is_wide_) {
            tree_.step();
        } else if (width_ > kLanesF32) {
            fold();
        } else {
            widen();
        }
    }

  private:
    __aicore__ inline void fold() {
        const uint32_t lanes = min_u32(width_ / 2, kLanesF16);
        const auto to = next_[turn_].template ReinterpretCast<half>();
        AscendC::BinaryRepeatParams params;
        params.dstRepStride = static_cast<uint8_t>(lanes / kBlockF16);
        params.src0RepStride = static_cast<uint8_t>(2 * lanes / kBlockF16);
        params.src1RepStride = params.src0RepStride;
        combine<kOp>(to, now_, now_[lanes], lanes, rows_ * width_ / (2 * lanes), params);
        now_ = to;
        turn_ = 1 - turn_;
        width_ /= 2;
    }

    __aicore__ inline void widen() {
        const auto wide = next_[turn_].template ReinterpretCast<float>();
        const auto left = next_[1 - turn_].template ReinterpretCast<float>();
        AscendC::Cast(wide, now_, AscendC::RoundMode::CAST_NONE, rows_ * width_);
        tree_ = RowTree<kOp>(wide, left, left, values_, rows_, kLanesF32);
        is_wide_ = true;
    }

    AscendC::LocalTensor<half> now_;
    AscendC::LocalTensor<uint8_t> next_[2];
    AscendC::LocalTensor<float> values_;
    RowTree<kOp> tree_;
    uint32_t rows_ = 0;
    uint32_t width_ = 0;
    uint32_t turn_ = 0;
    bool is_wide_ = false;
};

// blocks[r, 0..16] = values[r]; `values` must be readable up to the next multiple of 8.
__aicore__ inline void spread_rows_f16(const AscendC::LocalTensor<half>& blocks,
                                       const AscendC::LocalTensor<half>& values, uint32_t rows) {
    AscendC::BrcbRepeatParams params;
    params.dstBlkStride = 1;
    params.dstRepStride = 8;
    AscendC::Brcb(blocks, values, static_cast<uint8_t>(ceil_div(rows, kBlockF32)), params);
}

// x[r, c] -= blocks[r, *]. Along the rows where these are long: down the columns each repeat's write meets
// the next one's read.
__aicore__ inline void subtract_rows_f16(const AscendC::LocalTensor<half>& x,
                                         const AscendC::LocalTensor<half>& blocks, uint32_t rows,
                                         uint32_t pitch) {
    AscendC::BinaryRepeatParams params;
    params.src1BlkStride = 0;
    const uint32_t lanes = min_u32(pitch, kLanesF16);
    const uint32_t groups = pitch / lanes;
    if (groups > 2) {
        params.src1RepStride = 0;
        for (uint32_t row = 0; row < rows; ++row) {
            const auto to = x[row * pitch];
            AscendC::Sub(to, to, blocks[row * kBlockF16], uint64_t{lanes}, static_cast<uint8_t>(groups),
                         params);
        }
        return;
    }
    params.dstRepStride = static_cast<uint8_t>(pitch / kBlockF16);
    params.src0RepStride = params.dstRepStride;
    params.src1RepStride = 1;
    for (uint32_t group = 0; group < groups; ++group) {
        const auto to = x[group * lanes];
        AscendC::Sub(to, to, blocks, uint64_t{lanes}, static_cast<uint8_t>(rows), params);
    }
}

// x[r, from..pitch) = value.
__aicore__ inline void fill_row_tails_f16(const AscendC::LocalTensor<half>& x, half value, uint32_t rows,
                                          uint32_t from, uint32_t pitch) {
    for (uint32_t group = from / kLanesF32; group < pitch / kLanesF32; ++group) {
        const uint32_t first = group * kLanesF32;
        uint64_t mask[2] = {~uint64_t{0} << (from > first ? from - first : 0), 0};
        AscendC::Duplicate(x[first], value, mask, static_cast<uint8_t>(rows), 1,
                           static_cast<uint8_t>(pitch / kBlockF16));
    }
}

}  // namespace fa
