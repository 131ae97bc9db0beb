// fault: Race
// seeds: Race|Uninitialised
// type: AIV_ONLY
// blocks: 1
// MTE2 loads GM bytes that MTE3 may still be storing: no MTE3_MTE2 flag.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void missing_mte3_mte2_gm(GM_ADDR, GM_ADDR, GM_ADDR c) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> c_gm;
    c_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(c));
    LocalTensor<float> x(TPosition::VECCALC, 0, 64);
    LocalTensor<float> y(TPosition::VECCALC, 256, 64);
    Duplicate(x, 1.0f, 64);
    SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
    WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
    DataCopy(c_gm, x, 64);
    DataCopy(y, c_gm, 64);
    SetFlag<HardEvent::MTE2_V>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_V>(EVENT_ID0);
    Adds(y, y, 1.0f, 64);
    SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
    WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
    DataCopy(c_gm[64], y, 64);
}
