// fault: none
// type: AIV_ONLY
// blocks: 2
// c = a + b through double-buffered queues: the twin of the kernels that lack a flag between MTE2,
// V and MTE3.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void ok_queues(GM_ADDR a, GM_ADDR b, GM_ADDR c) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(a));
    GlobalTensor<float> b_gm;
    b_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(b));
    GlobalTensor<float> c_gm;
    c_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(c));
    TPipe pipe;
    TQue<TPosition::VECIN, 2> a_in, b_in;
    TQue<TPosition::VECOUT, 2> out;
    constexpr uint32_t tile = 1024;
    pipe.InitBuffer(a_in, 2, tile * 4);
    pipe.InitBuffer(b_in, 2, tile * 4);
    pipe.InitBuffer(out, 2, tile * 4);
    const uint64_t first = static_cast<uint64_t>(GetBlockIdx()) * 8192;
    for (uint64_t at = first; at < first + 8192; at += tile) {
        LocalTensor<float> x = a_in.AllocTensor<float>();
        DataCopy(x, a_gm[at], tile);
        a_in.EnQue(x);
        LocalTensor<float> y = b_in.AllocTensor<float>();
        DataCopy(y, b_gm[at], tile);
        b_in.EnQue(y);
        x = a_in.DeQue<float>();
        y = b_in.DeQue<float>();
        LocalTensor<float> z = out.AllocTensor<float>();
        Add(z, x, y, tile);
        out.EnQue(z);
        a_in.FreeTensor(x);
        b_in.FreeTensor(y);
        z = out.DeQue<float>();
        DataCopy(c_gm[at], z, tile);
        out.FreeTensor(z);
    }
}
