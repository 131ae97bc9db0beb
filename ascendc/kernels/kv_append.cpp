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
#include "kv_append_rows.h"

namespace fa {

template <typename T>
class KvAppendKernel {
  public:
    __aicore__ inline KvAppendKernel(const KvAppendTilingData& t, const KvAppendOperands& gm)
        : t_(t), gm_(gm), rows_(t, gm), ring_(t.num_buffers) {}

    __aicore__ inline void run() {
        const uint32_t end = rows_.first_token(block_index() + 1);
        const uint32_t ahead = (t_.num_buffers - 1) * t_.tile_tokens;
        uint32_t next = rows_.first_token(block_index());
        uint32_t buffer = 0;
        for (uint32_t token = next; token < end; token += t_.tile_tokens) {
            for (; next < end && next <= token + ahead; next += t_.tile_tokens)
                load(next, min_u32(t_.tile_tokens, end - next));
            ring_.await(buffer);
            rows_.store(buffer, token, min_u32(t_.tile_tokens, end - token));
            ring_.release(buffer);
            buffer = (buffer + 1) % t_.num_buffers;
        }
        if (t_.want_status != 0) rows_.store_status(gm_.status, nullptr);
    }

  private:
    __aicore__ inline void load(uint32_t token, uint32_t tokens) {
        const uint32_t buffer = ring_.acquire();
        rows_.load(buffer, token, tokens);
        ring_.publish(buffer);
    }

    const KvAppendTilingData& t_;
    const KvAppendOperands& gm_;
    KvRows<T> rows_;  // has the memory, so before the ring, see fa/memory.h
    Ring<AscendC::HardEvent::MTE2_MTE3, AscendC::HardEvent::MTE3_MTE2, 0, 4> ring_;
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
