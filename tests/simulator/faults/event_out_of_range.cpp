// fault: Operand
// type: AIV_ONLY
// blocks: 1
// Event 8 of a pair of pipes that has events 0 to 7.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void event_out_of_range(GM_ADDR a, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(a));
    LocalTensor<float> x(TPosition::VECCALC, 0, 64);
    DataCopy(x, a_gm, 64);
    SetFlag<HardEvent::MTE2_V>(8);
}
