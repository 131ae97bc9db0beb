// SPDX-License-Identifier: MIT OR Apache-2.0
// LoadData, Mmad, Fixpipe and fills (dav-c220.md 3.3, 3.5, 3.6).
#pragma once
#include "copy.h"
#include "sync.h"

namespace fasim {

// Loads move 16-bit integers as half.
template <class T>
using LoadElem = std::conditional_t<one_of<T, int16_t, uint16_t>, half, T>;

// Load3D moves bfloat16_t as half.
template <class T>
using Load3dElem = std::conditional_t<std::is_same_v<T, bfloat16_t>, half, T>;

template <class To, class T>
To* cast_pointer(T* pointer) {
    return reinterpret_cast<To*>(pointer);
}

inline uint64_t fmatrix(uint16_t l1_h, uint16_t l1_w, const uint8_t pads[4]) {
    uint64_t value = uint64_t{l1_w} | uint64_t{l1_h} << 16;
    for (uint32_t i = 0; i < 4; ++i) value |= uint64_t{pads[i]} << (32 + 8 * i);
    return value;
}

}  // namespace fasim

namespace AscendC {

template <typename T>
void LoadData(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LoadData2DParams& p) {
    using U = fasim::LoadElem<T>;
    U* const to = fasim::cast_pointer<U>(dst.GetPhyAddr());
    U* const from = fasim::cast_pointer<U>(src.GetPhyAddr());
    switch (fasim::space_of(dst)) {
        case FASIM_L0A:
            return load_cbuf_to_ca(to, from, p.startIndex, p.repeatTimes, p.srcStride, p.dstGap, p.sid,
                                   p.ifTranspose, inc);
        case FASIM_L0B:
            return load_cbuf_to_cb(to, from, p.startIndex, p.repeatTimes, p.srcStride, p.dstGap, p.sid,
                                   p.ifTranspose, inc);
        default:
            fasim::no_path("LoadData", fasim::space_of(src), fasim::space_of(dst));
    }
}

template <typename T>
void LoadData(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const LoadData2DParams& p) {
    using U = fasim::LoadElem<T>;
    U* const to = fasim::cast_pointer<U>(dst.GetPhyAddr());
    U* const from = fasim::cast_pointer<U>(src.GetPhyAddr(0));
    switch (fasim::space_of(dst)) {
        case FASIM_L0A:
            return load_gm_to_ca(to, from, p.startIndex, p.repeatTimes, p.srcStride, p.dstGap, p.sid, inc);
        case FASIM_L0B:
            return load_gm_to_cb(to, from, p.startIndex, p.repeatTimes, p.srcStride, p.dstGap, p.sid, inc);
        case FASIM_L1:
            return load_gm_to_cbuf(to, from, p.startIndex, p.repeatTimes, p.srcStride, p.dstGap, p.sid,
                                   p.addrMode == 0 ? inc : dec);
        default:
            fasim::no_path("LoadData", FASIM_GM, fasim::space_of(dst));
    }
}

template <typename T>
void LoadDataWithTranspose(const LocalTensor<T>& dst, const LocalTensor<T>& src,
                           const LoadData2dTransposeParams& p) {
    switch (fasim::space_of(dst)) {
        case FASIM_L0A:
            return load_cbuf_to_ca_transpose(dst.GetPhyAddr(), src.GetPhyAddr(), p.startIndex, p.repeatTimes,
                                             p.srcStride, p.dstGap, inc, p.dstFracGap);
        case FASIM_L0B:
            return load_cbuf_to_cb_transpose(dst.GetPhyAddr(), src.GetPhyAddr(), p.startIndex, p.repeatTimes,
                                             p.srcStride, p.dstGap, inc, p.dstFracGap);
        default:
            fasim::no_path("LoadDataWithTranspose", fasim::space_of(src), fasim::space_of(dst));
    }
}

inline void SetFmatrix(uint16_t l1H, uint16_t l1W, const uint8_t padList[4], const FmatrixMode& fmatrixMode) {
    if (fmatrixMode != FmatrixMode::FMATRIX_LEFT) fasim::not_modelled("SetFmatrix: FMATRIX_RIGHT");
    set_fmatrix(fasim::fmatrix(l1H, l1W, padList));
}

template <typename T>
void SetLoadDataPaddingValue(const T padValue) {
    if constexpr (sizeof(T) == 1) {
        const uint64_t byte = fasim::stored_bits(padValue);
        set_padding(byte << 8 | byte);
    } else {
        set_padding(fasim::stored_bits(padValue));
    }
}

inline void SetLoadDataRepeat(const LoadDataRepeatParam& p) {
    set_l3d_rpt(uint64_t{p.repeatStride} | uint64_t{p.repeatTime} << 16 | uint64_t{p.repeatMode} << 24);
}

template <typename T, const IsResetLoad3dConfig& config = IS_RESER_LOAD3D_DEFAULT_CONFIG>
void LoadData(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LoadData3DParamsV2<T>& p) {
    if constexpr (config.isSetFMatrix) SetFmatrix(p.l1H, p.l1W, p.padList, FmatrixMode::FMATRIX_LEFT);
    if constexpr (config.isSetPadding) SetLoadDataPaddingValue(p.padValue);
    using U = fasim::Load3dElem<T>;
    U* const to = fasim::cast_pointer<U>(dst.GetPhyAddr());
    U* const from = fasim::cast_pointer<U>(src.GetPhyAddr());
    switch (fasim::space_of(dst)) {
        case FASIM_L0A:
            return img2colv2_cbuf_to_ca(to, from, p.kExtension, p.mExtension, p.kStartPt, p.mStartPt,
                                        p.strideW, p.strideH, p.filterW, p.filterH, p.dilationFilterW,
                                        p.dilationFilterH, p.filterSizeW, p.filterSizeH, p.enTranspose,
                                        p.fMatrixCtrl, p.channelSize);
        case FASIM_L0B:
            return img2colv2_cbuf_to_cb(to, from, p.kExtension, p.mExtension, p.kStartPt, p.mStartPt,
                                        p.strideW, p.strideH, p.filterW, p.filterH, p.dilationFilterW,
                                        p.dilationFilterH, p.filterSizeW, p.filterSizeH, p.enTranspose,
                                        p.fMatrixCtrl, p.channelSize);
        default:
            fasim::no_path("LoadData with LoadData3DParamsV2", fasim::space_of(src), fasim::space_of(dst));
    }
}

template <typename T, typename U, typename S>
constexpr bool kMmadTypes =
    (std::is_same_v<U, S>) && ((std::is_same_v<T, float> && fasim::one_of<U, half, bfloat16_t, float>) ||
                               (std::is_same_v<T, int32_t> && std::is_same_v<U, int8_t>));

template <typename T, typename U, typename S>
void Mmad(const LocalTensor<T>& dst, const LocalTensor<U>& fm, const LocalTensor<S>& filter,
          const MmadParams& p) {
    static_assert(kMmadTypes<T, U, S>, "Mmad: float from half, bfloat16_t or float, or int32_t from int8_t");
    mad(dst.GetPhyAddr(), fm.GetPhyAddr(), filter.GetPhyAddr(), p.m, p.k, p.n, p.unitFlag, p.kDirectionAlign,
        p.cmatrixSource, p.cmatrixInitVal && !p.isBias);
}

template <typename T, typename U, typename S, typename V>
void Mmad(const LocalTensor<T>& dst, const LocalTensor<U>& fm, const LocalTensor<S>& filter,
          const LocalTensor<V>& bias, const MmadParams& p) {
    static_assert(kMmadTypes<T, U, S>, "Mmad: float from half, bfloat16_t or float, or int32_t from int8_t");
    const FasimSpace where = fasim::space_of(bias);
    if (where != FASIM_BT && where != FASIM_L0C) {
        fasim::fault("Mmad: bias lies in memory %d, wanted the bias table (C2) or L0C (CO1)",
                     static_cast<int>(where));
    }
    mad(dst.GetPhyAddr(), fm.GetPhyAddr(), filter.GetPhyAddr(), fasim::raw(bias.GetPhyAddr()), p.m, p.k, p.n,
        p.unitFlag, p.kDirectionAlign, where == FASIM_BT, p.cmatrixInitVal);
}

// CTRL bits 46, 47 and 51 (dav-c220.md 6.5).
inline void SetHF32Mode(bool enable) {
    const uint64_t rest = static_cast<uint64_t>(get_ctrl()) & ~(uint64_t{1} << 46);
    set_ctrl(rest | uint64_t{enable} << 46);
}
inline void SetHF32TransMode(bool towardZero) {
    const uint64_t rest = static_cast<uint64_t>(get_ctrl()) & ~(uint64_t{1} << 47);
    set_ctrl(rest | uint64_t{towardZero} << 47);
}
inline void SetMMRowMajor() { set_ctrl(static_cast<uint64_t>(get_ctrl()) | uint64_t{1} << 51); }
inline void SetMMColumnMajor() { set_ctrl(static_cast<uint64_t>(get_ctrl()) & ~(uint64_t{1} << 51)); }

inline void SetFixpipeNz2ndFlag(uint16_t ndNum, uint16_t srcNdStride, uint16_t dstNdStride) {
    set_nd_para(uint64_t{ndNum} | uint64_t{srcNdStride} << 16 | uint64_t{dstNdStride} << 32);
}

inline void SetFixpipePreQuantFlag(uint64_t config) { set_quant_pre(config); }

// Where the tables of ReLU and quantisation lie in FB, in units of 64 and 128 bytes, and the unit flag.
template <typename T>
void SetFixPipeConfig(const LocalTensor<T>& reluPre, const LocalTensor<T>& quantPre,
                      bool isUnitFlag = false) {
    set_fpc(fasim::raw(reluPre.GetPhyAddr()) >> 6 | fasim::raw(quantPre.GetPhyAddr()) >> 7 << 8 |
            uint64_t{isUnitFlag} << 63);
}

template <typename T, bool setRelu = false>
void SetFixPipeConfig(const LocalTensor<T>& preTensor, bool isUnitFlag = false) {
    const uint64_t address = fasim::raw(preTensor.GetPhyAddr());
    set_fpc((setRelu ? address >> 6 : address >> 7 << 8) | uint64_t{isUnitFlag} << 63);
}

template <typename T, typename U, const FixpipeConfig& config = CFG_ROW_MAJOR>
void Fixpipe(const GlobalTensor<T>& dst, const LocalTensor<U>& src, const FixpipeParamsV220& p) {
    constexpr bool nz2nd = config.format == CO2Layout::ROW_MAJOR;
    if constexpr (nz2nd) SetFixpipeNz2ndFlag(p.ndNum, p.srcNdStride, p.dstNdStride);
    if (p.quantPre == DEQF16 || p.quantPre == QF322B8_PRE || p.quantPre == REQ8) set_quant_pre(p.deqScalar);
    PipeBarrier<PIPE_FIX>();
    copy_matrix_cc_to_gm(dst.GetPhyAddr(0), src.GetPhyAddr(), 0, p.nSize, p.mSize, p.dstStride, p.srcStride,
                         p.unitFlag, p.quantPre, static_cast<uint8_t>(p.reluEn), p.isChannelSplit, nz2nd);
}

template <typename T, typename U, const FixpipeConfig& config = CFG_ROW_MAJOR>
void Fixpipe(const LocalTensor<T>& dst, const LocalTensor<U>& src, const FixpipeParamsV220& p) {
    static_assert(config.format == CO2Layout::NZ, "Fixpipe to L1: dav-c220 writes NZ only, give CFG_NZ");
    if (p.quantPre == DEQF16 || p.quantPre == QF322B8_PRE || p.quantPre == REQ8) set_quant_pre(p.deqScalar);
    copy_matrix_cc_to_cbuf(dst.GetPhyAddr(), src.GetPhyAddr(), 0, p.nSize, p.mSize, p.dstStride, p.srcStride,
                           p.unitFlag, p.quantPre, static_cast<uint8_t>(p.reluEn), p.isChannelSplit, false);
}

}  // namespace AscendC

namespace fasim {

// CANN passes 16-bit integers as the half of the same bits, 32-bit values as uint32_t.
template <class T>
auto fill_value(T value) {
    if constexpr (one_of<T, int16_t, uint16_t>) {
        half same;
        same.bits = static_cast<uint16_t>(value);
        return same;
    } else if constexpr (one_of<T, half, bfloat16_t>) {
        return value;
    } else {
        return static_cast<uint32_t>(stored_bits(value));
    }
}

}  // namespace fasim

namespace AscendC {

template <typename T>
void InitConstValue(const LocalTensor<T>& dst, const InitConstValueParams<T>& p) {
    static_assert(fasim::one_of<T, half, bfloat16_t, int16_t, uint16_t, float, int32_t, uint32_t>,
                  "InitConstValue: elements of 2 or 4 bytes");
    const int64_t repeat = p.repeatTimes | int64_t{p.blockNum} << 16 | int64_t{p.dstGap} << 32;
    const auto value = fasim::fill_value(p.initValue);
    constexpr bool is_bf16 = std::is_same_v<T, bfloat16_t>;
    switch (fasim::space_of(dst)) {
        case FASIM_L1:
            return is_bf16 ? create_cbuf_matrix_bf16(dst.GetPhyAddr(), repeat, value)
                           : create_cbuf_matrix(dst.GetPhyAddr(), repeat, value);
        case FASIM_L0A:
            return is_bf16 ? create_ca_matrix_bf16(dst.GetPhyAddr(), repeat, value)
                           : create_ca_matrix(dst.GetPhyAddr(), repeat, value);
        case FASIM_L0B:
            return is_bf16 ? create_cb_matrix_bf16(dst.GetPhyAddr(), repeat, value)
                           : create_cb_matrix(dst.GetPhyAddr(), repeat, value);
        default:
            fasim::fault("InitConstValue: dst lies in memory %d, wanted L1, L0A or L0B",
                         static_cast<int>(fasim::space_of(dst)));
    }
}

}  // namespace AscendC
