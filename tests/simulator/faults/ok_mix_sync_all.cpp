// fault: none
// type: MIX_AIC_1_2
// blocks: 3
// SyncAll over Cube and vector cores: the Cube of each block copies what the last vector core of
// all stored, from L1 on.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void ok_mix_sync_all(GM_ADDR a, GM_ADDR, GM_ADDR c) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
    GlobalTensor<float> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(a));
    GlobalTensor<float> c_gm;
    c_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(c));
    constexpr uint32_t part = 64;
    if ASCEND_IS_AIV {
        LocalTensor<float> x(TPosition::VECCALC, 0, part);
        const uint64_t at = static_cast<uint64_t>(GetBlockIdx()) * part;
        DataCopy(x, a_gm[at], part);
        SetFlag<HardEvent::MTE2_MTE3>(EVENT_ID0);
        WaitFlag<HardEvent::MTE2_MTE3>(EVENT_ID0);
        DataCopy(c_gm[at], x, part);
    }
    SyncAll<false>();
    if ASCEND_IS_AIC {
        LocalTensor<float> x(TPosition::A1, 0, part);
        const uint64_t last = static_cast<uint64_t>(GetBlockNum()) * 2 - 1;
        DataCopy(x, c_gm[last * part], part);
        SetFlag<HardEvent::MTE2_MTE3>(EVENT_ID0);
        WaitFlag<HardEvent::MTE2_MTE3>(EVENT_ID0);
        DataCopy(c_gm[1024 + static_cast<uint64_t>(GetBlockIdx()) * part], x, part);
    }
}
