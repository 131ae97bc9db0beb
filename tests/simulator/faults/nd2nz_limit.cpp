// fault: Operand
// type: AIC_ONLY
// blocks: 1
// dstNzC0Stride 16385 is one more than the conversion to NZ takes.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void nd2nz_limit(GM_ADDR a, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
    GlobalTensor<half> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(a));
    LocalTensor<half> a_l1(TPosition::A1, 0, 4096);
    DataCopy(a_l1, a_gm, Nd2NzParams(1, 16, 32, 0, 32, 16385, 1, 0));
}
