// fault: OutOfBounds
// type: AIV_ONLY
// blocks: 1
// The scalar unit reads the element one past the end of a.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void oob_gm_scalar(GM_ADDR a, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(a));
    LocalTensor<float> x(TPosition::VECCALC, 0, 64);
    Duplicate(x, a_gm.GetValue(16384), 64);
}
