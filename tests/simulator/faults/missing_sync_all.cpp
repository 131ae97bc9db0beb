// fault: Race
// type: AIV_ONLY
// blocks: 2
// Block 1 loads what block 0 stores: no SyncAll between them.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void missing_sync_all(GM_ADDR, GM_ADDR, GM_ADDR c) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> c_gm;
    c_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(c));
    LocalTensor<float> x(TPosition::VECCALC, 0, 64);
    if (GetBlockIdx() == 0) {
        Duplicate(x, 1.0f, 64);
        SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
        WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
        DataCopy(c_gm, x, 64);
    } else {
        DataCopy(x, c_gm, 64);
    }
}
