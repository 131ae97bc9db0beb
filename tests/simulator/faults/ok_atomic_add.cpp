// fault: none
// type: AIV_ONLY
// blocks: 8
// Block 0 clears c, then all blocks add their parts of a to the same bytes: the twin of
// groups_write_same_bytes and uninit_atomic.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void ok_atomic_add(GM_ADDR a, GM_ADDR, GM_ADDR c) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(a));
    GlobalTensor<float> c_gm;
    c_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(c));
    const uint64_t block = static_cast<uint64_t>(GetBlockIdx());
    LocalTensor<float> x(TPosition::VECCALC, 0, 64), zero(TPosition::VECCALC, 256, 64);
    if (block == 0) {
        Duplicate(zero, 0.0f, 64);
        SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
        WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
        DataCopy(c_gm, zero, 64);
    }
    SyncAll();
    DataCopy(x, a_gm[block * 64], 64);
    SetFlag<HardEvent::MTE2_MTE3>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_MTE3>(EVENT_ID0);
    SetAtomicAdd<float>();
    DataCopy(c_gm, x, 64);
    SetAtomicNone();
}
