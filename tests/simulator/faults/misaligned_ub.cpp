// fault: Misaligned
// type: AIV_ONLY
// blocks: 1
// The source of Adds starts 16 bytes into a block of 32.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void misaligned_ub(GM_ADDR a, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(a));
    LocalTensor<float> x(TPosition::VECCALC, 0, 128), y(TPosition::VECCALC, 512, 64);
    DataCopy(x, a_gm, 128);
    SetFlag<HardEvent::MTE2_V>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_V>(EVENT_ID0);
    Adds(y, x[4], 1.0f, 64);
}
