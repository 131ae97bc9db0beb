// SPDX-License-Identifier: MIT OR Apache-2.0
// Where rows of a task of flash_decode go: to o and lse, which have rows of their own order.
#pragma once
#include "fa/memory.h"
#include "fa/row_ops.h"
#include "fa/sync.h"
#include "families.h"
#include "flash_decode_work.h"

namespace fa {

__aicore__ inline AscendC::DataCopyExtParams bursts(uint32_t count, uint32_t bytes, uint64_t gap_bytes) {
    AscendC::DataCopyExtParams params;
    params.blockCount = static_cast<uint16_t>(count);
    params.blockLen = bytes;
    params.srcStride = 0;
    // A single burst has no gap behind it.
    params.dstStride = count > 1 ? static_cast<uint32_t>(gap_bytes) : 0;
    params.rsv = 0;
    return params;
}

template <typename T>
class DecodeOutput {
  public:
    __aicore__ inline DecodeOutput(const FlashDecodeTilingData& t, const FlashDecodeOperands& gm) : t_(t) {
        o_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.o));
        lse_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(gm.lse));
    }

    // Rows row..row+rows of a task, counted head by head: `o` dense, `lse` a block of 32 bytes a row.
    __aicore__ inline void store(const DecodeTask& task, uint32_t row, uint32_t rows,
                                 const AscendC::LocalTensor<T>& o,
                                 const AscendC::LocalTensor<float>& lse) const {
        const uint32_t group = t_.num_heads / t_.num_heads_k;
        for (uint32_t at = 0; at < rows;) {
            const uint32_t within = (row + at) % task.rows;
            const uint32_t packed = task.row + within;
            const uint32_t run = min_u32(min_u32(group - packed % group, task.rows - within), rows - at);
            const uint32_t head = (task.head + (row + at) / task.rows) * group + packed % group;
            store_heads(task.slot, packed / group, head, run, o[at * t_.head_dim_v], lse[at * kBlockF32]);
            at += run;
        }
    }

    // `count` heads from `head` on of one query row of a slot.
    __aicore__ inline void store_heads(const DecodeSlot& slot, uint32_t slot_row, uint32_t head,
                                       uint32_t count, const AscendC::LocalTensor<T>& o,
                                       const AscendC::LocalTensor<float>& lse) const {
        constexpr auto kWord = static_cast<uint32_t>(sizeof(float));
        const uint64_t row = slot.first_row + slot_row;
        const uint64_t at = slot.index * t_.o_stride[0] + row * t_.o_stride[1] + head * t_.o_stride[2];
        const uint64_t gap = (t_.o_stride[2] - t_.head_dim_v) * sizeof(T);
        AscendC::DataCopyPad(o_gm_[at], o,
                             bursts(count, t_.head_dim_v * static_cast<uint32_t>(sizeof(T)), gap));
        if (t_.want_lse == 0) return;
        const uint64_t word = slot.index * t_.lse_stride[0] + head * t_.lse_stride[1] + row;
        AscendC::DataCopyPad(lse_gm_[word], lse, bursts(count, kWord, (t_.lse_stride[1] - 1) * kWord));
    }

  private:
    const FlashDecodeTilingData& t_;
    AscendC::GlobalTensor<T> o_gm_;
    AscendC::GlobalTensor<float> lse_gm_;
};

}  // namespace fa
