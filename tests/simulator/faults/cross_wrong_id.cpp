// fault: Deadlock
// type: MIX_AIC_1_2
// blocks: 1
// The Cube sets flag 0, and the vector cores wait for flag 1.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void cross_wrong_id(GM_ADDR, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
    if ASCEND_IS_AIC {
        CrossCoreSetFlag<2, PIPE_FIX>(0);
    }
    if ASCEND_IS_AIV {
        CrossCoreWaitFlag(1);
    }
}
