// SPDX-License-Identifier: MIT OR Apache-2.0
// Row-wise operations on an f32 slice [rows, pitch] in UB, pitch a multiple of 8 (reductions: of 64).
//
// Reductions fold 64-column groups with element-wise instructions and finish with two block reductions, because
// vcgmax/vcgadd cost 1 cycle a repeat and vcmax/vcadd 3 to 7 (AscendC vector performance tables).
// A row value is spread over one 32-byte block (Brcb) and replayed over the row with block stride 0.
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

enum class RowReduce { kMax, kSum };

template <RowReduce kOp>
__aicore__ inline void fold(const AscendC::LocalTensor<float>& dst, const AscendC::LocalTensor<float>& a,
                            const AscendC::LocalTensor<float>& b, uint32_t rows, uint32_t a_pitch, uint32_t b_pitch) {
    AscendC::BinaryRepeatParams params;
    params.dstRepStride = kLanesF32 / kBlockF32;
    params.src0RepStride = static_cast<uint8_t>(a_pitch / kBlockF32);
    params.src1RepStride = static_cast<uint8_t>(b_pitch / kBlockF32);
    const uint64_t mask = kLanesF32;
    if constexpr (kOp == RowReduce::kMax) {
        AscendC::Max(dst, a, b, mask, static_cast<uint8_t>(rows), params);
    } else {
        AscendC::Add(dst, a, b, mask, static_cast<uint8_t>(rows), params);
    }
}

template <RowReduce kOp>
__aicore__ inline void reduce_blocks(const AscendC::LocalTensor<float>& dst, const AscendC::LocalTensor<float>& src,
                                     uint32_t repeats, uint32_t mask, uint32_t src_pitch) {
    const int32_t stride = static_cast<int32_t>(src_pitch / kBlockF32);
    if constexpr (kOp == RowReduce::kMax) {
        AscendC::BlockReduceMax(dst, src, static_cast<int32_t>(repeats), static_cast<int32_t>(mask), 1, 1, stride);
    } else {
        AscendC::BlockReduceSum(dst, src, static_cast<int32_t>(repeats), static_cast<int32_t>(mask), 1, 1, stride);
    }
}

// dst[r] = reduction of row r. `tmp`: rows * 64 f32; `blocks`: ceil8(rows) * 8 f32.
template <RowReduce kOp>
__aicore__ inline void reduce_rows(const AscendC::LocalTensor<float>& dst, const AscendC::LocalTensor<float>& s,
                                   const AscendC::LocalTensor<float>& tmp, const AscendC::LocalTensor<float>& blocks,
                                   uint32_t rows, uint32_t pitch) {
    const uint32_t groups = pitch / kLanesF32;
    if (groups == 1) {
        reduce_blocks<kOp>(blocks, s, rows, kLanesF32, pitch);
    } else {
        fold<kOp>(tmp, s, s[kLanesF32], rows, pitch, pitch);
        AscendC::PipeBarrier<PIPE_V>();
        for (uint32_t group = 2; group < groups; ++group) {
            fold<kOp>(tmp, tmp, s[group * kLanesF32], rows, kLanesF32, pitch);
            AscendC::PipeBarrier<PIPE_V>();
        }
        reduce_blocks<kOp>(blocks, tmp, rows, kLanesF32, kLanesF32);
    }
    AscendC::PipeBarrier<PIPE_V>();
    const uint32_t whole = rows / kBlockF32;
    const uint32_t rest = rows % kBlockF32;
    if (whole > 0) reduce_blocks<kOp>(dst, blocks, whole, kLanesF32, kLanesF32);
    if (rest > 0) {
        reduce_blocks<kOp>(dst[whole * kBlockF32], blocks[whole * kLanesF32], 1, rest * kBlockF32, kLanesF32);
    }
    AscendC::PipeBarrier<PIPE_V>();
}

// blocks[r, 0..8] = values[r]; `values` must be readable up to the next multiple of 8.
__aicore__ inline void spread_rows(const AscendC::LocalTensor<float>& blocks, const AscendC::LocalTensor<float>& values,
                                   uint32_t rows) {
    AscendC::BrcbRepeatParams params;
    params.dstBlkStride = 1;
    params.dstRepStride = 8;
    AscendC::Brcb(blocks, values, static_cast<uint8_t>(ceil_div(rows, kBlockF32)), params);
    AscendC::PipeBarrier<PIPE_V>();
}

enum class RowOp { kSub, kMul, kDiv };

// x[r, c] = x[r, c] op blocks[r, *] for c < cols.
template <RowOp kOp>
__aicore__ inline void apply_rows(const AscendC::LocalTensor<float>& x, const AscendC::LocalTensor<float>& blocks,
                                  uint32_t rows, uint32_t cols, uint32_t pitch) {
    AscendC::BinaryRepeatParams params;
    params.src1BlkStride = 0;
    params.dstRepStride = static_cast<uint8_t>(pitch / kBlockF32);
    params.src0RepStride = static_cast<uint8_t>(pitch / kBlockF32);
    params.src1RepStride = 1;
    for (uint32_t col = 0; col < cols; col += kLanesF32) {
        const uint64_t mask = min_u32(kLanesF32, cols - col);
        if constexpr (kOp == RowOp::kSub) {
            AscendC::Sub(x[col], x[col], blocks, mask, static_cast<uint8_t>(rows), params);
        } else if constexpr (kOp == RowOp::kMul) {
            AscendC::Mul(x[col], x[col], blocks, mask, static_cast<uint8_t>(rows), params);
        } else {
            AscendC::Div(x[col], x[col], blocks, mask, static_cast<uint8_t>(rows), params);
        }
    }
    AscendC::PipeBarrier<PIPE_V>();
}

// s[r, from..pitch) = value for a last group of 64 columns that starts at or before `from`.
__aicore__ inline void fill_row_tails(const AscendC::LocalTensor<float>& s, float value, uint32_t rows, uint32_t from,
                                      uint32_t pitch) {
    uint64_t mask[2] = {~uint64_t{0} << (from % kLanesF32), 0};
    AscendC::Duplicate(s[pitch - kLanesF32], value, mask, static_cast<uint8_t>(rows), 1,
                       static_cast<uint8_t>(pitch / kBlockF32));
    AscendC::PipeBarrier<PIPE_V>();
}

}  // namespace fa
