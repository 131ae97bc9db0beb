// SPDX-License-Identifier: MIT OR Apache-2.0
// The whole of a core's on-chip memories, for kernels that lay them out themselves.
//
// TPipe takes flags of its own when it starts (it sets three M_MTE1 events on an AIC) and gives them back in
// Destroy. So a kernel declares these members before any `Ring`: from then on all flags are its own. The
// TPipe stays as long as its tensors: CANN's CPU twin asks it for addresses when it checks them.
#pragma once
#include "fa/arch.h"

namespace fa {

// L1 as bytes; L0A, L0B and L0C in halves.
template <typename T>
struct CubeMemory {
    __aicore__ inline CubeMemory() {
        AscendC::TBuf<AscendC::TPosition::A1> l1_buf;
        AscendC::TBuf<AscendC::TPosition::A2> l0a_buf;
        AscendC::TBuf<AscendC::TPosition::B2> l0b_buf;
        AscendC::TBuf<AscendC::TPosition::CO1> l0c_buf;
        pipe.InitBuffer(l1_buf, kL1Bytes);
        pipe.InitBuffer(l0a_buf, kL0aBytes);
        pipe.InitBuffer(l0b_buf, kL0bBytes);
        pipe.InitBuffer(l0c_buf, kL0cBytes);
        l1 = l1_buf.template Get<uint8_t>();
        for (uint32_t i = 0; i < 2; ++i) {
            l0a[i] = l0a_buf.template Get<T>()[i * (kL0aBytes / 2 / sizeof(T))];
            l0b[i] = l0b_buf.template Get<T>()[i * (kL0bBytes / 2 / sizeof(T))];
            l0c[i] = l0c_buf.template Get<float>()[i * (kL0cBytes / 2 / sizeof(float))];
        }
        pipe.Destroy();
    }

    AscendC::TPipe pipe;
    AscendC::LocalTensor<uint8_t> l1;
    AscendC::LocalTensor<T> l0a[2];
    AscendC::LocalTensor<T> l0b[2];
    AscendC::LocalTensor<float> l0c[2];
};

// UB as bytes, without the parts that the framework and Select keep.
struct VectorMemory {
    __aicore__ inline VectorMemory() {
        AscendC::TBuf<AscendC::TPosition::VECCALC> ub_buf;
        pipe.InitBuffer(ub_buf, kUbBytes);
        ub = ub_buf.Get<uint8_t>();
        pipe.Destroy();
    }

    AscendC::TPipe pipe;
    AscendC::LocalTensor<uint8_t> ub;
};

}  // namespace fa
