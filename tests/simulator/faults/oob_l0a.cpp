// fault: OutOfBounds
// type: AIC_ONLY
// blocks: 1
// LoadData of two fractals into the last one of L0A.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void oob_l0a(GM_ADDR a, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
    GlobalTensor<half> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(a));
    LocalTensor<half> a_l1(TPosition::A1, 0, 512), a_l0(TPosition::A2, 65536 - 512, 256);
    DataCopy(a_l1, a_gm, 512);
    SetFlag<HardEvent::MTE2_MTE1>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_MTE1>(EVENT_ID0);
    LoadData(a_l0, a_l1, LoadData2DParams(0, 2, 1, 0, 0, false, 0));
}
