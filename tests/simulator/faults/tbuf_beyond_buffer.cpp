// fault: Api
// type: AIV_ONLY
// blocks: 1
// A tensor of 64 floats from a buffer of 128 bytes.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void tbuf_beyond_buffer(GM_ADDR, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    TPipe pipe;
    TBuf<TPosition::VECCALC> buf;
    pipe.InitBuffer(buf, 128);
    Duplicate(buf.Get<float>(64), 1.0f, 64);
}
