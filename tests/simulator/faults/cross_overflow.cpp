// fault: CounterOverflow
// type: MIX_AIC_1_2
// blocks: 1
// The Cube sets a flag 16 times before anybody waits; the counter holds 15.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void cross_overflow(GM_ADDR, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
    if ASCEND_IS_AIC {
        for (uint32_t i = 0; i < 16; ++i) CrossCoreSetFlag<2, PIPE_FIX>(3);
    }
}
