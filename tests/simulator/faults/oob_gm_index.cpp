// fault: OutOfBounds
// type: AIV_ONLY
// blocks: 1
// An offset in bytes is computed in 32 bits with sign, and leads 2 GiB in front of c: whatever else lives, it
// is not there.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void oob_gm_index(GM_ADDR, GM_ADDR, GM_ADDR c) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    const uint32_t row_bytes = 1u << 31;
    GlobalTensor<uint8_t> c_gm;
    c_gm.SetGlobalBuffer(c);
    LocalTensor<float> x(TPosition::VECCALC, 0, 64);
    Duplicate(x, 1.0f, 64);
    SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
    WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
    const int64_t offset = static_cast<int32_t>(row_bytes);
    DataCopy(c_gm[static_cast<uint64_t>(offset)], x.ReinterpretCast<uint8_t>(), 256);
}
