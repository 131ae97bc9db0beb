// fault: FlagSetTwice
// type: AIV_ONLY
// blocks: 1
// Flags by hand with an event id that the queue uses too: the kernel did not ask AllocEventID for
// it.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void event_shared_with_queue(GM_ADDR a, GM_ADDR b, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    GlobalTensor<float> a_gm;
    a_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(a));
    GlobalTensor<float> b_gm;
    b_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(b));
    TPipe pipe;
    TQue<TPosition::VECIN, 2> in;
    pipe.InitBuffer(in, 2, 256);
    LocalTensor<float> y(TPosition::VECCALC, 4096, 64);
    LocalTensor<float> x = in.AllocTensor<float>();
    DataCopy(x, a_gm, 64);
    in.EnQue(x);
    DataCopy(y, b_gm, 64);
    SetFlag<HardEvent::MTE2_V>(EVENT_ID0);
    x = in.DeQue<float>();
    WaitFlag<HardEvent::MTE2_V>(EVENT_ID0);
    Add(y, x, y, 64);
    in.FreeTensor(x);
}
