// SPDX-License-Identifier: MIT OR Apache-2.0
// TPipe, queues and buffers. Kernel text: it also compiles with CANN's headers.
#include "kernel_operator.h"
#include "record.h"

using namespace AscendC;

void calls_pipe() {
    note("TPipe");
    TPipe pipe;
    TQue<TPosition::VECIN, 2> in;
    TQue<TPosition::VECOUT, 1> out;
    TBuf<TPosition::VECCALC> scratch;
    pipe.InitBuffer(in, 2, 100);
    pipe.InitBuffer(out, 1, 64);
    pipe.InitBuffer(scratch, 256);
    note("first buffer");
    LocalTensor<half> x = in.AllocTensor<half>();
    in.EnQue(x);
    LocalTensor<half> y = in.DeQue<half>();
    LocalTensor<half> z = out.AllocTensor<half>();
    Duplicate(scratch.GetWithOffset<half>(16, 32), static_cast<half>(1.0f), 16);
    Add(z, y, scratch.Get<half>()[16], 16);
    out.EnQue(z);
    in.FreeTensor(y);
    note("second buffer: no wait");
    x = in.AllocTensor<half>();
    in.EnQue(x);
    y = in.DeQue<half>();
    in.FreeTensor(y);
    note("first buffer again: waits until it is free");
    x = in.AllocTensor<half>();
    in.EnQue(x);
    y = in.DeQue<half>();
    note("events: the lowest free id");
    TEventID taken = pipe.AllocEventID<HardEvent::V_MTE2>();
    SetFlag<HardEvent::V_MTE2>(taken);
    WaitFlag<HardEvent::V_MTE2>(taken);
    pipe.ReleaseEventID<HardEvent::V_MTE2>(taken);
    note("scalars");
    x.SetValue(1, x.GetValue(0));
    note("free and end");
    in.FreeTensor(y);
    z = out.DeQue<half>();
    out.FreeTensor(z);
}
