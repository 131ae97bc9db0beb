// SPDX-License-Identifier: MIT OR Apache-2.0
// Copies between memories in the layouts that attention needs.
#pragma once
#include "fa/arch.h"

namespace fa {

// GM [rows, cols] with row pitch `pitch` -> L1 Nz of `all_rows16` rows: element (r, c) at
// (c/16)*all_rows16*16 + r*16 + c%16. `dst` is its first row; other rows stay unwritten. The row pitch of one
// instruction is a u16 from 1; that of a single row says nothing and may be any number. With 0 all rows are
// the same.
template <typename T>
__aicore__ inline void copy_gm_to_l1_nz_rows(const AscendC::LocalTensor<T>& dst,
                                             const AscendC::GlobalTensor<T>& src, uint32_t rows,
                                             uint32_t cols, uint64_t pitch, uint32_t all_rows16) {
    constexpr uint64_t kMaxPitch = 65535;
    const bool one_by_one = rows == 1 || pitch == 0 || pitch > kMaxPitch;
    AscendC::Nd2NzParams params;
    params.ndNum = 1;
    params.nValue = static_cast<uint16_t>(one_by_one ? 1 : rows);
    params.dValue = static_cast<uint16_t>(cols);
    params.srcNdMatrixStride = 0;
    params.srcDValue = static_cast<uint16_t>(one_by_one ? cols : pitch);
    params.dstNzC0Stride = static_cast<uint16_t>(all_rows16);
    params.dstNzNStride = 1;
    params.dstNzMatrixStride = 1;
    if (!one_by_one) {
        AscendC::DataCopy(dst, src, params);
        return;
    }
    for (uint32_t row = 0; row < rows; ++row)
        AscendC::DataCopy(dst[row * kFractal], src[row * pitch], params);
}

// The same of a matrix that has these rows and no others.
template <typename T>
__aicore__ inline void copy_gm_to_l1_nz(const AscendC::LocalTensor<T>& dst,
                                        const AscendC::GlobalTensor<T>& src, uint32_t rows, uint32_t cols,
                                        uint64_t pitch) {
    copy_gm_to_l1_nz_rows(dst, src, rows, cols, pitch, round_up(rows, kFractal));
}

// L1 Nz (n16 x cols) of K, window of `n` rows x `k` columns at (row, col) -> L0B Zn of its transpose (k x n).
// The fractal orders coincide, so nothing is transposed (dav-c220: Nz of N x K is Zn of K x N).
template <typename T>
__aicore__ inline void copy_l1_to_l0b_transposed(const AscendC::LocalTensor<T>& dst,
                                                 const AscendC::LocalTensor<T>& src, uint32_t n16,
                                                 uint32_t row, uint32_t col, uint32_t n, uint32_t k) {
    const uint32_t n1 = ceil_div(n, kFractal);
    const uint32_t k1 = ceil_div(k, kFractal);
    AscendC::LoadData2DParams params;
    params.srcStride = 1;
    params.ifTranspose = false;
    if (n1 * kFractal == n16 && n1 * k1 < 256) {
        params.repeatTimes = static_cast<uint8_t>(n1 * k1);
        AscendC::LoadData(dst, src[col * n16], params);
        return;
    }
    params.repeatTimes = static_cast<uint8_t>(n1);
    for (uint32_t i = 0; i < k1; ++i) {
        AscendC::LoadData(dst[i * n1 * kFractalElements], src[(col + i * kFractal) * n16 + row * kFractal],
                          params);
    }
}

// Window of `rows` x `cols` at (row, col) of an L1 Nz matrix (all_rows16 x all_cols16), by one Load3Dv2: an
// image of one line of all_rows16 pixels and all_cols16 channels under a filter of one pixel. Every number is
// a multiple of 16.
template <typename T>
__aicore__ inline AscendC::LoadData3DParamsV2<T> matrix_window(uint32_t all_rows16, uint32_t all_cols16,
                                                               uint32_t row, uint32_t col, uint32_t rows,
                                                               uint32_t cols) {
    AscendC::LoadData3DParamsV2<T> params;
    params.l1H = 1;
    params.l1W = static_cast<uint16_t>(all_rows16);
    params.channelSize = static_cast<uint16_t>(all_cols16);
    params.mStartPt = static_cast<uint16_t>(row);
    params.mExtension = static_cast<uint16_t>(rows);
    params.kStartPt = static_cast<uint16_t>(col);
    params.kExtension = static_cast<uint16_t>(cols);
    params.strideW = 1;
    params.strideH = 1;
    params.filterW = 1;
    params.filterH = 1;
    params.dilationFilterW = 1;
    params.dilationFilterH = 1;
    return params;
}

// L1 Nz (all_m x all_k) -> L0A Zz of `m` rows from `row` and `k` columns from `col`, in one instruction.
template <typename T>
__aicore__ inline void load_l0a_window(const AscendC::LocalTensor<T>& dst, const AscendC::LocalTensor<T>& src,
                                       uint32_t all_m16, uint32_t all_k16, uint32_t row, uint32_t col,
                                       uint32_t m16, uint32_t k16) {
    AscendC::LoadData(dst, src, matrix_window<T>(all_m16, all_k16, row, col, m16, k16));
}

// The same of all rows.
template <typename T>
__aicore__ inline void load_l0a(const AscendC::LocalTensor<T>& dst, const AscendC::LocalTensor<T>& src,
                                uint32_t m16, uint32_t all_k16, uint32_t col, uint32_t k16) {
    load_l0a_window(dst, src, m16, all_k16, 0, col, m16, k16);
}

// L1 Nz (all_k x all_n) -> L0B Zn of `k` rows from `row` and `n` columns from `col`, in one instruction: to
// L0B, Load3Dv2 turns fractals itself.
template <typename T>
__aicore__ inline void load_l0b_window(const AscendC::LocalTensor<T>& dst, const AscendC::LocalTensor<T>& src,
                                       uint32_t all_k16, uint32_t all_n16, uint32_t row, uint32_t col,
                                       uint32_t k16, uint32_t n16) {
    AscendC::LoadData(dst, src, matrix_window<T>(all_k16, all_n16, row, col, k16, n16));
}

// The same of all columns.
template <typename T>
__aicore__ inline void load_l0b(const AscendC::LocalTensor<T>& dst, const AscendC::LocalTensor<T>& src,
                                uint32_t n16, uint32_t all_k16, uint32_t row, uint32_t k16) {
    load_l0b_window(dst, src, all_k16, n16, row, 0, k16, n16);
}

// Tiling data: GM -> registers of the scalar unit, word by word through its data cache.
template <typename Data>
__aicore__ inline Data load_tiling(GM_ADDR tiling) {
    static_assert(sizeof(Data) % sizeof(uint32_t) == 0, "tiling data is read in 32-bit words");
    constexpr uint32_t kWords = sizeof(Data) / sizeof(uint32_t);
    union Words {
        Data data;
        uint32_t word[kWords];
        __aicore__ inline Words() : word{} {}
    } words;
    AscendC::GlobalTensor<uint32_t> source;
    source.SetGlobalBuffer(reinterpret_cast<__gm__ uint32_t*>(tiling));
    for (uint32_t i = 0; i < kWords; ++i) words.word[i] = source.GetValue(i);
    return words.data;
}

}  // namespace fa
