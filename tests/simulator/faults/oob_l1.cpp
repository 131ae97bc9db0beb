// fault: OutOfBounds
// type: AIC_ONLY
// blocks: 1
// The load writes past the end of L1.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void oob_l1(GM_ADDR a, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
    GlobalTensor<half> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(a));
    LocalTensor<half> a_l1(TPosition::A1, 524288, 256);
    DataCopy(a_l1, a_gm, 256);
}
