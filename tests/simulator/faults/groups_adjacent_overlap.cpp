// fault: Race
// type: AIV_ONLY
// blocks: 2
// The blocks' parts of c are 256 bytes, but each stores 288.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void groups_adjacent_overlap(GM_ADDR, GM_ADDR, GM_ADDR c) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> c_gm;
    c_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(c));
    LocalTensor<float> x(TPosition::VECCALC, 0, 72);
    Duplicate(x, 1.0f, 72);
    SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
    WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
    DataCopy(c_gm[static_cast<uint64_t>(GetBlockIdx()) * 64], x, 72);
}
