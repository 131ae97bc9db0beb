// fault: Api
// type: AIV_ONLY
// blocks: 1
// A mask of 100 lanes of f32: a repeat has 64, so 36 of them would be dropped without a word.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void mask_beyond_repeat(GM_ADDR a, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(a));
    LocalTensor<float> x(TPosition::VECCALC, 0, 128);
    DataCopy(x, a_gm, 128);
    SetFlag<HardEvent::MTE2_V>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_V>(EVENT_ID0);
    UnaryRepeatParams params;
    Adds(x, x, 1.0f, uint64_t{100}, 1, params);
}
