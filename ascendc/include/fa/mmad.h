// SPDX-License-Identifier: MIT OR Apache-2.0
// One step of a tiled matrix product on the Cube.
#pragma once
#include "fa/arch.h"

namespace fa {

// Values of the operand unitFlag (dav-c220.md 4.4). A Mmad that accumulates on checks; the last one of a tile
// and the Fixpipe that drains it check and toggle.
constexpr uint8_t kUnitFlagOff = 0;
constexpr uint8_t kUnitFlagCheck = 2;
constexpr uint8_t kUnitFlagToggle = 3;

// C[m, n] (+)= A[m, k] * B[k, n] on L0 tiles; `init` starts from zero. m is rounded up to 16: m = 1 would
// select the matrix-vector form, whose result layout the documents leave open; the extra rows are never read.
template <typename T>
__aicore__ inline void mmad(const AscendC::LocalTensor<float>& c, const AscendC::LocalTensor<T>& a,
                            const AscendC::LocalTensor<T>& b, uint32_t m, uint32_t n, uint32_t k, bool init,
                            uint8_t unit_flag = kUnitFlagOff) {
    AscendC::MmadParams params;
    params.m = static_cast<uint16_t>(round_up(m, kFractal));
    params.n = static_cast<uint16_t>(n);
    params.k = static_cast<uint16_t>(k);
    params.unitFlag = unit_flag;
    params.cmatrixInitVal = init;
    AscendC::Mmad(c, a, b, params);
    if (ceil_div(m, kFractal) * ceil_div(n, kFractal) < kMmadSafeFractals) AscendC::PipeBarrier<PIPE_M>();
}

// The conversion of an f32 accumulator to the element type of the result.
template <typename Out>
constexpr QuantMode_t kStoreAs = QuantMode_t::NoQuant;
template <>
constexpr QuantMode_t kStoreAs<half> = QuantMode_t::F322F16;
template <>
constexpr QuantMode_t kStoreAs<bfloat16_t> = QuantMode_t::F322BF16;

// L0C tile [m, n] -> GM rows of f32, half or bfloat16_t with pitch `pitch` elements: 32 bits; that of a
// single row says nothing and may be any number.
template <typename Out>
__aicore__ inline void copy_l0c_to_gm(const AscendC::GlobalTensor<Out>& dst,
                                      const AscendC::LocalTensor<float>& src, uint32_t m, uint32_t n,
                                      uint64_t pitch, uint8_t unit_flag = kUnitFlagOff) {
    AscendC::FixpipeParamsV220 params;
    params.nSize = static_cast<uint16_t>(n);
    params.mSize = static_cast<uint16_t>(m);
    params.srcStride = static_cast<uint16_t>(round_up(m, kFractal));
    params.dstStride = m > 1 ? static_cast<uint32_t>(pitch) : n;
    params.quantPre = kStoreAs<Out>;
    params.ndNum = 1;
    params.srcNdStride = 0;
    params.dstNdStride = 0;
    params.unitFlag = unit_flag;
    AscendC::Fixpipe<Out, float, AscendC::CFG_ROW_MAJOR>(dst, src, params);
}

}  // namespace fa
