// fault: OutOfBounds
// type: AIV_ONLY
// blocks: 1
// The load runs 128 bytes past the end of a, which has 64 KiB.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void oob_gm(GM_ADDR a, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(a));
    LocalTensor<float> x(TPosition::VECCALC, 0, 64);
    DataCopy(x, a_gm[16384 - 32], 64);
}
