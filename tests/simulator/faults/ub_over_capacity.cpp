// fault: Api
// type: AIV_ONLY
// blocks: 1
// The second buffer does not fit what the first leaves of UB.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void ub_over_capacity(GM_ADDR, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    TPipe pipe;
    TBuf<TPosition::VECCALC> first, second;
    pipe.InitBuffer(first, 128 * 1024);
    pipe.InitBuffer(second, 64 * 1024);
}
