// SPDX-License-Identifier: MIT OR Apache-2.0
// Which keys of which slots a core of flash_decode works on. The cores find it out themselves, from the
// lengths in GM, each in the same way.
//
// A task is a slot, a block of its packed query rows and `task_heads` heads of K and V. A unit is `unit_keys`
// keys, cut at multiples of that number, of which a row of the task sees one. All units lie in one line: slot
// by slot, head by head, row block by row block, from the first key on. Of `U` units core `c` of `C' = min(U,
// num_cores)` takes those from `U * c / C'` on. What it takes of one task is a piece. A task of one piece is
// finished by its core; the pieces of another are parts, which lie in the workspace until all cores are
// through. A core has at most two of them: one that begins within a task (number `c`), and one that begins a
// task and does not end it (number `num_cores + c`).
//
// An invariant launch splits no task: a core takes those that begin in its share. Their first unit starts at
// a multiple of `unit_keys`, too, and a step is one unit, so that the sums of a row are the same whatever
// else is in the launch.
#pragma once
#include "fa/arch.h"
#include "fa/tiling_data.h"
#include "families.h"

namespace fa {

// Of kCrossCoreMode, and the last one of kAllCoresMode.
constexpr uint16_t kDecodeQkReady = 0;       // AIC -> AIV: S of a step is in the workspace
constexpr uint16_t kDecodeSoftmaxReady = 1;  // AIV -> AIC: P of a step is in the workspace (both AIVs)
constexpr uint16_t kDecodePvReady = 2;       // AIC -> AIV: O of a step is in the workspace
constexpr uint16_t kDecodePartsReady = 3;    // all AIVs: their parts are in the workspace

// A sequence. Numbers that it cannot have count as the nearest that it can.
struct DecodeSlot {
    uint32_t index;
    uint32_t first_row;  // of q and o, if they are packed
    uint32_t rows;       // query rows
    uint32_t keys;
    bool are_rows_known;  // whether its rows are those that `row_starts` gives
    int32_t given_length;
    int32_t given_begin;  // entries of `row_starts`
    int32_t given_end;
};

struct DecodeTask {
    DecodeSlot slot;
    uint32_t head;       // first K/V head
    uint32_t row;        // first packed row
    uint32_t rows;       // packed rows of one head
    uint32_t first_key;  // that is read
    uint32_t keys;       // behind the last key that a row sees
    uint64_t begin;      // position of its first unit
    uint64_t end;        // behind its last unit
};

// One hand-over between Cube and Vector.
struct DecodeStep {
    DecodeTask task;
    uint32_t block_n;  // most keys of a step of the task
    uint32_t n0;       // first key
    uint32_t n_valid;  // keys
    uint32_t piece;    // running number of the piece on this core
    uint32_t part;     // number of the part, if the piece is one
    bool is_part;
    bool first;  // of its piece
    bool last;
};

// Walks the slots. Rows of two slots never overlap, whatever `row_starts` holds.
class DecodeSlots {
  public:
    __aicore__ inline DecodeSlots(const FlashDecodeTilingData& t, const FlashDecodeOperands& gm) : t_(t) {
        lengths_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(gm.lengths));
        starts_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(gm.row_starts));
    }

    __aicore__ inline bool next() {
        if (next_ >= t_.slots) return false;
        slot_.index = next_++;
        slot_.given_length = lengths_gm_.GetValue(slot_.index);
        slot_.keys = static_cast<uint32_t>(clamp_i64(slot_.given_length, 0, t_.max_keys));
        slot_.first_row = 0;
        slot_.rows = t_.rows;
        slot_.are_rows_known = true;
        if (t_.is_packed != 0) read_rows();
        return true;
    }
    __aicore__ inline const DecodeSlot& slot() const { return slot_; }

  private:
    __aicore__ inline void read_rows() {
        slot_.given_begin = slot_.index == 0 ? starts_gm_.GetValue(0) : slot_.given_end;
        slot_.given_end = starts_gm_.GetValue(slot_.index + 1);
        const int64_t begin = clamp_i64(slot_.given_begin, last_row_, t_.total_rows);
        const int64_t most = min_i64(begin + t_.rows, t_.total_rows);
        const int64_t end = clamp_i64(slot_.given_end, begin, most);
        slot_.are_rows_known = begin == slot_.given_begin && end == slot_.given_end;
        slot_.first_row = static_cast<uint32_t>(begin);
        slot_.rows = static_cast<uint32_t>(end - begin);
        last_row_ = end;
    }

    const FlashDecodeTilingData& t_;
    AscendC::GlobalTensor<int32_t> lengths_gm_;
    AscendC::GlobalTensor<int32_t> starts_gm_;
    uint32_t next_ = 0;
    int64_t last_row_ = 0;
    DecodeSlot slot_{};
};

// Sum of (a * i + b) / m, rounded down, over i < n; in as many steps as Euclid's algorithm takes for a and m.
__aicore__ inline uint64_t sum_of_quotients(uint64_t n, uint64_t m, uint64_t a, uint64_t b) {
    uint64_t sum = 0;
    while (n > 0) {
        sum += n * (n - 1) / 2 * (a / m) + n * (b / m);
        const uint64_t last = a % m * n + b % m;
        n = last / m;
        b = last % m;
        const uint64_t rest = a % m;
        a = m;
        m = rest;
    }
    return sum;
}

// Sum of min(max((first + i * step) / unit, 0), most), rounded down, over i < count.
__aicore__ inline uint64_t sum_of_units(int64_t count, int64_t first, int64_t step, int64_t unit,
                                        int64_t most) {
    // Of the numbers from `skipped` to `full` neither limit holds.
    const int64_t skipped = first < 0 ? min_i64(count, (step - 1 - first) / step) : 0;
    const int64_t over = most * unit - first;
    const int64_t full = over <= 0 ? 0 : min_i64(count, (over + step - 1) / step);
    const int64_t begin = min_i64(skipped, full);
    return sum_of_quotients(static_cast<uint64_t>(full - begin), static_cast<uint64_t>(unit),
                            static_cast<uint64_t>(step),
                            static_cast<uint64_t>(full > begin ? first + begin * step : 0)) +
           static_cast<uint64_t>((count - full) * most);
}

// Row blocks of a slot, and their units. The last row of a slot sees up to `window_right` keys behind the
// last one, which is all; the row before it one less; and so on.
class DecodeRowBlocks {
  public:
    __aicore__ inline DecodeRowBlocks(const FlashDecodeTilingData& t, const DecodeSlot& slot)
        : t_(t), keys_(slot.keys), rows_(slot.rows), off_(int64_t{slot.keys} - slot.rows) {
        count_ = keys_ == 0 ? 0 : ceil_div(slot.rows, t.block_rows);
    }

    // Query rows that see no key and belong to no task.
    __aicore__ inline uint32_t blind_rows() const {
        if (keys_ == 0) return rows_;
        const int64_t first_end = off_ + t_.block_rows + t_.window_right;
        if (t_.window_right < 0 || first_end > 0) return 0;
        // The last block sees a key.
        return min_u32(rows_, (static_cast<uint32_t>(-first_end / t_.block_rows) + 1) * t_.block_rows);
    }
    // First key that a row of a block sees, and the one behind the last.
    __aicore__ inline uint32_t begin(uint32_t block) const {
        if (t_.window_left < 0) return 0;
        return clamp(off_ - t_.window_left + int64_t{block} * t_.block_rows);
    }
    __aicore__ inline uint32_t end(uint32_t block) const {
        if (t_.window_right < 0) return static_cast<uint32_t>(keys_);
        const int64_t rows = min_i64((int64_t{block} + 1) * t_.block_rows, rows_);
        return clamp(off_ + rows + t_.window_right);
    }
    __aicore__ inline uint64_t units(uint32_t block) const {
        return ceil_div(end(block), t_.unit_keys) - begin(block) / t_.unit_keys;
    }
    __aicore__ inline uint64_t all_units() const { return units_before(count_); }
    // Units of the blocks before one.
    __aicore__ inline uint64_t units_before(uint32_t block) const {
        if (block == 0) return 0;
        if (block == count_) return units_before(block - 1) + units(block - 1);
        const int64_t step = t_.block_rows;
        const int64_t unit = t_.unit_keys;
        const auto most = static_cast<int64_t>(ceil_div(static_cast<uint32_t>(keys_), t_.unit_keys));
        const uint64_t behind =
            t_.window_right < 0
                ? static_cast<uint64_t>(block * most)
                : sum_of_units(block, off_ + step + t_.window_right + unit - 1, step, unit, most);
        if (t_.window_left < 0) return behind;
        return behind - sum_of_units(block, off_ - t_.window_left, step, unit, most);
    }
    // The block of a unit that there is.
    __aicore__ inline uint32_t at(uint64_t position) const {
        uint32_t low = 0;
        uint32_t high = count_;
        while (high - low > 1) {
            const uint32_t middle = low + (high - low) / 2;
            if (units_before(middle) <= position) {
                low = middle;
            } else {
                high = middle;
            }
        }
        return low;
    }

  private:
    __aicore__ inline uint32_t clamp(int64_t key) const {
        return static_cast<uint32_t>(clamp_i64(key, 0, keys_));
    }

    const FlashDecodeTilingData& t_;
    int64_t keys_;
    uint32_t rows_;
    int64_t off_;
    uint32_t count_;
};

// How all units are dealt.
class DecodeWork {
  public:
    __aicore__ inline DecodeWork(const FlashDecodeTilingData& t, const FlashDecodeOperands& gm)
        : t_(t), gm_(gm), tasks_per_block_(t.row_parts * (t.num_heads_k / t.task_heads)) {
        DecodeSlots slots(t, gm);
        while (slots.next()) num_units_ += DecodeRowBlocks(t, slots.slot()).all_units() * tasks_per_block_;
        num_cores_ = static_cast<uint32_t>(min_u64(num_units_, t.num_cores));
    }

    // Tasks that have the same query rows.
    __aicore__ inline uint32_t tasks_per_block() const { return tasks_per_block_; }
    // Cores that have units.
    __aicore__ inline uint32_t num_cores() const { return num_cores_; }
    // Position of the first unit of a core, also of the one behind the last.
    __aicore__ inline uint64_t begin(uint32_t core) const {
        return num_units_ * core / max_u32(num_cores_, 1);
    }
    // The first key of a unit of a task.
    __aicore__ inline uint32_t key(const DecodeTask& task, uint64_t position) const {
        if (position == task.begin) return task.first_key;
        if (position == task.end) return task.keys;
        return (task.first_key / t_.unit_keys + static_cast<uint32_t>(position - task.begin)) * t_.unit_keys;
    }
    __aicore__ inline const FlashDecodeTilingData& tiling() const { return t_; }
    __aicore__ inline DecodeSlots slots() const { return DecodeSlots(t_, gm_); }

  private:
    const FlashDecodeTilingData& t_;
    const FlashDecodeOperands& gm_;
    uint32_t tasks_per_block_;
    uint64_t num_units_ = 0;
    uint32_t num_cores_ = 0;
};

// Finds the tasks of units whose positions do not fall.
class DecodeTasks {
  public:
    __aicore__ inline explicit DecodeTasks(const DecodeWork& work) : work_(work), slots_(work.slots()) {}

    // The task of the unit at `position`, which exists.
    __aicore__ inline DecodeTask at(uint64_t position) {
        const FlashDecodeTilingData& t = work_.tiling();
        while (position >= end_) {
            slots_.next();
            begin_ = end_;
            units_ = DecodeRowBlocks(t, slots_.slot()).all_units();
            end_ += units_ * work_.tasks_per_block();
        }
        const DecodeRowBlocks blocks(t, slots_.slot());
        const auto number = static_cast<uint32_t>((position - begin_) / units_);
        const uint64_t head_begin = begin_ + number * units_;
        const uint32_t block = blocks.at(position - head_begin);
        const uint32_t group = t.num_heads / t.num_heads_k;
        const uint32_t part = number % t.row_parts;
        const uint32_t rows_end = min_u32((block + 1) * t.block_rows, slots_.slot().rows) * group;
        DecodeTask task;
        task.slot = slots_.slot();
        task.head = number / t.row_parts * t.task_heads;
        task.row = block * t.block_rows * group + part * t.task_rows;
        task.rows = min_u32(t.task_rows, rows_end - task.row);
        task.first_key = blocks.begin(block);
        task.first_key -= task.first_key % t.key_align;
        task.keys = blocks.end(block);
        task.begin = head_begin + blocks.units_before(block);
        task.end = task.begin + blocks.units(block);
        return task;
    }

  private:
    const DecodeWork& work_;
    DecodeSlots slots_;
    uint64_t begin_ = 0;  // position of the slot
    uint64_t end_ = 0;
    uint64_t units_ = 0;  // of all row blocks of one task of each
};

// Walks the steps of one core.
class DecodeCursor {
  public:
    __aicore__ inline DecodeCursor(const DecodeWork& work, uint32_t core)
        : work_(work), tasks_(work), core_(core) {
        if (core >= work.num_cores()) return;
        at_ = work.begin(core);
        end_ = work.begin(core + 1);
    }

    __aicore__ inline bool next() {
        if (n_ >= piece_end_ && !next_piece()) return false;
        step_.first = n_ == piece_begin_;
        step_.n0 = n_;
        step_.n_valid = min_u32(step_.block_n, piece_end_ - n_);
        n_ += step_.n_valid;
        step_.last = n_ >= piece_end_;
        return true;
    }
    __aicore__ inline const DecodeStep& step() const { return step_; }

  private:
    __aicore__ inline bool next_piece() {
        if (at_ >= end_) return false;
        const bool is_invariant = work_.tiling().is_invariant != 0;
        DecodeTask task = tasks_.at(at_);
        if (is_invariant && at_ != task.begin) {
            // The task of another core.
            at_ = task.end;
            if (at_ >= end_) return false;
            task = tasks_.at(at_);
        }
        const bool begins = at_ == task.begin;
        const uint64_t piece_end = is_invariant ? task.end : min_u64(end_, task.end);
        piece_begin_ = work_.key(task, at_);
        piece_end_ = work_.key(task, piece_end);
        at_ = piece_end;
        n_ = piece_begin_;
        step_.task = task;
        step_.block_n = block_n(task);
        step_.piece = count_++;
        step_.is_part = !begins || piece_end < task.end;
        step_.part = begins ? work_.tiling().num_cores + core_ : core_;
        return true;
    }
    // As many keys as the scores of the task's rows have room for.
    __aicore__ inline uint32_t block_n(const DecodeTask& task) const {
        const FlashDecodeTilingData& t = work_.tiling();
        const uint32_t rows_v = ceil_div(t.task_heads * task.rows, 2);
        uint32_t n = t.block_n;
        while (n > t.tile && rows_v * n > t.max_scores) n /= 2;
        return n;
    }

    const DecodeWork& work_;
    DecodeTasks tasks_;
    uint32_t core_;
    uint64_t at_ = 0;
    uint64_t end_ = 0;
    uint32_t n_ = 0;
    uint32_t piece_begin_ = 0;
    uint32_t piece_end_ = 0;
    uint32_t count_ = 0;
    DecodeStep step_{};
};

// A task that several cores have parts of: those of cores `first_core` to `last_core`.
struct SplitTask {
    DecodeTask task;
    uint32_t first_core;
    uint32_t last_core;
};

// Walks the tasks that are split, from the first on.
class SplitCursor {
  public:
    __aicore__ inline explicit SplitCursor(const DecodeWork& work) : work_(work), tasks_(work) {}

    __aicore__ inline bool next() {
        if (work_.tiling().is_invariant != 0) return false;
        while (core_ < work_.num_cores()) {
            const uint64_t position = work_.begin(core_);
            const DecodeTask task = tasks_.at(position);
            if (position == task.begin) {
                ++core_;
                continue;
            }
            split_.task = task;
            split_.first_core = core_ - 1;
            while (core_ < work_.num_cores() && work_.begin(core_) < task.end) ++core_;
            split_.last_core = core_ - 1;
            return true;
        }
        return false;
    }
    __aicore__ inline const SplitTask& split() const { return split_; }

  private:
    const DecodeWork& work_;
    DecodeTasks tasks_;
    uint32_t core_ = 1;
    SplitTask split_{};
};

// One core's part of the workspace: slot = step number % num_stages. Rows are those of a task, head by head.
template <typename T>
class DecodeWorkspace {
  public:
    __aicore__ inline DecodeWorkspace(const FlashDecodeTilingData& t, GM_ADDR workspace, uint32_t core)
        : t_(t), workspace_(workspace), core_(workspace + core * t.workspace_core_bytes) {}

    // Scores, f32 [rows, block_n] of the step.
    __aicore__ inline AscendC::GlobalTensor<float> s(uint32_t stage, const DecodeStep& step,
                                                     uint32_t row) const {
        return tensor<float>(core_ + sizeof(float) * scores(stage, step, row));
    }
    // Probabilities, 16-bit [rows, block_n] of the step.
    __aicore__ inline AscendC::GlobalTensor<T> p(uint32_t stage, const DecodeStep& step, uint32_t row) const {
        return tensor<T>(core_ + t_.workspace_p_offset_bytes + sizeof(T) * scores(stage, step, row));
    }
    // P V of a step, f32 [rows, head_dim_v].
    __aicore__ inline AscendC::GlobalTensor<float> o(uint32_t stage, uint32_t row) const {
        return tensor<float>(core_ + t_.workspace_o_offset_bytes +
                             uint64_t{4} * t_.head_dim_v * (rows() * stage + row));
    }
    // Accumulator, maxima and sums of a part; the last two repeated over 8 f32.
    __aicore__ inline AscendC::GlobalTensor<float> part(uint32_t part, uint32_t row) const {
        return tensor<float>(workspace_ + t_.workspace_parts_offset_bytes +
                             uint64_t{4} * t_.head_dim_v * (rows() * part + row));
    }
    __aicore__ inline AscendC::GlobalTensor<float> part_max(uint32_t part, uint32_t row) const {
        return tensor<float>(workspace_ + t_.workspace_max_offset_bytes +
                             uint64_t{kBlockBytes} * (rows() * part + row));
    }
    __aicore__ inline AscendC::GlobalTensor<float> part_sum(uint32_t part, uint32_t row) const {
        return tensor<float>(workspace_ + t_.workspace_sum_offset_bytes +
                             uint64_t{kBlockBytes} * (rows() * part + row));
    }
    // Rows of a task.
    __aicore__ inline uint64_t rows() const { return t_.task_heads * t_.task_rows; }

  private:
    __aicore__ inline uint64_t scores(uint32_t stage, const DecodeStep& step, uint32_t row) const {
        return uint64_t{t_.stage_scores} * stage + uint64_t{step.block_n} * row;
    }
    template <typename U>
    __aicore__ inline AscendC::GlobalTensor<U> tensor(GM_ADDR at) const {
        AscendC::GlobalTensor<U> tensor;
        tensor.SetGlobalBuffer(reinterpret_cast<__gm__ U*>(at));
        return tensor;
    }

    const FlashDecodeTilingData& t_;
    GM_ADDR workspace_;
    GM_ADDR core_;
};

}  // namespace fa
