// SPDX-License-Identifier: MIT OR Apache-2.0
// What the vector cores of flash_decode do when they are through with their keys: rows without keys, the
// checks, and the combination of parts. See flash_decode.cpp.
#pragma once
#include "fa/kv_cache.h"
#include "flash_decode_output.h"

namespace fa {

// Codes of `status`.
constexpr int32_t kStatusLength = 1;
constexpr int32_t kStatusPage = 2;
constexpr int32_t kStatusRows = 3;
constexpr int32_t kStatusPageStarts = 4;

template <typename T>
class FlashDecodeRest {
  public:
    __aicore__ inline FlashDecodeRest(const FlashDecodeTilingData& t, const DecodeWork& work,
                                      const FlashDecodeOperands& gm)
        : t_(t),
          work_(work),
          ring_(t, gm.workspace, 0),
          table_(t, gm.block_table, gm.page_starts),
          output_(t, gm) {
        status_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(gm.status));
        acc_ub_ = memory_.ub.template ReinterpretCast<float>();
        max_ub_ = acc_ub_[kAccElements];
        sum_ub_ = max_ub_[kBlockElements];
        weight_ub_ = sum_ub_[kBlockElements];
        top_ub_ = weight_ub_[kBlockElements];
        lse_ub_ = top_ub_[kBlockElements];
        out_ub_ = lse_ub_[kBlockElements].template ReinterpretCast<T>();
    }

    // Rows that see no key and belong to no task: o = 0, lse = -inf. K, V and q are not touched.
    __aicore__ inline void fill_blind_rows() {
        bool is_ready = false;
        const uint32_t out = rest_ring_.acquire();
        DecodeSlots slots = work_.slots();
        while (slots.next()) {
            const uint32_t rows = is_own(slots) ? DecodeRowBlocks(t_, slots.slot()).blind_rows() : 0;
            if (rows == 0) continue;
            if (!is_ready) {
                AscendC::Duplicate(out_ub_.template ReinterpretCast<float>(), 0.0f,
                                   static_cast<int32_t>(kHeads * t_.head_dim_v / 2));
                AscendC::Duplicate(lse_ub_, minus_infinity(), static_cast<int32_t>(kHeads * kBlockF32));
                rest_ring_.publish(out);
                rest_ring_.await(out);
                is_ready = true;
            }
            fill(slots.slot(), rows);
        }
        if (!is_ready) {
            rest_ring_.publish(out);
            rest_ring_.await(out);
        }
        rest_ring_.release(out);
    }

    // For each slot its first mistake: code, what is wrong (two numbers, see `Report`), 0 five times.
    __aicore__ inline void check() {
        DecodeSlots slots = work_.slots();
        while (slots.next()) {
            const DecodeSlot& slot = slots.slot();
            if (!is_own(slots)) continue;
            if (!slot.are_rows_known) {
                store_status(slot.index, kStatusRows, slot.given_begin, slot.given_end);
            } else if (slot.given_length < 0 || static_cast<uint32_t>(slot.given_length) > t_.max_keys) {
                store_status(slot.index, kStatusLength, 0, slot.given_length);
            } else {
                check_pages(slot);
            }
        }
    }

    // Rows of all split tasks lie in one line, of which each vector core takes its share. Sums are in the
    // order of the keys, by halves, whichever core makes them.
    __aicore__ inline void combine() {
        uint32_t total = 0;
        SplitCursor all(work_);
        while (all.next()) total += t_.task_heads * all.split().task.rows;
        const uint64_t cores = 2 * num_blocks();
        const auto first = static_cast<uint32_t>(uint64_t{total} * block_index() / cores);
        const auto end = static_cast<uint32_t>(uint64_t{total} * (block_index() + 1) / cores);
        SplitCursor splits(work_);
        for (uint32_t base = 0; base < end && splits.next();) {
            const SplitTask& split = splits.split();
            const uint32_t next = base + t_.task_heads * split.task.rows;
            const uint32_t parts = split.last_core - split.first_core + 1;
            const uint32_t step = min_u32(kAccElements / t_.head_dim_v, kEntries) / parts;
            for (uint32_t row = max_u32(first, base); row < min_u32(end, next); row += step) {
                combine_rows(split, parts, row - base, min_u32(step, min_u32(end, next) - row));
            }
            base = next;
        }
    }

  private:
    static constexpr uint32_t kHeads = 16;            // of an empty slot that are stored together
    static constexpr uint32_t kAccElements = 24576;   // f32 of accumulators: 96 rows of 256
    static constexpr uint32_t kEntries = 248;         // accumulators at a time
    static constexpr uint32_t kBlockElements = 2048;  // f32 of their row values

    // Slots are dealt to the vector cores one by one.
    __aicore__ inline bool is_own(const DecodeSlots& slots) const {
        return slots.slot().index % (2 * num_blocks()) == block_index();
    }

    __aicore__ inline void fill(const DecodeSlot& slot, uint32_t rows) {
        for (uint32_t row = 0; row < rows; ++row) {
            for (uint32_t head = 0; head < t_.num_heads; head += kHeads) {
                output_.store_heads(slot, row, head, min_u32(kHeads, t_.num_heads - head), out_ub_, lse_ub_);
            }
        }
    }

    // From the first key that is read: pages left of a window may have been given back.
    __aicore__ inline void check_pages(const DecodeSlot& slot) {
        const SlotPages pages = table_.is_paged() ? table_.pages_of(slot.index) : SlotPages{};
        const uint32_t blocks = table_.is_paged() ? ceil_div(slot.keys, table_.page_size()) : 0;
        if (blocks > pages.count) {
            store_status(slot.index, kStatusPageStarts, pages.given_begin, pages.given_end);
            return;
        }
        const uint32_t seen = DecodeRowBlocks(t_, slot).begin(0);
        for (uint32_t block = (seen - seen % t_.key_align) / t_.page_size; block < blocks; ++block) {
            const int32_t id = table_.entry(pages, block);
            if (!table_.has(id)) {
                store_status(slot.index, kStatusPage, static_cast<int32_t>(block), id);
                return;
            }
        }
        store_status(slot.index, 0, 0, 0);
    }

    __aicore__ inline void store_status(uint32_t slot, int32_t code, int32_t first, int32_t second) {
        const auto words = lse_ub_.template ReinterpretCast<int32_t>();
        const int32_t values[3] = {code, first, second};
        const uint32_t out = rest_ring_.acquire();
        AscendC::Duplicate(words, 0, static_cast<int32_t>(kBlockF32));
        AscendC::PipeBarrier<PIPE_V>();
        for (uint32_t i = 0; i < 3; ++i) {
            uint64_t mask[2] = {uint64_t{1} << i, 0};
            AscendC::Duplicate(words, values[i], mask, 1, 1, 8);
        }
        rest_ring_.publish(out);
        rest_ring_.await(out);
        AscendC::DataCopy(status_gm_[static_cast<uint64_t>(slot) * kBlockF32], words, kBlockF32);
        rest_ring_.release(out);
    }

    // w_p = exp(m_p - max m), o = sum w_p acc_p / max(sum w_p l_p, 1), lse = max m + ln sum w_p l_p, for each
    // row. A part in which a row saw no key has m = lowest finite, l = 0 and acc = 0.
    __aicore__ inline void combine_rows(const SplitTask& split, uint32_t parts, uint32_t row, uint32_t rows) {
        const uint32_t values = rows * kBlockF32;
        const uint32_t elements = rows * t_.head_dim_v;
        const auto all = static_cast<int32_t>(parts * values);
        load(split, parts, row, rows);
        AscendC::Adds(top_ub_, max_ub_, 0.0f, all);
        AscendC::PipeBarrier<PIPE_V>();
        for (uint32_t n = parts; n > 1; n = ceil_div(n, 2)) {
            const uint32_t half = ceil_div(n, 2);
            AscendC::Max(top_ub_, top_ub_, top_ub_[half * values], static_cast<int32_t>((n - half) * values));
            AscendC::PipeBarrier<PIPE_V>();
        }
        for (uint32_t part = 0; part < parts; ++part) {
            AscendC::Sub(weight_ub_[part * values], max_ub_[part * values], top_ub_,
                         static_cast<int32_t>(values));
        }
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Exp(weight_ub_, weight_ub_, all);
        AscendC::PipeBarrier<PIPE_V>();
        SpreadRows weights;
        weights.copy[0] = weight_ub_;
        weights.copy[1] = weight_ub_;
        AscendC::Mul(sum_ub_, sum_ub_, weight_ub_, all);
        apply_rows<RowOp::kMul>(acc_ub_, weights, parts * rows, t_.head_dim_v, t_.head_dim_v);
        AscendC::PipeBarrier<PIPE_V>();
        for (uint32_t n = parts; n > 1; n = ceil_div(n, 2)) {
            const uint32_t half = ceil_div(n, 2);
            AscendC::Add(sum_ub_, sum_ub_, sum_ub_[half * values], static_cast<int32_t>((n - half) * values));
            AscendC::Add(acc_ub_, acc_ub_, acc_ub_[half * elements],
                         static_cast<int32_t>((n - half) * elements));
            AscendC::PipeBarrier<PIPE_V>();
        }
        const uint32_t out = rest_ring_.acquire();
        AscendC::Ln(lse_ub_, sum_ub_, static_cast<int32_t>(values));
        AscendC::Maxs(weight_ub_, sum_ub_, 1.0f, static_cast<int32_t>(values));
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Add(lse_ub_, lse_ub_, top_ub_, static_cast<int32_t>(values));
        apply_rows<RowOp::kDiv>(acc_ub_, weights, rows, t_.head_dim_v, t_.head_dim_v);
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Cast(out_ub_, acc_ub_, AscendC::RoundMode::CAST_RINT, elements);
        load_ring_.release(0);
        rest_ring_.publish(out);
        rest_ring_.await(out);
        output_.store(split.task, row, rows, out_ub_, lse_ub_);
        rest_ring_.release(out);
    }

    // The parts of some rows, one after the other. That of the first core begins the task; the others lie
    // behind each other by the number of their core.
    __aicore__ inline void load(const SplitTask& split, uint32_t parts, uint32_t row, uint32_t rows) {
        const uint32_t first = t_.num_cores + split.first_core;
        const uint32_t second = split.first_core + 1;
        const uint32_t values = rows * kBlockF32;
        const uint32_t elements = rows * t_.head_dim_v;
        load_ring_.acquire();
        copy(acc_ub_, ring_.part(first, row), 1, elements, t_.head_dim_v);
        copy(acc_ub_[elements], ring_.part(second, row), parts - 1, elements, t_.head_dim_v);
        copy(max_ub_, ring_.part_max(first, row), 1, values, kBlockF32);
        copy(max_ub_[values], ring_.part_max(second, row), parts - 1, values, kBlockF32);
        copy(sum_ub_, ring_.part_sum(first, row), 1, values, kBlockF32);
        copy(sum_ub_[values], ring_.part_sum(second, row), parts - 1, values, kBlockF32);
        load_ring_.publish(0);
        load_ring_.await(0);
    }

    // `count` runs of `elements` f32, of parts that have `row_elements` for each row of a task.
    __aicore__ inline void copy(const AscendC::LocalTensor<float>& dst,
                                const AscendC::GlobalTensor<float>& src, uint32_t count, uint32_t elements,
                                uint32_t row_elements) {
        const auto pitch = static_cast<uint32_t>(ring_.rows()) * row_elements;
        AscendC::DataCopyParams params;
        params.blockCount = static_cast<uint16_t>(count);
        params.blockLen = static_cast<uint16_t>(elements / kBlockF32);
        params.srcStride = static_cast<uint16_t>((pitch - elements) / kBlockF32);
        params.dstStride = 0;
        AscendC::DataCopy(dst, src, params);
    }

    const FlashDecodeTilingData& t_;
    const DecodeWork& work_;
    DecodeWorkspace<T> ring_;
    BlockTable table_;
    DecodeOutput<T> output_;
    AscendC::GlobalTensor<int32_t> status_gm_;
    VectorMemory memory_;  // before the rings, see fa/memory.h
    AscendC::LocalTensor<float> acc_ub_;
    AscendC::LocalTensor<float> max_ub_;
    AscendC::LocalTensor<float> sum_ub_;
    AscendC::LocalTensor<float> weight_ub_;
    AscendC::LocalTensor<float> top_ub_;
    AscendC::LocalTensor<float> lse_ub_;
    AscendC::LocalTensor<T> out_ub_;
    Ring<AscendC::HardEvent::MTE2_V, AscendC::HardEvent::V_MTE2, 3, 1> load_ring_;
    Ring<AscendC::HardEvent::V_MTE3, AscendC::HardEvent::MTE3_V, 2, 1> rest_ring_;
};

}  // namespace fa
