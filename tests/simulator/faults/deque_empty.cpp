// fault: Api
// type: AIV_ONLY
// blocks: 1
// DeQue on a queue into which nothing was put.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void deque_empty(GM_ADDR, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    TPipe pipe;
    TQue<TPosition::VECIN, 2> in;
    pipe.InitBuffer(in, 2, 256);
    LocalTensor<float> x = in.DeQue<float>();
    in.FreeTensor(x);
}
