// fault: Overlap
// type: AIV_ONLY
// blocks: 1
// Brcb in place: its first blocks overwrite the elements that it broadcasts.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void overlap_brcb(GM_ADDR a, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(a));
    LocalTensor<float> x(TPosition::VECCALC, 0, 64);
    DataCopy(x, a_gm, 64);
    SetFlag<HardEvent::MTE2_V>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_V>(EVENT_ID0);
    Brcb(x, x, 1, BrcbRepeatParams(1, 8));
}
