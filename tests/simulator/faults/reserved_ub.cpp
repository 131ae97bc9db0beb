// fault: Reserved
// type: AIV_ONLY
// blocks: 1
// The load writes into the last 256 bytes of UB, which belong to the framework.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void reserved_ub(GM_ADDR a, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(a));
    LocalTensor<float> x(TPosition::VECCALC, 196608 - 256, 64);
    DataCopy(x, a_gm, 64);
}
