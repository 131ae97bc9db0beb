// fault: Uninitialised
// type: AIV_ONLY
// blocks: 1
// An atomic add onto bytes of c that nobody has set to zero.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void uninit_atomic(GM_ADDR, GM_ADDR, GM_ADDR c) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> c_gm;
    c_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(c));
    LocalTensor<float> x(TPosition::VECCALC, 0, 64);
    Duplicate(x, 1.0f, 64);
    SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
    WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
    SetAtomicAdd<float>();
    DataCopy(c_gm, x, 64);
    SetAtomicNone();
}
