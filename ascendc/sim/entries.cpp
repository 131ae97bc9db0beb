// SPDX-License-Identifier: MIT OR Apache-2.0
// The image of our kernels: one entry per line of kernels/variants.def.
#include "kernel_operator.h"
#include "register.h"

#define FA_COPY(name) extern "C" __global__ __aicore__ void name(GM_ADDR dst, GM_ADDR src, uint64_t bytes);
#define FA_SELF_TEST(name) \
    extern "C" __global__ __aicore__ void name(GM_ADDR out, GM_ADDR workspace, GM_ADDR tiling);
#define FA_FLASH_FWD(name, Elem)                                                                              \
    extern "C" __global__ __aicore__ void name(GM_ADDR q, GM_ADDR k, GM_ADDR v, GM_ADDR mask, GM_ADDR o,      \
                                               GM_ADDR lse, GM_ADDR workspace, GM_ADDR tiling);
#include "../kernels/variants.def"
#undef FA_COPY
#undef FA_SELF_TEST
#undef FA_FLASH_FWD

static constexpr FasimKernel kKernels[] = {
#define FA_COPY(name) fasim::entry<&name>(#name, fasim::kAivOnly),
#define FA_SELF_TEST(name) fasim::entry<&name>(#name, fasim::kMixAic1Aiv2),
#define FA_FLASH_FWD(name, Elem) fasim::entry<&name>(#name, fasim::kMixAic1Aiv2),
#include "../kernels/variants.def"
#undef FA_COPY
#undef FA_SELF_TEST
#undef FA_FLASH_FWD
};

FASIM_EXPORT_IMAGE(kKernels)
