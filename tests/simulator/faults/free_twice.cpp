// fault: Api
// type: AIV_ONLY
// blocks: 1
// A tensor of a queue is freed twice.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void free_twice(GM_ADDR, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    TPipe pipe;
    TQue<TPosition::VECIN, 2> in;
    pipe.InitBuffer(in, 2, 256);
    LocalTensor<float> x = in.AllocTensor<float>();
    in.FreeTensor(x);
    in.FreeTensor(x);
}
