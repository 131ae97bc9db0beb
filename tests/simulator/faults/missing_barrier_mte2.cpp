// fault: Race
// type: AIV_ONLY
// blocks: 1
// Two loads write overlapping bytes of UB: no PipeBarrier<PIPE_MTE2> between them.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void missing_barrier_mte2(GM_ADDR a, GM_ADDR, GM_ADDR c) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(a));
    GlobalTensor<float> c_gm;
    c_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(c));
    LocalTensor<float> x(TPosition::VECCALC, 0, 128);
    DataCopy(x, a_gm, 64);
    DataCopy(x[32], a_gm[64], 64);
    SetFlag<HardEvent::MTE2_MTE3>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_MTE3>(EVENT_ID0);
    DataCopy(c_gm, x, 96);
}
