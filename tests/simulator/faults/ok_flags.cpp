// fault: none
// type: AIV_ONLY
// blocks: 1
// c = 2 (a + 1) with two buffers and flags by hand: the twin of missing_v_mte2_reuse,
// missing_mte3_v_reuse and missing_barrier_v.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void ok_flags(GM_ADDR a, GM_ADDR, GM_ADDR c) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(a));
    GlobalTensor<float> c_gm;
    c_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(c));
    constexpr uint32_t tile = 512;
    for (int32_t slot = 0; slot < 2; ++slot) {
        SetFlag<HardEvent::V_MTE2>(slot);
        SetFlag<HardEvent::MTE3_V>(slot);
    }
    for (uint32_t i = 0; i < 32; ++i) {
        const int32_t slot = static_cast<int32_t>(i % 2);
        LocalTensor<float> x(TPosition::VECCALC, i % 2 * 2048, tile);
        LocalTensor<float> y(TPosition::VECCALC, 4096 + i % 2 * 2048, tile);
        WaitFlag<HardEvent::V_MTE2>(slot);
        DataCopy(x, a_gm[i * tile], tile);
        SetFlag<HardEvent::MTE2_V>(slot);
        WaitFlag<HardEvent::MTE2_V>(slot);
        WaitFlag<HardEvent::MTE3_V>(slot);
        Adds(y, x, 1.0f, tile);
        SetFlag<HardEvent::V_MTE2>(slot);
        PipeBarrier<PIPE_V>();
        Muls(y, y, 2.0f, tile);
        SetFlag<HardEvent::V_MTE3>(slot);
        WaitFlag<HardEvent::V_MTE3>(slot);
        DataCopy(c_gm[i * tile], y, tile);
        SetFlag<HardEvent::MTE3_V>(slot);
    }
    for (int32_t slot = 0; slot < 2; ++slot) {
        WaitFlag<HardEvent::V_MTE2>(slot);
        WaitFlag<HardEvent::MTE3_V>(slot);
    }
}
