// SPDX-License-Identifier: MIT OR Apache-2.0
// Vector half of flash_decode: softmax, the running o, and what a piece leaves behind. See flash_decode.cpp.
#pragma once
#include "fa/kv_cache.h"
#include "flash_decode_output.h"

namespace fa {

template <typename T>
class FlashDecodeVector {
  public:
    __aicore__ inline FlashDecodeVector(const FlashDecodeTilingData& t, const DecodeWork& work,
                                        const FlashDecodeOperands& gm)
        : t_(t),
          work_(work),
          core_(block_index() / 2),
          ring_(t, gm.workspace, core_),
          table_(t, gm.block_table, gm.page_starts),
          output_(t, gm),
          stats_pitch_(round_up(t.rows_v, kLanesF32)) {
        const auto ub = memory_.ub;
        for (uint32_t i = 0; i < 2; ++i) {
            s_ub_[i] = ub[i * t.ub_s_bytes].template ReinterpretCast<float>();
        }
        p_ub_ = ub[t.ub_p_offset_bytes].template ReinterpretCast<T>();
        out_ub_ = ub[t.ub_out_offset_bytes].template ReinterpretCast<T>();
        acc_ub_ = ub[t.ub_acc_offset_bytes].template ReinterpretCast<float>();
        o_ub_ = ub[t.ub_o_offset_bytes].template ReinterpretCast<float>();
        wide_ub_ = ub[t.ub_tmp_offset_bytes].template ReinterpretCast<float>();
        narrow_ub_ = wide_ub_[wide_elements()];
        const auto blocks = ub[t.ub_blocks_offset_bytes].template ReinterpretCast<float>();
        const uint32_t pitch = t.ub_blocks_bytes / static_cast<uint32_t>(sizeof(float));
        for (uint32_t i = 0; i < 3; ++i) blocks_[i] = SpreadRows(blocks[i * pitch], t.rows_v);
        stats_ub_ = ub[t.ub_stats_offset_bytes].template ReinterpretCast<float>();
        // Brcb reads whole groups of 8 row values, also where the last rows do not exist.
        AscendC::Duplicate(stats_ub_, 0.0f, static_cast<int32_t>((3 * t.num_stages + 4) * stats_pitch_));
        AscendC::PipeBarrier<PIPE_V>();
    }

    // The softmax of a step `preload` steps ahead of the update by another: the Cube needs it first.
    __aicore__ inline void run() {
        DecodeCursor softmax(work_, core_);
        DecodeCursor update(work_, core_);
        bool more = true;
        for (uint32_t turn = 0;; ++turn) {
            more = more && softmax.next();
            const bool is_ahead = turn < t_.preload;
            if (!is_ahead && !update.next()) break;
            if (more) softmax_step(softmax.step(), turn % t_.num_stages);
            if (!is_ahead) update_step(update.step(), (turn - t_.preload) % t_.num_stages);
        }
    }

  private:
    __aicore__ inline uint32_t wide_elements() const {
        return max_u32(t_.ub_s_bytes / kBlockBytes, round_up(t_.rows_v, kBlockF32) * kBlockF32);
    }
    __aicore__ inline AscendC::LocalTensor<float> stats(uint32_t index) const {
        return stats_ub_[index * stats_pitch_];
    }
    // At most `preload + 1` pieces are under way at a time.
    __aicore__ inline AscendC::LocalTensor<float> row_max(uint32_t piece) const {
        return stats(piece % t_.num_stages);
    }
    __aicore__ inline AscendC::LocalTensor<float> row_sum(uint32_t piece) const {
        return stats(t_.num_stages + piece % t_.num_stages);
    }
    __aicore__ inline AscendC::LocalTensor<float> rescale(uint32_t stage) const {
        return stats(2 * t_.num_stages + stage);
    }
    __aicore__ inline AscendC::LocalTensor<float> block_value() const { return stats(3 * t_.num_stages); }
    __aicore__ inline AscendC::LocalTensor<float> new_max() const { return stats(3 * t_.num_stages + 1); }
    __aicore__ inline AscendC::LocalTensor<float> divisor() const { return stats(3 * t_.num_stages + 2); }
    __aicore__ inline AscendC::LocalTensor<float> lse() const { return stats(3 * t_.num_stages + 3); }

    // This AIV's rows of a task, counted head by head.
    __aicore__ inline uint32_t first_row(const DecodeTask& task) const {
        return sub_block_index() == 0 ? 0 : ceil_div(t_.task_heads * task.rows, 2);
    }
    __aicore__ inline uint32_t num_rows(const DecodeTask& task) const {
        const uint32_t all = t_.task_heads * task.rows;
        return sub_block_index() == 0 ? ceil_div(all, 2) : all / 2;
    }

    __aicore__ inline void softmax_step(const DecodeStep& s, uint32_t stage) {
        const uint32_t end = s.n0 + s.n_valid;
        const bool has_pages = !table_.is_paged() || table_.has_all(s.task.slot.index, s.n0, end);
        const bool is_known = has_pages && s.task.slot.are_rows_known;
        AscendC::CrossCoreWaitFlag<kCrossCoreMode>(kDecodeQkReady);
        if (num_rows(s.task) > 0) softmax_rows(s, stage, num_rows(s.task), is_known);
        AscendC::CrossCoreSetFlag<kCrossCoreMode, PIPE_MTE3>(kDecodeSoftmaxReady);
    }

    // Rows that the launch cannot know, and keys whose page the cache does not have, make NaN: a wrong list
    // or table is never a wrong number.
    __aicore__ inline void softmax_rows(const DecodeStep& s, uint32_t stage, uint32_t rows, bool is_known) {
        const uint32_t pitch = round_up(s.n_valid, kLanesF32);
        const auto count = static_cast<int32_t>(rows);
        const auto all = static_cast<int32_t>(rows * pitch);
        const uint32_t slot = s_ring_.acquire();
        const auto x = s_ub_[slot];
        load_scores(x, s, stage, rows, pitch);
        s_ring_.publish(slot);
        if (s.first) {
            // A finite start: -inf less it is -inf, and never NaN.
            AscendC::Duplicate(row_max(s.piece), kLowestF32, count);
            AscendC::Duplicate(row_sum(s.piece), 0.0f, count);
        }
        s_ring_.await(slot);
        if (s.n_valid < pitch) {
            // What lies behind the last key was never written.
            fill_row_tails(x, 0.0f, rows, s.n_valid, pitch);
            AscendC::PipeBarrier<PIPE_V>();
        }
        if (is_known) {
            AscendC::Muls(x, x, t_.softmax_scale, all);
        } else {
            AscendC::Duplicate(x, not_a_number(), all);
        }
        AscendC::PipeBarrier<PIPE_V>();
        hide(x, s, rows, pitch);
        RowTree<RowReduce::kMax> max(x, wide_ub_, narrow_ub_, block_value(), rows, pitch);
        max.drain();
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Max(new_max(), row_max(s.piece), block_value(), count);
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Sub(rescale(stage), row_max(s.piece), new_max(), count);
        spread_rows(blocks_[0], new_max(), rows);
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Exp(rescale(stage), rescale(stage), count);
        AscendC::Adds(row_max(s.piece), new_max(), 0.0f, count);
        apply_rows<RowOp::kSub>(x, blocks_[0], rows, pitch, pitch);
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Mul(row_sum(s.piece), row_sum(s.piece), rescale(stage), count);
        AscendC::Exp(x, x, all);
        AscendC::PipeBarrier<PIPE_V>();
        const uint32_t out = prob_ring_.acquire();
        AscendC::Cast(p_ub_, x, AscendC::RoundMode::CAST_RINT, static_cast<uint32_t>(all));
        prob_ring_.publish(out);
        RowTree<RowReduce::kSum> sum(x, wide_ub_, narrow_ub_, block_value(), rows, pitch);
        sum.drain();
        s_ring_.release(slot);
        prob_ring_.await(out);
        store_probabilities(s, stage, rows, pitch);
        prob_ring_.release(out);
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Add(row_sum(s.piece), row_sum(s.piece), block_value(), count);
    }

    __aicore__ inline void load_scores(const AscendC::LocalTensor<float>& x, const DecodeStep& s,
                                       uint32_t stage, uint32_t rows, uint32_t pitch) {
        const uint32_t blocks_of_row = ceil_div(s.n_valid, kBlockF32);
        AscendC::DataCopyParams params;
        params.blockCount = static_cast<uint16_t>(rows);
        params.blockLen = static_cast<uint16_t>(blocks_of_row);
        params.srcStride = static_cast<uint16_t>(s.block_n / kBlockF32 - blocks_of_row);
        params.dstStride = static_cast<uint16_t>(pitch / kBlockF32 - blocks_of_row);
        AscendC::DataCopy(x, ring_.s(stage, s, first_row(s.task)), params);
    }

    __aicore__ inline void store_probabilities(const DecodeStep& s, uint32_t stage, uint32_t rows,
                                               uint32_t pitch) {
        const uint32_t blocks_of_row = ceil_div(s.n_valid, kFractal);
        AscendC::DataCopyParams params;
        params.blockCount = static_cast<uint16_t>(rows);
        params.blockLen = static_cast<uint16_t>(blocks_of_row);
        params.srcStride = static_cast<uint16_t>(pitch / kFractal - blocks_of_row);
        params.dstStride = static_cast<uint16_t>(s.block_n / kFractal - blocks_of_row);
        AscendC::DataCopy(ring_.p(stage, s, first_row(s.task)), p_ub_, params);
    }

    // -inf outside the keys that a row sees.
    __aicore__ inline void hide(const AscendC::LocalTensor<float>& x, const DecodeStep& s, uint32_t rows,
                                uint32_t pitch) {
        const uint32_t group = t_.num_heads / t_.num_heads_k;
        const int64_t off = int64_t{s.task.slot.keys} - s.task.slot.rows - s.n0;
        const int64_t top = s.task.row / group;
        const int64_t bottom = (s.task.row + s.task.rows - 1) / group;
        const bool is_cut_behind = t_.window_right >= 0 && off + top + t_.window_right + 1 < s.n_valid;
        const bool is_cut_before = t_.window_left >= 0 && off + bottom - t_.window_left > 0;
        if (is_cut_behind) {
            for (uint32_t row = 0; row < rows; ++row) {
                const int64_t end = off + query_row(s, row) + t_.window_right + 1;
                hide_from(x[row * pitch], static_cast<uint32_t>(clamp_i64(end, 0, s.n_valid)), pitch);
            }
        } else if (s.n_valid < pitch) {
            fill_row_tails(x, minus_infinity(), rows, s.n_valid, pitch);
        }
        if (is_cut_before) {
            // Never beyond where the other side begins: no barrier stands between them.
            for (uint32_t row = 0; row < rows; ++row) {
                const int64_t begin = off + query_row(s, row) - t_.window_left;
                hide_before(x[row * pitch], static_cast<uint32_t>(clamp_i64(begin, 0, s.n_valid)));
            }
        }
        if (is_cut_behind || is_cut_before || s.n_valid < pitch) AscendC::PipeBarrier<PIPE_V>();
    }

    // Of its slot, of one of this AIV's rows.
    __aicore__ inline uint32_t query_row(const DecodeStep& s, uint32_t row) const {
        const uint32_t packed = s.task.row + (first_row(s.task) + row) % s.task.rows;
        return packed / (t_.num_heads / t_.num_heads_k);
    }

    __aicore__ inline void hide_from(const AscendC::LocalTensor<float>& x, uint32_t from, uint32_t pitch) {
        const uint32_t whole = round_up(from, kLanesF32);
        if (from < whole) fill_row_tails(x, minus_infinity(), 1, from, whole);
        if (whole < pitch) {
            AscendC::Duplicate(x[whole], minus_infinity(), static_cast<int32_t>(pitch - whole));
        }
    }

    __aicore__ inline void hide_before(const AscendC::LocalTensor<float>& x, uint32_t end) {
        const uint32_t whole = end / kLanesF32 * kLanesF32;
        if (whole > 0) AscendC::Duplicate(x, minus_infinity(), static_cast<int32_t>(whole));
        if (whole == end) return;
        uint64_t mask[2] = {(uint64_t{1} << (end - whole)) - 1, 0};
        AscendC::Duplicate(x[whole], minus_infinity(), mask, 1, 1, 8);
    }

    // acc = acc * rescale + (P V of this step)
    __aicore__ inline void update_step(const DecodeStep& s, uint32_t stage) {
        AscendC::CrossCoreWaitFlag<kCrossCoreMode>(kDecodePvReady);
        const uint32_t rows = num_rows(s.task);
        if (rows == 0) return;
        const uint32_t elements = rows * t_.head_dim_v;
        const uint32_t slot = o_ring_.acquire();
        AscendC::DataCopy(o_ub_, ring_.o(stage, first_row(s.task)), elements);
        o_ring_.publish(slot);
        if (s.first) {
            leave_ring_.acquire();
        } else {
            spread_rows(blocks_[0], rescale(stage), rows);
            AscendC::PipeBarrier<PIPE_V>();
            apply_rows<RowOp::kMul>(acc_ub_, blocks_[0], rows, t_.head_dim_v, t_.head_dim_v);
            AscendC::PipeBarrier<PIPE_V>();
        }
        o_ring_.await(slot);
        if (s.first) {
            AscendC::Adds(acc_ub_, o_ub_, 0.0f, static_cast<int32_t>(elements));
        } else {
            AscendC::Add(acc_ub_, acc_ub_, o_ub_, static_cast<int32_t>(elements));
        }
        o_ring_.release(slot);
        AscendC::PipeBarrier<PIPE_V>();
        if (s.last) finish_piece(s, rows);
    }

    __aicore__ inline void finish_piece(const DecodeStep& s, uint32_t rows) {
        if (s.is_part) {
            spread_rows(blocks_[1], row_max(s.piece), rows);
            spread_rows(blocks_[2], row_sum(s.piece), rows);
        } else {
            normalise(s, rows);
        }
        leave_ring_.publish(0);
        leave_ring_.await(0);
        const uint32_t row = first_row(s.task);
        if (s.is_part) {
            AscendC::DataCopy(ring_.part(s.part, row), acc_ub_, rows * t_.head_dim_v);
            AscendC::DataCopy(ring_.part_max(s.part, row), blocks_[1].copy[0], rows * kBlockF32);
            AscendC::DataCopy(ring_.part_sum(s.part, row), blocks_[2].copy[0], rows * kBlockF32);
        } else {
            output_.store(s.task, row, rows, out_ub_, blocks_[1].copy[0]);
        }
        leave_ring_.release(0);
    }

    // o = acc / sum, lse = max + ln(sum). A row that saw no key has sum 0: o = 0 / max(sum, 1) and ln(0) =
    // -inf. Any other row has sum >= 1, because its largest score contributes exp(0).
    __aicore__ inline void normalise(const DecodeStep& s, uint32_t rows) {
        const auto count = static_cast<int32_t>(rows);
        AscendC::Maxs(divisor(), row_sum(s.piece), 1.0f, count);
        AscendC::Ln(lse(), row_sum(s.piece), count);
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Add(lse(), lse(), row_max(s.piece), count);
        spread_rows(blocks_[0], divisor(), rows);
        AscendC::PipeBarrier<PIPE_V>();
        apply_rows<RowOp::kDiv>(acc_ub_, blocks_[0], rows, t_.head_dim_v, t_.head_dim_v);
        spread_rows(blocks_[1], lse(), rows);
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Cast(out_ub_, acc_ub_, AscendC::RoundMode::CAST_RINT, rows * t_.head_dim_v);
    }

    const FlashDecodeTilingData& t_;
    const DecodeWork& work_;
    uint32_t core_;
    DecodeWorkspace<T> ring_;
    BlockTable table_;
    DecodeOutput<T> output_;
    uint32_t stats_pitch_;
    VectorMemory memory_;  // before the rings, see fa/memory.h
    AscendC::LocalTensor<float> s_ub_[2];
    AscendC::LocalTensor<T> p_ub_;
    AscendC::LocalTensor<T> out_ub_;
    AscendC::LocalTensor<float> acc_ub_;
    AscendC::LocalTensor<float> o_ub_;
    AscendC::LocalTensor<float> wide_ub_;
    AscendC::LocalTensor<float> narrow_ub_;
    SpreadRows blocks_[3];
    AscendC::LocalTensor<float> stats_ub_;
    Ring<AscendC::HardEvent::MTE2_V, AscendC::HardEvent::V_MTE2, 0, 2> s_ring_;
    Ring<AscendC::HardEvent::MTE2_V, AscendC::HardEvent::V_MTE2, 2, 1> o_ring_;
    Ring<AscendC::HardEvent::V_MTE3, AscendC::HardEvent::MTE3_V, 0, 1> prob_ring_;
    Ring<AscendC::HardEvent::V_MTE3, AscendC::HardEvent::MTE3_V, 1, 1> leave_ring_;
};

}  // namespace fa
