// SPDX-License-Identifier: MIT OR Apache-2.0
// Which keys of which slots a core of flash_decode works on. The cores find it out themselves, from the
// lengths in GM, each in the same way.
//
// A task is a slot, a block of its packed query rows and `task_heads` heads of K and V. Its keys are cut into
// units of `unit_keys`. All units lie in one line: slot by slot, task by task, from the first key on. Of `U`
// units core `c` of `C' = min(U, num_cores)` takes those from `U * c / C'` on. What it takes of one task is a
// piece. A task of one piece is finished by its core; the pieces of another are parts, which lie in the
// workspace until all cores are through. A core has at most two of them: one that begins within a task
// (number `c`), and one that begins a task and does not end it (number `num_cores + c`).
#pragma once
#include "fa/arch.h"
#include "fa/tiling_data.h"

namespace fa {

// Of kCrossCoreMode, and the last one of kAllCoresMode.
constexpr uint16_t kDecodeQkReady = 0;       // AIC -> AIV: S of a step is in the workspace
constexpr uint16_t kDecodeSoftmaxReady = 1;  // AIV -> AIC: P of a step is in the workspace (both AIVs)
constexpr uint16_t kDecodePvReady = 2;       // AIC -> AIV: O of a step is in the workspace
constexpr uint16_t kDecodePartsReady = 3;    // all AIVs: their parts are in the workspace

struct DecodeTask {
    uint32_t slot;
    uint32_t keys;   // of the slot
    uint32_t head;   // first K/V head
    uint32_t row;    // first packed row
    uint32_t rows;   // packed rows of one head
    uint32_t begin;  // position of its first unit
    uint32_t num_units;
};

// One hand-over between Cube and Vector.
struct DecodeStep {
    DecodeTask task;
    uint32_t n0;       // first key
    uint32_t n_valid;  // keys
    uint32_t piece;    // running number of the piece on this core
    uint32_t part;     // number of the part, if the piece is one
    bool is_part;
    bool first;  // of its piece
    bool last;
};

// Lengths of the slots, and how all units are dealt.
class DecodeWork {
  public:
    __aicore__ inline DecodeWork(const FlashDecodeTilingData& t, GM_ADDR lengths)
        : t_(t), num_tasks_(t.num_row_blocks * (t.num_heads_k / t.task_heads)) {
        lengths_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(lengths));
        for (uint32_t slot = 0; slot < t.slots; ++slot) num_units_ += units(keys(slot)) * num_tasks_;
        num_cores_ = min_u32(num_units_, t.num_cores);
    }

    // Lengths that no slot can have count as the nearest one that it can.
    __aicore__ inline uint32_t keys(uint32_t slot) const {
        const int64_t given = lengths_gm_.GetValue(slot);
        return static_cast<uint32_t>(min_i64(max_i64(given, 0), t_.max_keys));
    }
    __aicore__ inline int32_t given_length(uint32_t slot) const { return lengths_gm_.GetValue(slot); }
    __aicore__ inline uint32_t units(uint32_t keys) const { return ceil_div(keys, t_.unit_keys); }
    // Tasks of a slot.
    __aicore__ inline uint32_t num_tasks() const { return num_tasks_; }
    // Cores that have units.
    __aicore__ inline uint32_t num_cores() const { return num_cores_; }
    // Position of the first unit of a core, also of the one behind the last.
    __aicore__ inline uint32_t begin(uint32_t core) const {
        return static_cast<uint32_t>(static_cast<uint64_t>(num_units_) * core / max_u32(num_cores_, 1));
    }
    __aicore__ inline const FlashDecodeTilingData& tiling() const { return t_; }

  private:
    const FlashDecodeTilingData& t_;
    uint32_t num_tasks_;
    uint32_t num_units_ = 0;
    uint32_t num_cores_ = 0;
    AscendC::GlobalTensor<int32_t> lengths_gm_;
};

// Finds the tasks of units whose positions do not fall.
class DecodeTasks {
  public:
    __aicore__ inline explicit DecodeTasks(const DecodeWork& work) : work_(work) { read(); }

    // The task of the unit at `position`, which exists.
    __aicore__ inline DecodeTask at(uint32_t position) {
        const FlashDecodeTilingData& t = work_.tiling();
        while (position >= begin_ + units_ * work_.num_tasks()) {
            begin_ += units_ * work_.num_tasks();
            ++slot_;
            read();
        }
        const uint32_t number = (position - begin_) / units_;
        const uint32_t packed = t.rows * (t.num_heads / t.num_heads_k);
        DecodeTask task;
        task.slot = slot_;
        task.keys = keys_;
        task.head = number / t.num_row_blocks * t.task_heads;
        task.row = number % t.num_row_blocks * t.task_rows;
        task.rows = min_u32(t.task_rows, packed - task.row);
        task.begin = begin_ + number * units_;
        task.num_units = units_;
        return task;
    }

  private:
    __aicore__ inline void read() {
        if (slot_ >= work_.tiling().slots) return;
        keys_ = work_.keys(slot_);
        units_ = work_.units(keys_);
    }

    const DecodeWork& work_;
    uint32_t slot_ = 0;
    uint32_t begin_ = 0;  // position of the slot's first unit
    uint32_t keys_ = 0;
    uint32_t units_ = 0;  // of a task of the slot
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
        step_.n_valid = min_u32(work_.tiling().block_n, piece_end_ - n_);
        n_ += step_.n_valid;
        step_.last = n_ >= piece_end_;
        return true;
    }
    __aicore__ inline const DecodeStep& step() const { return step_; }

  private:
    __aicore__ inline bool next_piece() {
        if (at_ >= end_) return false;
        const FlashDecodeTilingData& t = work_.tiling();
        const DecodeTask task = tasks_.at(at_);
        const uint32_t unit = at_ - task.begin;
        const uint32_t units = min_u32(task.num_units - unit, end_ - at_);
        at_ += units;
        n_ = unit * t.unit_keys;
        piece_begin_ = n_;
        piece_end_ = min_u32(task.keys, (unit + units) * t.unit_keys);
        step_.task = task;
        step_.piece = count_++;
        step_.is_part = units < task.num_units;
        step_.part = unit > 0 ? core_ : t.num_cores + core_;
        return true;
    }

    const DecodeWork& work_;
    DecodeTasks tasks_;
    uint32_t core_;
    uint32_t at_ = 0;
    uint32_t end_ = 0;
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
        while (core_ < work_.num_cores()) {
            const uint32_t position = work_.begin(core_);
            const DecodeTask task = tasks_.at(position);
            if (task.begin == position) {
                ++core_;
                continue;
            }
            split_.task = task;
            split_.first_core = core_ - 1;
            while (core_ < work_.num_cores() && work_.begin(core_) < task.begin + task.num_units) ++core_;
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

    // Scores, f32 [rows, block_n].
    __aicore__ inline AscendC::GlobalTensor<float> s(uint32_t stage, uint32_t row) const {
        return tensor<float>(core_ + uint64_t{4} * t_.block_n * (rows() * stage + row));
    }
    // Probabilities, 16-bit [rows, block_n].
    __aicore__ inline AscendC::GlobalTensor<T> p(uint32_t stage, uint32_t row) const {
        return tensor<T>(core_ + t_.workspace_p_offset_bytes +
                         uint64_t{2} * t_.block_n * (rows() * stage + row));
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
