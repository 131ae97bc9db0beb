// SPDX-License-Identifier: MIT OR Apache-2.0
// Row-wise operations on an f32 slice [rows, pitch] in UB, pitch a multiple of 8 (reductions: of 64).
//
// Reductions use block reductions, because vcgmax/vcgadd cost 1 cycle a repeat and vcmax/vcadd 3 to 7
// (AscendC vector performance tables). A row value is spread over one 32-byte block (Brcb) and replayed over
// the row with block stride 0. No function here ends with a barrier: callers put independent work beside each
// other before they wait.
#pragma once
#include "fa/arch.h"

namespace fa {

// A finite start for row maxima: -inf less it is -inf, and never NaN.
constexpr float kLowestF32 = -3.402823466e+38f;

__aicore__ inline float minus_infinity() {
    union Bits {
        uint32_t bits;
        float value;
    } x{0xff800000};
    return x.value;
}

__aicore__ inline float not_a_number() {
    union Bits {
        uint32_t bits;
        float value;
    } x{0x7fc00000};
    return x.value;
}

enum class RowReduce { kMax, kSum };

template <RowReduce kOp, typename E>
__aicore__ inline void combine(const AscendC::LocalTensor<E>& dst, const AscendC::LocalTensor<E>& a,
                               const AscendC::LocalTensor<E>& b, uint64_t mask, uint32_t repeats,
                               const AscendC::BinaryRepeatParams& params) {
    if constexpr (kOp == RowReduce::kMax) {
        AscendC::Max(dst, a, b, mask, static_cast<uint8_t>(repeats), params);
    } else {
        AscendC::Add(dst, a, b, mask, static_cast<uint8_t>(repeats), params);
    }
}

// x = x op y, `count` elements that follow each other.
template <RowReduce kOp>
__aicore__ inline void combine_all(const AscendC::LocalTensor<float>& x, const AscendC::LocalTensor<float>& y,
                                   uint32_t count) {
    if constexpr (kOp == RowReduce::kMax) {
        AscendC::Max(x, x, y, static_cast<int32_t>(count));
    } else {
        AscendC::Add(x, x, y, static_cast<int32_t>(count));
    }
}

// One value of dst for each block of src; strides in blocks.
template <RowReduce kOp>
__aicore__ inline void reduce_blocks(const AscendC::LocalTensor<float>& dst,
                                     const AscendC::LocalTensor<float>& src, uint32_t repeats, uint32_t mask,
                                     uint32_t block_stride, uint32_t repeat_stride) {
    const auto count = static_cast<int32_t>(repeats);
    const auto lanes = static_cast<int32_t>(mask);
    const auto block = static_cast<int32_t>(block_stride);
    const auto repeat = static_cast<int32_t>(repeat_stride);
    if constexpr (kOp == RowReduce::kMax) {
        AscendC::BlockReduceMax(dst, src, count, lanes, 1, block, repeat);
    } else {
        AscendC::BlockReduceSum(dst, src, count, lanes, 1, block, repeat);
    }
}

// Reduction of each row of `rows` x `pitch` f32 to one value, level by level. The caller puts a barrier
// between levels, and other work beside them. A level turns every block of 8 values into one (BlockReduce,
// one cycle for 64 values), or, where rows are neither groups of 8 blocks without a gap nor one such group,
// adds the second half of their blocks to the first.
template <RowReduce kOp>
class RowTree {
  public:
    // `wide`: rows * pitch / 8 f32, `narrow`: an eighth of it, each at least ceil8(rows) * 8. `values` gets
    // the result.
    __aicore__ inline RowTree() {}
    __aicore__ inline RowTree(const AscendC::LocalTensor<float>& rows,
                              const AscendC::LocalTensor<float>& wide,
                              const AscendC::LocalTensor<float>& narrow,
                              const AscendC::LocalTensor<float>& values, uint32_t num_rows, uint32_t pitch)
        : now_(rows),
          next_{wide, narrow},
          values_(values),
          rows_(num_rows),
          blocks_(pitch / kBlockF32),
          row_blocks_(blocks_) {}

    __aicore__ inline bool is_done() const { return blocks_ == 0; }

    // Issues one level.
    __aicore__ inline void step() {
        const bool is_dense = blocks_ == row_blocks_;
        if (blocks_ == 1) {
            finish();
        } else if (blocks_ == kBlockF32 || (is_dense && blocks_ % kBlockF32 == 0)) {
            reduce();
        } else {
            fold();
        }
    }

    // Issues what is left, with the barriers that it needs.
    __aicore__ inline void drain() {
        while (!is_done()) {
            step();
            if (!is_done()) AscendC::PipeBarrier<PIPE_V>();
        }
    }

  private:
    __aicore__ inline void reduce() {
        const bool is_dense = blocks_ == row_blocks_;
        const uint32_t repeats = is_dense ? rows_ * blocks_ / kBlockF32 : rows_;
        reduce_blocks<kOp>(next_[turn_], now_, repeats, kLanesF32, 1, is_dense ? kBlockF32 : row_blocks_);
        now_ = next_[turn_];
        turn_ = 1 - turn_;
        blocks_ /= kBlockF32;
        row_blocks_ = blocks_;
    }

    __aicore__ inline void fold() {
        const uint32_t half = (blocks_ + 1) / 2;
        if (rows_ == 1) {
            combine_all<kOp>(now_, now_[half * kBlockF32], (blocks_ - half) * kBlockF32);
            blocks_ = half;
            return;
        }
        AscendC::BinaryRepeatParams params;
        const auto stride = static_cast<uint8_t>(row_blocks_);
        params.dstBlkStride = stride;
        params.src0BlkStride = stride;
        params.src1BlkStride = stride;
        params.dstRepStride = static_cast<uint8_t>(kBlockF32 * row_blocks_);
        params.src0RepStride = params.dstRepStride;
        params.src1RepStride = params.dstRepStride;
        const uint32_t whole = rows_ / kBlockF32;
        const uint32_t rest = rows_ % kBlockF32;
        for (uint32_t block = 0; block + half < blocks_; ++block) {
            const auto to = now_[block * kBlockF32];
            const auto from = now_[(block + half) * kBlockF32];
            if (whole > 0) combine<kOp>(to, to, from, kLanesF32, whole, params);
            if (rest > 0) {
                const uint32_t at = whole * kLanesF32 * row_blocks_;
                combine<kOp>(to[at], to[at], from[at], rest * kBlockF32, 1, params);
            }
        }
        blocks_ = half;
    }

    __aicore__ inline void finish() {
        const uint32_t whole = rows_ / kBlockF32;
        const uint32_t rest = rows_ % kBlockF32;
        const uint32_t stride = kBlockF32 * row_blocks_;
        if (whole > 0) reduce_blocks<kOp>(values_, now_, whole, kLanesF32, row_blocks_, stride);
        if (rest > 0) {
            reduce_blocks<kOp>(values_[whole * kBlockF32], now_[whole * kLanesF32 * row_blocks_], 1,
                               rest * kBlockF32, row_blocks_, stride);
        }
        blocks_ = 0;
    }

    AscendC::LocalTensor<float> now_;
    AscendC::LocalTensor<float> next_[2];
    AscendC::LocalTensor<float> values_;
    uint32_t rows_ = 0;
    uint32_t blocks_ = 0;      // of a row that are still to be combined
    uint32_t row_blocks_ = 0;  // from one row to the next
    uint32_t turn_ = 0;
};

// Row values spread over blocks of 32 bytes, twice: one bank group reads one block a cycle, and the copies
// lie 8 groups apart, so that one of them is free of conflicts with 64 columns that start at a multiple of
// 512 bytes, the other with the next 64.
struct SpreadRows {
    AscendC::LocalTensor<float> copy[2];

    __aicore__ inline SpreadRows() {}
    // `bytes` starts at a multiple of 512 and holds two copies of `rows` blocks and half a row of banks.
    __aicore__ inline SpreadRows(const AscendC::LocalTensor<float>& bytes, uint32_t rows)
        : copy{bytes, bytes[round_up(rows, 2 * kBlockF32) * kBlockF32 + kLanesF32]} {}

    // The blocks of the rows from `row` on.
    __aicore__ inline SpreadRows from(uint32_t row) const {
        SpreadRows rest;
        rest.copy[0] = copy[0][row * kBlockF32];
        rest.copy[1] = copy[1][row * kBlockF32];
        return rest;
    }
};

// blocks[r, 0..8] = values[r]; `values` must be readable up to the next multiple of 8.
__aicore__ inline void spread_rows(const SpreadRows& blocks, const AscendC::LocalTensor<float>& values,
                                   uint32_t rows) {
    AscendC::BrcbRepeatParams params;
    params.dstBlkStride = 1;
    params.dstRepStride = 8;
    const auto repeats = static_cast<uint8_t>(ceil_div(rows, kBlockF32));
    AscendC::Brcb(blocks.copy[0], values, repeats, params);
    AscendC::Brcb(blocks.copy[1], values, repeats, params);
}

enum class RowOp { kAdd, kSub, kMul, kDiv };

template <RowOp kOp>
__aicore__ inline void apply(const AscendC::LocalTensor<float>& x, const AscendC::LocalTensor<float>& blocks,
                             uint64_t mask, uint32_t repeats, const AscendC::BinaryRepeatParams& params) {
    if constexpr (kOp == RowOp::kAdd) {
        AscendC::Add(x, x, blocks, mask, static_cast<uint8_t>(repeats), params);
    } else if constexpr (kOp == RowOp::kSub) {
        AscendC::Sub(x, x, blocks, mask, static_cast<uint8_t>(repeats), params);
    } else if constexpr (kOp == RowOp::kMul) {
        AscendC::Mul(x, x, blocks, mask, static_cast<uint8_t>(repeats), params);
    } else {
        AscendC::Div(x, x, blocks, mask, static_cast<uint8_t>(repeats), params);
    }
}

// x[r, c] = x[r, c] op blocks[r, *] for c < cols. `phase`: 0 when x starts at a multiple of 512 bytes, 1 when
// 256 behind one. Whichever way takes fewer instructions: along the rows, or down the columns, where each
// repeat's write meets the next one's read.
template <RowOp kOp>
__aicore__ inline void apply_rows(const AscendC::LocalTensor<float>& x, const SpreadRows& spread,
                                  uint32_t rows, uint32_t cols, uint32_t pitch, uint32_t phase = 0) {
    AscendC::BinaryRepeatParams params;
    params.src1BlkStride = 0;
    if (cols % kLanesF32 == 0 && rows <= cols / kLanesF32) {
        params.src1RepStride = 0;
        for (uint32_t row = 0; row < rows; ++row) {
            apply<kOp>(x[row * pitch], spread.copy[0][row * kBlockF32], kLanesF32, cols / kLanesF32, params);
        }
        return;
    }
    params.dstRepStride = static_cast<uint8_t>(pitch / kBlockF32);
    params.src0RepStride = static_cast<uint8_t>(pitch / kBlockF32);
    params.src1RepStride = 1;
    for (uint32_t col = 0; col < cols; col += kLanesF32) {
        const auto& blocks = spread.copy[(col / kLanesF32 + phase + 1) % 2];
        apply<kOp>(x[col], blocks, min_u32(kLanesF32, cols - col), rows, params);
    }
}

// x[r, c] = x[r, c] op values[c] for c < cols. Along the rows or down the columns, as above.
template <RowOp kOp>
__aicore__ inline void apply_columns(const AscendC::LocalTensor<float>& x,
                                     const AscendC::LocalTensor<float>& values, uint32_t rows, uint32_t cols,
                                     uint32_t pitch) {
    AscendC::BinaryRepeatParams params;
    if (rows <= cols / kLanesF32) {
        const uint32_t groups = cols / kLanesF32;
        const uint32_t done = groups * kLanesF32;
        for (uint32_t row = 0; row < rows; ++row) {
            apply<kOp>(x[row * pitch], values, kLanesF32, groups, params);
            if (done < cols) apply<kOp>(x[row * pitch + done], values[done], cols - done, 1, params);
        }
        return;
    }
    params.dstRepStride = static_cast<uint8_t>(pitch / kBlockF32);
    params.src0RepStride = params.dstRepStride;
    params.src1RepStride = 0;
    for (uint32_t col = 0; col < cols; col += kLanesF32) {
        apply<kOp>(x[col], values[col], min_u32(kLanesF32, cols - col), rows, params);
    }
}

// s[r, from..pitch) = value for a last group of 64 columns that starts at or before `from`.
__aicore__ inline void fill_row_tails(const AscendC::LocalTensor<float>& s, float value, uint32_t rows,
                                      uint32_t from, uint32_t pitch) {
    uint64_t mask[2] = {~uint64_t{0} << (from % kLanesF32), 0};
    AscendC::Duplicate(s[pitch - kLanesF32], value, mask, static_cast<uint8_t>(rows), 1,
                       static_cast<uint8_t>(pitch / kBlockF32));
}

}  // namespace fa
