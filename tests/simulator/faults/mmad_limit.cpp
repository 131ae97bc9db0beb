// fault: Operand
// type: AIC_ONLY
// blocks: 1
// m = 4096 is one more than Mmad takes.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void mmad_limit(GM_ADDR, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
    LocalTensor<half> a_l0(TPosition::A2, 0, 256), b_l0(TPosition::B2, 0, 256);
    LocalTensor<float> c_l0(TPosition::CO1, 0, 256);
    Mmad(c_l0, a_l0, b_l0, MmadParams(4096, 16, 16, 0, false, true));
}
