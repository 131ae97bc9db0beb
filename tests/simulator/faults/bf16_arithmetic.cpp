// fault: NoSuchPath
// type: AIV_ONLY
// blocks: 1
// Addition of bfloat16, which the vector unit lacks; Add refuses it when it is compiled, so the
// intrinsic.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void bf16_arithmetic(GM_ADDR a, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<bfloat16_t> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ bfloat16_t*>(a));
    LocalTensor<bfloat16_t> x(TPosition::VECCALC, 0, 128), y(TPosition::VECCALC, 256, 128);
    DataCopy(x, a_gm, 128);
    SetFlag<HardEvent::MTE2_V>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_V>(EVENT_ID0);
    set_mask_norm();
    set_vector_mask(FULL_MASK, FULL_MASK);
    vadd(y.GetPhyAddr(), x.GetPhyAddr(), x.GetPhyAddr(), 1, 1, 1, 1, 8, 8, 8);
}
