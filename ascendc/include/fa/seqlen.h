// SPDX-License-Identifier: MIT OR Apache-2.0
// Which work a core does, in which order, and which keys a row block sees. The planner (src/tiling) has the
// same two rules; tests compare them.
#pragma once
#include "fa/arch.h"
#include "fa/tiling_data.h"

namespace fa {

// One hand-over between Cube and Vector: a block_m x block_n block of scores; or a whole bundle of them.
struct Step {
    uint32_t batch;
    uint32_t head;
    uint32_t m0;         // first query row
    uint32_t rows;       // valid query rows
    uint32_t n0;         // first key
    uint32_t n_valid;    // valid keys
    uint32_t item;       // running number of the work item on this core
    uint32_t bundle;     // running number of the bundle on this core
    uint32_t in_bundle;  // number of the block in its bundle
    bool ends_bundle;
    bool first;  // first block of its item
    bool last;   // last block of its item
};

// The k and v head that a step reads.
__aicore__ inline uint32_t head_k(const FlashFwdTilingData& t, const Step& s) {
    return s.head / (t.num_heads / t.num_heads_k);
}

// Element at which a row of a tensor with strides [batch, row, head] starts.
__aicore__ inline uint64_t row_offset(const uint64_t (&stride)[3], uint32_t batch, uint64_t row,
                                      uint32_t head) {
    return batch * stride[0] + row * stride[1] + head * stride[2];
}

// Row i sees key j iff  i + off - window_left <= j <= i + off + window_right,  off = seqlen_k - seqlen_q.
struct KeyRange {
    int64_t begin;  // rounded down to a fractal
    int64_t end;
};

__aicore__ inline KeyRange key_range(const FlashFwdTilingData& t, uint32_t m0, uint32_t rows) {
    const int64_t off = static_cast<int64_t>(t.seqlen_k) - static_cast<int64_t>(t.seqlen_q);
    int64_t begin = 0;
    int64_t end = t.seqlen_k;
    if (t.window_left >= 0) begin = max_i64(begin, static_cast<int64_t>(m0) + off - t.window_left);
    if (t.window_right >= 0) end = min_i64(end, static_cast<int64_t>(m0) + rows + off + t.window_right);
    if (end <= begin) return {0, 0};
    return {begin - begin % kFractal, end};
}

// Walks the work items of one core in the planner's order (see FlashFwdTilingData in fa/tiling_data.h).
class ItemCursor {
  public:
    __aicore__ inline ItemCursor(const FlashFwdTilingData& t, uint32_t core) : t_(t), core_(core) {}

    // The next item in `step` (batch, head, m0, rows) and its keys in `keys`; false at the end.
    __aicore__ inline bool next(Step& step, KeyRange& keys) {
        const uint32_t whole = t_.num_items / t_.num_cores * t_.num_cores;
        for (;;) {
            uint64_t position = turn_ * t_.num_cores + (turn_ % 2 == 0 ? core_ : t_.num_cores - 1 - core_);
            ++turn_;
            uint32_t part = 0;
            uint32_t rows = t_.block_m;
            if (position >= whole) {
                part = static_cast<uint32_t>((position - whole) % t_.tail_parts);
                rows = t_.block_m / t_.tail_parts;
                position = whole + (position - whole) / t_.tail_parts;
            }
            if (position >= t_.num_items) return false;
            step.m0 = locate(step, static_cast<uint32_t>(position)) * t_.block_m + part * rows;
            if (step.m0 >= t_.seqlen_q) continue;
            step.rows = min_u32(rows, t_.seqlen_q - step.m0);
            keys = key_range(t_, step.m0, step.rows);
            return true;
        }
    }

  private:
    // Sets batch and head of the item that is dealt behind `before` others; its row block.
    __aicore__ inline uint32_t locate(Step& step, uint32_t before) const {
        const uint32_t end = t_.first_item + t_.num_items;
        const uint32_t group_items = t_.group_heads * t_.num_blocks_m;
        uint32_t item = end - 1 - before;
        const uint32_t group = item / group_items;
        if ((group - t_.first_item / group_items) % 2 == 1) {
            item = group * group_items + min_u32(end, (group + 1) * group_items) - 1 - item;
        }
        const uint32_t heads = min_u32(t_.group_heads, t_.batch * t_.num_heads - group * t_.group_heads);
        const uint32_t within = item % group_items;
        const uint32_t head = group * t_.group_heads + within % heads;
        step.batch = head / t_.num_heads;
        step.head = head % t_.num_heads;
        return within / heads;
    }

    const FlashFwdTilingData& t_;
    uint32_t core_;
    uint64_t turn_ = 0;
};

// Walks the steps of one core: every block of every item that sees a key; or its bundles, each as one step.
// A bundle has `bundle_steps` blocks of an item, the last one of an item perhaps fewer.
class StepCursor {
  public:
    __aicore__ inline StepCursor(const FlashFwdTilingData& t, uint32_t core, bool in_bundles = false)
        : items_(t, core),
          keys_of_step_(in_bundles ? t.block_n * t.bundle_steps : t.block_n),
          steps_of_bundle_(in_bundles ? 1 : t.bundle_steps) {}

    __aicore__ inline bool next() {
        if (n_ >= keys_.end) {
            do {
                if (!items_.next(step_, keys_)) return false;
            } while (keys_.begin == keys_.end);
            n_ = keys_.begin;
            step_.item = count_++;
        }
        step_.first = n_ == keys_.begin;
        step_.n0 = static_cast<uint32_t>(n_);
        step_.n_valid = static_cast<uint32_t>(min_i64(keys_of_step_, keys_.end - n_));
        n_ += keys_of_step_;
        step_.last = n_ >= keys_.end;
        step_.in_bundle = step_.first ? 0 : (step_.in_bundle + 1) % steps_of_bundle_;
        if (step_.in_bundle == 0) step_.bundle = bundles_++;
        step_.ends_bundle = step_.last || step_.in_bundle + 1 == steps_of_bundle_;
        return true;
    }
    __aicore__ inline const Step& step() const { return step_; }

  private:
    ItemCursor items_;
    uint32_t keys_of_step_;
    uint32_t steps_of_bundle_;
    Step step_{};
    KeyRange keys_{0, 0};
    int64_t n_ = 0;
    uint32_t count_ = 0;
    uint32_t bundles_ = 0;
};

}  // namespace fa
