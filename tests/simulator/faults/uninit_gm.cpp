// fault: Uninitialised
// type: AIV_ONLY
// blocks: 1
// Adds computes on bytes of c, which nobody has written before.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void uninit_gm(GM_ADDR, GM_ADDR, GM_ADDR c) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> c_gm;
    c_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(c));
    LocalTensor<float> x(TPosition::VECCALC, 0, 64);
    LocalTensor<float> y(TPosition::VECCALC, 256, 64);
    DataCopy(x, c_gm, 64);
    SetFlag<HardEvent::MTE2_V>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_V>(EVENT_ID0);
    Adds(y, x, 1.0f, 64);
}
