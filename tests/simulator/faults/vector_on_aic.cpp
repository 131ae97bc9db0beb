// fault: NoSuchPath
// type: MIX_AIC_1_2
// blocks: 1
// A vector operation that both kinds of core run: ASCEND_IS_AIV is missing.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void vector_on_aic(GM_ADDR, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
    LocalTensor<float> x(TPosition::VECCALC, 0, 64);
    Duplicate(x, 1.0f, 64);
}
