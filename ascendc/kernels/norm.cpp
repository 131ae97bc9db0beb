// SPDX-License-Identifier: MIT OR Apache-2.0
// RMSNorm or LayerNorm of rows, with the sum of the residual stream in front of it.
//
// Maths      h = x + r, or x where there is no residual;  m = mean h for LayerNorm, 0 for RMSNorm
//            y = (h - m) / sqrt(mean (h - m)^2 + eps) * weight + bias
//            All of it in f32 on the sum before it is rounded; h and y are rounded once. r and h may be f32
//            where x and y are not. The mean comes before the squares, so that a mean far from 0 costs no
//            digits.
// Tiling     Core c of C has the rows from N c / C to N (c + 1) / C, slice_rows at a time. A slice stays in
//            UB as f32: some short rows, or one row in chunks. Weights and bias stay in UB, too.
// UB         (bytes; chunk = slice_rows * chunk columns, dim in whole chunks; the planner proves the sum of
//            at most 188 160)  2 x chunk * size | 2 r chunk * size of r | 2 out chunk * the larger size
//            | slice * 4
//            | tmp chunk * 4 | row tree chunk / 2 + chunk / 16 | weight, bias dim * size each, and a row of a
//            chunk * 4 unless they are f32 | spread 2 * (slice_rows rounded up to 16) * 32 + 256
//            | stats 4 * 256
// Pipeline   MTE2 -> V [x and r 2]   V -> MTE3 [h and y 2]
//            Two chunks are read ahead: those of the next slice while this one is scaled.
// Limits     AIV only. Any dim that leaves a row in UB; the planner refuses more. y may lie on x, and h on r,
//            row on row: a row is written behind its last read.
// Source     Zhang and Sennrich, Root Mean Square Layer Normalization (arXiv 1910.07467); Ba et al., Layer
//            Normalization (arXiv 1607.06450).
#include "fa/copy.h"
#include "fa/memory.h"
#include "fa/row_copy.h"
#include "fa/row_ops.h"
#include "fa/sync.h"
#include "families.h"

namespace fa {

// T: element type of x and y. W: of weight and bias, R: of r and h; each float or T.
template <typename T, typename W, typename R>
class NormKernel {
  public:
    __aicore__ inline NormKernel(const NormTilingData& t, const NormOperands& gm) : t_(t) {
        x_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.x));
        r_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ R*>(gm.r));
        weight_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ W*>(gm.weight));
        bias_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ W*>(gm.bias));
        h_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ R*>(gm.h));
        y_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.y));
        const auto ub = memory_.ub;
        const uint32_t elements = t.slice_rows * t.chunk;
        for (uint32_t i = 0; i < 2; ++i) {
            x_ub_[i] = ub[t.ub_x_offset_bytes].template ReinterpretCast<T>()[i * elements];
            r_ub_[i] = ub[t.ub_r_offset_bytes].template ReinterpretCast<R>()[i * elements];
            out_ub_[i] = ub[t.ub_out_offset_bytes].template ReinterpretCast<R>()[i * elements];
        }
        slice_ub_ = ub[t.ub_slice_offset_bytes].template ReinterpretCast<float>();
        tmp_ub_ = ub[t.ub_tmp_offset_bytes].template ReinterpretCast<float>();
        wide_ub_ = ub[t.ub_wide_offset_bytes].template ReinterpretCast<float>();
        narrow_ub_ = ub[t.ub_narrow_offset_bytes].template ReinterpretCast<float>();
        weight_ub_ = ub[t.ub_weight_offset_bytes].template ReinterpretCast<W>();
        bias_ub_ = ub[t.ub_bias_offset_bytes].template ReinterpretCast<W>();
        weight_chunk_ub_ = ub[t.ub_weight_chunk_offset_bytes].template ReinterpretCast<float>();
        bias_chunk_ub_ = ub[t.ub_bias_chunk_offset_bytes].template ReinterpretCast<float>();
        spread_ = SpreadRows(ub[t.ub_spread_offset_bytes].template ReinterpretCast<float>(), t.slice_rows);
        stats_ub_ = ub[t.ub_stats_offset_bytes].template ReinterpretCast<float>();
    }

    __aicore__ inline void run() {
        const uint32_t first = first_row(block_index());
        end_ = first_row(block_index() + 1);
        if (t_.dim % kLanesF32 != 0) clear_inputs();
        next_row_ = first;
        load_next();
        load_weights();
        load_next();
        AscendC::Duplicate(ones(), 1.0f, static_cast<int32_t>(kLanesF32));
        for (uint32_t row = first; row < end_; row += t_.slice_rows) {
            norm_slice(row, min_u32(t_.slice_rows, end_ - row));
        }
    }

  private:
    static constexpr bool kIsF32 = sizeof(T) == sizeof(float);
    static_assert(sizeof(R) >= sizeof(T), "a chunk that goes out has the size of one of r");
    static constexpr int32_t kClearedId = 2;  // behind the ids of the rings
    static constexpr int32_t kWeightsId = 2;

    // A chunk of the slice: [rows, width] f32, the first `cols` of each row valid.
    struct Chunk {
        AscendC::LocalTensor<float> x;
        uint32_t first;
        uint32_t cols;
        uint32_t width;
    };
    __aicore__ inline Chunk chunk(uint32_t index) {
        const uint32_t first = index * t_.chunk;
        const uint32_t cols = min_u32(t_.chunk, t_.dim - first);
        return {slice_ub_[t_.slice_rows * first], first, cols, round_up(cols, kLanesF32)};
    }
    __aicore__ inline uint32_t num_chunks() const { return ceil_div(t_.dim, t_.chunk); }
    __aicore__ inline uint32_t first_row(uint32_t core) const {
        return static_cast<uint32_t>(uint64_t{t_.rows} * core / t_.num_cores);
    }
    __aicore__ inline AscendC::LocalTensor<float> mean() { return stats_ub_; }
    __aicore__ inline AscendC::LocalTensor<float> square() { return stats_ub_[kLanesF32]; }
    __aicore__ inline AscendC::LocalTensor<float> of_chunk() { return stats_ub_[2 * kLanesF32]; }
    __aicore__ inline AscendC::LocalTensor<float> ones() { return stats_ub_[3 * kLanesF32]; }

    // Lanes behind the end of a row are computed with the others, so they have to hold something.
    __aicore__ inline void clear_inputs() {
        const auto bytes = static_cast<int32_t>(t_.ub_out_offset_bytes - t_.ub_x_offset_bytes);
        AscendC::Duplicate(memory_.ub[t_.ub_x_offset_bytes].template ReinterpretCast<float>(), 0.0f,
                           bytes / 4);
        AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(kClearedId);
        AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(kClearedId);
    }

    __aicore__ inline void load_weights() {
        copy_rows_gm_to_ub(weight_ub_, weight_gm_, 1, t_.dim, t_.dim, round_up(t_.dim, kLanesF32));
        if (t_.has_bias != 0)
            copy_rows_gm_to_ub(bias_ub_, bias_gm_, 1, t_.dim, t_.dim, round_up(t_.dim, kLanesF32));
        AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(kWeightsId);
    }

    // The next chunk of the core's rows, if there is one.
    __aicore__ inline void load_next() {
        if (next_row_ >= end_) return;
        const uint32_t rows = min_u32(t_.slice_rows, end_ - next_row_);
        const Chunk c = chunk(next_chunk_);
        const uint32_t slot = in_ring_.acquire();
        copy_rows_gm_to_ub(x_ub_[slot], x_gm_[next_row_ * t_.x_stride + c.first], rows, c.cols, t_.x_stride,
                           c.width);
        if (t_.has_residual != 0) {
            copy_rows_gm_to_ub(r_ub_[slot], r_gm_[next_row_ * t_.r_stride + c.first], rows, c.cols,
                               t_.r_stride, c.width);
        }
        in_ring_.publish(slot);
        ++next_chunk_;
        if (next_chunk_ == num_chunks()) {
            next_chunk_ = 0;
            next_row_ += t_.slice_rows;
        }
    }

    __aicore__ inline void norm_slice(uint32_t row, uint32_t rows) {
        AscendC::Duplicate(mean(), 0.0f, static_cast<int32_t>(2 * kLanesF32));
        for (uint32_t i = 0; i < num_chunks(); ++i) {
            const Chunk c = chunk(i);
            take(c, rows);
            if (t_.has_residual != 0) store(h_gm_, t_.h_stride, c, row, rows);
            if (t_.is_centred != 0) {
                clear_tails(c, rows);
                add_sums(mean(), c.x, c, rows);
            } else {
                add_squares(c, rows);
            }
        }
        if (t_.is_centred != 0) centre(rows);
        spread_scales(rows);
        if (!has_weights_) AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(kWeightsId);
        has_weights_ = true;
        for (uint32_t i = 0; i < num_chunks(); ++i) {
            const Chunk c = chunk(i);
            scale(c, rows);
            store(y_gm_, t_.y_stride, c, row, rows);
        }
    }

    // The sum of what has been read, in f32.
    __aicore__ inline void take(const Chunk& c, uint32_t rows) {
        const auto count = static_cast<int32_t>(rows * c.width);
        const uint32_t slot = slot_;
        slot_ = 1 - slot_;
        in_ring_.await(slot);
        if constexpr (kIsF32) {
            if (t_.has_residual != 0) {
                AscendC::Add(c.x, x_ub_[slot], r_ub_[slot], count);
            } else {
                AscendC::Muls(c.x, x_ub_[slot], 1.0f, count);
            }
        } else {
            AscendC::Cast(c.x, x_ub_[slot], AscendC::RoundMode::CAST_NONE, rows * c.width);
            if (t_.has_residual != 0) {
                const auto r = widened_residual(slot, rows * c.width);
                AscendC::PipeBarrier<PIPE_V>();
                AscendC::Add(c.x, c.x, r, count);
            }
        }
        in_ring_.release(slot);
        load_next();
        AscendC::PipeBarrier<PIPE_V>();
    }

    __aicore__ inline AscendC::LocalTensor<float> widened_residual(uint32_t slot, uint32_t count) {
        if constexpr (sizeof(R) == sizeof(float)) {
            return r_ub_[slot];
        } else {
            AscendC::Cast(tmp_ub_, r_ub_[slot], AscendC::RoundMode::CAST_NONE, count);
            return tmp_ub_;
        }
    }

    // Columns behind the end of a row count for nothing.
    __aicore__ inline void clear_tails(const Chunk& c, uint32_t rows) {
        if (c.cols == c.width) return;
        fill_row_tails(c.x, 0.0f, rows, c.cols, c.width);
        AscendC::PipeBarrier<PIPE_V>();
    }

    __aicore__ inline void add_squares(const Chunk& c, uint32_t rows) {
        clear_tails(c, rows);
        AscendC::Mul(tmp_ub_, c.x, c.x, static_cast<int32_t>(rows * c.width));
        AscendC::PipeBarrier<PIPE_V>();
        add_sums(square(), tmp_ub_, c, rows);
    }

    // sums += sum of each row of x, which has the shape of a chunk; with its barriers.
    __aicore__ inline void add_sums(const AscendC::LocalTensor<float>& sums,
                                    const AscendC::LocalTensor<float>& x, const Chunk& c, uint32_t rows) {
        RowTree<RowReduce::kSum> tree(x, wide_ub_, narrow_ub_, of_chunk(), rows, c.width);
        tree.drain();
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Add(sums, sums, of_chunk(), static_cast<int32_t>(rows));
        AscendC::PipeBarrier<PIPE_V>();
    }

    __aicore__ inline void centre(uint32_t rows) {
        AscendC::Muls(mean(), mean(), t_.inverse_dim, static_cast<int32_t>(kLanesF32));
        AscendC::PipeBarrier<PIPE_V>();
        spread_rows(spread_, mean(), rows);
        AscendC::PipeBarrier<PIPE_V>();
        for (uint32_t i = 0; i < num_chunks(); ++i) {
            const Chunk c = chunk(i);
            apply_rows<RowOp::kSub>(c.x, spread_, rows, c.width, c.width);
            AscendC::PipeBarrier<PIPE_V>();
            add_squares(c, rows);
        }
    }

    // Spreads 1 / sqrt(mean square + eps).
    __aicore__ inline void spread_scales(uint32_t rows) {
        const auto all = static_cast<int32_t>(kLanesF32);
        AscendC::Muls(square(), square(), t_.inverse_dim, all);
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Adds(square(), square(), t_.eps, all);
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Sqrt(square(), square(), all);
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Div(square(), ones(), square(), all);
        AscendC::PipeBarrier<PIPE_V>();
        spread_rows(spread_, square(), rows);
        AscendC::PipeBarrier<PIPE_V>();
    }

    __aicore__ inline void scale(const Chunk& c, uint32_t rows) {
        const auto weight = widened(weight_ub_, weight_chunk_ub_, c);
        apply_rows<RowOp::kMul>(c.x, spread_, rows, c.width, c.width);
        AscendC::PipeBarrier<PIPE_V>();
        apply_columns<RowOp::kMul>(c.x, weight, rows, c.cols, c.width);
        if (t_.has_bias != 0) {
            const auto bias = widened(bias_ub_, bias_chunk_ub_, c);
            AscendC::PipeBarrier<PIPE_V>();
            apply_columns<RowOp::kAdd>(c.x, bias, rows, c.cols, c.width);
        }
        AscendC::PipeBarrier<PIPE_V>();
    }

    // A chunk of weights or bias in f32.
    __aicore__ inline AscendC::LocalTensor<float> widened(const AscendC::LocalTensor<W>& row,
                                                          const AscendC::LocalTensor<float>& to,
                                                          const Chunk& c) {
        if constexpr (sizeof(W) == sizeof(float)) {
            return row[c.first];
        } else {
            AscendC::Cast(to, row[c.first], AscendC::RoundMode::CAST_NONE, c.cols);
            return to;
        }
    }

    // Rounds a chunk and writes it.
    template <typename O>
    __aicore__ inline void store(const AscendC::GlobalTensor<O>& to, uint64_t stride, const Chunk& c,
                                 uint32_t row, uint32_t rows) {
        const uint32_t slot = out_ring_.acquire();
        const auto out = out_ub_[slot].template ReinterpretCast<O>();
        if constexpr (sizeof(O) == sizeof(float)) {
            AscendC::Muls(out, c.x, 1.0f, static_cast<int32_t>(rows * c.width));
        } else {
            AscendC::Cast(out, c.x, AscendC::RoundMode::CAST_RINT, rows * c.width);
        }
        out_ring_.publish(slot);
        out_ring_.await(slot);
        copy_rows_ub_to_gm(to[row * stride + c.first], out, rows, c.cols, stride, c.width);
        out_ring_.release(slot);
    }

    const NormTilingData& t_;
    VectorMemory memory_;  // before the rings, see fa/memory.h
    AscendC::GlobalTensor<T> x_gm_;
    AscendC::GlobalTensor<R> r_gm_;
    AscendC::GlobalTensor<W> weight_gm_;
    AscendC::GlobalTensor<W> bias_gm_;
    AscendC::GlobalTensor<R> h_gm_;
    AscendC::GlobalTensor<T> y_gm_;
    AscendC::LocalTensor<T> x_ub_[2];
    AscendC::LocalTensor<R> r_ub_[2];
    AscendC::LocalTensor<R> out_ub_[2];
    AscendC::LocalTensor<float> slice_ub_;
    AscendC::LocalTensor<float> tmp_ub_;
    AscendC::LocalTensor<float> wide_ub_;
    AscendC::LocalTensor<float> narrow_ub_;
    AscendC::LocalTensor<W> weight_ub_;
    AscendC::LocalTensor<W> bias_ub_;
    AscendC::LocalTensor<float> weight_chunk_ub_;
    AscendC::LocalTensor<float> bias_chunk_ub_;
    SpreadRows spread_;
    AscendC::LocalTensor<float> stats_ub_;
    uint32_t end_ = 0;
    uint32_t next_row_ = 0;
    uint32_t next_chunk_ = 0;
    uint32_t slot_ = 0;
    bool has_weights_ = false;
    Ring<AscendC::HardEvent::MTE2_V, AscendC::HardEvent::V_MTE2, 0, 2> in_ring_;
    Ring<AscendC::HardEvent::V_MTE3, AscendC::HardEvent::MTE3_V, 0, 2> out_ring_;
};

template <typename T, typename W, typename R>
__aicore__ inline void norm(const NormOperands& gm) {
    const auto data = load_tiling<NormTilingData>(gm.tiling);
    NormKernel<T, W, R> kernel(data, gm);
    kernel.run();
}

}  // namespace fa

#undef FA_NORM
#define FA_NORM(name, T, W, R) FA_ENTRY(NORM, name, fa::norm<T, W, R>)
#include "variants.def"
