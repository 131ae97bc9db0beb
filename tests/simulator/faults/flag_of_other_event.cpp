// fault: Deadlock
// type: AIV_ONLY
// blocks: 1
// The wait names another event id than the set: V waits for ever.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void flag_of_other_event(GM_ADDR a, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(a));
    LocalTensor<float> x(TPosition::VECCALC, 0, 64);
    LocalTensor<float> y(TPosition::VECCALC, 256, 64);
    DataCopy(x, a_gm, 64);
    SetFlag<HardEvent::MTE2_V>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_V>(EVENT_ID1);
    Adds(y, x, 1.0f, 64);
}
