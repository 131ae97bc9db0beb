// SPDX-License-Identifier: MIT OR Apache-2.0
// The image of our kernels: one entry for each line of kernels/variants.def, of the cores and operands that
// kernels/families.h has for its family.
#include "kernel_operator.h"
#include "register.h"

#include "../kernels/families.h"

#undef FA_KERNEL
#define FA_KERNEL(family, name, ...) \
    extern "C" __global__ __aicore__ void name(FA_##family##_OPERANDS(FA_PARAMETER, FA_COMMA));
#include "../kernels/variants.def"

namespace cores {

constexpr fasim::KernelType AIV_ONLY = fasim::kAivOnly;
constexpr fasim::KernelType AIC_ONLY = fasim::kAicOnly;
constexpr fasim::KernelType MIX_AIC_1_2 = fasim::kMixAic1Aiv2;

}  // namespace cores

static constexpr FasimKernel kKernels[] = {
#undef FA_KERNEL
#define FA_KERNEL(family, name, ...) fasim::entry<&name>(#name, cores::FA_##family##_CORES),
#include "../kernels/variants.def"
};

FASIM_EXPORT_IMAGE(kKernels)
