// fault: Api
// type: AIV_ONLY
// blocks: 1
// A third tensor from a queue of two buffers, none of which was freed.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void alloc_beyond_buffers(GM_ADDR a, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(a));
    TPipe pipe;
    TQue<TPosition::VECIN, 2> in;
    pipe.InitBuffer(in, 2, 256);
    for (uint32_t i = 0; i < 3; ++i) {
        LocalTensor<float> x = in.AllocTensor<float>();
        DataCopy(x, a_gm[i * 64], 64);
        in.EnQue(x);
    }
}
