// fault: Uninitialised
// type: AIV_ONLY
// blocks: 1
// 48 elements are loaded, and a whole repeat of 64 is computed.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void uninit_ub_tail(GM_ADDR a, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(a));
    LocalTensor<float> x(TPosition::VECCALC, 0, 64);
    LocalTensor<float> y(TPosition::VECCALC, 256, 64);
    DataCopy(x, a_gm, 48);
    SetFlag<HardEvent::MTE2_V>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_V>(EVENT_ID0);
    Adds(y, x, 1.0f, 64, 1, UnaryRepeatParams(1, 1, 8, 8));
}
