// SPDX-License-Identifier: MIT OR Apache-2.0
// One step of a tiled matrix product on the Cube.
#pragma once
#include "fa/arch.h"

namespace fa {

// C[m, n] (+)= A[m, k] * B[k, n] on L0 tiles; `init` starts from zero. m is rounded up to 16: m = 1 would select the
// matrix-vector form, whose result layout the documents leave open; the extra rows are never read.
template <typename T>
__aicore__ inline void mmad(const AscendC::LocalTensor<float>& c, const AscendC::LocalTensor<T>& a,
                            const AscendC::LocalTensor<T>& b, uint32_t m, uint32_t n, uint32_t k, bool init) {
    AscendC::MmadParams params;
    params.m = static_cast<uint16_t>(round_up(m, kFractal));
    params.n = static_cast<uint16_t>(n);
    params.k = static_cast<uint16_t>(k);
    params.cmatrixInitVal = init;
    AscendC::Mmad(c, a, b, params);
    if (ceil_div(m, kFractal) * ceil_div(n, kFractal) < kMmadSafeFractals) AscendC::PipeBarrier<PIPE_M>();
}

// L0C tile [m, n] -> GM f32 rows with pitch `pitch` elements.
__aicore__ inline void copy_l0c_to_gm(const AscendC::GlobalTensor<float>& dst, const AscendC::LocalTensor<float>& src,
                                      uint32_t m, uint32_t n, uint32_t pitch) {
    AscendC::FixpipeParamsV220 params;
    params.nSize = static_cast<uint16_t>(n);
    params.mSize = static_cast<uint16_t>(m);
    params.srcStride = static_cast<uint16_t>(round_up(m, kFractal));
    params.dstStride = pitch;
    params.ndNum = 1;
    params.srcNdStride = 0;
    params.dstNdStride = 0;
    AscendC::Fixpipe<float, float, AscendC::CFG_ROW_MAJOR>(dst, src, params);
}

}  // namespace fa
