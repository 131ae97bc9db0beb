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

// T: q, k, v and o; S: the scores on their way here, float or half.
template <typename T, typename S>
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
        for (uint32_t i = 0; i < kSlices; ++i) {
            x_ub_[i] = bytes[t.ub_s_offset_bytes + i * t.slice_bytes].template ReinterpretCast<float>();
        }
        const uint32_t first_load = kIsWide ? 0 : (kSlices - 1) * t.slice_bytes;
        for (uint32_t i = 0; i < kLoads; ++i) {
            load_ub_[i] = bytes[t.ub_s_offset_bytes + first_load + i * load_bytes()];
        }
        for (uint32_t i = 0; i < 2; ++i) {
            p_ub_[i] = bytes[t.ub_p_offset_bytes + i * (t.slice_bytes / 2)].template ReinterpretCast<T>();
            mask_ub_[i] = bytes[t.ub_mask_offset_bytes + i * t.ub_mask_bytes];
            wide_ub_[i] = bytes[t.ub_tmp_offset_bytes + i * t.ub_tmp_bytes].template ReinterpretCast<float>();
            narrow_ub_[i] = wide_ub_[i][t.slice_bytes / 8 / sizeof(float)];
        }
        acc_ub_ = bytes[t.ub_acc_offset_bytes].template ReinterpretCast<float>();
        blocks_ = SpreadRows(bytes[t.ub_brcb_offset_bytes].template ReinterpretCast<float>(), t.rows_v);
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
    static constexpr bool kIsWide = sizeof(S) == sizeof(float);
    // Slices in UB: four on their way through the softmax and one behind them. f32 scores are loaded into the slices; the last
    // slice holds two loads of 16-bit ones, which are widened into the others.
    static constexpr uint32_t kSlices = 5;
    static constexpr uint32_t kLoads = kIsWide ? kSlices : 2;
    // The accumulator starts 256 bytes behind a multiple of 512 and what is added to it does not: so the two sources
    // of the sum lie in different bank groups.
    static constexpr uint32_t kAccPhase = 1;
    // Row statistics: maxima and sums of two items, scratch, and one array of rescale factors a stage.
    static constexpr uint32_t kStatsFixed = 9;

    __aicore__ inline AscendC::LocalTensor<float> stats(uint32_t index, uint32_t row) {
        return stats_ub_[index * stats_pitch_ + row];
    }
    __aicore__ inline AscendC::LocalTensor<float> row_max(uint32_t item, uint32_t row) { return stats(item % 2, row); }
    __aicore__ inline AscendC::LocalTensor<float> row_sum(uint32_t item, uint32_t row) {
        return stats(2 + item % 2, row);
    }
    __aicore__ inline AscendC::LocalTensor<float> block_max(uint32_t row) { return stats(4, row); }
    __aicore__ inline AscendC::LocalTensor<float> new_max(uint32_t row) { return stats(5, row); }
    __aicore__ inline AscendC::LocalTensor<float> divisor(uint32_t row) { return stats(6, row); }
    __aicore__ inline AscendC::LocalTensor<float> lse_out(uint32_t row) { return stats(7, row); }
    __aicore__ inline AscendC::LocalTensor<float> block_sum(uint32_t row) { return stats(8, row); }
    __aicore__ inline AscendC::LocalTensor<float> rescale(uint32_t stage, uint32_t row) {
        return stats(kStatsFixed + stage, row);
    }
    // This AIV's rows of an item: the first one takes the half rounded up to 8, so that row values stay aligned.
    __aicore__ static inline uint32_t first_half(const Step& s) {
        return min_u32(s.rows, round_up(ceil_div(s.rows, 2), kBlockF32));
    }
    __aicore__ inline uint32_t first_row(const Step& s) const { return sub_ == 0 ? 0 : first_half(s); }
    __aicore__ inline uint32_t num_rows(const Step& s) const {
        return sub_ == 0 ? first_half(s) : s.rows - first_half(s);
    }
    // Whole groups of 8 rows of `pitch` f32 that fit `bytes`.
    __aicore__ inline uint32_t rows_within(uint32_t bytes, uint32_t pitch) const {
        return min_u32(t_.slice_rows, bytes / (4 * pitch) / kBlockF32 * kBlockF32);
    }
    __aicore__ inline uint32_t load_bytes() const {
        return kIsWide ? t_.slice_bytes : t_.slice_bytes / 2;
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

    // A slice of whole rows on its way through the softmax.
    struct Slice {
        uint32_t row = 0;   // first row among this AIV's rows of the item
        uint32_t rows = 0;  // 0: no slice
        uint32_t load = 0;  // where it was loaded
        AscendC::LocalTensor<float> x;
        RowTree<RowReduce::kMax> max;
        RowTree<RowReduce::kSum> sum;
    };

    // Every slice goes through thirteen operations, each of which needs the one before. Five slices are under way, three
    // operations apart: a barrier then makes one slice wait while the others have something to do. A dependent vector
    // instruction alone would wait some 25 cycles (AscendC vector performance tables).
    __aicore__ inline void softmax_step(const Step& s, uint32_t stage) {
        if (s.first) start_item(s);
        AscendC::CrossCoreWaitFlag<kCrossCoreMode>(kQkReady);
        const uint32_t pitch = round_up(s.n_valid, kLanesF32);
        const uint32_t step = rows_within(t_.slice_bytes, pitch);
        const uint32_t total = num_rows(s);
        const uint32_t slices = ceil_div(total, step);
        uint32_t loaded = slices > 0 ? load_scores(s, stage, 0, min_u32(step, total), pitch) : 0;
        for (uint32_t turn = 0; slices > 0 && turn < slices + kSlices - 1; ++turn) {
            Slice& a = slices_[turn % kSlices];
            Slice& b = slices_[(turn + 4) % kSlices];
            Slice& c = slices_[(turn + 3) % kSlices];
            Slice& d = slices_[(turn + 2) % kSlices];
            Slice& e = slices_[(turn + 1) % kSlices];
            a.row = turn * step;
            a.rows = turn < slices ? min_u32(step, total - a.row) : 0;
            a.load = loaded;
            a.x = x_ub_[kIsWide ? loaded : turn % (kSlices - 1)];
            if (turn + 1 < slices) {
                const uint32_t next = a.row + step;
                loaded = load_scores(s, stage, next, min_u32(step, total - next), pitch);
            }
            // Last before each barrier stands what is soonest done.
            if (e.rows > 0) add_sum(e, s);
            if (d.rows > 0) hand_over(d, s, stage, pitch);
            if (a.rows > 0) take_scores(a, s, pitch);
            if (b.rows > 0 && !b.max.is_done()) b.max.step();
            if (c.rows > 0) {
                AscendC::Sub(rescale(stage, c.row), row_max(s.item, c.row), new_max(c.row), count(c));
                spread_rows(blocks_, new_max(c.row), c.rows);
            }
            AscendC::PipeBarrier<PIPE_V>();
            if (d.rows > 0 && !d.sum.is_done()) d.sum.step();
            if (c.rows > 0) subtract_max(c, s, stage, pitch);
            if (b.rows > 0) b.max.drain();
            if (a.rows > 0) AscendC::Muls(a.x, a.x, t_.softmax_scale, static_cast<int32_t>(a.rows * pitch));
            AscendC::PipeBarrier<PIPE_V>();
            if (d.rows > 0 && !d.sum.is_done()) d.sum.step();
            if (c.rows > 0) AscendC::Exp(c.x, c.x, static_cast<int32_t>(c.rows * pitch));
            if (a.rows > 0) start_max(a, s, pitch);
            if (b.rows > 0) {
                AscendC::Max(new_max(b.row), row_max(s.item, b.row), block_max(b.row), count(b));
            }
            AscendC::PipeBarrier<PIPE_V>();
        }
        AscendC::CrossCoreSetFlag<kCrossCoreMode, PIPE_MTE3>(kSoftmaxReady);
    }

    __aicore__ static inline int32_t count(const Slice& x) { return static_cast<int32_t>(x.rows); }

    // The scores of a slice as f32; what lies behind the last key was never written.
    __aicore__ inline void take_scores(const Slice& x, const Step& s, uint32_t pitch) {
        load_ring_.await(x.load);
        if constexpr (!kIsWide) {
            const auto loaded = load_ub_[x.load].template ReinterpretCast<S>();
            if (s.n_valid < pitch) {
                for (uint32_t row = 0; row < x.rows; ++row) {
                    widen(x.x[row * pitch], loaded[row * pitch], s.n_valid);
                }
            } else {
                widen(x.x, loaded, x.rows * pitch);
            }
            load_ring_.release(x.load);
        }
        if (s.n_valid < pitch) fill_row_tails(x.x, 0.0f, x.rows, s.n_valid, pitch);
    }

    __aicore__ static inline void widen(const AscendC::LocalTensor<float>& x, const AscendC::LocalTensor<S>& loaded,
                                        uint32_t elements) {
        AscendC::Cast(x, loaded, AscendC::RoundMode::CAST_NONE, elements);
    }

    // -inf where the mask or the end of the keys hides a score; then the first level of the row maxima.
    __aicore__ inline void start_max(Slice& x, const Step& s, uint32_t pitch) {
        apply_diagonals(x.x, s, x.row, x.rows, pitch);
        if (s.n_valid < pitch) {
            fill_row_tails(x.x, minus_infinity(), x.rows, s.n_valid, pitch);
            AscendC::PipeBarrier<PIPE_V>();
        }
        x.max = RowTree<RowReduce::kMax>(x.x, wide_ub_[0], narrow_ub_[0], block_max(x.row), x.rows, pitch);
        x.max.step();
    }

    __aicore__ inline void subtract_max(const Slice& x, const Step& s, uint32_t stage, uint32_t pitch) {
        AscendC::Exp(rescale(stage, x.row), rescale(stage, x.row), count(x));
        AscendC::Adds(row_max(s.item, x.row), new_max(x.row), 0.0f, count(x));
        apply_rows<RowOp::kSub>(x.x, blocks_, x.rows, pitch, pitch);
    }

    // Probabilities to GM, and the first level of their row sums.
    __aicore__ inline void hand_over(Slice& x, const Step& s, uint32_t stage, uint32_t pitch) {
        x.sum = RowTree<RowReduce::kSum>(x.x, wide_ub_[1], narrow_ub_[1], block_sum(x.row), x.rows, pitch);
        x.sum.step();
        AscendC::Mul(row_sum(s.item, x.row), row_sum(s.item, x.row), rescale(stage, x.row), count(x));
        const uint32_t out = out_ring_.acquire();
        AscendC::Cast(p_ub_[out], x.x, AscendC::RoundMode::CAST_RINT, x.rows * pitch);
        if constexpr (kIsWide) load_ring_.release(x.load);
        out_ring_.publish(out);
        out_ring_.await(out);
        store_probabilities(p_ub_[out], s, stage, x.row, x.rows, pitch);
        out_ring_.release(out);
    }

    __aicore__ inline void add_sum(Slice& x, const Step& s) {
        if (!x.sum.is_done()) {
            x.sum.drain();
            AscendC::PipeBarrier<PIPE_V>();
        }
        AscendC::Add(row_sum(s.item, x.row), row_sum(s.item, x.row), block_sum(x.row), count(x));
        x.rows = 0;
    }

    __aicore__ inline uint32_t load_scores(const Step& s, uint32_t stage, uint32_t row, uint32_t rows,
                                           uint32_t pitch) {
        const uint32_t slot = load_ring_.acquire();
        copy_scores(load_ub_[slot].template ReinterpretCast<S>(), s, stage, row, rows, pitch);
        load_ring_.publish(slot);
        return slot;
    }

    __aicore__ inline void copy_scores(const AscendC::LocalTensor<S>& x, const Step& s, uint32_t stage,
                                       uint32_t row, uint32_t rows, uint32_t pitch) {
        constexpr uint32_t kBlock = kBlockBytes / sizeof(S);
        const uint32_t blocks = ceil_div(s.n_valid, kBlock);
        AscendC::DataCopyParams params;
        params.blockCount = static_cast<uint16_t>(rows);
        params.blockLen = static_cast<uint16_t>(blocks);
        params.srcStride = static_cast<uint16_t>(t_.block_n / kBlock - blocks);
        params.dstStride = static_cast<uint16_t>(pitch / kBlock - blocks);
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

    // acc = acc * rescale + (P V of this step), in pieces of whole rows: the sum of one beside the product of the next.
    __aicore__ inline void update_step(const Step& s, uint32_t stage) {
        AscendC::CrossCoreWaitFlag<kCrossCoreMode>(kPvReady);
        const uint32_t step = rows_within(load_bytes(), t_.head_dim_v);
        const uint32_t total = num_rows(s);
        if (!s.first) {
            spread_rows(blocks_, rescale(stage, 0), total);
            AscendC::PipeBarrier<PIPE_V>();
        }
        uint32_t before = 0;
        for (uint32_t row = 0; row < total + step; row += step) {
            const uint32_t slot = row < total ? load_output(s, stage, row, min_u32(step, total - row)) : 0;
            if (row < total && !s.first) {
                apply_rows<RowOp::kMul>(acc_ub_[row * t_.head_dim_v], blocks_.from(row), min_u32(step, total - row),
                                        t_.head_dim_v, t_.head_dim_v, kAccPhase);
            }
            if (row > 0) add_output(s, before, row - step, min_u32(step, total - (row - step)));
            AscendC::PipeBarrier<PIPE_V>();
            before = slot;
        }
        if (s.last) finish_item(s);
    }

    __aicore__ inline AscendC::LocalTensor<float> output(uint32_t slot) {
        return load_ub_[slot].template ReinterpretCast<float>();
    }

    __aicore__ inline uint32_t load_output(const Step& s, uint32_t stage, uint32_t row, uint32_t rows) {
        const uint32_t slot = load_ring_.acquire();
        const uint64_t at = static_cast<uint64_t>(first_row(s) + row) * t_.head_dim_v;
        AscendC::DataCopy(output(slot), ring_.o(stage)[at], rows * t_.head_dim_v);
        load_ring_.publish(slot);
        return slot;
    }

    __aicore__ inline void add_output(const Step& s, uint32_t slot, uint32_t row, uint32_t rows) {
        const auto acc = acc_ub_[row * t_.head_dim_v];
        const auto elements = static_cast<int32_t>(rows * t_.head_dim_v);
        load_ring_.await(slot);
        if (s.first) {
            AscendC::Adds(acc, output(slot), 0.0f, elements);
        } else {
            AscendC::Add(acc, acc, output(slot), elements);
        }
        load_ring_.release(slot);
    }

    // o = acc / sum, lse = max + ln(sum). A row that saw no key has sum 0: o = 0 / max(sum, 1) and ln(0) = -inf.
    // Any other row has sum >= 1, because its largest score contributes exp(0).
    __aicore__ inline void finish_item(const Step& s) {
        const uint32_t total = num_rows(s);
        if (total == 0) return;
        AscendC::Maxs(divisor(0), row_sum(s.item, 0), 1.0f, static_cast<int32_t>(total));
        AscendC::PipeBarrier<PIPE_V>();
        const uint32_t step = rows_within(t_.slice_bytes, t_.head_dim_v);
        for (uint32_t row = 0; row < total; row += step) {
            const uint32_t rows = min_u32(step, total - row);
            const auto acc = acc_ub_[row * t_.head_dim_v];
            spread_rows(blocks_, divisor(row), rows);
            AscendC::PipeBarrier<PIPE_V>();
            apply_rows<RowOp::kDiv>(acc, blocks_, rows, t_.head_dim_v, t_.head_dim_v, kAccPhase);
            AscendC::PipeBarrier<PIPE_V>();
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
    FlashFwdWorkspace<T, S> ring_;
    uint32_t stats_pitch_;
    VectorMemory memory_;  // before the rings, see fa/memory.h
    AscendC::GlobalTensor<uint8_t> mask_gm_;
    AscendC::GlobalTensor<T> o_gm_;
    AscendC::GlobalTensor<float> lse_gm_;
    AscendC::LocalTensor<float> x_ub_[kSlices];
    AscendC::LocalTensor<uint8_t> load_ub_[kLoads];
    AscendC::LocalTensor<T> p_ub_[2];
    AscendC::LocalTensor<uint8_t> mask_ub_[2];
    AscendC::LocalTensor<float> acc_ub_;
    AscendC::LocalTensor<float> wide_ub_[2];    // scratch of the row maxima and of the row sums
    AscendC::LocalTensor<float> narrow_ub_[2];
    SpreadRows blocks_;
    AscendC::LocalTensor<float> stats_ub_;
    Slice slices_[kSlices];
    Ring<AscendC::HardEvent::MTE2_V, AscendC::HardEvent::V_MTE2, 0, kLoads> load_ring_;
    Ring<AscendC::HardEvent::MTE2_V, AscendC::HardEvent::V_MTE2, kLoads, 1> mask_ring_;
    Ring<AscendC::HardEvent::V_MTE3, AscendC::HardEvent::MTE3_V, 0, 2> out_ring_;
    Ring<AscendC::HardEvent::V_MTE3, AscendC::HardEvent::MTE3_V, 2, 1> lse_ring_;
};

}  // namespace fa
