// fault: Race
// type: MIX_AIC_1_2
// blocks: 1
// The Cube loads what the vector cores store and waits for their flag only after that.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void cross_wait_after_use(GM_ADDR, GM_ADDR, GM_ADDR c) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
    GlobalTensor<float> c_gm;
    c_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(c));
    if ASCEND_IS_AIV {
        LocalTensor<float> x(TPosition::VECCALC, 0, 64);
        Duplicate(x, 1.0f, 64);
        SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
        WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
        if (GetSubBlockIdx() == 0) DataCopy(c_gm, x, 64);
        CrossCoreSetFlag<2, PIPE_MTE3>(1);
    }
    if ASCEND_IS_AIC {
        LocalTensor<float> c_l1(TPosition::A1, 0, 64);
        DataCopy(c_l1, c_gm, 64);
        CrossCoreWaitFlag(1);
    }
}
