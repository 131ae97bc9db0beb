// fault: Operand
// type: AIV_ONLY
// blocks: 1
// A copy of 4096 bursts; the instruction takes at most 4095.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void burst_count_limit(GM_ADDR a, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(a));
    LocalTensor<float> x(TPosition::VECCALC, 0, 32768);
    DataCopy(x, a_gm, DataCopyParams(4096, 1, 0, 0));
}
