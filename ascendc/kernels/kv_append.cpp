// SPDX-License-Identifier: MIT OR Apache-2.0
// New keys and values go into the cache, each row to the place that its token has in device memory.
//
// Maths      k_cache[place[i]] = k[i], v_cache[place[i]] = v[i], all heads, bit by bit. Place p of the cache
//            is row p % page_size of page p / page_size; one without pages has a page for each slot.
// Tiling     Core c of C has the tokens from N c / C to N (c + 1) / C, tile_tokens at a time.
// UB         num_buffers x (K rows | V rows) of tile_tokens | status 32. A row is whole blocks of 32 bytes;
//            each head is where heads lie apart.
// Pipeline   MTE2 -> MTE3 [4]   reads run num_buffers - 1 tiles ahead of writes
//            S reads places from GM through its cache. V -> MTE3 [status]
// Limits     AIV only. A token's rows fit half of UB; at most 4095 heads.
#include "fa/copy.h"
#include "fa/memory.h"
#include "fa/sync.h"
#include "families.h"

namespace fa {

template <typename T>
class KvAppendKernel {
  public:
    __aicore__ inline KvAppendKernel(const KvAppendTilingData& t, const KvAppendOperands& gm)
        : t_(t), ring_(t.num_buffers) {
        in_gm_[0].SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.k));
        in_gm_[1].SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.v));
        cache_gm_[0].SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.k_cache));
        cache_gm_[1].SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.v_cache));
        places_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ uint32_t*>(gm.places));
        status_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(gm.status));
    }

    __aicore__ inline void run() {
        const uint32_t end = first_token(block_index() + 1);
        const uint32_t ahead = (t_.num_buffers - 1) * t_.tile_tokens;
        uint32_t next = first_token(block_index());
        uint32_t buffer = 0;
        for (uint32_t token = next; token < end; token += t_.tile_tokens) {
            for (; next < end && next <= token + ahead; next += t_.tile_tokens)
                load(next, min_u32(t_.tile_tokens, end - next));
            store(buffer, token, min_u32(t_.tile_tokens, end - token));
            buffer = (buffer + 1) % t_.num_buffers;
        }
        if (t_.want_status != 0) store_status();
    }

  private:
    static constexpr int64_t kNoPlace = -1;
    static constexpr uint32_t kTensors = 2;

    __aicore__ inline uint32_t first_token(uint32_t core) const {
        return static_cast<uint32_t>(uint64_t{t_.tokens} * core / t_.num_cores);
    }
    // Rows of K or V in a buffer, from a token of the tile on.
    __aicore__ inline AscendC::LocalTensor<T> rows_of(uint32_t buffer, uint32_t tensor, uint32_t i) const {
        const uint32_t offset = t_.ub_rows_offset_bytes[tensor] + i * t_.row_bytes[tensor];
        return memory_.ub[buffer * t_.buffer_bytes + offset].template ReinterpretCast<T>();
    }

    __aicore__ inline void load(uint32_t token, uint32_t tokens) {
        const uint32_t buffer = ring_.acquire();
        for (uint32_t tensor = 0; tensor < kTensors; ++tensor) load_rows(buffer, tensor, token, tokens);
        ring_.publish(buffer);
    }

    // One copy where all pieces lie at one distance, else one for each token.
    __aicore__ inline void load_rows(uint32_t buffer, uint32_t tensor, uint32_t token, uint32_t tokens) {
        const uint32_t step = t_.is_joined[tensor] != 0 ? tokens : 1;
        const AscendC::DataCopyExtParams bursts(static_cast<uint16_t>(step * t_.in_bursts[tensor]),
                                                t_.in_burst_bytes[tensor], t_.in_gap_bytes[tensor], 0, 0);
        const AscendC::DataCopyPadExtParams<T> no_pad(false, 0, 0, T{});
        for (uint32_t i = 0; i < tokens; i += step) {
            const uint64_t at = uint64_t{token + i} * t_.token_stride[tensor];
            AscendC::DataCopyPad(rows_of(buffer, tensor, i), in_gm_[tensor][at], bursts, no_pad);
        }
    }

    __aicore__ inline void store(uint32_t buffer, uint32_t token, uint32_t tokens) {
        ring_.await(buffer);
        for (uint32_t i = 0; i < tokens;) {
            const int64_t place = place_of(token + i);
            uint32_t run = 1;
            if (place >= 0 && place < static_cast<int64_t>(t_.num_places)) {
                run = store_run(buffer, i, token + i, tokens - i, static_cast<uint32_t>(place));
            } else if (place != kNoPlace) {
                note(token + i, place);
            }
            i += run;
        }
        ring_.release(buffer);
    }

    __aicore__ inline int64_t place_of(uint32_t token) const {
        if (t_.place_words == 1) return static_cast<int32_t>(places_gm_.GetValue(token));
        const uint64_t low = places_gm_.GetValue(uint64_t{token} * 2);
        const uint64_t high = places_gm_.GetValue(uint64_t{token} * 2 + 1);
        return static_cast<int64_t>(high << 32 | low);
    }

    // Tokens from one on whose places follow each other in a page, with one copy of K and one of V where that
    // can be; returns how many.
    __aicore__ inline uint32_t store_run(uint32_t buffer, uint32_t i, uint32_t token, uint32_t tokens,
                                         uint32_t place) {
        const uint64_t page = place / t_.page_size;
        const uint32_t row = place % t_.page_size;
        const uint32_t most = t_.joins_rows != 0 ? min_u32(tokens, t_.page_size - row) : 1;
        uint32_t run = 1;
        while (run < most && place_of(token + run) == int64_t{place} + run) ++run;
        for (uint32_t tensor = 0; tensor < kTensors; ++tensor) {
            const AscendC::DataCopyExtParams bursts(static_cast<uint16_t>(run * t_.out_bursts[tensor]),
                                                    t_.out_burst_bytes[tensor], 0, t_.out_gap_bytes[tensor],
                                                    0);
            const uint64_t at = page * t_.page_stride[tensor] + row * t_.place_stride[tensor];
            AscendC::DataCopyPad(cache_gm_[tensor][at], rows_of(buffer, tensor, i), bursts);
        }
        return run;
    }

    __aicore__ inline void note(uint32_t token, int64_t place) {
        if (num_wrong_ == 0) {
            wrong_token_ = token;
            wrong_place_ = static_cast<uint64_t>(place);
        }
        ++num_wrong_;
    }

    // Number of wrong places, and token and place (low and high word) of the first; 0 four times.
    __aicore__ inline void store_status() {
        const auto words = memory_.ub[t_.ub_status_offset_bytes].template ReinterpretCast<int32_t>();
        const uint32_t values[4] = {num_wrong_, wrong_token_, static_cast<uint32_t>(wrong_place_),
                                    static_cast<uint32_t>(wrong_place_ >> 32)};
        AscendC::Duplicate(words, 0, static_cast<int32_t>(kBlockF32));
        AscendC::PipeBarrier<PIPE_V>();
        for (uint32_t i = 0; i < 4; ++i) {
            uint64_t mask[2] = {uint64_t{1} << i, 0};
            AscendC::Duplicate(words, static_cast<int32_t>(values[i]), mask, 1, 1, 8);
        }
        AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(0);
        AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(0);
        AscendC::DataCopy(status_gm_[uint64_t{block_index()} * kBlockF32], words, kBlockF32);
    }

    const KvAppendTilingData& t_;
    VectorMemory memory_;  // before the ring, see fa/memory.h
    Ring<AscendC::HardEvent::MTE2_MTE3, AscendC::HardEvent::MTE3_MTE2, 0, 4> ring_;
    AscendC::GlobalTensor<T> in_gm_[kTensors];
    AscendC::GlobalTensor<T> cache_gm_[kTensors];
    AscendC::GlobalTensor<uint32_t> places_gm_;
    AscendC::GlobalTensor<int32_t> status_gm_;
    uint32_t num_wrong_ = 0;
    uint32_t wrong_token_ = 0;
    uint64_t wrong_place_ = 0;
};

template <typename T>
__aicore__ inline void kv_append(const KvAppendOperands& gm) {
    const auto data = load_tiling<KvAppendTilingData>(gm.tiling);
    KvAppendKernel<T> kernel(data, gm);
    kernel.run();
}

}  // namespace fa

#undef FA_KV_APPEND
#define FA_KV_APPEND(name, T) FA_ENTRY(KV_APPEND, name, fa::kv_append<T>)
#include "variants.def"
