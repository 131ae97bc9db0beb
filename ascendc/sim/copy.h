// SPDX-License-Identifier: MIT OR Apache-2.0
// DataCopy, DataCopyPad and Copy (dav-c220.md 3.1, 3.2, 7.2).
#pragma once
#include "intrinsics_move.h"
#include "mask.h"
#include "params.h"
#include "tensor.h"

namespace fasim {

template <class T>
FasimSpace space_of(const AscendC::LocalTensor<T>& tensor) {
    return space_of(static_cast<AscendC::TPosition>(tensor.GetPosition()));
}

[[noreturn]] inline void no_path(const char* call, FasimSpace src, FasimSpace dst) {
    static constexpr const char* kNames[] = {"GM", "UB", "L1", "L0A", "L0B", "L0C", "BT", "FB"};
    char message[160];
    std::snprintf(message, sizeof message, "%s: dav-c220 has no path from %s to %s for these parameters",
                  call, kNames[src], kNames[dst]);
    hooks->api_fault(kNoSuchPath, message);
    throw Stop{};
}

// A count form copies whole blocks; CANN drops the rest.
template <class T>
AscendC::DataCopyParams whole_blocks(uint32_t count) {
    const uint64_t bytes = uint64_t{count} * sizeof(T);
    if (bytes % AscendC::ONE_BLK_SIZE != 0) {
        fault("DataCopy: %u elements are %llu bytes, wanted a multiple of 32", count,
              static_cast<unsigned long long>(bytes));
    }
    if (bytes / AscendC::ONE_BLK_SIZE > UINT16_MAX) {
        fault("DataCopy: %u elements are %llu bytes, wanted at most 65535 blocks of 32", count,
              static_cast<unsigned long long>(bytes));
    }
    AscendC::DataCopyParams params;
    params.blockLen = static_cast<uint16_t>(bytes / AscendC::ONE_BLK_SIZE);
    return params;
}

}  // namespace fasim

namespace AscendC {

template <typename T>
void DataCopy(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const DataCopyParams& p) {
    __gm__ T* const from = src.GetPhyAddr(0);
    switch (fasim::space_of(dst)) {
        case FASIM_UB:
            return copy_gm_to_ubuf(dst.GetPhyAddr(), from, 0, p.blockCount, p.blockLen, p.srcStride,
                                   p.dstStride);
        case FASIM_L1:
            return copy_gm_to_cbuf(dst.GetPhyAddr(), from, 0, p.blockCount, p.blockLen, p.srcStride,
                                   p.dstStride, PAD_NONE);
        default:
            fasim::no_path("DataCopy", FASIM_GM, fasim::space_of(dst));
    }
}

template <typename T>
void DataCopy(const GlobalTensor<T>& dst, const LocalTensor<T>& src, const DataCopyParams& p) {
    __gm__ T* const to = dst.GetPhyAddr(0);
    switch (fasim::space_of(src)) {
        case FASIM_UB:
            return copy_ubuf_to_gm(to, src.GetPhyAddr(), 0, p.blockCount, p.blockLen, p.srcStride,
                                   p.dstStride);
        case FASIM_L1:
            return copy_cbuf_to_gm(to, src.GetPhyAddr(), 0, p.blockCount, p.blockLen, p.srcStride,
                                   p.dstStride);
        default:
            fasim::no_path("DataCopy", fasim::space_of(src), FASIM_GM);
    }
}

// UB to UB runs on V; L1 to the bias table (with a widening of half when T is float) and to the Fixpipe
// buffer.
template <typename T, typename U>
void DataCopy(const LocalTensor<T>& dst, const LocalTensor<U>& src, const DataCopyParams& p) {
    const FasimSpace from = fasim::space_of(src);
    const FasimSpace to = fasim::space_of(dst);
    if (from == FASIM_UB && to == FASIM_UB && std::is_same_v<T, U>) {
        return copy_ubuf_to_ubuf(dst.GetPhyAddr(), src.GetPhyAddr(), 0, p.blockCount, p.blockLen, p.srcStride,
                                 p.dstStride);
    }
    if (from == FASIM_L1 && to == FASIM_BT) {
        constexpr uint16_t widen = std::is_same_v<T, float> && std::is_same_v<U, half> ? 1 : 0;
        return copy_cbuf_to_bt(fasim::raw(dst.GetPhyAddr()), src.GetPhyAddr(), widen, p.blockCount,
                               p.blockLen, p.srcStride, p.dstStride);
    }
    if (from == FASIM_L1 && to == FASIM_FB) {
        return copy_cbuf_to_fbuf(dst.GetPhyAddr(), src.GetPhyAddr(), p.blockCount, p.blockLen, p.srcStride,
                                 p.dstStride);
    }
    fasim::no_path("DataCopy", from, to);
}

template <typename T>
void DataCopy(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const uint32_t count) {
    DataCopy(dst, src, fasim::whole_blocks<T>(count));
}

template <typename T>
void DataCopy(const GlobalTensor<T>& dst, const LocalTensor<T>& src, const uint32_t count) {
    DataCopy(dst, src, fasim::whole_blocks<T>(count));
}

template <typename T>
void DataCopy(const LocalTensor<T>& dst, const LocalTensor<T>& src, const uint32_t count) {
    DataCopy(dst, src, fasim::whole_blocks<T>(count));
}

template <typename T>
void DataCopy(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const Nd2NzParams& p) {
    static_assert(sizeof(T) <= 4, "DataCopy with Nd2NzParams: elements of 1, 2 or 4 bytes");
    if (fasim::space_of(dst) != FASIM_L1)
        fasim::no_path("DataCopy with Nd2NzParams", FASIM_GM, fasim::space_of(dst));
    __cbuf__ T* const to = dst.GetPhyAddr();
    __gm__ T* const from = src.GetPhyAddr(0);
    if constexpr (sizeof(T) == 1) {
        copy_gm_to_cbuf_multi_nd2nz_b8(to, from, 0, p.ndNum, p.nValue, p.dValue, p.srcNdMatrixStride,
                                       p.srcDValue, p.dstNzC0Stride, p.dstNzNStride, p.dstNzMatrixStride);
    } else if constexpr (sizeof(T) == 2) {
        copy_gm_to_cbuf_multi_nd2nz_b16(to, from, 0, p.ndNum, p.nValue, p.dValue, p.srcNdMatrixStride,
                                        p.srcDValue, p.dstNzC0Stride, p.dstNzNStride, p.dstNzMatrixStride);
    } else {
        copy_gm_to_cbuf_multi_nd2nz_b32s(to, from, 0, p.ndNum, p.nValue, p.dValue, p.srcNdMatrixStride,
                                         p.srcDValue, p.dstNzC0Stride, p.dstNzNStride, p.dstNzMatrixStride);
    }
}

template <typename T, typename U>
void DataCopy(const GlobalTensor<T>& dst, const LocalTensor<U>& src, const DataCopyCO12DstParams& p) {
    copy_matrix_cc_to_gm(dst.GetPhyAddr(0), src.GetPhyAddr(), p.sid, p.nSize, p.mSize, p.dstStride,
                         p.srcStride, p.unitFlag, p.quantPre, p.reluPre, p.channelSplit, p.nz2ndEn);
}

template <typename T, typename U>
void DataCopy(const LocalTensor<T>& dst, const LocalTensor<U>& src, const DataCopyCO12DstParams& p) {
    copy_matrix_cc_to_cbuf(dst.GetPhyAddr(), src.GetPhyAddr(), p.sid, p.nSize, p.mSize, p.dstStride,
                           p.srcStride, p.unitFlag, p.quantPre, p.reluPre, p.channelSplit, p.nz2ndEn);
}

template <typename T>
void DataCopyPad(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const DataCopyExtParams& p,
                 const DataCopyPadExtParams<T>& pad) {
    if (fasim::space_of(dst) != FASIM_UB) fasim::no_path("DataCopyPad", FASIM_GM, fasim::space_of(dst));
    if (pad.isPad) set_mov_pad_val(fasim::stored_bits(pad.paddingValue));
    __ubuf__ T* const to = dst.GetPhyAddr();
    __gm__ T* const from = src.GetPhyAddr(0);
    if constexpr (sizeof(T) == 1) {
        copy_gm_to_ubuf_align_b8(to, from, 0, p.blockCount, p.blockLen, pad.leftPadding, pad.rightPadding,
                                 p.srcStride, p.dstStride);
    } else if constexpr (sizeof(T) == 2) {
        copy_gm_to_ubuf_align_b16(to, from, 0, p.blockCount, p.blockLen, pad.leftPadding, pad.rightPadding,
                                  p.srcStride, p.dstStride);
    } else {
        // Elements of 8 bytes travel as pairs of 4.
        constexpr uint32_t words = sizeof(T) / 4;
        copy_gm_to_ubuf_align_b32(to, from, 0, p.blockCount, p.blockLen,
                                  static_cast<uint8_t>(pad.leftPadding * words),
                                  static_cast<uint8_t>(pad.rightPadding * words), p.srcStride, p.dstStride);
    }
}

template <typename T>
void DataCopyPad(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const DataCopyParams& p,
                 const DataCopyPadParams& pad) {
    if (pad.isPad) set_mov_pad_val(pad.paddingValue);
    DataCopyPadExtParams<T> ext;
    ext.leftPadding = pad.leftPadding;
    ext.rightPadding = pad.rightPadding;
    DataCopyPad(dst, src, DataCopyExtParams(p.blockCount, p.blockLen, p.srcStride, p.dstStride, 0), ext);
}

template <typename T>
void DataCopyPad(const GlobalTensor<T>& dst, const LocalTensor<T>& src, const DataCopyExtParams& p) {
    if (fasim::space_of(src) != FASIM_UB) fasim::no_path("DataCopyPad", fasim::space_of(src), FASIM_GM);
    __gm__ T* const to = dst.GetPhyAddr(0);
    __ubuf__ T* const from = src.GetPhyAddr();
    if constexpr (sizeof(T) == 1) {
        copy_ubuf_to_gm_align_b8(to, from, 0, p.blockCount, p.blockLen, 0, 0, p.srcStride, p.dstStride);
    } else if constexpr (sizeof(T) == 2) {
        copy_ubuf_to_gm_align_b16(to, from, 0, p.blockCount, p.blockLen, 0, 0, p.srcStride, p.dstStride);
    } else {
        copy_ubuf_to_gm_align_b32(to, from, 0, p.blockCount, p.blockLen, 0, 0, p.srcStride, p.dstStride);
    }
}

template <typename T>
void DataCopyPad(const GlobalTensor<T>& dst, const LocalTensor<T>& src, const DataCopyParams& p) {
    DataCopyPad(dst, src, DataCopyExtParams(p.blockCount, p.blockLen, p.srcStride, p.dstStride, 0));
}

}  // namespace AscendC
