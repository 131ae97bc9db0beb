// fault: none
// type: AIV_ONLY
// blocks: 1
// c = b, through an address that was loaded from memory; then on by a way that leaves b and comes back.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void ok_gm_pointers(GM_ADDR, GM_ADDR b, GM_ADDR c) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<uint64_t> table;
    table.SetGlobalBuffer(reinterpret_cast<__gm__ uint64_t*>(c) + 4096);
    table.SetValue(0, reinterpret_cast<uint64_t>(b));
    GlobalTensor<float> b_gm;
    b_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(table.GetValue(0)));
    GlobalTensor<float> c_gm;
    c_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(c));
    LocalTensor<float> x(TPosition::VECCALC, 0, 128);
    DataCopy(x, b_gm, 64);
    DataCopy(x[64], b_gm[uint64_t{1} << 40][64 - (uint64_t{1} << 40)], 64);
    SetFlag<HardEvent::MTE2_MTE3>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_MTE3>(EVENT_ID0);
    DataCopy(c_gm, x, 128);
}
