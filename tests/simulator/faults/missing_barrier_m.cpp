// fault: Race
// type: AIC_ONLY
// blocks: 1
// Two Mmads accumulate on a tile of one fractal, less than the Cube's pipeline holds: no
// PipeBarrier<PIPE_M>.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void missing_barrier_m(GM_ADDR a, GM_ADDR b, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
    GlobalTensor<half> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(a));
    GlobalTensor<half> b_gm;
    b_gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(b));
    LocalTensor<half> a_l1(TPosition::A1, 0, 256), b_l1(TPosition::B1, 512, 256);
    LocalTensor<half> a_l0(TPosition::A2, 0, 256), b_l0(TPosition::B2, 0, 256);
    LocalTensor<float> c_l0(TPosition::CO1, 0, 256);
    const LoadData2DParams fractal(0, 1, 1, 0, 0, false, 0);
    const MmadParams tile(16, 16, 16, 0, false, true);
    const MmadParams more(16, 16, 16, 0, false, false);
    DataCopy(a_l1, a_gm, 256);
    DataCopy(b_l1, b_gm, 256);
    SetFlag<HardEvent::MTE2_MTE1>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_MTE1>(EVENT_ID0);
    LoadData(a_l0, a_l1, fractal);
    LoadData(b_l0, b_l1, fractal);
    SetFlag<HardEvent::MTE1_M>(EVENT_ID0);
    WaitFlag<HardEvent::MTE1_M>(EVENT_ID0);
    Mmad(c_l0, a_l0, b_l0, tile);
    Mmad(c_l0, a_l0, b_l0, more);
}
