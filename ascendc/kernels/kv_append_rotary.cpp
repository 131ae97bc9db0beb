// SPDX-License-Identifier: MIT OR Apache-2.0
// New keys and values go into the cache as in kv_append.cpp, keys rotated by their positions; and so are the
// queries of the same tokens, if there are some, which go to q_out.
//
// Maths      (x, y) -> (x cos - y sin, y cos + x sin) for each pair of the first `dims` elements of a head,
//            with cosine and sine from row positions[i] of the table, f32 [max_positions, 2, dims / 2]. A
//            position that the table does not have makes the rotated elements NaN.
// Tiling     Core c of C has the tokens from N c / C to N (c + 1) / C, tile_tokens at a time.
// UB         num_buffers x (K rows | V rows | q rows | table rows | of K in pieces of 8: K rows with the
//            halves of blocks exchanged) of tile_tokens | status 32 | of such K: offsets of a row |
//            x, y: chunk_rows * dims * 4 each | of adjacent pairs: spread dims * 8,
//            factors tile_tokens * dims * 8
// Pipeline   MTE2 -> V -> MTE3 [4]   reads run num_buffers - 1 tiles ahead of writes
//            S reads places and positions from GM through its cache. V -> MTE3 [status]
// Limits     AIV only. head_dim and dims multiples of 16. The rows of two tokens fit UB beside the rest.
// Source     Su et al., RoFormer (arXiv 2104.09864), section 3.2; the table is that of vLLM and SGLang.
#include "fa/row_ops.h"
#include "kv_append_rotation.h"
#include "kv_append_rows.h"

namespace fa {

template <typename T>
class KvAppendRotaryKernel {
  public:
    __aicore__ inline KvAppendRotaryKernel(const KvAppendTilingData& t, const KvAppendRotaryTilingData& r,
                                           const KvAppendRotaryOperands& gm)
        : t_(t),
          r_(r),
          gm_(gm),
          rows_(t, gm),
          positions_(gm.positions, r.position_words),
          rotation_(r, rows_.ub()),
          ring_(t.num_buffers) {
        q_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.q));
        q_out_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.q_out));
        table_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(gm.table));
        halves_ = rows_.ub()[r.ub_halves_offset_bytes].template ReinterpretCast<int32_t>();
        if (rows_.has_odd_rows()) fill_halves();
    }

    __aicore__ inline void run() {
        const uint32_t end = rows_.first_token(block_index() + 1);
        const uint32_t ahead = (t_.num_buffers - 1) * t_.tile_tokens;
        uint32_t next = rows_.first_token(block_index());
        uint32_t buffer = 0;
        for (uint32_t token = next; token < end; token += t_.tile_tokens) {
            for (; next < end && next <= token + ahead; next += t_.tile_tokens)
                load(next, min_u32(t_.tile_tokens, end - next));
            const uint32_t tokens = min_u32(t_.tile_tokens, end - token);
            ring_.await(buffer);
            rotate(buffer, tokens);
            store(buffer, token, tokens);
            ring_.release(buffer);
            buffer = (buffer + 1) % t_.num_buffers;
        }
        if (t_.want_status != 0) rows_.store_status(gm_.status, &wrong_);
    }

  private:
    __aicore__ inline AscendC::LocalTensor<T> q_of(uint32_t buffer) const {
        return rows_.ub()[buffer * t_.buffer_bytes + r_.ub_q_offset_bytes].template ReinterpretCast<T>();
    }
    __aicore__ inline AscendC::LocalTensor<float> table_of(uint32_t buffer) const {
        const uint32_t offset = buffer * t_.buffer_bytes + r_.ub_table_offset_bytes;
        return rows_.ub()[offset].template ReinterpretCast<float>();
    }
    // As q is read (0), and as it is written (1).
    __aicore__ inline TokenRows q_rows(uint32_t side) const {
        const uint64_t stride = side == 0 ? r_.q_token_stride : r_.q_out_token_stride;
        return {stride,
                r_.q_bursts[side],
                r_.q_burst_bytes[side],
                r_.q_gap_bytes[side],
                r_.q_is_joined[side] != 0,
                r_.q_row_bytes / static_cast<uint32_t>(sizeof(T))};
    }

    __aicore__ inline void load(uint32_t token, uint32_t tokens) {
        const uint32_t buffer = ring_.acquire();
        for (uint32_t i = 0; i < tokens;) i += load_table(buffer, i, token + i, tokens - i);
        rows_.load(buffer, token, tokens);
        if (r_.num_heads > 0) load_token_rows(q_of(buffer), q_gm_, q_rows(0), token, tokens);
        ring_.publish(buffer);
    }

    // Rows of the table for tokens from one on whose positions follow each other; returns how many.
    __aicore__ inline uint32_t load_table(uint32_t buffer, uint32_t i, uint32_t token, uint32_t tokens) {
        const auto dst = table_of(buffer)[i * r_.dims];
        const int64_t position = positions_.of(token);
        if (position < 0 || position >= static_cast<int64_t>(r_.max_positions)) {
            wrong_.note(token, position);
            AscendC::Duplicate(dst, not_a_number(), static_cast<int32_t>(r_.dims));
            return 1;
        }
        const uint32_t most = min_u32(tokens, r_.max_positions - static_cast<uint32_t>(position));
        uint32_t run = 1;
        while (run < most && positions_.of(token + run) == position + run) ++run;
        const AscendC::DataCopyExtParams burst(1, run * r_.dims * static_cast<uint32_t>(sizeof(float)), 0, 0,
                                               0);
        const AscendC::DataCopyPadExtParams<float> no_pad(false, 0, 0, 0.0f);
        AscendC::DataCopyPad(dst, table_gm_[static_cast<uint64_t>(position) * r_.dims], burst, no_pad);
        return run;
    }

    __aicore__ inline void rotate(uint32_t buffer, uint32_t tokens) {
        rotation_.take(table_of(buffer), tokens);
        rotation_.rotate(rows_.rows_of(buffer, 0, 0), tokens, r_.num_heads_k);
        if (rows_.has_odd_rows()) exchange_halves(buffer, tokens);
        if (r_.num_heads > 0) rotation_.rotate(q_of(buffer), tokens, r_.num_heads);
        AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(static_cast<int32_t>(buffer));
    }

    __aicore__ inline uint32_t row_words() const {
        return t_.row_bytes[0] / static_cast<uint32_t>(sizeof(uint32_t));
    }

    // The second half of each block, for both halves: 16, 20, 24, 28, 16, 20, ... and 32 bytes more for each
    // block. What the second halves get is never read.
    __aicore__ inline void fill_halves() {
        constexpr uint32_t kHalf = kBlockF32 / 2;
        constexpr auto kWord = static_cast<uint32_t>(sizeof(uint32_t));
        for (uint32_t i = 0; i < kHalf; ++i) {
            uint64_t mask[2] = {uint64_t{1} << i | uint64_t{1} << (i + kHalf), 0};
            AscendC::Duplicate(halves_, static_cast<int32_t>((kHalf + i) * kWord), mask, 1, 1, 8);
        }
        AscendC::PipeBarrier<PIPE_V>();
        for (uint32_t done = kBlockF32; done < row_words(); done *= 2) {
            AscendC::Adds(halves_[done], halves_, static_cast<int32_t>(done * kWord),
                          static_cast<int32_t>(min_u32(done, row_words() - done)));
            AscendC::PipeBarrier<PIPE_V>();
        }
    }

    __aicore__ inline void exchange_halves(uint32_t buffer, uint32_t tokens) {
        AscendC::PipeBarrier<PIPE_V>();
        const auto offsets = halves_.template ReinterpretCast<uint32_t>();
        for (uint32_t i = 0; i < tokens; ++i) {
            AscendC::Gather(rows_.odd_rows_of(buffer, i).template ReinterpretCast<float>(),
                            rows_.rows_of(buffer, 0, i).template ReinterpretCast<float>(), offsets, 0,
                            row_words());
        }
    }

    __aicore__ inline void store(uint32_t buffer, uint32_t token, uint32_t tokens) {
        AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(static_cast<int32_t>(buffer));
        rows_.store(buffer, token, tokens);
        if (r_.num_heads > 0) store_token_rows(q_out_gm_, q_of(buffer), q_rows(1), token, tokens);
    }

    const KvAppendTilingData& t_;
    const KvAppendRotaryTilingData& r_;
    const KvAppendRotaryOperands& gm_;
    KvRows<T> rows_;  // has the memory, so before the ring, see fa/memory.h
    TokenNumbers positions_;
    Rotation<T> rotation_;
    // From MTE2 to V, and back from MTE3.
    Ring<AscendC::HardEvent::MTE2_V, AscendC::HardEvent::MTE3_MTE2, 0, 4> ring_;
    AscendC::GlobalTensor<T> q_gm_;
    AscendC::GlobalTensor<T> q_out_gm_;
    AscendC::GlobalTensor<float> table_gm_;
    AscendC::LocalTensor<int32_t> halves_;
    Wrong wrong_;
};

template <typename T>
__aicore__ inline void kv_append_rotary(const KvAppendRotaryOperands& gm) {
    const auto data = load_tiling<KvAppendTilingData>(gm.tiling);
    const auto rotary = load_tiling<KvAppendRotaryTilingData>(gm.rotary_tiling);
    KvAppendRotaryKernel<T> kernel(data, rotary, gm);
    kernel.run();
}

}  // namespace fa

#undef FA_KV_APPEND_ROTARY
#define FA_KV_APPEND_ROTARY(name, T) FA_ENTRY(KV_APPEND_ROTARY, name, fa::kv_append_rotary<T>)
#include "variants.def"
