// fault: Api
// type: AIV_ONLY
// blocks: 1
// DataCopy of 60 half: 120 bytes are no whole blocks; that takes DataCopyPad.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void count_not_whole_blocks(GM_ADDR a, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<half> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(a));
    LocalTensor<half> x(TPosition::VECCALC, 0, 64);
    DataCopy(x, a_gm, 60);
}
