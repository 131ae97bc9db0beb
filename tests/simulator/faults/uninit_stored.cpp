// fault: Uninitialised
// type: AIV_ONLY
// blocks: 1
// MTE3 stores bytes of UB that nothing has written.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void uninit_stored(GM_ADDR a, GM_ADDR, GM_ADDR c) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(a));
    GlobalTensor<float> c_gm;
    c_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(c));
    LocalTensor<float> x(TPosition::VECCALC, 0, 128);
    DataCopy(x, a_gm, 64);
    SetFlag<HardEvent::MTE2_MTE3>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_MTE3>(EVENT_ID0);
    DataCopy(c_gm, x, 128);
}
