// SPDX-License-Identifier: MIT OR Apache-2.0
// Softmax of a step of flash_fwd in f16, in place: a slice of scores becomes the probabilities that the Cube
// reads.
//
//   m_j = max(m_{j-1}, rowmax s)      unscaled, an f16 number kept as f32
//   p = exp(scale * (s - m_j))        three f16 operations, each rounded
//   l_j = a_j l_{j-1} + rowsum p      sums of f16 pairs down to 64 columns, then f32
//   a_j = exp(scale * (m_{j-1} - m_j))   in f32
//
// The maximum is subtracted first, so that rounding errors are relative to the distance from it: with u =
// 2^-11, the exponent is off by 3 u |x| at most, p by (3 |x| + 2) u e^x <= 2.2 u of the row's largest p,
// which is 1. Where the scores have grown by g <= headroom within a bundle, that is (3 g + 2) u of the
// largest p.
//
// UB, of a slice of `slice_bytes`: 4 x slice; for the tree of maxima and that of sums each: half a slice | a
// quarter.
#pragma once
#include "fa/row_tree_f16.h"
#include "flash_fwd_state.h"

namespace fa {

class SoftmaxF16 {
  public:
    using State = FlashFwdState<half, half>;

    __aicore__ inline explicit SoftmaxF16(State& state) : state_(state), t_(state.t) {
        for (uint32_t i = 0; i < 2; ++i) {
            const auto bytes = state.memory.ub[t_.ub_tmp_offset_bytes + i * t_.ub_tmp_bytes];
            scratch_[i].half_slice = bytes;
            scratch_[i].quarter_slice = bytes[t_.slice_bytes / 2];
        }
    }

    // Softmax of a step, the `number`-th of this core. A slice takes part in three turns: a its maxima, b its
    // exponentials, c its sums. The six operations of each stand beside those of two other slices, so that a
    // barrier serves three of them.
    __aicore__ inline void step(const Step& s, uint32_t number) {
        const uint32_t pitch = row_pitch(s.n_valid);
        const uint32_t step = state_.rows_within(t_.slice_bytes, 2 * max_u32(pitch, kNarrowestF16));
        const uint32_t total = state_.num_rows(s);
        const uint32_t slices = ceil_div(total, step);
        uint32_t loaded = slices > 0 ? state_.load_scores(s, number, 0, min_u32(step, total), pitch) : 0;
        for (uint32_t turn = 0; slices > 0 && turn < slices + 2; ++turn) {
            Slice& a = slices_[turn % kSlices];
            Slice& b = slices_[(turn + 3) % kSlices];
            Slice& c = slices_[(turn + 2) % kSlices];
            Slice& done = slices_[(turn + 1) % kSlices];
            a.row = turn * step;
            a.rows = turn < slices ? min_u32(step, total - a.row) : 0;
            a.load = loaded;
            if (turn + 1 < slices) {
                const uint32_t next = a.row + step;
                loaded = state_.load_scores(s, number, next, min_u32(step, total - next), pitch);
            }
            if (a.rows > 0) take_scores(a, s, pitch);
            if (c.rows > 0) start_sum(c, pitch);
            const bool is_lowered = s.in_bundle > 0;
            if (b.rows > 0 && is_lowered) lower_max(b);
            const uint32_t operations = kOperations + (is_lowered ? 1 : 0);
            const uint32_t levels = RowTreeF16<RowReduce::kMax>::num_steps(pitch);
            for (uint32_t i = kOperations; i < max_u32(levels, operations); ++i) {
                step_trees(a, c);
                AscendC::PipeBarrier<PIPE_V>();
            }
            take_turn(a, b, c, done, s, number, pitch);
        }
        if (slices > 0) add_sum(slices_[(slices + kSlices - 1) % kSlices], s);
    }

  private:
    static constexpr uint32_t kSlices = State::kSlices;
    static constexpr uint32_t kOperations = 6;

    struct Slice {
        uint32_t row = 0;   // first row among this AIV's rows of the item
        uint32_t rows = 0;  // 0: no slice
        uint32_t load = 0;  // where it was loaded
        RowTreeF16<RowReduce::kMax> max;
        RowTreeF16<RowReduce::kSum> sum;
    };

    __aicore__ static inline int32_t count(const Slice& x) { return static_cast<int32_t>(x.rows); }

    // Trees halve rows, so a row takes a power of two of 64 columns.
    __aicore__ static inline uint32_t row_pitch(uint32_t cols) {
        uint32_t pitch = kLanesF32;
        while (pitch < cols) pitch *= 2;
        return pitch;
    }

    __aicore__ inline const AscendC::LocalTensor<half>& x(const Slice& slice) const {
        return state_.slice_ub[slice.load];
    }

    // What lies behind the last key was never written.
    __aicore__ inline void take_scores(Slice& a, const Step& s, uint32_t pitch) {
        state_.load_ring.await(a.load);
        if (s.n_valid < pitch) {
            fill_row_tails_f16(x(a), static_cast<half>(minus_infinity()), a.rows, s.n_valid, pitch);
            AscendC::PipeBarrier<PIPE_V>();
        }
        state_.apply_diagonals(x(a), s, a.row, a.rows, pitch);
        a.max = RowTreeF16<RowReduce::kMax>(x(a), scratch_[0], state_.block_max(a.row), a.rows, pitch);
    }

    // A maximum within a bundle stays unless it grows by more than the headroom.
    __aicore__ inline void lower_max(const Slice& b) {
        AscendC::Adds(state_.block_max(b.row), state_.block_max(b.row), -t_.headroom, count(b));
    }

    __aicore__ inline void start_sum(Slice& c, uint32_t pitch) {
        c.sum = RowTreeF16<RowReduce::kSum>(x(c), scratch_[1], state_.block_sum(c.row), c.rows, pitch);
    }

    __aicore__ static inline void step_trees(Slice& a, Slice& c) {
        if (a.rows > 0 && !a.max.is_done()) a.max.step();
        if (c.rows > 0 && !c.sum.is_done()) c.sum.step();
    }

    __aicore__ inline void take_turn(Slice& a, Slice& b, Slice& c, Slice& done, const Step& s,
                                     uint32_t number, uint32_t pitch) {
        const auto elements = static_cast<int32_t>(b.rows * pitch);
        const auto old_max = state_.row_max(s.item, b.row);
        const auto new_max = state_.new_max(b.row);
        const auto rescale = state_.rescale(s, b.row);
        // The maxima of the slice are in new_max by then.
        const auto narrow_max = state_.block_max(b.row).template ReinterpretCast<half>();
        const auto spread = state_.blocks.copy[0].template ReinterpretCast<half>();

        if (b.rows > 0) AscendC::Max(new_max, old_max, state_.block_max(b.row), count(b));
        if (done.rows > 0) add_sum(done, s);
        step_trees(a, c);
        AscendC::PipeBarrier<PIPE_V>();

        // Upwards: the headroom does not grow.
        if (b.rows > 0) AscendC::Cast(narrow_max, new_max, AscendC::RoundMode::CAST_CEIL, b.rows);
        step_trees(a, c);
        AscendC::PipeBarrier<PIPE_V>();

        if (b.rows > 0) {
            AscendC::Cast(new_max, narrow_max, AscendC::RoundMode::CAST_NONE, b.rows);
            spread_rows_f16(spread, narrow_max, b.rows);
        }
        step_trees(a, c);
        AscendC::PipeBarrier<PIPE_V>();

        if (b.rows > 0) {
            AscendC::Sub(rescale, old_max, new_max, count(b));
            subtract_rows_f16(x(b), spread, b.rows, pitch);
        }
        step_trees(a, c);
        AscendC::PipeBarrier<PIPE_V>();

        if (b.rows > 0) {
            AscendC::Adds(old_max, new_max, 0.0f, count(b));
            AscendC::Muls(rescale, rescale, t_.softmax_scale, count(b));
            AscendC::Muls(x(b), x(b), static_cast<half>(t_.softmax_scale), elements);
        }
        if (c.rows > 0) {
            AscendC::Mul(state_.row_sum(s.item, c.row), state_.row_sum(s.item, c.row),
                         state_.rescale(s, c.row), count(c));
        }
        step_trees(a, c);
        AscendC::PipeBarrier<PIPE_V>();

        if (b.rows > 0) {
            AscendC::Exp(rescale, rescale, count(b));
            AscendC::Exp(x(b), x(b), elements);
            store_loan_.lend(b.load);
            store_loan_.await(b.load);
            state_.store_probabilities(x(b), s, number, b.row, b.rows, pitch);
            store_loan_.give_back(b.load);
        }
        step_trees(a, c);
        AscendC::PipeBarrier<PIPE_V>();
        if (c.rows > 0) {
            store_loan_.reclaim(c.load);
            state_.load_ring.release(c.load);
        }
    }

    __aicore__ inline void add_sum(Slice& done, const Step& s) {
        AscendC::Add(state_.row_sum(s.item, done.row), state_.row_sum(s.item, done.row),
                     state_.block_sum(done.row), count(done));
        done.rows = 0;
    }

    State& state_;
    const FlashFwdTilingData& t_;
    TreeScratch scratch_[2];  // of the row maxima and of the row sums
    Slice slices_[kSlices];
    Loan<AscendC::HardEvent::V_MTE3, AscendC::HardEvent::MTE3_V, 0> store_loan_;
};

}  // namespace fa
