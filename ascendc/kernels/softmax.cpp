// SPDX-License-Identifier: MIT OR Apache-2.0
// Softmax of whole rows of scores in GM with an optional dense mask: the middle launch of unfused attention.
//
// Maths      x = scale * S + mask,  m = max(rowmax x, lowest finite f32),  e = exp(x - m),
//            P = e / max(rowsum e, 1)
//            mask is a dense matrix [rows, cols] of 0 and -inf, the same for every head. A row that sees a
//            key has a sum of at least 1, because its largest score contributes exp(0); one that sees none
//            gives P = 0.
// Tiling     A slice of slice_rows rows of one head stays in UB as f32, in chunks of `chunk` columns (a
//            multiple of 64, at most 1024, so that row strides fit 8 bits of blocks). Slices are dealt to the
//            vector cores in turn.
// UB         (bytes; chunk_bytes = slice_rows * chunk * 4; the planner proves the sum of at most 188 160)
//            2 x scores chunk_bytes (f32) or half of it | 2 x mask chunk_bytes/2, nothing where P is f32
//            | 2 x P chunk_bytes (f32) or half of it
//            | x ceil(cols/chunk) * chunk_bytes | tmp chunk_bytes
//            | 2 x row values slice_rows rounded up to 8 * 32 | stats 3 * 256
// Pipeline   MTE2 -> V [scores 2, mask 2]   V -> MTE3 [P 2]
//            Loads of the next chunk, and of the next slice, run beside the arithmetic.
// Limits     AIV only; cols up to 24 576; the planner refuses more. Where P is f32, there is no mask.
#include "fa/copy.h"
#include "fa/memory.h"
#include "fa/row_copy.h"
#include "fa/row_ops.h"
#include "fa/sync.h"
#include "families.h"

namespace fa {

// T: element type of mask and P. S: element type of the scores, float or T.
template <typename T, typename S>
class SoftmaxKernel {
  public:
    __aicore__ inline SoftmaxKernel(const SoftmaxTilingData& t, const SoftmaxOperands& gm) : t_(t) {
        scores_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ S*>(gm.scores));
        mask_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.mask));
        p_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.p));
        const auto ub = memory_.ub;
        const uint32_t elements = t.slice_rows * t.chunk;
        for (uint32_t i = 0; i < 2; ++i) {
            scores_ub_[i] = ub[t.ub_in_offset_bytes].template ReinterpretCast<S>()[i * elements];
            mask_ub_[i] = ub[t.ub_mask_offset_bytes].template ReinterpretCast<T>()[i * elements];
            p_ub_[i] = ub[t.ub_out_offset_bytes].template ReinterpretCast<T>()[i * elements];
        }
        x_ub_ = ub[t.ub_x_offset_bytes].template ReinterpretCast<float>();
        tmp_ub_ = ub[t.ub_tmp_offset_bytes].template ReinterpretCast<float>();
        spread_ = SpreadRows(ub[t.ub_spread_offset_bytes].template ReinterpretCast<float>(), t.slice_rows);
        stats_ub_ = ub[t.ub_stats_offset_bytes].template ReinterpretCast<float>();
    }

    __aicore__ inline void run() {
        clear_inputs();
        const uint32_t slices = ceil_div(t_.rows, t_.slice_rows);
        const uint64_t items = static_cast<uint64_t>(t_.num_heads) * slices;
        for (uint64_t item = block_index(); item < items; item += t_.num_cores) {
            const auto row = static_cast<uint32_t>(item % slices) * t_.slice_rows;
            softmax_slice(item / slices, row, min_u32(t_.slice_rows, t_.rows - row));
        }
    }

  private:
    static constexpr bool kIsF32 = sizeof(T) == sizeof(float);
    static constexpr int32_t kClearedId = 4;  // behind the ids of the rings

    // Lanes behind the end of a row are computed and then overwritten, so they have to hold something.
    __aicore__ inline void clear_inputs() {
        const auto bytes = static_cast<int32_t>(t_.ub_out_offset_bytes - t_.ub_in_offset_bytes);
        AscendC::Duplicate(memory_.ub[t_.ub_in_offset_bytes].template ReinterpretCast<float>(), 0.0f,
                           bytes / 4);
        AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(kClearedId);
        AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(kClearedId);
    }

    // A chunk of the slice: [rows, width] f32, the first `cols` of each row valid.
    struct Chunk {
        AscendC::LocalTensor<float> x;
        uint32_t first;
        uint32_t cols;
        uint32_t width;
    };
    __aicore__ inline Chunk chunk(uint32_t index) {
        const uint32_t first = index * t_.chunk;
        const uint32_t cols = min_u32(t_.chunk, t_.cols - first);
        return {x_ub_[index * t_.slice_rows * t_.chunk], first, cols, round_up(cols, kLanesF32)};
    }
    __aicore__ inline AscendC::LocalTensor<float> row_max() { return stats_ub_; }
    __aicore__ inline AscendC::LocalTensor<float> row_sum() { return stats_ub_[kLanesF32]; }
    __aicore__ inline AscendC::LocalTensor<float> of_chunk() { return stats_ub_[2 * kLanesF32]; }

    __aicore__ inline void softmax_slice(uint64_t head, uint32_t row, uint32_t rows) {
        const uint32_t chunks = ceil_div(t_.cols, t_.chunk);
        const uint64_t at = (head * t_.rows + row) * t_.pitch;
        AscendC::Duplicate(row_max(), kLowestF32, static_cast<int32_t>(kLanesF32));
        AscendC::Duplicate(row_sum(), 0.0f, static_cast<int32_t>(2 * kLanesF32));
        AscendC::PipeBarrier<PIPE_V>();
        for (uint32_t i = 0; i < chunks; ++i) {
            const Chunk c = chunk(i);
            load_scores(c, at, rows);
            if (t_.has_mask != 0) add_mask(c, row, rows);
            if (c.cols < c.width) {
                fill_row_tails(c.x, minus_infinity(), rows, c.cols, c.width);
                AscendC::PipeBarrier<PIPE_V>();
            }
            reduce<RowReduce::kMax>(c, rows);
            AscendC::Max(row_max(), row_max(), of_chunk(), static_cast<int32_t>(rows));
            AscendC::PipeBarrier<PIPE_V>();
        }
        spread_rows(spread_, row_max(), rows);
        AscendC::PipeBarrier<PIPE_V>();
        for (uint32_t i = 0; i < chunks; ++i) {
            const Chunk c = chunk(i);
            apply_rows<RowOp::kSub>(c.x, spread_, rows, c.width, c.width);
            AscendC::PipeBarrier<PIPE_V>();
            AscendC::Exp(c.x, c.x, static_cast<int32_t>(rows * c.width));
            AscendC::PipeBarrier<PIPE_V>();
            reduce<RowReduce::kSum>(c, rows);
            AscendC::Add(row_sum(), row_sum(), of_chunk(), static_cast<int32_t>(rows));
            AscendC::PipeBarrier<PIPE_V>();
        }
        AscendC::Maxs(row_sum(), row_sum(), 1.0f, static_cast<int32_t>(rows));
        AscendC::PipeBarrier<PIPE_V>();
        spread_rows(spread_, row_sum(), rows);
        AscendC::PipeBarrier<PIPE_V>();
        for (uint32_t i = 0; i < chunks; ++i) {
            const Chunk c = chunk(i);
            apply_rows<RowOp::kDiv>(c.x, spread_, rows, c.width, c.width);
            AscendC::PipeBarrier<PIPE_V>();
            store_probabilities(c, at, rows);
        }
    }

    // of_chunk() = reduction of the rows of a chunk; with its barriers.
    template <RowReduce kOp>
    __aicore__ inline void reduce(const Chunk& c, uint32_t rows) {
        const auto narrow = tmp_ub_[t_.slice_rows * t_.chunk / kBlockF32];
        RowTree<kOp> tree(c.x, tmp_ub_, narrow, of_chunk(), rows, c.width);
        tree.drain();
        AscendC::PipeBarrier<PIPE_V>();
    }

    __aicore__ inline void load_scores(const Chunk& c, uint64_t at, uint32_t rows) {
        const auto count = static_cast<int32_t>(rows * c.width);
        const uint32_t slot = scores_ring_.acquire();
        copy_rows_gm_to_ub(scores_ub_[slot], scores_gm_[at + c.first], rows, c.cols, t_.pitch, c.width);
        scores_ring_.publish(slot);
        scores_ring_.await(slot);
        if constexpr (sizeof(S) == sizeof(float)) {
            AscendC::Muls(c.x, scores_ub_[slot], t_.softmax_scale, count);
        } else {
            AscendC::Cast(c.x, scores_ub_[slot], AscendC::RoundMode::CAST_NONE, rows * c.width);
            AscendC::PipeBarrier<PIPE_V>();
            AscendC::Muls(c.x, c.x, t_.softmax_scale, count);
        }
        AscendC::PipeBarrier<PIPE_V>();
        scores_ring_.release(slot);
    }

    __aicore__ inline void add_mask(const Chunk& c, uint32_t row, uint32_t rows) {
        const uint32_t slot = mask_ring_.acquire();
        copy_rows_gm_to_ub(mask_ub_[slot], mask_gm_[static_cast<uint64_t>(row) * t_.cols + c.first], rows,
                           c.cols, t_.cols, c.width);
        mask_ring_.publish(slot);
        mask_ring_.await(slot);
        AscendC::LocalTensor<float> mask = tmp_ub_;
        if constexpr (kIsF32) {
            mask = mask_ub_[slot];
        } else {
            AscendC::Cast(mask, mask_ub_[slot], AscendC::RoundMode::CAST_NONE, rows * c.width);
            AscendC::PipeBarrier<PIPE_V>();
        }
        AscendC::Add(c.x, c.x, mask, static_cast<int32_t>(rows * c.width));
        AscendC::PipeBarrier<PIPE_V>();
        mask_ring_.release(slot);
    }

    __aicore__ inline void store_probabilities(const Chunk& c, uint64_t at, uint32_t rows) {
        const uint32_t slot = p_ring_.acquire();
        if constexpr (kIsF32) {
            AscendC::Muls(p_ub_[slot], c.x, 1.0f, static_cast<int32_t>(rows * c.width));
        } else {
            AscendC::Cast(p_ub_[slot], c.x, AscendC::RoundMode::CAST_RINT, rows * c.width);
        }
        p_ring_.publish(slot);
        p_ring_.await(slot);
        copy_rows_ub_to_gm(p_gm_[at + c.first], p_ub_[slot], rows, c.cols, t_.pitch, c.width);
        p_ring_.release(slot);
    }

    const SoftmaxTilingData& t_;
    VectorMemory memory_;  // before the rings, see fa/memory.h
    AscendC::GlobalTensor<S> scores_gm_;
    AscendC::GlobalTensor<T> mask_gm_;
    AscendC::GlobalTensor<T> p_gm_;
    AscendC::LocalTensor<S> scores_ub_[2];
    AscendC::LocalTensor<T> mask_ub_[2];
    AscendC::LocalTensor<T> p_ub_[2];
    AscendC::LocalTensor<float> x_ub_;
    AscendC::LocalTensor<float> tmp_ub_;
    SpreadRows spread_;
    AscendC::LocalTensor<float> stats_ub_;
    Ring<AscendC::HardEvent::MTE2_V, AscendC::HardEvent::V_MTE2, 0, 2> scores_ring_;
    Ring<AscendC::HardEvent::MTE2_V, AscendC::HardEvent::V_MTE2, 2, 2> mask_ring_;
    Ring<AscendC::HardEvent::V_MTE3, AscendC::HardEvent::MTE3_V, 0, 2> p_ring_;
};

template <typename T, typename S>
__aicore__ inline void softmax(const SoftmaxOperands& gm) {
    const auto data = load_tiling<SoftmaxTilingData>(gm.tiling);
    SoftmaxKernel<T, S> kernel(data, gm);
    kernel.run();
}

}  // namespace fa

#undef FA_SOFTMAX
#define FA_SOFTMAX(name, T, S) FA_ENTRY(SOFTMAX, name, fa::softmax<T, S>)
#include "variants.def"
