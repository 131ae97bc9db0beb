// fault: none
// type: MIX_AIC_1_2
// blocks: 2
// Each block: the Cube makes S = A B^T, the vector cores P = relu(S) as half, 8 rows each, the Cube
// O = P B^T; all through GM. The twin of the cross-core kernels.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void ok_hand_over(GM_ADDR a, GM_ADDR b, GM_ADDR c) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
    GlobalTensor<half> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(a));
    GlobalTensor<half> b_gm;
    b_gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(b));
    GlobalTensor<float> c_gm;
    c_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(c));
    constexpr uint16_t kScores = 0, kWeights = 1;
    const uint64_t block = static_cast<uint64_t>(GetBlockIdx() / GetTaskRation());
    GlobalTensor<half> p_gm;
    p_gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(c + 32768 + block * 512));
    if ASCEND_IS_AIC {
        LocalTensor<half> a_l1(TPosition::A1, 0, 256), b_l1(TPosition::B1, 512, 256);
        LocalTensor<half> a_l0(TPosition::A2, 0, 256), b_l0(TPosition::B2, 0, 256);
        LocalTensor<float> c_l0(TPosition::CO1, 0, 256);
        const LoadData2DParams fractal(0, 1, 1, 0, 0, false, 0);
        DataCopy(b_l1, b_gm[block * 256], 256);
        for (uint32_t product = 0; product < 2; ++product) {
            if (product == 0) {
                DataCopy(a_l1, a_gm[block * 256], 256);
            } else {
                // Comes after the first Fixpipe, so everything before that is complete too.
                CrossCoreWaitFlag(kWeights);
                DataCopy(a_l1, p_gm, 256);
            }
            SetFlag<HardEvent::MTE2_MTE1>(EVENT_ID0);
            WaitFlag<HardEvent::MTE2_MTE1>(EVENT_ID0);
            LoadData(a_l0, a_l1, fractal);
            if (product == 0) LoadData(b_l0, b_l1, fractal);
            SetFlag<HardEvent::MTE1_M>(EVENT_ID0);
            WaitFlag<HardEvent::MTE1_M>(EVENT_ID0);
            Mmad(c_l0, a_l0, b_l0, MmadParams(16, 16, 16, 0, false, true));
            SetFlag<HardEvent::M_FIX>(EVENT_ID0);
            WaitFlag<HardEvent::M_FIX>(EVENT_ID0);
            Fixpipe(c_gm[block * 512 + product * 256], c_l0, FixpipeParamsV220(16, 16, 16, 16, false));
            if (product == 0) CrossCoreSetFlag<2, PIPE_FIX>(kScores);
        }
    }
    if ASCEND_IS_AIV {
        const uint64_t rows = static_cast<uint64_t>(GetSubBlockIdx()) * 128;
        LocalTensor<float> x(TPosition::VECCALC, 0, 128);
        LocalTensor<half> y(TPosition::VECCALC, 512, 128);
        CrossCoreWaitFlag(kScores);
        DataCopy(x, c_gm[block * 512 + rows], 128);
        SetFlag<HardEvent::MTE2_V>(EVENT_ID0);
        WaitFlag<HardEvent::MTE2_V>(EVENT_ID0);
        Relu(x, x, 128);
        PipeBarrier<PIPE_V>();
        Cast(y, x, RoundMode::CAST_RINT, 128);
        SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
        WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
        DataCopy(p_gm[rows], y, 128);
        CrossCoreSetFlag<2, PIPE_MTE3>(kWeights);
    }
}
