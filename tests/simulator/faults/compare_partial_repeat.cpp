// fault: Api
// type: AIV_ONLY
// blocks: 1
// The count form of CompareScalar takes whole repeats of 256 bytes, not 48 floats.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void compare_partial_repeat(GM_ADDR a, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(a));
    LocalTensor<float> x(TPosition::VECCALC, 0, 64);
    LocalTensor<float> y(TPosition::VECCALC, 256, 64);
    DataCopy(x, a_gm, 64);
    SetFlag<HardEvent::MTE2_V>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_V>(EVENT_ID0);
    CompareScalar(y.ReinterpretCast<uint8_t>(), x, 0.0f, CMPMODE::GT, 48);
}
