// fault: Race
// type: AIC_ONLY
// blocks: 1
// The buffers in L1 take turns, but the third load does not wait until LoadData has read the first
// one.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void missing_mte1_mte2_reuse(GM_ADDR a, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
    GlobalTensor<half> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(a));
    LocalTensor<half> a_l0(TPosition::A2, 0, 256);
    const LoadData2DParams fractal(0, 1, 1, 0, 0, false, 0);
    for (uint32_t i = 0; i < 3; ++i) {
        const int32_t slot = static_cast<int32_t>(i % 2);
        LocalTensor<half> a_l1(TPosition::A1, i % 2 * 512, 256);
        DataCopy(a_l1, a_gm[i * 256], 256);
        SetFlag<HardEvent::MTE2_MTE1>(slot);
        WaitFlag<HardEvent::MTE2_MTE1>(slot);
        PipeBarrier<PIPE_MTE1>();
        LoadData(a_l0, a_l1, fractal);
    }
}
