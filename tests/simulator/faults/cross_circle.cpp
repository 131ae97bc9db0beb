// fault: Deadlock
// type: MIX_AIC_1_2
// blocks: 1
// Cube and vector cores each wait for the other before they set.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void cross_circle(GM_ADDR, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
    if ASCEND_IS_AIC {
        CrossCoreWaitFlag(1);
        CrossCoreSetFlag<2, PIPE_FIX>(0);
    }
    if ASCEND_IS_AIV {
        CrossCoreWaitFlag(0);
        CrossCoreSetFlag<2, PIPE_MTE3>(1);
    }
}
