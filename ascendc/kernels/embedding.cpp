// SPDX-License-Identifier: MIT OR Apache-2.0
// Rows of a table by the ids of tokens, bit by bit.
//
// Maths      y[i] = table[ids[i]]. An id that the table does not have gives a row of NaN, and nothing is read
//            for it. In `status` such ids are counted, but for -1, which is none.
// Tiling     Tokens are cut into tiles of tile_tokens tokens and `chunk` columns, numbered along the rows; N
//            of them. Core c of C has those from N c / C to N (c + 1) / C.
// UB         num_buffers x tile_tokens * chunk * size | NaN chunk * size | status 32; the planner proves the
//            sum of at most 188 160
// Pipeline   MTE2 -> MTE3 [num_buffers]   reads run num_buffers - 1 tiles ahead of writes
//            S reads ids from GM through its cache. V -> MTE3 [NaN; status]
// Limits     AIV only. Any shape.
#include "fa/copy.h"
#include "fa/memory.h"
#include "fa/row_copy.h"
#include "fa/sync.h"
#include "fa/token_numbers.h"
#include "families.h"

namespace fa {

template <typename T>
class EmbeddingKernel {
  public:
    __aicore__ inline EmbeddingKernel(const EmbeddingTilingData& t, const EmbeddingOperands& gm)
        : t_(t),
          gm_(gm),
          col_tiles_(ceil_div(t.dim, t.chunk)),
          ids_(gm.ids, t.id_words),
          ring_(t.num_buffers) {
        table_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.table));
        y_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.y));
        none_ub_ = memory_.ub[t.ub_none_offset_bytes].template ReinterpretCast<T>();
        status_ub_ = memory_.ub[t.ub_status_offset_bytes].template ReinterpretCast<int32_t>();
    }

    __aicore__ inline void run() {
        const uint64_t tiles = uint64_t{ceil_div(t_.tokens, t_.tile_tokens)} * col_tiles_;
        const uint64_t end = tiles * (block_index() + 1) / t_.num_cores;
        const uint64_t first = tiles * block_index() / t_.num_cores;
        fill_none();
        uint64_t next = first;
        uint32_t buffer = 0;
        for (uint64_t number = first; number < end; ++number) {
            for (; next < end && next < number + t_.num_buffers; ++next) load(tile(next));
            ring_.await(buffer);
            store(tile(number), buffer);
            ring_.release(buffer);
            buffer = (buffer + 1) % t_.num_buffers;
        }
        if (t_.want_status != 0) store_wrong(gm_.status, status_ub_, wrong_, nullptr);
    }

  private:
    using Bits = uint16_t;
    static constexpr int64_t kNoId = -1;
    static constexpr int32_t kFilledId = 0;

    // `tokens` tokens, and `cols` columns of each.
    struct Tile {
        uint32_t token;
        uint32_t tokens;
        uint32_t col;
        uint32_t cols;
    };
    __aicore__ inline Tile tile(uint64_t number) const {
        const auto token = static_cast<uint32_t>(number / col_tiles_) * t_.tile_tokens;
        const auto col = static_cast<uint32_t>(number % col_tiles_) * t_.chunk;
        return {token, min_u32(t_.tile_tokens, t_.tokens - token), col, min_u32(t_.chunk, t_.dim - col)};
    }
    __aicore__ inline AscendC::LocalTensor<T> buffer_of(uint32_t buffer) const {
        const uint32_t bytes = t_.tile_tokens * t_.chunk * static_cast<uint32_t>(sizeof(T));
        return memory_.ub[buffer * bytes].template ReinterpretCast<T>();
    }
    __aicore__ inline bool has(int64_t id) const { return id >= 0 && id < static_cast<int64_t>(t_.num_ids); }

    // A row for ids that the table does not have.
    __aicore__ inline void fill_none() {
        constexpr Bits kNotANumber = 0x7fff;
        AscendC::Duplicate(none_ub_.template ReinterpretCast<Bits>(), kNotANumber,
                           static_cast<int32_t>(t_.chunk * sizeof(T) / sizeof(Bits)));
        AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(kFilledId);
        AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(kFilledId);
    }

    __aicore__ inline void load(const Tile& t) {
        const uint32_t buffer = ring_.acquire();
        for (uint32_t i = 0; i < t.tokens; ++i) {
            const int64_t id = ids_.of(t.token + i);
            if (has(id)) {
                copy_rows_gm_to_ub(buffer_of(buffer)[i * t_.chunk],
                                   table_gm_[static_cast<uint64_t>(id) * t_.table_stride + t.col], 1, t.cols,
                                   t.cols, t_.chunk);
            } else if (t.col == 0 && id != kNoId) {
                wrong_.note(t.token + i, id);
            }
        }
        ring_.publish(buffer);
    }

    // Tokens whose ids the table has go out together.
    __aicore__ inline void store(const Tile& t, uint32_t buffer) {
        for (uint32_t i = 0; i < t.tokens;) {
            const bool is_there = has(ids_.of(t.token + i));
            uint32_t run = 1;
            while (is_there && i + run < t.tokens && has(ids_.of(t.token + i + run))) ++run;
            const auto from = is_there ? buffer_of(buffer)[i * t_.chunk] : none_ub_;
            copy_rows_ub_to_gm(y_gm_[(uint64_t{t.token} + i) * t_.y_stride + t.col], from, run, t.cols,
                               t_.y_stride, t_.chunk);
            i += run;
        }
    }

    const EmbeddingTilingData& t_;
    const EmbeddingOperands& gm_;
    uint64_t col_tiles_;
    TokenNumbers ids_;
    VectorMemory memory_;  // before the ring, see fa/memory.h
    AscendC::GlobalTensor<T> table_gm_;
    AscendC::GlobalTensor<T> y_gm_;
    AscendC::LocalTensor<T> none_ub_;
    AscendC::LocalTensor<int32_t> status_ub_;
    Wrong wrong_;
    Ring<AscendC::HardEvent::MTE2_MTE3, AscendC::HardEvent::MTE3_MTE2, 0, 4> ring_;
};

template <typename T>
__aicore__ inline void embedding(const EmbeddingOperands& gm) {
    const auto data = load_tiling<EmbeddingTilingData>(gm.tiling);
    EmbeddingKernel<T> kernel(data, gm);
    kernel.run();
}

}  // namespace fa

#undef FA_EMBEDDING
#define FA_EMBEDDING(name, T) FA_ENTRY(EMBEDDING, name, fa::embedding<T>)
#include "variants.def"
