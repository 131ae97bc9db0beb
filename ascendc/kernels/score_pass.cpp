// SPDX-License-Identifier: MIT OR Apache-2.0
// One pass over all scores of unfused attention, as an eager framework makes it: the scores are read from GM,
// one thing is done to each, and they are written to GM.
//
// Maths      T = U, without a mask:  y = scale * x
//            T = U, with a mask:     y = x + mask, a dense matrix [rows, cols] that all heads share
//            T and U differ:         y = x as the other type
//            Arithmetic is f32; y is rounded once.
// Tiling     A tile is tile_rows rows of one head and `chunk` columns. Tiles are numbered along the rows and
//            dealt to the vector cores in turn, so that all of them read the same rows of the mask together.
// UB         (bytes; tile = tile_rows * chunk elements of at most 8192; the planner proves the sum of at most
//            188 160)  2 x x tile * sizeof(T) | 2 x mask tile * sizeof(T) | 2 x y tile * sizeof(U)
//            | wide tile * 4 | wide mask tile * 4; mask and the wide ones only where T = U
// Pipeline   MTE2 -> V [x and mask 2]   V -> MTE3 [y 2]
//            Two tiles are read ahead.
// Limits     AIV only. Any shape. y overlaps with nothing.
#include "fa/copy.h"
#include "fa/memory.h"
#include "fa/row_copy.h"
#include "fa/sync.h"
#include "families.h"

namespace fa {

// T: element type of x and mask. U: of y.
template <typename T, typename U>
class ScorePassKernel {
  public:
    __aicore__ inline ScorePassKernel(const ScorePassTilingData& t, const ScorePassOperands& gm)
        : t_(t), row_tiles_(ceil_div(t.rows, t.tile_rows)), col_tiles_(ceil_div(t.cols, t.chunk)) {
        x_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.x));
        mask_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.mask));
        y_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ U*>(gm.y));
        const auto ub = memory_.ub;
        const uint32_t elements = t.tile_rows * t.chunk;
        for (uint32_t i = 0; i < 2; ++i) {
            x_ub_[i] = ub[t.ub_x_offset_bytes].template ReinterpretCast<T>()[i * elements];
            mask_ub_[i] = ub[t.ub_mask_offset_bytes].template ReinterpretCast<T>()[i * elements];
            y_ub_[i] = ub[t.ub_y_offset_bytes].template ReinterpretCast<U>()[i * elements];
        }
        wide_ub_ = ub[t.ub_wide_offset_bytes].template ReinterpretCast<float>();
        wide_mask_ub_ = ub[t.ub_wide_mask_offset_bytes].template ReinterpretCast<float>();
    }

    __aicore__ inline void run() {
        clear_inputs();
        next_ = block_index();
        load_next();
        load_next();
        for (uint64_t number = block_index(); number < num_tiles(); number += t_.num_cores)
            pass(tile(number));
    }

  private:
    static constexpr bool kIsCast = sizeof(T) != sizeof(U);
    static constexpr uint32_t kWidth = 16;    // whole blocks of either type
    static constexpr int32_t kClearedId = 2;  // behind the ids of the ring

    // `rows` rows of `cols` elements, `width` apart in UB.
    struct Tile {
        uint64_t head;
        uint32_t row;
        uint32_t rows;
        uint32_t col;
        uint32_t cols;
        uint32_t width;
    };
    __aicore__ inline uint64_t num_tiles() const {
        return static_cast<uint64_t>(t_.num_heads) * row_tiles_ * col_tiles_;
    }
    __aicore__ inline Tile tile(uint64_t number) const {
        const uint64_t line = number / col_tiles_;
        const auto col = static_cast<uint32_t>(number % col_tiles_) * t_.chunk;
        const auto row = static_cast<uint32_t>(line % row_tiles_) * t_.tile_rows;
        const uint32_t cols = min_u32(t_.chunk, t_.cols - col);
        return {line / row_tiles_,     row, min_u32(t_.tile_rows, t_.rows - row), col, cols,
                round_up(cols, kWidth)};
    }
    __aicore__ inline uint64_t place(const Tile& t) const {
        return (t.head * t_.rows + t.row) * t_.pitch + t.col;
    }

    // Lanes behind the end of a row are computed and not stored, so they have to hold something.
    __aicore__ inline void clear_inputs() {
        const auto bytes = static_cast<int32_t>(t_.ub_y_offset_bytes - t_.ub_x_offset_bytes);
        AscendC::Duplicate(memory_.ub[t_.ub_x_offset_bytes].template ReinterpretCast<float>(), 0.0f,
                           bytes / 4);
        AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(kClearedId);
        AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(kClearedId);
    }

    // The next tile of the core, if there is one.
    __aicore__ inline void load_next() {
        if (next_ >= num_tiles()) return;
        const Tile t = tile(next_);
        next_ += t_.num_cores;
        const uint32_t slot = in_ring_.acquire();
        copy_rows_gm_to_ub(x_ub_[slot], x_gm_[place(t)], t.rows, t.cols, t_.pitch, t.width);
        if (t_.has_mask != 0) {
            copy_rows_gm_to_ub(mask_ub_[slot], mask_gm_[static_cast<uint64_t>(t.row) * t_.cols + t.col],
                               t.rows, t.cols, t_.cols, t.width);
        }
        in_ring_.publish(slot);
    }

    __aicore__ inline void pass(const Tile& t) {
        const uint32_t slot = slot_;
        slot_ = 1 - slot_;
        const uint32_t elements = t.rows * t.width;
        in_ring_.await(slot);
        if constexpr (!kIsCast) compute(slot, elements);
        const uint32_t out = out_ring_.acquire();
        if constexpr (!kIsCast) {
            AscendC::Cast(y_ub_[out], wide_ub_, AscendC::RoundMode::CAST_RINT, elements);
        } else if constexpr (sizeof(T) < sizeof(U)) {
            AscendC::Cast(y_ub_[out], x_ub_[slot], AscendC::RoundMode::CAST_NONE, elements);
        } else {
            AscendC::Cast(y_ub_[out], x_ub_[slot], AscendC::RoundMode::CAST_RINT, elements);
        }
        in_ring_.release(slot);
        out_ring_.publish(out);
        load_next();
        out_ring_.await(out);
        copy_rows_ub_to_gm(y_gm_[place(t)], y_ub_[out], t.rows, t.cols, t_.pitch, t.width);
        out_ring_.release(out);
    }

    // wide = scale * x, or x + mask; with its barriers.
    __aicore__ inline void compute(uint32_t slot, uint32_t elements) {
        const auto count = static_cast<int32_t>(elements);
        AscendC::Cast(wide_ub_, x_ub_[slot], AscendC::RoundMode::CAST_NONE, elements);
        if (t_.has_mask != 0) {
            AscendC::Cast(wide_mask_ub_, mask_ub_[slot], AscendC::RoundMode::CAST_NONE, elements);
            AscendC::PipeBarrier<PIPE_V>();
            AscendC::Add(wide_ub_, wide_ub_, wide_mask_ub_, count);
        } else {
            AscendC::PipeBarrier<PIPE_V>();
            AscendC::Muls(wide_ub_, wide_ub_, t_.scale, count);
        }
        AscendC::PipeBarrier<PIPE_V>();
    }

    const ScorePassTilingData& t_;
    uint32_t row_tiles_;
    uint32_t col_tiles_;
    VectorMemory memory_;  // before the rings, see fa/memory.h
    AscendC::GlobalTensor<T> x_gm_;
    AscendC::GlobalTensor<T> mask_gm_;
    AscendC::GlobalTensor<U> y_gm_;
    AscendC::LocalTensor<T> x_ub_[2];
    AscendC::LocalTensor<T> mask_ub_[2];
    AscendC::LocalTensor<U> y_ub_[2];
    AscendC::LocalTensor<float> wide_ub_;
    AscendC::LocalTensor<float> wide_mask_ub_;
    uint64_t next_ = 0;
    uint32_t slot_ = 0;
    Ring<AscendC::HardEvent::MTE2_V, AscendC::HardEvent::V_MTE2, 0, 2> in_ring_;
    Ring<AscendC::HardEvent::V_MTE3, AscendC::HardEvent::MTE3_V, 0, 2> out_ring_;
};

template <typename T, typename U>
__aicore__ inline void score_pass(const ScorePassOperands& gm) {
    const auto data = load_tiling<ScorePassTilingData>(gm.tiling);
    ScorePassKernel<T, U> kernel(data, gm);
    kernel.run();
}

}  // namespace fa

#undef FA_SCORE_PASS
#define FA_SCORE_PASS(name, T, U) FA_ENTRY(SCORE_PASS, name, fa::score_pass<T, U>)
#include "variants.def"
