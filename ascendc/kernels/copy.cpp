// SPDX-License-Identifier: MIT OR Apache-2.0
// fa_copy: copies `bytes` bytes from src to dst, and is the small model of how kernels here are written.
//
// Maths      dst[i] = src[i]. Block b of B takes the chunks b, b + B, b + 2B, ... of kChunkBytes each.
// UB         io   2 x 32 768 B   double buffer, filled by MTE2 and emptied by MTE3
//            sum      65 536 B   of 196 352 B
// Pipeline   MTE2 load(i)   waits MTE3_MTE2[i % 2]: store(i - 2) has read the buffer
//            MTE3 store(i)  waits MTE2_MTE3[i % 2]: load(i) has filled it
//            so load(i + 1) runs beside store(i).
// Limits     AIV only. src and dst do not overlap. Any size and alignment; 512-byte alignment is fastest.
#include "families.h"

namespace fa {
namespace {

constexpr uint32_t kChunkBytes = 32 * 1024;
constexpr uint32_t kNumBuffers = 2;
constexpr uint32_t kUbBytes = 192 * 1024 - 256;
static_assert(kNumBuffers * kChunkBytes <= kUbBytes, "the double buffer must fit UB");
static_assert(kChunkBytes % 32 == 0, "a UB buffer is whole 32-byte blocks");

class CopyKernel {
  public:
    __aicore__ inline void init(const CopyOperands& gm) {
        dst_gm_.SetGlobalBuffer(gm.dst);
        src_gm_.SetGlobalBuffer(gm.src);
        bytes_ = gm.bytes;
        pipe_.InitBuffer(io_, kNumBuffers, kChunkBytes);
    }

    __aicore__ inline void run() {
        const uint64_t step = static_cast<uint64_t>(AscendC::GetBlockNum()) * kChunkBytes;
        const uint64_t first = static_cast<uint64_t>(AscendC::GetBlockIdx()) * kChunkBytes;
        for (uint64_t at = first; at < bytes_; at += step) {
            const uint64_t rest = bytes_ - at;
            copy_chunk(at, rest < kChunkBytes ? static_cast<uint32_t>(rest) : kChunkBytes);
        }
    }

  private:
    __aicore__ inline void copy_chunk(uint64_t at, uint32_t chunk_bytes) {
        const AscendC::DataCopyExtParams burst(1, chunk_bytes, 0, 0, 0);
        const AscendC::DataCopyPadExtParams<uint8_t> no_pad(false, 0, 0, 0);
        AscendC::LocalTensor<uint8_t> loaded_ub = io_.AllocTensor<uint8_t>();
        AscendC::DataCopyPad(loaded_ub, src_gm_[at], burst, no_pad);
        io_.EnQue(loaded_ub);
        AscendC::LocalTensor<uint8_t> filled_ub = io_.DeQue<uint8_t>();
        AscendC::DataCopyPad(dst_gm_[at], filled_ub, burst);
        io_.FreeTensor(filled_ub);
    }

    AscendC::TPipe pipe_;
    AscendC::TQueBind<AscendC::TPosition::VECIN, AscendC::TPosition::VECOUT, kNumBuffers> io_;
    AscendC::GlobalTensor<uint8_t> dst_gm_;
    AscendC::GlobalTensor<uint8_t> src_gm_;
    uint64_t bytes_ = 0;
};

__aicore__ inline void copy(const CopyOperands& gm) {
    CopyKernel kernel;
    kernel.init(gm);
    kernel.run();
}

}  // namespace
}  // namespace fa

#undef FA_COPY
#define FA_COPY(name) FA_ENTRY(COPY, name, fa::copy)
#include "variants.def"
