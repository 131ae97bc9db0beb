// fault: none
// type: AIC_ONLY
// blocks: 1
// C[16, 16] = A[16, 64] B[16, 64]^T in four steps of one fractal each: the twin of
// missing_barrier_m. A and B lie in GM as fractals.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void ok_small_mmad_chain(GM_ADDR a, GM_ADDR b, GM_ADDR c) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
    GlobalTensor<half> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(a));
    GlobalTensor<half> b_gm;
    b_gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(b));
    GlobalTensor<float> c_gm;
    c_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(c));
    LocalTensor<half> a_l1(TPosition::A1, 0, 1024), b_l1(TPosition::B1, 2048, 1024);
    LocalTensor<half> a_l0(TPosition::A2, 0, 1024), b_l0(TPosition::B2, 0, 1024);
    LocalTensor<float> c_l0(TPosition::CO1, 0, 256);
    DataCopy(a_l1, a_gm, 1024);
    DataCopy(b_l1, b_gm, 1024);
    SetFlag<HardEvent::MTE2_MTE1>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_MTE1>(EVENT_ID0);
    LoadData(a_l0, a_l1, LoadData2DParams(0, 4, 1, 0, 0, false, 0));
    LoadData(b_l0, b_l1, LoadData2DParams(0, 4, 1, 0, 0, false, 0));
    SetFlag<HardEvent::MTE1_M>(EVENT_ID0);
    WaitFlag<HardEvent::MTE1_M>(EVENT_ID0);
    for (uint32_t step = 0; step < 4; ++step) {
        Mmad(c_l0, a_l0[step * 256], b_l0[step * 256], MmadParams(16, 16, 16, 0, false, step == 0));
        PipeBarrier<PIPE_M>();
    }
    SetFlag<HardEvent::M_FIX>(EVENT_ID0);
    WaitFlag<HardEvent::M_FIX>(EVENT_ID0);
    SetFixpipeNz2ndFlag(1, 0, 0);
    DataCopy(c_gm, c_l0, DataCopyCO12DstParams(16, 16, 16, 16, NoQuant, 0, false, true));
}
