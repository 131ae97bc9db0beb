// SPDX-License-Identifier: MIT OR Apache-2.0
// What a vector core of flash_fwd keeps from step to step: its part of UB, row statistics, and the rings that
// bring data in.
#pragma once
#include "fa/copy.h"
#include "fa/mask.h"
#include "fa/memory.h"
#include "fa/row_ops.h"
#include "fa/seqlen.h"
#include "fa/sync.h"
#include "flash_fwd_workspace.h"

namespace fa {

// T: q, k, v and o; S: the scores on their way here, and what the softmax computes with, float or half.
template <typename T, typename S>
struct FlashFwdState {
    static constexpr bool kIsWide = sizeof(S) == sizeof(float);
    // Slices in UB: those on their way through the softmax, and one that is being loaded.
    static constexpr uint32_t kSlices = kIsWide ? 5 : 4;
    // Row statistics: maxima and sums of two items, scratch, and rescale factors: one array for each step of
    // a bundle, and one more for the first step, as two bundles are under way. With adds_mean two arrays
    // more.
    static constexpr uint32_t kStatsFixed = 8;
    // A finite start for row maxima: -inf less it is -inf, and never NaN.
    static constexpr float kLowest = kIsWide ? kLowestF32 : -65504.0f;

    template <typename Operands>
    __aicore__ inline FlashFwdState(const FlashFwdTilingData& tiling, const Operands& gm)
        : t(tiling),
          core(block_index() / 2),
          sub(sub_block_index()),
          ring(t, gm.workspace, core),
          stats_pitch(round_up(t.rows_v, kLanesF32)) {
        mask_gm.SetGlobalBuffer(reinterpret_cast<__gm__ uint8_t*>(gm.mask));
        const auto bytes = memory.ub;
        for (uint32_t i = 0; i < kSlices; ++i) {
            slice_ub[i] = bytes[t.ub_s_offset_bytes + i * t.slice_bytes].template ReinterpretCast<S>();
        }
        for (uint32_t i = 0; i < 2; ++i) {
            out_ub[i] = bytes[t.ub_p_offset_bytes + i * out_bytes()].template ReinterpretCast<T>();
            mask_ub[i] = bytes[t.ub_mask_offset_bytes + i * t.ub_mask_bytes];
        }
        blocks = SpreadRows(bytes[t.ub_brcb_offset_bytes].template ReinterpretCast<float>(), t.rows_v);
        stats_ub = bytes[t.ub_stats_offset_bytes].template ReinterpretCast<float>();
        // Brcb reads whole groups of 8 row values, also where the last rows of a slice do not exist.
        const uint32_t arrays = kStatsFixed + t.bundle_steps + 1 + 2 * t.adds_mean;
        // FlashFwdBundle waits for it.
        AscendC::Duplicate(stats_ub, 0.0f, static_cast<int32_t>(arrays * stats_pitch));
    }

    __aicore__ inline AscendC::LocalTensor<float> stats(uint32_t index, uint32_t row) const {
        return stats_ub[index * stats_pitch + row];
    }
    __aicore__ inline AscendC::LocalTensor<float> row_max(uint32_t item, uint32_t row) const {
        return stats(item % 2, row);
    }
    __aicore__ inline AscendC::LocalTensor<float> row_sum(uint32_t item, uint32_t row) const {
        return stats(2 + item % 2, row);
    }
    __aicore__ inline AscendC::LocalTensor<float> block_max(uint32_t row) const { return stats(4, row); }
    __aicore__ inline AscendC::LocalTensor<float> new_max(uint32_t row) const { return stats(5, row); }
    __aicore__ inline AscendC::LocalTensor<float> lse_out(uint32_t row) const { return stats(6, row); }
    __aicore__ inline AscendC::LocalTensor<float> block_sum(uint32_t row) const { return stats(7, row); }
    // exp(maximum before step `i` of a bundle less the one after it). Of the first step two bundles have one:
    // when a bundle has ended, it is the product of all of them.
    __aicore__ inline AscendC::LocalTensor<float> rescale(uint32_t bundle, uint32_t i, uint32_t row) const {
        return stats(kStatsFixed + (i == 0 ? bundle % 2 : i + 1), row);
    }
    __aicore__ inline AscendC::LocalTensor<float> rescale(const Step& s, uint32_t row) const {
        return rescale(s.bundle, s.in_bundle, row);
    }
    // q times what was subtracted from the keys.
    __aicore__ inline AscendC::LocalTensor<float> mean(uint32_t item) const {
        return stats(kStatsFixed + t.bundle_steps + 1 + item % 2, 0);
    }

    // This AIV's rows of an item: the first one takes the half rounded up to 8, so that row values stay
    // aligned.
    __aicore__ static inline uint32_t first_half(const Step& s) {
        return min_u32(s.rows, round_up(ceil_div(s.rows, 2), kBlockF32));
    }
    __aicore__ inline uint32_t first_row(const Step& s) const { return sub == 0 ? 0 : first_half(s); }
    __aicore__ inline uint32_t num_rows(const Step& s) const {
        return sub == 0 ? first_half(s) : s.rows - first_half(s);
    }
    // Whole groups of 8 rows of `row_bytes` that fit `bytes`, at most those of a slice.
    __aicore__ inline uint32_t rows_within(uint32_t bytes, uint32_t row_bytes) const {
        return min_u32(t.slice_rows, bytes / row_bytes / kBlockF32 * kBlockF32);
    }

    // Bytes of a buffer of `out_ub`: f32 scores send their probabilities through it, too.
    __aicore__ inline uint32_t out_bytes() const { return kIsWide ? t.slice_bytes / 2 : t.slice_bytes / 4; }

    __aicore__ inline void start_item(const Step& s) {
        const auto count = static_cast<int32_t>(stats_pitch);
        AscendC::Duplicate(row_max(s.item, 0), kLowest, count);
        AscendC::Duplicate(row_sum(s.item, 0), 0.0f, count);
        AscendC::PipeBarrier<PIPE_V>();
    }

    __aicore__ inline uint32_t load_scores(const Step& s, uint32_t step, uint32_t row, uint32_t rows,
                                           uint32_t pitch) {
        constexpr uint32_t kBlock = kBlockBytes / sizeof(S);
        const uint32_t slot = load_ring.acquire();
        for (uint32_t n = 0; n < s.n_valid; n += ring.score_pitch()) {
            const uint32_t blocks_of_row = ceil_div(min_u32(ring.score_pitch(), s.n_valid - n), kBlock);
            AscendC::DataCopyParams params;
            params.blockCount = static_cast<uint16_t>(rows);
            params.blockLen = static_cast<uint16_t>(blocks_of_row);
            params.srcStride = static_cast<uint16_t>(ring.score_pitch() / kBlock - blocks_of_row);
            params.dstStride = static_cast<uint16_t>(pitch / kBlock - blocks_of_row);
            AscendC::DataCopy(slice_ub[slot][n], ring.s(step, first_row(s) + row, n), params);
        }
        load_ring.publish(slot);
        return slot;
    }

    // mean(item), of which every column of the workspace's rows is a copy.
    __aicore__ inline void load_mean(const Step& s, uint32_t step) {
        const uint32_t rows = num_rows(s);
        if (rows == 0) return;
        const uint32_t slot = load_ring.acquire();
        AscendC::DataCopyParams params;
        params.blockCount = static_cast<uint16_t>(rows);
        params.blockLen = 1;
        params.srcStride = kFractal / kBlockF32 - 1;
        params.dstStride = 0;
        AscendC::DataCopy(output(slot), ring.mean(step, first_row(s)), params);
        load_ring.publish(slot);
        load_ring.await(slot);
        RowTree<RowReduce::kMax>(output(slot), output(slot), output(slot), mean(s.item), rows, kBlockF32)
            .step();
        load_ring.release(slot);
    }

    // P V of a bundle.
    __aicore__ inline uint32_t load_output(const Step& s, uint32_t row, uint32_t rows) {
        const uint64_t at = static_cast<uint64_t>(first_row(s) + row) * t.head_dim_v;
        const uint32_t slot = load_ring.acquire();
        AscendC::DataCopy(output(slot), ring.o(s.bundle)[at], rows * t.head_dim_v);
        load_ring.publish(slot);
        return slot;
    }
    __aicore__ inline AscendC::LocalTensor<float> output(uint32_t slot) const {
        return slice_ub[slot].template ReinterpretCast<float>();
    }

    __aicore__ inline void store_probabilities(const AscendC::LocalTensor<T>& p, const Step& s, uint32_t step,
                                               uint32_t row, uint32_t rows, uint32_t pitch) {
        const uint32_t blocks_of_row = ceil_div(s.n_valid, kFractal);
        AscendC::DataCopyParams params;
        params.blockCount = static_cast<uint16_t>(rows);
        params.blockLen = static_cast<uint16_t>(blocks_of_row);
        params.srcStride = static_cast<uint16_t>(pitch / kFractal - blocks_of_row);
        params.dstStride = static_cast<uint16_t>(t.block_n / kFractal - blocks_of_row);
        AscendC::DataCopy(ring.p(step)[static_cast<uint64_t>(first_row(s) + row) * t.block_n], p, params);
    }

    // Tiling-mask: only slices that a diagonal crosses load bits. Column j of row i is visible iff
    // left + i <= j <= right + i.
    __aicore__ inline void apply_diagonals(const AscendC::LocalTensor<S>& x, const Step& s, uint32_t row,
                                           uint32_t rows, uint32_t pitch) {
        const int64_t diagonal = static_cast<int64_t>(s.m0) + first_row(s) + row + t.seqlen_k -
                                 static_cast<int64_t>(t.seqlen_q) - s.n0;
        const int64_t right = diagonal + t.window_right;
        const int64_t left = diagonal - t.window_left;
        const bool cut_right = t.window_right >= 0 && right < static_cast<int64_t>(s.n_valid) - 1;
        const bool cut_left = t.window_left >= 0 && left + rows - 1 > 0;
        if (!cut_right && !cut_left) return;
        const uint32_t row_bytes = round_up(pitch / 8, kBlockBytes);
        const auto words = static_cast<int32_t>(rows * row_bytes / 2);
        const uint32_t slot = mask_ring.acquire();
        if (cut_right) copy_mask_window(mask_ub[0], mask_gm, t.mask_dim, right, rows, pitch, row_bytes);
        if (cut_left) copy_mask_window(mask_ub[1], mask_gm, t.mask_dim, left - 1, rows, pitch, row_bytes);
        mask_ring.publish(slot);
        mask_ring.await(slot);
        const auto right_bits = mask_ub[0].template ReinterpretCast<uint16_t>();
        const auto left_bits = mask_ub[1].template ReinterpretCast<uint16_t>();
        if (cut_left) {
            AscendC::Not(left_bits, left_bits, words);
            AscendC::PipeBarrier<PIPE_V>();
        }
        if (cut_left && cut_right) {
            AscendC::And(right_bits, right_bits, left_bits, words);
            AscendC::PipeBarrier<PIPE_V>();
        }
        apply_mask(x, cut_right ? mask_ub[0] : mask_ub[1], static_cast<S>(minus_infinity()), rows, pitch,
                   row_bytes);
        AscendC::PipeBarrier<PIPE_V>();
        mask_ring.release(slot);
    }

    const FlashFwdTilingData& t;
    uint32_t core;
    uint32_t sub;
    FlashFwdWorkspace<T, S> ring;
    uint32_t stats_pitch;
    VectorMemory memory;  // before the rings, see fa/memory.h
    AscendC::GlobalTensor<uint8_t> mask_gm;
    AscendC::LocalTensor<S> slice_ub[kSlices];
    AscendC::LocalTensor<T> out_ub[2];
    AscendC::LocalTensor<uint8_t> mask_ub[2];
    SpreadRows blocks;
    AscendC::LocalTensor<float> stats_ub;
    Ring<AscendC::HardEvent::MTE2_V, AscendC::HardEvent::V_MTE2, 0, kSlices> load_ring;
    Ring<AscendC::HardEvent::MTE2_V, AscendC::HardEvent::V_MTE2, kSlices, 1> mask_ring;
    Ring<AscendC::HardEvent::V_MTE3, AscendC::HardEvent::MTE3_V, 4, 2> out_ring;
};

}  // namespace fa
