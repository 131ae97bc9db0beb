// fault: Race
// type: AIV_ONLY
// blocks: 1
// The second load overwrites x while Adds may still read it: no V_MTE2 flag.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void missing_v_mte2_reuse(GM_ADDR a, GM_ADDR, GM_ADDR c) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(a));
    GlobalTensor<float> c_gm;
    c_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(c));
    LocalTensor<float> x(TPosition::VECCALC, 0, 64);
    LocalTensor<float> y(TPosition::VECCALC, 256, 64);
    DataCopy(x, a_gm, 64);
    SetFlag<HardEvent::MTE2_V>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_V>(EVENT_ID0);
    Adds(y, x, 1.0f, 64);
    DataCopy(x, a_gm[64], 64);
    SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
    WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
    DataCopy(c_gm, y, 64);
}
