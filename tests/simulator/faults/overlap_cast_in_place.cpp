// fault: Overlap
// type: AIV_ONLY
// blocks: 1
// Cast from half to float in place: results overwrite sources that are still to be read.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void overlap_cast_in_place(GM_ADDR a, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<half> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(a));
    LocalTensor<half> x(TPosition::VECCALC, 0, 128);
    DataCopy(x, a_gm, 128);
    SetFlag<HardEvent::MTE2_V>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_V>(EVENT_ID0);
    Cast(x.ReinterpretCast<float>(), x, RoundMode::CAST_NONE, 128);
}
