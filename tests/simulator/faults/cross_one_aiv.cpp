// fault: Deadlock
// type: MIX_AIC_1_2
// blocks: 1
// Only the vector core that has rows sets the flag; the Cube waits for both.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void cross_one_aiv(GM_ADDR, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
    if ASCEND_IS_AIV {
        if (GetSubBlockIdx() == 0) CrossCoreSetFlag<2, PIPE_MTE3>(2);
    }
    if ASCEND_IS_AIC {
        CrossCoreWaitFlag(2);
    }
}
