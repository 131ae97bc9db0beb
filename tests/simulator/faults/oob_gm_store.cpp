// fault: OutOfBounds
// type: AIV_ONLY
// blocks: 2
// Block 1 stores behind c: its offset counts bytes where the tensor counts floats.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void oob_gm_store(GM_ADDR, GM_ADDR, GM_ADDR c) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> c_gm;
    c_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(c));
    LocalTensor<float> x(TPosition::VECCALC, 0, 64);
    Duplicate(x, 1.0f, 64);
    SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
    WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
    DataCopy(c_gm[static_cast<uint64_t>(GetBlockIdx()) * 32768], x, 64);
}
