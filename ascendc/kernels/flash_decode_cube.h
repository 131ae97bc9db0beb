// SPDX-License-Identifier: MIT OR Apache-2.0
// Cube half of flash_decode: S = Q K^T and O = P V. See flash_decode.cpp.
#pragma once
#include "fa/kv_cache.h"
#include "fa/memory.h"
#include "fa/mmad.h"
#include "fa/sync.h"
#include "families.h"
#include "flash_decode_work.h"

namespace fa {

template <typename T>
class FlashDecodeCube {
  public:
    __aicore__ inline FlashDecodeCube(const FlashDecodeTilingData& t, const FlashDecodeOperands& gm)
        : t_(t),
          work_(t, gm),
          ring_(t, gm.workspace, block_index()),
          table_(t, gm.block_table, gm.page_starts) {
        q_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.q));
        k_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.k));
        v_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.v));
    }

    // QK^T runs `preload` steps ahead of PV, so that the vector cores work while the next keys come.
    __aicore__ inline void run() {
        DecodeCursor qk(work_, block_index());
        DecodeCursor pv(work_, block_index());
        bool more = true;
        for (uint32_t turn = 0;; ++turn) {
            more = more && qk.next();
            const bool is_ahead = turn < t_.preload;
            if (!is_ahead && !pv.next()) break;
            if (more) multiply_qk(qk.step(), turn % t_.num_stages);
            if (!is_ahead) multiply_pv(pv.step(), (turn - t_.preload) % t_.num_stages);
        }
    }

  private:
    __aicore__ inline AscendC::LocalTensor<T> l1(uint32_t offset_bytes) {
        return memory_.l1[offset_bytes].template ReinterpretCast<T>();
    }
    __aicore__ inline AscendC::LocalTensor<T> q_l1(uint32_t slot) { return l1(slot * t_.l1_q_bytes); }
    __aicore__ inline AscendC::LocalTensor<T> p_l1(uint32_t slot) {
        return l1(2 * t_.l1_q_bytes + slot * t_.l1_p_bytes);
    }
    __aicore__ inline AscendC::LocalTensor<T> kv_l1(uint32_t slot) {
        return l1(2 * t_.l1_q_bytes + 2 * t_.l1_p_bytes + slot * t_.l1_kv_bytes);
    }

    __aicore__ inline void multiply_qk(const DecodeStep& s, uint32_t stage) {
        if (s.first) {
            q_slot_ = q_ring_.acquire();
            load_q(s.task);
            q_ring_.publish(q_slot_);
            q_ring_.await(q_slot_);
        }
        for (uint32_t n = 0; n < s.n_valid; n += t_.chunk_n) {
            const uint32_t keys = min_u32(t_.chunk_n, s.n_valid - n);
            const uint32_t slot = kv_ring_.acquire();
            copy_cache_to_l1_nz(kv_l1(slot), k_gm_, table_, t_.k_format, t_.k_stride, s.task.slot.index,
                                s.task.head, s.n0 + n, keys, t_.task_heads, t_.head_dim);
            kv_ring_.publish(slot);
            kv_ring_.await(slot);
            for (uint32_t tile = 0; tile < keys; tile += t_.tile) {
                for (uint32_t h = 0; h < t_.task_heads; ++h) score_tile(s, stage, slot, h, n, tile, keys);
            }
            kv_ring_.release(slot);
        }
        if (s.last) q_ring_.release(q_slot_);
        AscendC::CrossCoreSetFlag<kCrossCoreMode, PIPE_FIX>(kDecodeQkReady);
    }

    // The packed rows of each head, as many at a time as one row of q has.
    __aicore__ inline void load_q(const DecodeTask& task) {
        const uint32_t group = t_.num_heads / t_.num_heads_k;
        const uint32_t rows16 = round_up(task.rows, kFractal);
        for (uint32_t h = 0; h < t_.task_heads; ++h) {
            const auto q = q_l1(q_slot_)[h * rows16 * t_.score_depth];
            for (uint32_t r = 0; r < task.rows;) {
                const uint32_t g = (task.row + r) % group;
                const uint32_t run = min_u32(group - g, task.rows - r);
                const uint64_t head = (task.head + h) * group + g;
                const uint64_t row = task.slot.first_row + (task.row + r) / group;
                const uint64_t offset =
                    task.slot.index * t_.q_stride[0] + row * t_.q_stride[1] + head * t_.q_stride[2];
                if (t_.k_format == kKvHalfRows) {
                    copy_half_rows_to_l1(q[r * kFractal], q_gm_[offset], run, rows16, t_.head_dim / kHalfRow,
                                         t_.q_stride[2], kHalfRow);
                } else {
                    copy_gm_to_l1_nz_rows(q[r * kFractal], q_gm_[offset], run, t_.head_dim, t_.q_stride[2],
                                          rows16);
                }
                r += run;
            }
        }
    }

    // Scores of one head with `tile` keys of the chunk that starts at key `n` of the step.
    __aicore__ inline void score_tile(const DecodeStep& s, uint32_t stage, uint32_t k_slot, uint32_t h,
                                      uint32_t n, uint32_t tile, uint32_t keys) {
        const uint32_t rows16 = round_up(s.task.rows, kFractal);
        const uint32_t keys16 = round_up(keys, kFractal);
        const uint32_t cols = min_u32(t_.tile, keys - tile);
        const auto q = q_l1(q_slot_)[h * rows16 * t_.score_depth];
        const auto k = kv_l1(k_slot)[h * keys16 * t_.score_depth];
        const uint32_t c = l0c_ring_.acquire();
        for (uint32_t d = 0; d < t_.score_depth; d += t_.tile) {
            const uint32_t depth = min_u32(t_.tile, t_.score_depth - d);
            const uint32_t slot = l0_ring_.acquire();
            load_l0a(memory_.l0a[slot], q, rows16, t_.score_depth, d, depth);
            copy_l1_to_l0b_transposed(memory_.l0b[slot], k, keys16, tile, d, cols, depth);
            l0_ring_.publish(slot);
            l0_ring_.await(slot);
            mmad(memory_.l0c[c], memory_.l0a[slot], memory_.l0b[slot], s.task.rows, cols, depth, d == 0);
            l0_ring_.release(slot);
        }
        l0c_ring_.publish(c);
        l0c_ring_.await(c);
        copy_l0c_to_gm(ring_.s(stage, s, h * s.task.rows)[n + tile], memory_.l0c[c], s.task.rows, cols,
                       s.block_n);
        l0c_ring_.release(c);
    }

    // One accumulator holds the rows of all heads: the values pass by once.
    __aicore__ inline void multiply_pv(const DecodeStep& s, uint32_t stage) {
        AscendC::CrossCoreWaitFlag<kCrossCoreMode>(kDecodeSoftmaxReady);
        const uint32_t rows16 = round_up(s.task.rows, kFractal);
        const uint32_t p_slot = p_ring_.acquire();
        for (uint32_t h = 0; h < t_.task_heads; ++h) {
            copy_gm_to_l1_nz(p_l1(p_slot)[h * rows16 * round_up(s.n_valid, kFractal)],
                             ring_.p(stage, s, h * s.task.rows), s.task.rows, s.n_valid, s.block_n);
        }
        p_ring_.publish(p_slot);
        p_ring_.await(p_slot);
        const uint32_t c = l0c_ring_.acquire();
        for (uint32_t n = 0; n < s.n_valid; n += t_.chunk_n) {
            const uint32_t keys = min_u32(t_.chunk_n, s.n_valid - n);
            const uint32_t slot = kv_ring_.acquire();
            copy_cache_to_l1_nz(kv_l1(slot), v_gm_, table_, t_.v_format, t_.v_stride, s.task.slot.index,
                                s.task.head, s.n0 + n, keys, t_.task_heads, t_.head_dim_v);
            kv_ring_.publish(slot);
            kv_ring_.await(slot);
            for (uint32_t tile = 0; tile < keys; tile += t_.tile) {
                for (uint32_t h = 0; h < t_.task_heads; ++h)
                    output_tile(s, c, p_slot, slot, h, n, tile, keys);
            }
            kv_ring_.release(slot);
        }
        p_ring_.release(p_slot);
        l0c_ring_.publish(c);
        l0c_ring_.await(c);
        for (uint32_t h = 0; h < t_.task_heads; ++h) {
            copy_l0c_to_gm(ring_.o(stage, h * s.task.rows), memory_.l0c[c][h * rows16 * t_.head_dim_v],
                           s.task.rows, t_.head_dim_v, t_.head_dim_v);
        }
        l0c_ring_.release(c);
        AscendC::CrossCoreSetFlag<kCrossCoreMode, PIPE_FIX>(kDecodePvReady);
    }

    // Adds `tile` keys of the chunk that starts at key `n` of the step to the accumulator of one head.
    __aicore__ inline void output_tile(const DecodeStep& s, uint32_t c, uint32_t p_slot, uint32_t v_slot,
                                       uint32_t h, uint32_t n, uint32_t tile, uint32_t keys) {
        const uint32_t rows16 = round_up(s.task.rows, kFractal);
        const uint32_t keys16 = round_up(keys, kFractal);
        const uint32_t all_keys16 = round_up(s.n_valid, kFractal);
        const uint32_t depth = min_u32(t_.tile, keys - tile);
        const uint32_t depth16 = round_up(depth, kFractal);
        for (uint32_t d = 0; d < t_.head_dim_v; d += t_.tile) {
            const uint32_t cols = min_u32(t_.tile, t_.head_dim_v - d);
            const uint32_t slot = l0_ring_.acquire();
            load_l0a(memory_.l0a[slot], p_l1(p_slot)[h * rows16 * all_keys16], rows16, all_keys16, n + tile,
                     depth16);
            const auto v = kv_l1(v_slot)[h * keys16 * t_.head_dim_v];
            if (t_.v_format == kKvColumns) {
                copy_l1_to_l0b_transposed(memory_.l0b[slot], v, t_.head_dim_v, d, tile, cols, depth16);
            } else {
                load_l0b_window(memory_.l0b[slot], v, keys16, t_.head_dim_v, tile, d, depth16, cols);
            }
            l0_ring_.publish(slot);
            l0_ring_.await(slot);
            mmad(memory_.l0c[c][(h * t_.head_dim_v + d) * rows16], memory_.l0a[slot], memory_.l0b[slot],
                 s.task.rows, cols, depth, n + tile == 0);
            l0_ring_.release(slot);
        }
    }

    const FlashDecodeTilingData& t_;
    DecodeWork work_;
    DecodeWorkspace<T> ring_;
    BlockTable table_;
    AscendC::GlobalTensor<T> q_gm_;
    AscendC::GlobalTensor<T> k_gm_;
    AscendC::GlobalTensor<T> v_gm_;
    CubeMemory<T> memory_;  // before the rings, see fa/memory.h
    uint32_t q_slot_ = 0;
    Ring<AscendC::HardEvent::MTE2_MTE1, AscendC::HardEvent::MTE1_MTE2, 0, 2> q_ring_;
    Ring<AscendC::HardEvent::MTE2_MTE1, AscendC::HardEvent::MTE1_MTE2, 2, 2> p_ring_;
    Ring<AscendC::HardEvent::MTE2_MTE1, AscendC::HardEvent::MTE1_MTE2, 4, 4> kv_ring_;
    Ring<AscendC::HardEvent::MTE1_M, AscendC::HardEvent::M_MTE1, 0, 2> l0_ring_;
    Ring<AscendC::HardEvent::M_FIX, AscendC::HardEvent::FIX_M, 0, 2> l0c_ring_;
};

}  // namespace fa
