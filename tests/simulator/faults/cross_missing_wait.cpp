// fault: Race
// type: MIX_AIC_1_2
// blocks: 1
// The vector core loads what the Cube writes to GM, but does not wait for the Cube's flag.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void cross_missing_wait(GM_ADDR a, GM_ADDR, GM_ADDR c) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
    GlobalTensor<half> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(a));
    GlobalTensor<float> c_gm;
    c_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(c));
    if ASCEND_IS_AIC {
        LocalTensor<half> a_l1(TPosition::A1, 0, 256);
        LocalTensor<half> a_l0(TPosition::A2, 0, 256), b_l0(TPosition::B2, 0, 256);
        LocalTensor<float> c_l0(TPosition::CO1, 0, 256);
        const LoadData2DParams fractal(0, 1, 1, 0, 0, false, 0);
        DataCopy(a_l1, a_gm, 256);
        SetFlag<HardEvent::MTE2_MTE1>(EVENT_ID0);
        WaitFlag<HardEvent::MTE2_MTE1>(EVENT_ID0);
        LoadData(a_l0, a_l1, fractal);
        LoadData(b_l0, a_l1, fractal);
        SetFlag<HardEvent::MTE1_M>(EVENT_ID0);
        WaitFlag<HardEvent::MTE1_M>(EVENT_ID0);
        Mmad(c_l0, a_l0, b_l0, MmadParams(16, 16, 16, 0, false, true));
        SetFlag<HardEvent::M_FIX>(EVENT_ID0);
        WaitFlag<HardEvent::M_FIX>(EVENT_ID0);
        Fixpipe(c_gm, c_l0, FixpipeParamsV220(16, 16, 16, 16, false));
        CrossCoreSetFlag<2, PIPE_FIX>(0);
    }
    if ASCEND_IS_AIV {
        if (GetSubBlockIdx() == 0) {
            LocalTensor<float> x(TPosition::VECCALC, 0, 256);
            DataCopy(x, c_gm, 256);
        }
    }
}
