// fault: Deadlock
// type: MIX_AIC_1_2
// blocks: 1
// The vector cores answer in mode 1, which joins the two of them; the Cube waits for mode 2.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void cross_wrong_mode(GM_ADDR, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
    if ASCEND_IS_AIV {
        CrossCoreSetFlag<1, PIPE_MTE3>(0);
    }
    if ASCEND_IS_AIC {
        CrossCoreWaitFlag(0);
    }
}
