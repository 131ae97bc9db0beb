// fault: Race
// seeds: Race|Uninitialised
// type: AIC_ONLY
// blocks: 1
// Fixpipe reads L0C while Mmad may still write it: no M_FIX flag.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void missing_m_fix(GM_ADDR a, GM_ADDR b, GM_ADDR c) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
    GlobalTensor<half> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(a));
    GlobalTensor<half> b_gm;
    b_gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(b));
    GlobalTensor<float> c_gm;
    c_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(c));
    LocalTensor<half> a_l1(TPosition::A1, 0, 256), b_l1(TPosition::B1, 512, 256);
    LocalTensor<half> a_l0(TPosition::A2, 0, 256), b_l0(TPosition::B2, 0, 256);
    LocalTensor<float> c_l0(TPosition::CO1, 0, 256);
    const LoadData2DParams fractal(0, 1, 1, 0, 0, false, 0);
    const MmadParams tile(16, 16, 16, 0, false, true);
    const FixpipeParamsV220 rows(16, 16, 16, 16, false);
    DataCopy(a_l1, a_gm, 256);
    DataCopy(b_l1, b_gm, 256);
    SetFlag<HardEvent::MTE2_MTE1>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_MTE1>(EVENT_ID0);
    LoadData(a_l0, a_l1, fractal);
    LoadData(b_l0, b_l1, fractal);
    SetFlag<HardEvent::MTE1_M>(EVENT_ID0);
    WaitFlag<HardEvent::MTE1_M>(EVENT_ID0);
    Mmad(c_l0, a_l0, b_l0, tile);
    Fixpipe(c_gm, c_l0, rows);
}
