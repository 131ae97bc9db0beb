// fault: Overlap
// type: AIV_ONLY
// blocks: 1
// The destination of Adds starts in the middle of its source: neither equal nor disjoint.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void overlap_adds(GM_ADDR a, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(a));
    LocalTensor<float> x(TPosition::VECCALC, 0, 128);
    DataCopy(x, a_gm, 128);
    SetFlag<HardEvent::MTE2_V>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_V>(EVENT_ID0);
    Adds(x[8], x, 1.0f, 64);
}
