// SPDX-License-Identifier: MIT OR Apache-2.0
// The image of our kernels: one entry per line of kernels/variants.def.
#include "kernel_operator.h"
#include "register.h"

#define FA_ADD(name, ...) extern "C" __global__ __aicore__ void name(GM_ADDR x, GM_ADDR y, GM_ADDR z, GM_ADDR tiling);
#define FA_COPY(name, ...) extern "C" __global__ __aicore__ void name(GM_ADDR dst, GM_ADDR src, uint64_t bytes);
#define FA_FLASH_FWD(name, ...)                                                                          \
    extern "C" __global__ __aicore__ void name(GM_ADDR q, GM_ADDR k, GM_ADDR v, GM_ADDR mask, GM_ADDR o, \
                                               GM_ADDR lse, GM_ADDR workspace, GM_ADDR tiling);
#define FA_FLASH_FWD_MATMUL(name, ...)                                                                             \
    extern "C" __global__ __aicore__ void name(GM_ADDR q, GM_ADDR k, GM_ADDR v, GM_ADDR mask, GM_ADDR o,           \
                                               GM_ADDR lse, GM_ADDR workspace, GM_ADDR a, GM_ADDR b, GM_ADDR c,    \
                                               GM_ADDR tiling, GM_ADDR matmul_tiling);
#define FA_MATMUL(name, ...) \
    extern "C" __global__ __aicore__ void name(GM_ADDR a, GM_ADDR b, GM_ADDR c, GM_ADDR tiling);
#define FA_READ_L1(name, ...) extern "C" __global__ __aicore__ void name(GM_ADDR src, GM_ADDR tiling);
#define FA_READ_UB(name, ...) extern "C" __global__ __aicore__ void name(GM_ADDR src, GM_ADDR tiling);
#define FA_SOFTMAX(name, ...) \
    extern "C" __global__ __aicore__ void name(GM_ADDR scores, GM_ADDR mask, GM_ADDR p, GM_ADDR tiling);
#define FA_SELF_TEST(name, ...) \
    extern "C" __global__ __aicore__ void name(GM_ADDR out, GM_ADDR workspace, GM_ADDR tiling);
#define FA_VECTOR_STREAM(name, ...) extern "C" __global__ __aicore__ void name(GM_ADDR out, GM_ADDR tiling);
#include "../kernels/variants.def"
#undef FA_ADD
#undef FA_COPY
#undef FA_SELF_TEST
#undef FA_FLASH_FWD
#undef FA_FLASH_FWD_MATMUL
#undef FA_MATMUL
#undef FA_READ_L1
#undef FA_READ_UB
#undef FA_SOFTMAX
#undef FA_VECTOR_STREAM

static constexpr FasimKernel kKernels[] = {
#define FA_ADD(name, ...) fasim::entry<&name>(#name, fasim::kAivOnly),
#define FA_COPY(name, ...) fasim::entry<&name>(#name, fasim::kAivOnly),
#define FA_FLASH_FWD(name, ...) fasim::entry<&name>(#name, fasim::kMixAic1Aiv2),
#define FA_FLASH_FWD_MATMUL(name, ...) fasim::entry<&name>(#name, fasim::kMixAic1Aiv2),
#define FA_MATMUL(name, ...) fasim::entry<&name>(#name, fasim::kAicOnly),
#define FA_READ_L1(name, ...) fasim::entry<&name>(#name, fasim::kAicOnly),
#define FA_READ_UB(name, ...) fasim::entry<&name>(#name, fasim::kAivOnly),
#define FA_SELF_TEST(name, ...) fasim::entry<&name>(#name, fasim::kMixAic1Aiv2),
#define FA_SOFTMAX(name, ...) fasim::entry<&name>(#name, fasim::kAivOnly),
#define FA_VECTOR_STREAM(name, ...) fasim::entry<&name>(#name, fasim::kAivOnly),
#include "../kernels/variants.def"
#undef FA_ADD
#undef FA_COPY
#undef FA_SELF_TEST
#undef FA_FLASH_FWD
#undef FA_FLASH_FWD_MATMUL
#undef FA_MATMUL
#undef FA_READ_L1
#undef FA_READ_UB
#undef FA_SOFTMAX
#undef FA_VECTOR_STREAM
};

FASIM_EXPORT_IMAGE(kKernels)
