// SPDX-License-Identifier: MIT OR Apache-2.0
// Softmax of a step of flash_fwd in f32.
#pragma once
#include "flash_fwd_state.h"

namespace fa {

template <typename T>
class SoftmaxF32 {
  public:
    using State = FlashFwdState<T, float>;

    __aicore__ inline explicit SoftmaxF32(State& state) : state_(state), t_(state.t) {
        const auto bytes = state.memory.ub;
        for (uint32_t i = 0; i < 2; ++i) {
            wide_ub_[i] =
                bytes[t_.ub_tmp_offset_bytes + i * t_.ub_tmp_bytes].template ReinterpretCast<float>();
            narrow_ub_[i] = wide_ub_[i][t_.slice_bytes / 8 / sizeof(float)];
        }
    }

    // Softmax of a step, the `number`-th of this core. Every slice goes through thirteen operations, each of
    // which needs the one before. Five slices are under way, three operations apart: a barrier then makes one
    // slice wait while the others have something to do. A dependent vector instruction alone would wait some
    // 25 cycles (AscendC vector performance tables).
    __aicore__ inline void step(const Step& s, uint32_t number) {
        const uint32_t pitch = round_up(s.n_valid, kLanesF32);
        const uint32_t step = state_.rows_within(t_.slice_bytes, 4 * pitch);
        const uint32_t total = state_.num_rows(s);
        const uint32_t slices = ceil_div(total, step);
        uint32_t loaded = slices > 0 ? state_.load_scores(s, number, 0, min_u32(step, total), pitch) : 0;
        for (uint32_t turn = 0; slices > 0 && turn < slices + kSlices - 1; ++turn) {
            Slice& a = slices_[turn % kSlices];
            Slice& b = slices_[(turn + 4) % kSlices];
            Slice& c = slices_[(turn + 3) % kSlices];
            Slice& d = slices_[(turn + 2) % kSlices];
            Slice& e = slices_[(turn + 1) % kSlices];
            a.row = turn * step;
            a.rows = turn < slices ? min_u32(step, total - a.row) : 0;
            a.load = loaded;
            a.x = state_.slice_ub[loaded];
            if (turn + 1 < slices) {
                const uint32_t next = a.row + step;
                loaded = state_.load_scores(s, number, next, min_u32(step, total - next), pitch);
            }
            // Last before each barrier stands what is soonest done.
            if (e.rows > 0) add_sum(e, s);
            if (d.rows > 0) hand_over(d, s, number, pitch);
            if (a.rows > 0) take_scores(a, s, pitch);
            if (b.rows > 0 && !b.max.is_done()) b.max.step();
            if (c.rows > 0) {
                AscendC::Sub(state_.rescale(s, c.row), state_.row_max(s.item, c.row), state_.new_max(c.row),
                             count(c));
                spread_rows(state_.blocks, state_.new_max(c.row), c.rows);
            }
            AscendC::PipeBarrier<PIPE_V>();
            if (d.rows > 0 && !d.sum.is_done()) d.sum.step();
            if (c.rows > 0) subtract_max(c, s, pitch);
            if (b.rows > 0) finish_max(b, s);
            if (a.rows > 0) start_max(a, s, pitch);
            AscendC::PipeBarrier<PIPE_V>();
            if (d.rows > 0 && !d.sum.is_done()) d.sum.step();
            if (c.rows > 0) AscendC::Exp(c.x, c.x, static_cast<int32_t>(c.rows * pitch));
            if (a.rows > 0 && !a.max.is_done()) a.max.step();
            if (b.rows > 0) {
                AscendC::Max(state_.new_max(b.row), state_.row_max(s.item, b.row), state_.block_max(b.row),
                             count(b));
            }
            AscendC::PipeBarrier<PIPE_V>();
        }
    }

  private:
    static constexpr uint32_t kSlices = State::kSlices;

    // A slice of whole rows on its way through the softmax.
    struct Slice {
        uint32_t row = 0;   // first row among this AIV's rows of the item
        uint32_t rows = 0;  // 0: no slice
        uint32_t load = 0;  // where it was loaded
        AscendC::LocalTensor<float> x;
        RowTree<RowReduce::kMax> max;
        RowTree<RowReduce::kSum> sum;
    };

    __aicore__ static inline int32_t count(const Slice& x) { return static_cast<int32_t>(x.rows); }

    // What lies behind the last key was never written.
    __aicore__ inline void take_scores(const Slice& x, const Step& s, uint32_t pitch) {
        state_.load_ring.await(x.load);
        if (s.n_valid < pitch) {
            fill_row_tails(x.x, 0.0f, x.rows, s.n_valid, pitch);
            AscendC::PipeBarrier<PIPE_V>();
        }
        AscendC::Muls(x.x, x.x, t_.softmax_scale, static_cast<int32_t>(x.rows * pitch));
    }

    // -inf where the mask or the end of the keys hides a score; then the first level of the row maxima.
    __aicore__ inline void start_max(Slice& x, const Step& s, uint32_t pitch) {
        state_.apply_diagonals(x.x, s, x.row, x.rows, pitch);
        if (s.n_valid < pitch) {
            fill_row_tails(x.x, minus_infinity(), x.rows, s.n_valid, pitch);
            AscendC::PipeBarrier<PIPE_V>();
        }
        x.max =
            RowTree<RowReduce::kMax>(x.x, wide_ub_[0], narrow_ub_[0], state_.block_max(x.row), x.rows, pitch);
        x.max.step();
    }

    // A maximum within a bundle stays unless it grows by more than the headroom.
    __aicore__ inline void finish_max(Slice& x, const Step& s) {
        const bool is_lowered = s.in_bundle > 0;
        if (!x.max.is_done()) {
            x.max.drain();
            if (is_lowered) AscendC::PipeBarrier<PIPE_V>();
        }
        const auto maxima = state_.block_max(x.row);
        if (is_lowered) AscendC::Adds(maxima, maxima, -t_.headroom, count(x));
    }

    __aicore__ inline void subtract_max(const Slice& x, const Step& s, uint32_t pitch) {
        AscendC::Exp(state_.rescale(s, x.row), state_.rescale(s, x.row), count(x));
        AscendC::Adds(state_.row_max(s.item, x.row), state_.new_max(x.row), 0.0f, count(x));
        apply_rows<RowOp::kSub>(x.x, state_.blocks, x.rows, pitch, pitch);
    }

    // Probabilities to GM, and the first level of their row sums.
    __aicore__ inline void hand_over(Slice& x, const Step& s, uint32_t number, uint32_t pitch) {
        x.sum =
            RowTree<RowReduce::kSum>(x.x, wide_ub_[1], narrow_ub_[1], state_.block_sum(x.row), x.rows, pitch);
        x.sum.step();
        AscendC::Mul(state_.row_sum(s.item, x.row), state_.row_sum(s.item, x.row), state_.rescale(s, x.row),
                     count(x));
        const uint32_t out = state_.out_ring.acquire();
        AscendC::Cast(state_.out_ub[out], x.x, AscendC::RoundMode::CAST_RINT, x.rows * pitch);
        state_.load_ring.release(x.load);
        state_.out_ring.publish(out);
        state_.out_ring.await(out);
        state_.store_probabilities(state_.out_ub[out], s, number, x.row, x.rows, pitch);
        state_.out_ring.release(out);
    }

    __aicore__ inline void add_sum(Slice& x, const Step& s) {
        if (!x.sum.is_done()) {
            x.sum.drain();
            AscendC::PipeBarrier<PIPE_V>();
        }
        AscendC::Add(state_.row_sum(s.item, x.row), state_.row_sum(s.item, x.row), state_.block_sum(x.row),
                     count(x));
        x.rows = 0;
    }

    State& state_;
    const FlashFwdTilingData& t_;
    AscendC::LocalTensor<float> wide_ub_[2];  // scratch of the row maxima and of the row sums
    AscendC::LocalTensor<float> narrow_ub_[2];
    Slice slices_[kSlices];
};

}  // namespace fa
