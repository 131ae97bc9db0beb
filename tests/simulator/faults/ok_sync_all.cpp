// fault: none
// type: AIV_ONLY
// blocks: 4
// Each block stores its part of a, and after SyncAll adds up the parts of all: the twin of
// missing_sync_all.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void ok_sync_all(GM_ADDR a, GM_ADDR, GM_ADDR c) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(a));
    GlobalTensor<float> c_gm;
    c_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(c));
    const uint64_t block = static_cast<uint64_t>(GetBlockIdx());
    const uint32_t blocks = static_cast<uint32_t>(GetBlockNum());
    LocalTensor<float> x(TPosition::VECCALC, 0, 64), sum(TPosition::VECCALC, 256, 64);
    DataCopy(x, a_gm[block * 64], 64);
    SetFlag<HardEvent::MTE2_MTE3>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_MTE3>(EVENT_ID0);
    DataCopy(c_gm[block * 64], x, 64);
    SyncAll();
    Duplicate(sum, 0.0f, 64);
    for (uint32_t part = 0; part < blocks; ++part) {
        DataCopy(x, c_gm[part * 64], 64);
        SetFlag<HardEvent::MTE2_V>(EVENT_ID0);
        WaitFlag<HardEvent::MTE2_V>(EVENT_ID0);
        PipeBarrier<PIPE_V>();
        Add(sum, sum, x, 64);
        SetFlag<HardEvent::V_MTE2>(EVENT_ID0);
        WaitFlag<HardEvent::V_MTE2>(EVENT_ID0);
    }
    SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
    WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
    DataCopy(c_gm[1024 + block * 64], sum, 64);
}
