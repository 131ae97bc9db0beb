// fault: none
// type: AIC_ONLY
// blocks: 2
// C[64, 128] = A[64, 128] B[128, 128]^T: two buffers each in L1, L0A, L0B and L0C, a block for half
// of the columns. The twin of the Cube kernels that lack a flag.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void ok_matmul_ping_pong(GM_ADDR a, GM_ADDR b, GM_ADDR c) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
    GlobalTensor<half> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(a));
    GlobalTensor<half> b_gm;
    b_gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(b));
    GlobalTensor<float> c_gm;
    c_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(c));
    constexpr uint32_t m = 64, n = 32, k = 32, depth = 128, columns = 128;
    for (int32_t slot = 0; slot < 2; ++slot) {
        SetFlag<HardEvent::MTE1_MTE2>(slot);
        SetFlag<HardEvent::M_MTE1>(slot);
        SetFlag<HardEvent::FIX_M>(slot);
    }
    uint32_t turn = 0;
    for (uint32_t tile = 0; tile < 2; ++tile) {
        const int32_t c_slot = static_cast<int32_t>(tile);
        const uint64_t column = static_cast<uint64_t>(GetBlockIdx()) * 64 + tile * n;
        LocalTensor<float> c_l0(TPosition::CO1, tile * 65536, m * n);
        WaitFlag<HardEvent::FIX_M>(c_slot);
        for (uint32_t step = 0; step < depth / k; ++step, ++turn) {
            const int32_t slot = static_cast<int32_t>(turn % 2);
            LocalTensor<half> a_l1(TPosition::A1, turn % 2 * 262144, m * k);
            LocalTensor<half> b_l1(TPosition::B1, turn % 2 * 262144 + 131072, n * k);
            LocalTensor<half> a_l0(TPosition::A2, turn % 2 * 32768, m * k);
            LocalTensor<half> b_l0(TPosition::B2, turn % 2 * 32768, n * k);
            WaitFlag<HardEvent::MTE1_MTE2>(slot);
            DataCopy(a_l1, a_gm[step * k], Nd2NzParams(1, m, k, 0, depth, m, 1, 0));
            DataCopy(b_l1, b_gm[column * depth + step * k], Nd2NzParams(1, n, k, 0, depth, n, 1, 0));
            SetFlag<HardEvent::MTE2_MTE1>(slot);
            WaitFlag<HardEvent::MTE2_MTE1>(slot);
            WaitFlag<HardEvent::M_MTE1>(slot);
            for (uint16_t row = 0; row < m / 16; ++row) {
                LoadData(a_l0[row * 16 * k], a_l1, LoadData2DParams(row, k / 16, m / 16, 0, 0, false, 0));
            }
            LoadData(b_l0, b_l1, LoadData2DParams(0, n / 16 * (k / 16), 1, 0, 0, false, 0));
            SetFlag<HardEvent::MTE1_MTE2>(slot);
            SetFlag<HardEvent::MTE1_M>(slot);
            WaitFlag<HardEvent::MTE1_M>(slot);
            Mmad(c_l0, a_l0, b_l0, MmadParams(m, n, k, 0, false, step == 0));
            PipeBarrier<PIPE_M>();
            SetFlag<HardEvent::M_MTE1>(slot);
        }
        SetFlag<HardEvent::M_FIX>(c_slot);
        WaitFlag<HardEvent::M_FIX>(c_slot);
        Fixpipe(c_gm[column], c_l0, FixpipeParamsV220(n, m, m, columns, false));
        SetFlag<HardEvent::FIX_M>(c_slot);
    }
    for (int32_t slot = 0; slot < 2; ++slot) {
        WaitFlag<HardEvent::MTE1_MTE2>(slot);
        WaitFlag<HardEvent::M_MTE1>(slot);
        WaitFlag<HardEvent::FIX_M>(slot);
    }
}
