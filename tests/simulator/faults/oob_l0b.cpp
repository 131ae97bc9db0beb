// fault: OutOfBounds
// type: AIC_ONLY
// blocks: 1
// LoadData with a gap that leads the second fractal out of L0B.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void oob_l0b(GM_ADDR, GM_ADDR b, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
    GlobalTensor<half> b_gm;
    b_gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(b));
    LocalTensor<half> b_l1(TPosition::B1, 0, 512), b_l0(TPosition::B2, 32768, 256);
    DataCopy(b_l1, b_gm, 512);
    SetFlag<HardEvent::MTE2_MTE1>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_MTE1>(EVENT_ID0);
    LoadData(b_l0, b_l1, LoadData2DParams(0, 2, 1, 0, 63, false, 0));
}
