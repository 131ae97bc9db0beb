// SPDX-License-Identifier: MIT OR Apache-2.0
// Vector half of flash_fwd: mask, online softmax, rescaling and output. See flash_fwd.cpp.
#pragma once
#include "fa/copy.h"
#include "fa/mask.h"
#include "fa/memory.h"
#include "fa/row_ops.h"
#include "fa/seqlen.h"
#include "fa/sync.h"
#include "flash_fwd_workspace.h"

namespace fa {

template <typename T>
class FlashFwdVector {
  public:
    __aicore__ inline FlashFwdVector(const FlashFwdTilingData& t, GM_ADDR mask, GM_ADDR o, GM_ADDR lse,
                                     GM_ADDR workspace)
        : t_(t),
          core_(block_index() / 2),
          sub_(sub_block_index()),
          ring_(t, workspace, core_),
          stats_pitch_(round_up(t.rows_v, kLanesF32)) {
        mask_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ uint8_t*>(mask));
        o_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(o));
        lse_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(lse));
        const auto bytes = memory_.ub;
        for (uint32_t i = 0; i < 2; ++i) {
            s_ub_[i] = bytes[t.ub_s_offset_bytes + i * t.slice_bytes].template ReinterpretCast<float>();
            p_ub_[i] = bytes[t.ub_p_offset_bytes + i * (t.slice_bytes / 2)].template ReinterpretCast<T>();
            mask_ub_[i] = bytes[t.ub_mask_offset_bytes + i * mask_bytes()];
        }
        acc_ub_ = bytes[t.ub_acc_offset_bytes].template ReinterpretCast<float>();
        tmp_ub_ = bytes[t.ub_tmp_offset_bytes].template ReinterpretCast<float>();
        blocks_ub_ = bytes[t.ub_brcb_offset_bytes].template ReinterpretCast<float>();
        stats_ub_ = bytes[t.ub_stats_offset_bytes].template ReinterpretCast<float>();
    }

    // The update of step i runs after the softmax of step i + 1, while the Cube makes P V of step i.
    __aicore__ inline void run() {
        // Brcb reads whole groups of 8 row values, also where the last rows of a slice do not exist.
        AscendC::Duplicate(stats_ub_, 0.0f, static_cast<int32_t>((t_.num_stages + kStatsFixed) * stats_pitch_));
        AscendC::PipeBarrier<PIPE_V>();
        write_empty_items();
        StepCursor softmax(t_, core_);
        StepCursor update(t_, core_);
        bool more = true;
        for (uint32_t turn = 0;; ++turn) {
            more = more && softmax.next();
            if (more) softmax_step(softmax.step(), turn % t_.num_stages);
            if (turn == 0) continue;
            if (!update.next()) break;
            update_step(update.step(), (turn - 1) % t_.num_stages);
        }
    }

  private:
    // Row statistics: maxima and sums of two items, scratch, and one array of rescale factors a stage.
    static constexpr uint32_t kStatsFixed = 8;

    __aicore__ inline AscendC::LocalTensor<float> stats(uint32_t index, uint32_t row) {
        return stats_ub_[index * stats_pitch_ + row];
    }
    __aicore__ inline AscendC::LocalTensor<float> row_max(uint32_t item, uint32_t row) { return stats(item % 2, row); }
    __aicore__ inline AscendC::LocalTensor<float> row_sum(uint32_t item, uint32_t row) {
        return stats(2 + item % 2, row);
    }
    __aicore__ inline AscendC::LocalTensor<float> block_value(uint32_t row) { return stats(4, row); }
    __aicore__ inline AscendC::LocalTensor<float> new_max(uint32_t row) { return stats(5, row); }
    __aicore__ inline AscendC::LocalTensor<float> divisor(uint32_t row) { return stats(6, row); }
    __aicore__ inline AscendC::LocalTensor<float> lse_out(uint32_t row) { return stats(7, row); }
    __aicore__ inline AscendC::LocalTensor<float> rescale(uint32_t stage, uint32_t row) {
        return stats(kStatsFixed + stage, row);
    }
    __aicore__ inline uint32_t mask_bytes() const {
        return t_.slice_rows * round_up(ceil_div(t_.block_n, 8), kBlockBytes);
    }
    // This AIV's rows of an item: the first one takes the half rounded up to 8, so that row values stay aligned.
    __aicore__ static inline uint32_t first_half(const Step& s) {
        return min_u32(s.rows, round_up(ceil_div(s.rows, 2), kBlockF32));
    }
    __aicore__ inline uint32_t first_row(const Step& s) const { return sub_ == 0 ? 0 : first_half(s); }
    __aicore__ inline uint32_t num_rows(const Step& s) const {
        return sub_ == 0 ? first_half(s) : s.rows - first_half(s);
    }
    __aicore__ inline uint32_t rows_per_slice(uint32_t pitch) const {
        return min_u32(t_.slice_rows, t_.slice_bytes / (4 * pitch) / kBlockF32 * kBlockF32);
    }

    __aicore__ inline void write_empty_items() {
        ItemCursor items(t_, core_);
        Step s{};
        KeyRange keys{0, 0};
        while (items.next(s, keys)) {
            if (keys.begin != keys.end || num_rows(s) == 0) continue;
            start_item(s);
            AscendC::Duplicate(acc_ub_, 0.0f, static_cast<int32_t>(num_rows(s) * t_.head_dim_v));
            finish_item(s);  // its first barrier covers acc, too
        }
    }

    __aicore__ inline void start_item(const Step& s) {
        const auto count = static_cast<int32_t>(stats_pitch_);
        AscendC::Duplicate(row_max(s.item, 0), kLowestF32, count);
        AscendC::Duplicate(row_sum(s.item, 0), 0.0f, count);
        AscendC::PipeBarrier<PIPE_V>();
    }

    __aicore__ inline void softmax_step(const Step& s, uint32_t stage) {
        if (s.first) start_item(s);
        AscendC::CrossCoreWaitFlag<kCrossCoreMode>(kQkReady);
        const uint32_t pitch = round_up(s.n_valid, kLanesF32);
        const uint32_t step = rows_per_slice(pitch);
        const uint32_t total = num_rows(s);
        for (uint32_t row = 0; row < total; row += step) {
            softmax_slice(s, stage, row, min_u32(step, total - row), pitch);
        }
        AscendC::CrossCoreSetFlag<kCrossCoreMode, PIPE_MTE3>(kSoftmaxReady);
    }

    __aicore__ inline void softmax_slice(const Step& s, uint32_t stage, uint32_t row, uint32_t rows, uint32_t pitch) {
        const uint32_t slot = s_ring_.acquire();
        const auto& x = s_ub_[slot];
        copy_scores(x, s, stage, row, rows, pitch);
        s_ring_.publish(slot);
        s_ring_.await(slot);
        scale_and_mask(x, s, row, rows, pitch);

        const auto count = static_cast<int32_t>(rows);
        const auto old_max = row_max(s.item, row);
        const auto sum = row_sum(s.item, row);
        const auto alpha = rescale(stage, row);
        reduce_rows<RowReduce::kMax>(block_value(row), x, tmp_ub_, blocks_ub_, rows, pitch);
        AscendC::Max(new_max(row), old_max, block_value(row), count);
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Sub(alpha, old_max, new_max(row), count);
        spread_rows(blocks_ub_, new_max(row), rows);  // with its barrier
        AscendC::Exp(alpha, alpha, count);
        apply_rows<RowOp::kSub>(x, blocks_ub_, rows, pitch, pitch);
        AscendC::Adds(old_max, new_max(row), 0.0f, count);
        AscendC::Exp(x, x, static_cast<int32_t>(rows * pitch));
        AscendC::Mul(sum, sum, alpha, count);
        AscendC::PipeBarrier<PIPE_V>();
        reduce_rows<RowReduce::kSum>(block_value(row), x, tmp_ub_, blocks_ub_, rows, pitch);
        AscendC::Add(sum, sum, block_value(row), count);

        const uint32_t out = out_ring_.acquire();
        AscendC::Cast(p_ub_[out], x, AscendC::RoundMode::CAST_RINT, rows * pitch);
        s_ring_.release(slot);
        out_ring_.publish(out);
        out_ring_.await(out);
        store_probabilities(p_ub_[out], s, stage, row, rows, pitch);
        out_ring_.release(out);
    }

    __aicore__ inline void copy_scores(const AscendC::LocalTensor<float>& x, const Step& s, uint32_t stage,
                                       uint32_t row, uint32_t rows, uint32_t pitch) {
        const uint32_t blocks = ceil_div(s.n_valid, kBlockF32);
        AscendC::DataCopyParams params;
        params.blockCount = static_cast<uint16_t>(rows);
        params.blockLen = static_cast<uint16_t>(blocks);
        params.srcStride = static_cast<uint16_t>(t_.block_n / kBlockF32 - blocks);
        params.dstStride = static_cast<uint16_t>(pitch / kBlockF32 - blocks);
        AscendC::DataCopy(x, ring_.s(stage)[static_cast<uint64_t>(first_row(s) + row) * t_.block_n], params);
    }

    __aicore__ inline void store_probabilities(const AscendC::LocalTensor<T>& p, const Step& s, uint32_t stage,
                                               uint32_t row, uint32_t rows, uint32_t pitch) {
        const uint32_t blocks = ceil_div(s.n_valid, kFractal);
        AscendC::DataCopyParams params;
        params.blockCount = static_cast<uint16_t>(rows);
        params.blockLen = static_cast<uint16_t>(blocks);
        params.srcStride = static_cast<uint16_t>(pitch / kFractal - blocks);
        params.dstStride = static_cast<uint16_t>(t_.block_n / kFractal - blocks);
        AscendC::DataCopy(ring_.p(stage)[static_cast<uint64_t>(first_row(s) + row) * t_.block_n], p, params);
    }

    // Scores times softmax_scale, -inf where the mask or the end of the keys hides them.
    __aicore__ inline void scale_and_mask(const AscendC::LocalTensor<float>& x, const Step& s, uint32_t row,
                                          uint32_t rows, uint32_t pitch) {
        const bool tail = s.n_valid < pitch;
        if (tail) fill_row_tails(x, 0.0f, rows, s.n_valid, pitch);
        AscendC::Muls(x, x, t_.softmax_scale, static_cast<int32_t>(rows * pitch));
        AscendC::PipeBarrier<PIPE_V>();
        apply_diagonals(x, s, row, rows, pitch);
        if (tail) fill_row_tails(x, minus_infinity(), rows, s.n_valid, pitch);
    }

    // Tiling-mask: only slices that a diagonal crosses load bits. Column j of row i is visible iff
    // left + i <= j <= right + i.
    __aicore__ inline void apply_diagonals(const AscendC::LocalTensor<float>& x, const Step& s, uint32_t row,
                                           uint32_t rows, uint32_t pitch) {
        const int64_t diagonal = static_cast<int64_t>(s.m0) + first_row(s) + row + t_.seqlen_k -
                                 static_cast<int64_t>(t_.seqlen_q) - s.n0;
        const int64_t right = diagonal + t_.window_right;
        const int64_t left = diagonal - t_.window_left;
        const bool cut_right = t_.window_right >= 0 && right < static_cast<int64_t>(s.n_valid) - 1;
        const bool cut_left = t_.window_left >= 0 && left + rows - 1 > 0;
        if (!cut_right && !cut_left) return;
        const uint32_t row_bytes = round_up(pitch / 8, kBlockBytes);
        const auto words = static_cast<int32_t>(rows * row_bytes / 2);
        const uint32_t slot = mask_ring_.acquire();
        if (cut_right) copy_mask_window(mask_ub_[0], mask_gm_, t_.mask_dim, right, rows, pitch, row_bytes);
        if (cut_left) copy_mask_window(mask_ub_[1], mask_gm_, t_.mask_dim, left - 1, rows, pitch, row_bytes);
        mask_ring_.publish(slot);
        mask_ring_.await(slot);
        const auto right_bits = mask_ub_[0].template ReinterpretCast<uint16_t>();
        const auto left_bits = mask_ub_[1].template ReinterpretCast<uint16_t>();
        if (cut_left) {
            AscendC::Not(left_bits, left_bits, words);
            AscendC::PipeBarrier<PIPE_V>();
        }
        if (cut_left && cut_right) {
            AscendC::And(right_bits, right_bits, left_bits, words);
            AscendC::PipeBarrier<PIPE_V>();
        }
        apply_mask(x, cut_right ? mask_ub_[0] : mask_ub_[1], minus_infinity(), rows, pitch, row_bytes);
        AscendC::PipeBarrier<PIPE_V>();
        mask_ring_.release(slot);
    }

    // acc = acc * rescale + (P V of this step)
    __aicore__ inline void update_step(const Step& s, uint32_t stage) {
        AscendC::CrossCoreWaitFlag<kCrossCoreMode>(kPvReady);
        const uint32_t step = rows_per_slice(t_.head_dim_v);
        const uint32_t total = num_rows(s);
        for (uint32_t row = 0; row < total; row += step) {
            const uint32_t rows = min_u32(step, total - row);
            const auto count = static_cast<int32_t>(rows * t_.head_dim_v);
            const auto acc = acc_ub_[row * t_.head_dim_v];
            const uint32_t slot = s_ring_.acquire();
            AscendC::DataCopy(s_ub_[slot], ring_.o(stage)[static_cast<uint64_t>(first_row(s) + row) * t_.head_dim_v],
                              static_cast<uint32_t>(count));
            s_ring_.publish(slot);
            if (!s.first) {
                spread_rows(blocks_ub_, rescale(stage, row), rows);
                apply_rows<RowOp::kMul>(acc, blocks_ub_, rows, t_.head_dim_v, t_.head_dim_v);
            }
            s_ring_.await(slot);
            if (s.first) {
                AscendC::Adds(acc, s_ub_[slot], 0.0f, count);
            } else {
                AscendC::Add(acc, acc, s_ub_[slot], count);
            }
            // No barrier: the next use of these rows of acc is behind that of spread_rows or finish_item.
            s_ring_.release(slot);
        }
        if (s.last) finish_item(s);
    }

    // o = acc / sum, lse = max + ln(sum). A row that saw no key has sum 0: o = 0 / max(sum, 1) and ln(0) = -inf.
    // Any other row has sum >= 1, because its largest score contributes exp(0).
    __aicore__ inline void finish_item(const Step& s) {
        const uint32_t total = num_rows(s);
        if (total == 0) return;
        AscendC::Maxs(divisor(0), row_sum(s.item, 0), 1.0f, static_cast<int32_t>(total));
        AscendC::PipeBarrier<PIPE_V>();
        const uint32_t step = rows_per_slice(t_.head_dim_v);
        for (uint32_t row = 0; row < total; row += step) {
            const uint32_t rows = min_u32(step, total - row);
            const auto acc = acc_ub_[row * t_.head_dim_v];
            spread_rows(blocks_ub_, divisor(row), rows);
            apply_rows<RowOp::kDiv>(acc, blocks_ub_, rows, t_.head_dim_v, t_.head_dim_v);
            const uint32_t out = out_ring_.acquire();
            AscendC::Cast(p_ub_[out], acc, AscendC::RoundMode::CAST_RINT, rows * t_.head_dim_v);
            out_ring_.publish(out);
            out_ring_.await(out);
            store_output(p_ub_[out], s, row, rows);
            out_ring_.release(out);
        }
        if (t_.want_lse != 0) store_lse(s, total);
    }

    __aicore__ inline void store_output(const AscendC::LocalTensor<T>& o, const Step& s, uint32_t row, uint32_t rows) {
        const uint64_t m = static_cast<uint64_t>(s.m0) + first_row(s) + row;
        AscendC::DataCopyExtParams params;
        params.blockCount = static_cast<uint16_t>(rows);
        params.blockLen = t_.head_dim_v * static_cast<uint32_t>(sizeof(T));
        params.srcStride = 0;
        // A single row has no gap behind it, and its stride may be any number.
        params.dstStride = rows > 1 ? static_cast<uint32_t>((t_.o_stride[1] - t_.head_dim_v) * sizeof(T)) : 0;
        params.rsv = 0;
        AscendC::DataCopyPad(o_gm_[row_offset(t_.o_stride, s.batch, m, s.head)], o, params);
    }

    __aicore__ inline void store_lse(const Step& s, uint32_t total) {
        const auto count = static_cast<int32_t>(total);
        const uint32_t slot = lse_ring_.acquire();
        AscendC::Ln(lse_out(0), row_sum(s.item, 0), count);
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Add(lse_out(0), lse_out(0), row_max(s.item, 0), count);
        lse_ring_.publish(slot);
        lse_ring_.await(slot);
        const uint64_t head = static_cast<uint64_t>(s.batch) * t_.num_heads + s.head;
        AscendC::DataCopyExtParams params;
        params.blockCount = 1;
        params.blockLen = total * static_cast<uint32_t>(sizeof(float));
        params.srcStride = 0;
        params.dstStride = 0;
        params.rsv = 0;
        AscendC::DataCopyPad(lse_gm_[head * t_.seqlen_q + s.m0 + first_row(s)], lse_out(0), params);
        lse_ring_.release(slot);
    }

    const FlashFwdTilingData& t_;
    uint32_t core_;
    uint32_t sub_;
    FlashFwdWorkspace<T> ring_;
    uint32_t stats_pitch_;
    VectorMemory memory_;  // before the rings, see fa/memory.h
    AscendC::GlobalTensor<uint8_t> mask_gm_;
    AscendC::GlobalTensor<T> o_gm_;
    AscendC::GlobalTensor<float> lse_gm_;
    AscendC::LocalTensor<float> s_ub_[2];
    AscendC::LocalTensor<T> p_ub_[2];
    AscendC::LocalTensor<uint8_t> mask_ub_[2];
    AscendC::LocalTensor<float> acc_ub_;
    AscendC::LocalTensor<float> tmp_ub_;
    AscendC::LocalTensor<float> blocks_ub_;
    AscendC::LocalTensor<float> stats_ub_;
    Ring<AscendC::HardEvent::MTE2_V, AscendC::HardEvent::V_MTE2, 0, 2> s_ring_;
    Ring<AscendC::HardEvent::MTE2_V, AscendC::HardEvent::V_MTE2, 2, 1> mask_ring_;
    Ring<AscendC::HardEvent::V_MTE3, AscendC::HardEvent::MTE3_V, 0, 2> out_ring_;
    Ring<AscendC::HardEvent::V_MTE3, AscendC::HardEvent::MTE3_V, 2, 1> lse_ring_;
};

}  // namespace fa
