// SPDX-License-Identifier: MIT OR Apache-2.0
// Tiling-mask (FastAttention): windows of one small M-mask stand for every block of an S x S mask.
//
// The M-mask has 2M rows of 2M bits; bit b of row a is 1 iff b <= a. The visible part of a slice whose row i
// sees the columns j <= i + d is the window with row offset minus column offset = d. Taking the whole shift
// on the rows keeps the column offset at 0 or M, so that windows start on whole bytes:
//   d > 0:  rows from d,     columns from 0
//   d <= 0: rows from M + d, columns from M      (d is clipped to -M: nothing visible)
// The bits lie in GM as src/tiling/mask.rs makes them, once per device.
#pragma once
#include "fa/arch.h"

namespace fa {

// Copies the window of `rows` x `cols` for shift `d` to UB; rows start every `row_bytes` (a multiple of 32).
__aicore__ inline void copy_mask_window(const AscendC::LocalTensor<uint8_t>& dst,
                                        const AscendC::GlobalTensor<uint8_t>& m_mask, uint32_t mask_dim,
                                        int64_t d, uint32_t rows, uint32_t cols, uint32_t row_bytes) {
    const int64_t m = mask_dim;
    d = clamp_i64(d, -m, m);
    const uint64_t row = static_cast<uint64_t>(d > 0 ? d : m + d);
    const uint64_t column_byte = d > 0 ? 0 : mask_dim / 8;
    const uint32_t pitch = 2 * mask_dim / 8;
    const uint32_t bytes = cols / 8;
    AscendC::DataCopyExtParams params;
    params.blockCount = static_cast<uint16_t>(rows);
    params.blockLen = bytes;
    params.srcStride = pitch - bytes;
    params.dstStride = (row_bytes - round_up(bytes, kBlockBytes)) / kBlockBytes;
    params.rsv = 0;
    AscendC::DataCopyPadExtParams<uint8_t> pad;
    pad.isPad = false;
    pad.leftPadding = 0;
    pad.rightPadding = 0;
    pad.paddingValue = 0;
    AscendC::DataCopyPad(dst, m_mask[row * pitch + column_byte], params, pad);
}

// s[i, j] = bit (i, j) of `visible` ? s[i, j] : value, for `rows` rows of `cols` float or half (a multiple of
// 64).
template <typename S>
__aicore__ inline void apply_mask(const AscendC::LocalTensor<S>& s,
                                  const AscendC::LocalTensor<uint8_t>& visible, S value, uint32_t rows,
                                  uint32_t cols, uint32_t row_bytes) {
    if (cols / 8 == row_bytes) {  // rows of bits are contiguous: one instruction for the slice
        AscendC::Select(s, visible, s, value, AscendC::SELMODE::VSEL_TENSOR_SCALAR_MODE, rows * cols);
        return;
    }
    for (uint32_t row = 0; row < rows; ++row) {
        AscendC::Select(s[row * cols], visible[row * row_bytes], s[row * cols], value,
                        AscendC::SELMODE::VSEL_TENSOR_SCALAR_MODE, cols);
    }
}

}  // namespace fa
