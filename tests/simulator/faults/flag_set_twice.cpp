// fault: FlagSetTwice
// type: AIV_ONLY
// blocks: 1
// The same event is set for each of two loads, and waited for once.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void flag_set_twice(GM_ADDR a, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(a));
    LocalTensor<float> x(TPosition::VECCALC, 0, 64);
    LocalTensor<float> y(TPosition::VECCALC, 256, 64);
    DataCopy(x, a_gm, 64);
    SetFlag<HardEvent::MTE2_V>(EVENT_ID0);
    DataCopy(y, a_gm[64], 64);
    SetFlag<HardEvent::MTE2_V>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_V>(EVENT_ID0);
    Add(y, x, y, 64);
}
