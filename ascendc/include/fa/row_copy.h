// SPDX-License-Identifier: MIT OR Apache-2.0
// Rows between GM and UB: [rows, cols] with row pitch `pitch` in GM, and with row pitch `width` in UB, whose
// bytes are whole blocks.
#pragma once
#include "fa/arch.h"

namespace fa {

// Blocks between the rows of `cols` elements in UB, and bytes between them in GM.
template <typename T>
__aicore__ inline uint32_t row_gap_blocks(uint32_t cols, uint32_t width) {
    constexpr uint32_t kSize = sizeof(T);
    return width * kSize / kBlockBytes - ceil_div(cols * kSize, kBlockBytes);
}
template <typename T>
__aicore__ inline uint32_t row_gap_bytes(uint32_t rows, uint32_t cols, uint64_t pitch) {
    return rows == 1 ? 0 : static_cast<uint32_t>((pitch - cols) * sizeof(T));
}

template <typename T>
__aicore__ inline void copy_rows_gm_to_ub(const AscendC::LocalTensor<T>& dst,
                                          const AscendC::GlobalTensor<T>& src, uint32_t rows, uint32_t cols,
                                          uint64_t pitch, uint32_t width) {
    const AscendC::DataCopyExtParams params(
        static_cast<uint16_t>(rows), cols * static_cast<uint32_t>(sizeof(T)),
        row_gap_bytes<T>(rows, cols, pitch), row_gap_blocks<T>(cols, width), 0);
    const AscendC::DataCopyPadExtParams<T> no_pad(false, 0, 0, T{});
    AscendC::DataCopyPad(dst, src, params, no_pad);
}

template <typename T>
__aicore__ inline void copy_rows_ub_to_gm(const AscendC::GlobalTensor<T>& dst,
                                          const AscendC::LocalTensor<T>& src, uint32_t rows, uint32_t cols,
                                          uint64_t pitch, uint32_t width) {
    const AscendC::DataCopyExtParams params(
        static_cast<uint16_t>(rows), cols * static_cast<uint32_t>(sizeof(T)), row_gap_blocks<T>(cols, width),
        row_gap_bytes<T>(rows, cols, pitch), 0);
    AscendC::DataCopyPad(dst, src, params);
}

}  // namespace fa
