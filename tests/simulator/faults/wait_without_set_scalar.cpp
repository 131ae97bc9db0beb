// fault: Deadlock
// type: AIV_ONLY
// blocks: 1
// The scalar unit waits for a flag that nothing sets.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void wait_without_set_scalar(GM_ADDR, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    LocalTensor<float> x(TPosition::VECCALC, 0, 64);
    LocalTensor<float> y(TPosition::VECCALC, 256, 64);
    Duplicate(x, 1.0f, 64);
    WaitFlag<HardEvent::V_S>(EVENT_ID3);
    Duplicate(y, x.GetValue(0), 64);
}
