// fault: NoSuchPath
// type: AIV_ONLY
// blocks: 1
// A copy from UB to L1: on this chip data between the two kinds of core goes through GM.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void ub_to_l1(GM_ADDR a, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<half> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(a));
    LocalTensor<half> x(TPosition::VECOUT, 0, 128), x_l1(TPosition::A1, 0, 128);
    DataCopy(x, a_gm, 128);
    SetFlag<HardEvent::MTE2_MTE3>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_MTE3>(EVENT_ID0);
    DataCopy(x_l1, x, 128);
}
