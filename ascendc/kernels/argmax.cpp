// SPDX-License-Identifier: MIT OR Apache-2.0
// Index of the largest element of each row.
//
// Maths      index = the smallest i with x[i] = max x. NaN counts as larger than every number, so a row that
//            has some gives the first of them.
// Tiling     Core c of C has the rows from N c / C to N (c + 1) / C, in chunks of `chunk` columns.
// UB         2 x chunk * size | found chunk * size | x chunk * 4, unless it is f32 | row tree chunk / 2 +
//            chunk / 16 | maxima chunks * 32 | bits chunk / 8 | 2 x index 32; the planner proves the sum of
//            at most 188 160
// Pipeline   MTE2 -> V [chunk 2]   V -> S [maxima]   MTE2 -> V [found]   V -> S [bits]   V -> MTE3 [index 2]
//            Two chunks are read ahead, those of the next row too. The chunk with the largest element is read
//            once more, as the vector unit tells no index of a maximum of many repeats.
// Limits     AIV only. Any number of columns whose maxima fit UB.
#include "fa/copy.h"
#include "fa/memory.h"
#include "fa/row_copy.h"
#include "fa/row_ops.h"
#include "fa/sync.h"
#include "families.h"

namespace fa {

template <typename T>
class ArgmaxKernel {
  public:
    __aicore__ inline ArgmaxKernel(const ArgmaxTilingData& t, const ArgmaxOperands& gm) : t_(t) {
        x_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.x));
        index_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(gm.index));
        const auto ub = memory_.ub;
        for (uint32_t i = 0; i < 2; ++i) {
            x_ub_[i] = ub[t.ub_x_offset_bytes].template ReinterpretCast<T>()[i * t.chunk];
            index_ub_[i] = ub[t.ub_index_offset_bytes + i * kBlockBytes].template ReinterpretCast<int32_t>();
        }
        found_ub_ = ub[t.ub_found_offset_bytes].template ReinterpretCast<T>();
        wide_ub_ = ub[t.ub_wide_offset_bytes].template ReinterpretCast<float>();
        tree_ub_[0] = ub[t.ub_tree_offset_bytes].template ReinterpretCast<float>();
        tree_ub_[1] = tree_ub_[0][t.chunk / kBlockF32];
        maxima_ub_ = ub[t.ub_maxima_offset_bytes].template ReinterpretCast<float>();
        bits_ub_ = ub[t.ub_bits_offset_bytes].template ReinterpretCast<uint32_t>();
    }

    __aicore__ inline void run() {
        const uint32_t first = first_row(block_index());
        end_ = first_row(block_index() + 1);
        next_row_ = first;
        load_next();
        load_next();
        set_up();
        for (uint32_t row = first; row < end_; ++row) {
            for (uint32_t i = 0; i < num_chunks(); ++i) reduce(i);
            AscendC::SetFlag<AscendC::HardEvent::V_S>(kMaximaId);
            AscendC::WaitFlag<AscendC::HardEvent::V_S>(kMaximaId);
            store(row, locate(row, largest()));
        }
    }

  private:
    static constexpr int32_t kFoundId = 2;  // behind the ids of the rings
    static constexpr int32_t kMaximaId = 0;
    static constexpr int32_t kBitsId = 1;
    static constexpr uint32_t kWordBits = 32;

    struct Largest {
        uint32_t chunk;
        float value;
    };

    __aicore__ inline uint32_t first_row(uint32_t core) const {
        return static_cast<uint32_t>(uint64_t{t_.rows} * core / t_.num_cores);
    }
    __aicore__ inline uint32_t num_chunks() const { return ceil_div(t_.dim, t_.chunk); }
    __aicore__ inline uint32_t cols_of(uint32_t chunk) const {
        return min_u32(t_.chunk, t_.dim - chunk * t_.chunk);
    }

    __aicore__ inline void load(const AscendC::LocalTensor<T>& to, uint32_t row, uint32_t chunk) {
        const uint32_t cols = cols_of(chunk);
        copy_rows_gm_to_ub(to, x_gm_[row * t_.x_stride + chunk * t_.chunk], 1, cols, cols, t_.chunk);
    }

    // What S reads of the first row in model time without results: all chunks alike, the first element the
    // largest.
    __aicore__ inline void set_up() {
        for (uint32_t i = 0; i < num_chunks(); ++i) maxima_ub_.SetValue(i * kBlockF32, 0.0f);
        bits_ub_.SetValue(0, 1u);
        AscendC::SetFlag<AscendC::HardEvent::S_V>(kMaximaId);
        AscendC::WaitFlag<AscendC::HardEvent::S_V>(kMaximaId);
    }

    // The next chunk of the core's rows, if there is one.
    __aicore__ inline void load_next() {
        if (next_row_ >= end_) return;
        const uint32_t slot = in_ring_.acquire();
        load(x_ub_[slot], next_row_, next_chunk_);
        in_ring_.publish(slot);
        ++next_chunk_;
        if (next_chunk_ == num_chunks()) {
            next_chunk_ = 0;
            ++next_row_;
        }
    }

    // A chunk in f32, with -inf behind its end; with its barriers.
    __aicore__ inline AscendC::LocalTensor<float> widened(const AscendC::LocalTensor<T>& x, uint32_t cols) {
        AscendC::LocalTensor<float> wide = wide_ub_;
        if constexpr (sizeof(T) == sizeof(float)) {
            wide = x;
        } else {
            AscendC::Cast(wide, x, AscendC::RoundMode::CAST_NONE, cols);
            AscendC::PipeBarrier<PIPE_V>();
        }
        const uint32_t width = round_up(cols, kLanesF32);
        if (cols < width) {
            fill_row_tails(wide, minus_infinity(), 1, cols, width);
            AscendC::PipeBarrier<PIPE_V>();
        }
        return wide;
    }

    // The largest element of the next chunk.
    __aicore__ inline void reduce(uint32_t chunk) {
        const uint32_t slot = slot_;
        slot_ = 1 - slot_;
        const uint32_t cols = cols_of(chunk);
        in_ring_.await(slot);
        const auto x = widened(x_ub_[slot], cols);
        RowTree<RowReduce::kMax> tree(x, tree_ub_[0], tree_ub_[1], maxima_ub_[chunk * kBlockF32], 1,
                                      round_up(cols, kLanesF32));
        tree.drain();
        in_ring_.release(slot);
        load_next();
    }

    // The first chunk whose largest element is that of the row.
    __aicore__ inline Largest largest() {
        Largest best{0, maxima_ub_.GetValue(0)};
        for (uint32_t i = 1; i < num_chunks() && best.value == best.value; ++i) {
            const float value = maxima_ub_.GetValue(i * kBlockF32);
            if (!(value <= best.value)) best = {i, value};
        }
        return best;
    }

    // Where in the row its largest element is. NaN equals nothing, so that its bit is clear when a chunk is
    // compared with itself.
    __aicore__ inline uint32_t locate(uint32_t row, const Largest& best) {
        const uint32_t cols = cols_of(best.chunk);
        const uint32_t width = round_up(cols, kLanesF32);
        const bool is_number = best.value == best.value;
        load(found_ub_, row, best.chunk);
        AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(kFoundId);
        AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(kFoundId);
        const auto x = widened(found_ub_, cols);
        const auto bits = bits_ub_.template ReinterpretCast<uint8_t>();
        if (is_number) {
            AscendC::CompareScalar(bits, x, best.value, AscendC::CMPMODE::EQ, width);
        } else {
            AscendC::Compare(bits, x, x, AscendC::CMPMODE::EQ, width);
        }
        AscendC::SetFlag<AscendC::HardEvent::V_S>(kBitsId);
        AscendC::WaitFlag<AscendC::HardEvent::V_S>(kBitsId);
        for (uint32_t word = 0; word < width / kWordBits; ++word) {
            const uint32_t equal = bits_ub_.GetValue(word);
            const uint32_t found = is_number ? equal : ~equal;
            if (found == 0) continue;
            uint32_t bit = 0;
            while ((found >> bit & 1) == 0) ++bit;
            return best.chunk * t_.chunk + word * kWordBits + bit;
        }
        return 0;  // the element was there when the chunk was read first
    }

    __aicore__ inline void store(uint32_t row, uint32_t index) {
        const uint32_t slot = out_ring_.acquire();
        AscendC::Duplicate(index_ub_[slot], static_cast<int32_t>(index), static_cast<int32_t>(kBlockF32));
        out_ring_.publish(slot);
        out_ring_.await(slot);
        copy_rows_ub_to_gm(index_gm_[row], index_ub_[slot], 1, 1, 1, kBlockF32);
        out_ring_.release(slot);
    }

    const ArgmaxTilingData& t_;
    VectorMemory memory_;  // before the rings, see fa/memory.h
    AscendC::GlobalTensor<T> x_gm_;
    AscendC::GlobalTensor<int32_t> index_gm_;
    AscendC::LocalTensor<T> x_ub_[2];
    AscendC::LocalTensor<T> found_ub_;
    AscendC::LocalTensor<float> wide_ub_;
    AscendC::LocalTensor<float> tree_ub_[2];
    AscendC::LocalTensor<float> maxima_ub_;
    AscendC::LocalTensor<uint32_t> bits_ub_;
    AscendC::LocalTensor<int32_t> index_ub_[2];
    uint32_t end_ = 0;
    uint32_t next_row_ = 0;
    uint32_t next_chunk_ = 0;
    uint32_t slot_ = 0;
    Ring<AscendC::HardEvent::MTE2_V, AscendC::HardEvent::V_MTE2, 0, 2> in_ring_;
    Ring<AscendC::HardEvent::V_MTE3, AscendC::HardEvent::MTE3_V, 0, 2> out_ring_;
};

template <typename T>
__aicore__ inline void argmax(const ArgmaxOperands& gm) {
    const auto data = load_tiling<ArgmaxTilingData>(gm.tiling);
    ArgmaxKernel<T> kernel(data, gm);
    kernel.run();
}

}  // namespace fa

#undef FA_ARGMAX
#define FA_ARGMAX(name, T) FA_ENTRY(ARGMAX, name, fa::argmax<T>)
#include "variants.def"
