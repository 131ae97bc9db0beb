// SPDX-License-Identifier: MIT OR Apache-2.0
// Rows of new keys and values: from their tensors to UB, and from there to their places in the cache. What
// the kernels of appends share.
#pragma once
#include "fa/copy.h"
#include "fa/memory.h"
#include "fa/sync.h"
#include "fa/token_numbers.h"
#include "families.h"

namespace fa {

// How a token's row of a tensor is copied: as some pieces, together with those of other tokens where all lie
// at one distance.
struct TokenRows {
    uint64_t token_stride;
    uint32_t bursts;
    uint32_t burst_bytes;
    uint32_t gap_bytes;
    bool is_joined;
    // Elements of a row in UB.
    uint32_t row;
};

template <typename T>
__aicore__ inline void load_token_rows(const AscendC::LocalTensor<T>& dst,
                                       const AscendC::GlobalTensor<T>& src, const TokenRows& rows,
                                       uint32_t token, uint32_t tokens) {
    const uint32_t step = rows.is_joined ? tokens : 1;
    const AscendC::DataCopyExtParams bursts(static_cast<uint16_t>(step * rows.bursts), rows.burst_bytes,
                                            rows.gap_bytes, 0, 0);
    const AscendC::DataCopyPadExtParams<T> no_pad(false, 0, 0, T{});
    for (uint32_t i = 0; i < tokens; i += step) {
        AscendC::DataCopyPad(dst[i * rows.row], src[uint64_t{token + i} * rows.token_stride], bursts, no_pad);
    }
}

template <typename T>
__aicore__ inline void store_token_rows(const AscendC::GlobalTensor<T>& dst,
                                        const AscendC::LocalTensor<T>& src, const TokenRows& rows,
                                        uint32_t token, uint32_t tokens) {
    const uint32_t step = rows.is_joined ? tokens : 1;
    const AscendC::DataCopyExtParams bursts(static_cast<uint16_t>(step * rows.bursts), rows.burst_bytes, 0,
                                            rows.gap_bytes, 0);
    for (uint32_t i = 0; i < tokens; i += step) {
        AscendC::DataCopyPad(dst[uint64_t{token + i} * rows.token_stride], src[i * rows.row], bursts);
    }
}

template <typename T>
class KvRows {
  public:
    template <typename Operands>
    __aicore__ inline KvRows(const KvAppendTilingData& t, const Operands& gm)
        : t_(t), places_(gm.places, t.place_words) {
        in_gm_[0].SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.k));
        in_gm_[1].SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.v));
        cache_gm_[0].SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.k_cache));
        cache_gm_[1].SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.v_cache));
    }

    __aicore__ inline uint32_t first_token(uint32_t core) const {
        return static_cast<uint32_t>(uint64_t{t_.tokens} * core / t_.num_cores);
    }
    __aicore__ inline const AscendC::LocalTensor<uint8_t>& ub() const { return memory_.ub; }

    // Rows of K (0) or V (1) in a buffer, from a token of the tile on.
    __aicore__ inline AscendC::LocalTensor<T> rows_of(uint32_t buffer, uint32_t tensor, uint32_t i) const {
        const uint32_t offset = t_.ub_rows_offset_bytes[tensor] + i * t_.row_bytes[tensor];
        return memory_.ub[buffer * t_.buffer_bytes + offset].template ReinterpretCast<T>();
    }

    // Whether K leaves as two copies, and the image that the second one is of.
    __aicore__ inline bool has_odd_rows() const { return t_.ub_odd_offset_bytes != 0; }
    __aicore__ inline AscendC::LocalTensor<T> odd_rows_of(uint32_t buffer, uint32_t i) const {
        const uint32_t offset = t_.ub_odd_offset_bytes + i * t_.row_bytes[0];
        return memory_.ub[buffer * t_.buffer_bytes + offset].template ReinterpretCast<T>();
    }

    __aicore__ inline void load(uint32_t buffer, uint32_t token, uint32_t tokens) {
        for (uint32_t tensor = 0; tensor < kTensors; ++tensor) {
            const TokenRows rows{t_.token_stride[tensor],   t_.in_bursts[tensor],
                                 t_.in_burst_bytes[tensor], t_.in_gap_bytes[tensor],
                                 t_.is_joined[tensor] != 0, t_.row_bytes[tensor] / kElementBytes};
            load_token_rows(rows_of(buffer, tensor, 0), in_gm_[tensor], rows, token, tokens);
        }
    }

    __aicore__ inline void store(uint32_t buffer, uint32_t token, uint32_t tokens) {
        for (uint32_t i = 0; i < tokens;) {
            const int64_t place = places_.of(token + i);
            uint32_t run = 1;
            if (place >= 0 && place < static_cast<int64_t>(t_.num_places)) {
                run = store_run(buffer, i, token + i, tokens - i, static_cast<uint32_t>(place));
            } else if (place != kNoPlace) {
                wrong_.note(token + i, place);
            }
            i += run;
        }
    }

    // What is wrong with the places, and with the positions if there are some.
    __aicore__ inline void store_status(GM_ADDR status, const Wrong* positions) {
        const auto words = memory_.ub[t_.ub_status_offset_bytes].template ReinterpretCast<int32_t>();
        store_wrong(status, words, wrong_, positions);
    }

  private:
    static constexpr int64_t kNoPlace = -1;
    static constexpr uint32_t kTensors = 2;
    static constexpr uint32_t kElementBytes = sizeof(T);

    // Tokens from one on whose places follow each other in a page, with one copy of K and one of V where that
    // can be; returns how many.
    __aicore__ inline uint32_t store_run(uint32_t buffer, uint32_t i, uint32_t token, uint32_t tokens,
                                         uint32_t place) {
        const uint64_t page = place / t_.page_size;
        const uint32_t row = place % t_.page_size;
        const uint32_t most = t_.joins_rows != 0 ? min_u32(tokens, t_.page_size - row) : 1;
        uint32_t run = 1;
        while (run < most && places_.of(token + run) == int64_t{place} + run) ++run;
        for (uint32_t tensor = 0; tensor < kTensors; ++tensor) {
            const AscendC::DataCopyExtParams bursts(static_cast<uint16_t>(run * t_.out_bursts[tensor]),
                                                    t_.out_burst_bytes[tensor], 0, t_.out_gap_bytes[tensor],
                                                    0);
            const uint64_t at = page * t_.page_stride[tensor] + row * t_.place_stride[tensor];
            AscendC::DataCopyPad(cache_gm_[tensor][at], rows_of(buffer, tensor, i), bursts);
            if (tensor == 0 && has_odd_rows()) {
                const uint32_t pitch = t_.out_burst_bytes[0] + t_.out_gap_bytes[0];
                AscendC::DataCopyPad(cache_gm_[0][at + pitch / (2 * kElementBytes)], odd_rows_of(buffer, i),
                                     bursts);
            }
        }
        return run;
    }

    const KvAppendTilingData& t_;
    VectorMemory memory_;
    TokenNumbers places_;
    AscendC::GlobalTensor<T> in_gm_[kTensors];
    AscendC::GlobalTensor<T> cache_gm_[kTensors];
    Wrong wrong_;
};

}  // namespace fa
