// SPDX-License-Identifier: MIT OR Apache-2.0
// Cube half of flash_fwd: S = Q K^T and O = P V. See flash_fwd.cpp.
#pragma once
#include "fa/copy.h"
#include "fa/memory.h"
#include "fa/mmad.h"
#include "fa/seqlen.h"
#include "fa/sync.h"
#include "flash_fwd_workspace.h"

namespace fa {

// T: q, k and v; S: the scores on their way to the vector cores, float or half.
template <typename T, typename S>
class FlashFwdCube {
  public:
    template <typename Operands>
    __aicore__ inline FlashFwdCube(const FlashFwdTilingData& t, const Operands& gm)
        : t_(t), ring_(t, gm.workspace, block_index()) {
        q_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.q));
        k_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.k));
        v_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.v));
    }

    // QK^T runs `preload` steps ahead of the probabilities that are waited for, so that the vector cores work
    // on one block while the next ones are made. PV of a bundle follows its last probabilities.
    __aicore__ inline void run() {
        StepCursor qk(t_, block_index());
        StepCursor pv(t_, block_index(), true);
        bool more = true;
        uint32_t missing = 0;  // steps of the bundle whose probabilities have not been waited for
        for (uint32_t turn = 0;; ++turn) {
            more = more && qk.next();
            const bool is_ahead = turn < t_.preload;
            if (!is_ahead && missing == 0) {
                if (!pv.next()) break;
                missing = ceil_div(pv.step().n_valid, t_.block_n);
            }
            if (more) multiply_qk(qk.step(), turn, missing == 1 ? &pv.step() : nullptr);
            if (is_ahead) continue;
            AscendC::CrossCoreWaitFlag<kCrossCoreMode>(kSoftmaxReady);
            if (--missing == 0) {
                multiply_pv(pv.step(), turn - t_.preload + 1 - ceil_div(pv.step().n_valid, t_.block_n));
            }
        }
    }

  private:
    template <typename U>
    __aicore__ inline AscendC::LocalTensor<T> l1_buffer(U offset_bytes, U bytes, uint32_t slot) {
        return memory_.l1[offset_bytes + slot * bytes].template ReinterpretCast<T>();
    }

    // Behind its chunks of K the first values of the coming PV step are loaded: their buffers are free since
    // the last PV, and behind the first chunk they do not keep the Cube waiting.
    __aicore__ inline void multiply_qk(const Step& s, uint32_t step, const Step* next_pv) {
        if (s.first) {
            q_slot_ = q_ring_.acquire();
            const auto q = q_gm_[row_offset(t_.q_stride, s.batch, s.m0, s.head)];
            copy_gm_to_l1_nz(l1_buffer(t_.l1_q_offset_bytes, t_.l1_q_bytes, q_slot_), q, s.rows, t_.head_dim,
                             t_.q_stride[1]);
            q_ring_.publish(q_slot_);
            q_ring_.await(q_slot_);
            if constexpr (sizeof(S) == sizeof(half)) {
                if (t_.adds_mean != 0) multiply_mean(s, step);
            }
        }
        for (uint32_t n = 0; n < s.n_valid; n += t_.chunk_n) {
            const uint32_t keys = min_u32(t_.chunk_n, s.n_valid - n);
            const uint32_t slot = k_ring_.acquire();
            const auto k_l1 = l1_buffer(t_.l1_k_offset_bytes, t_.l1_k_bytes, slot);
            const auto k = k_gm_[row_offset(t_.k_stride, s.batch, s.n0 + n, head_k(t_, s))];
            copy_gm_to_l1_nz(k_l1, k, keys, t_.head_dim, t_.k_stride[1]);
            k_ring_.publish(slot);
            k_ring_.await(slot);
            for (uint32_t m = 0; m < s.rows; m += t_.tile_m) {
                for (uint32_t tile = 0; tile < keys; tile += t_.tile_n) {
                    score_tile(s, k_l1, m, tile, keys, ring_.s(step, m, n + tile), ring_.score_pitch());
                }
            }
            k_ring_.release(slot);
            if (next_pv != nullptr && num_v_ < 2) load_v(*next_pv);
        }
        if (s.last) q_ring_.release(q_slot_);
        AscendC::CrossCoreSetFlag<kCrossCoreMode, PIPE_FIX>(kQkReady);
    }

    // q times what shift_keys has subtracted from the keys, for all rows of an item: a chunk of 16 equal
    // keys.
    __aicore__ inline void multiply_mean(const Step& s, uint32_t step) {
        const uint32_t slot = k_ring_.acquire();
        const auto mean_l1 = l1_buffer(t_.l1_k_offset_bytes, t_.l1_k_bytes, slot);
        const auto mean = k_gm_[row_offset(t_.k_stride, s.batch, t_.seqlen_k, head_k(t_, s))];
        copy_gm_to_l1_nz(mean_l1, mean, kFractal, t_.head_dim, t_.k_stride[1]);
        k_ring_.publish(slot);
        k_ring_.await(slot);
        for (uint32_t m = 0; m < s.rows; m += t_.tile_m)
            score_tile(s, mean_l1, m, 0, kFractal, ring_.mean(step, m), kFractal);
        k_ring_.release(slot);
    }

    // One tile_m x tile_n tile of scores, from key `tile` of a chunk of `keys` on, to rows of `pitch`
    // elements.
    template <typename Out>
    __aicore__ inline void score_tile(const Step& s, const AscendC::LocalTensor<T>& k_l1, uint32_t m,
                                      uint32_t tile, uint32_t keys, const AscendC::GlobalTensor<Out>& scores,
                                      uint32_t pitch) {
        const auto q_l1 = l1_buffer(t_.l1_q_offset_bytes, t_.l1_q_bytes, q_slot_);
        const uint32_t rows = min_u32(t_.tile_m, s.rows - m);
        const uint32_t cols = min_u32(t_.tile_n, keys - tile);
        const uint32_t c = l0c_ring_.acquire();
        for (uint32_t d = 0; d < t_.head_dim; d += t_.tile_k) {
            const uint32_t depth = min_u32(t_.tile_k, t_.head_dim - d);
            const uint32_t slot = l0_ring_.acquire();
            load_l0a_window(memory_.l0a[slot], q_l1, round_up(s.rows, kFractal), t_.head_dim, m, d,
                            round_up(rows, kFractal), depth);
            copy_l1_to_l0b_transposed(memory_.l0b[slot], k_l1, round_up(keys, kFractal), tile, d, cols,
                                      depth);
            l0_ring_.publish(slot);
            l0_ring_.await(slot);
            mmad(memory_.l0c[c], memory_.l0a[slot], memory_.l0b[slot], rows, cols, depth, d == 0);
            l0_ring_.release(slot);
        }
        l0c_ring_.publish(c);
        l0c_ring_.await(c);
        copy_l0c_to_gm(scores, memory_.l0c[c], rows, cols, pitch);
        l0c_ring_.release(c);
    }

    // The next chunk_p values of a step, if there are any left.
    __aicore__ inline void load_v(const Step& s) {
        const uint32_t n = num_v_ * t_.chunk_p;
        if (n >= s.n_valid) return;
        const uint32_t slot = v_ring_.acquire();
        const auto v = v_gm_[row_offset(t_.v_stride, s.batch, s.n0 + n, head_k(t_, s))];
        copy_gm_to_l1_nz(v_l1(slot), v, min_u32(t_.chunk_p, s.n_valid - n), t_.head_dim_v, t_.v_stride[1]);
        v_ring_.publish(slot);
        v_slot_[num_v_ % 2] = slot;
        ++num_v_;
    }

    __aicore__ inline AscendC::LocalTensor<T> v_l1(uint32_t slot) {
        return l1_buffer(t_.l1_v_offset_bytes, t_.l1_v_bytes, slot);
    }

    // P V of a bundle from step number `step` on. As many rows at a time as L0C has accumulators for: the
    // values pass by once for all of them.
    __aicore__ inline void multiply_pv(const Step& s, uint32_t step) {
        const uint32_t tiles = ceil_div(t_.head_dim_v, t_.tile_n);
        const uint32_t group = t_.tile_m * (2 / tiles);
        for (uint32_t m = 0; m < s.rows; m += group)
            output_rows(s, step, m, min_u32(s.rows, m + group), tiles);
        AscendC::CrossCoreSetFlag<kCrossCoreMode, PIPE_FIX>(kPvReady);
    }

    // The rows m..end of O, `tiles` accumulators for each tile_m of them.
    __aicore__ inline void output_rows(const Step& s, uint32_t step, uint32_t first, uint32_t end,
                                       uint32_t tiles) {
        uint32_t c[2];
        for (uint32_t chunk = 0, n = 0; n < s.n_valid; ++chunk, n += t_.chunk_p) {
            const uint32_t keys = min_u32(t_.chunk_p, s.n_valid - n);
            if (num_v_ == chunk) load_v(s);
            const uint32_t v_slot = v_slot_[chunk % 2];
            uint32_t* tile_c = c;
            for (uint32_t m = first; m < end; m += t_.tile_m, tile_c += tiles) {
                const uint32_t rows = min_u32(t_.tile_m, end - m);
                const uint32_t slot = load_p(step, m, n, rows, keys);
                if (m + t_.tile_m >= end && num_v_ == chunk + 1) load_v(s);
                if (m == first) v_ring_.await(v_slot);
                p_ring_.await(slot);
                for (uint32_t i = 0; i < tiles; ++i) {
                    if (n == 0) tile_c[i] = l0c_ring_.acquire();
                    output_tile(tile_c[i], slot, v_slot, rows, i * t_.tile_n, keys, n == 0);
                    if (n + t_.chunk_p >= s.n_valid) store_o(tile_c[i], s.bundle, m, rows, i * t_.tile_n);
                }
                p_ring_.release(slot);
            }
            v_ring_.release(v_slot);
        }
        num_v_ = 0;
    }

    // Probabilities of the keys from `n` on of a bundle that begins with step number `step`.
    __aicore__ inline uint32_t load_p(uint32_t step, uint32_t m, uint32_t n, uint32_t rows, uint32_t keys) {
        const uint32_t slot = p_ring_.acquire();
        const auto p = ring_.p(step + n / t_.block_n);
        copy_gm_to_l1_nz(p_l1(slot), p[static_cast<uint64_t>(m) * t_.block_n + n % t_.block_n], rows, keys,
                         t_.block_n);
        p_ring_.publish(slot);
        return slot;
    }

    __aicore__ inline AscendC::LocalTensor<T> p_l1(uint32_t slot) {
        return l1_buffer(t_.l1_p_offset_bytes, t_.l1_p_bytes, slot);
    }

    // Adds `keys` keys to an accumulator of `rows` rows and the value columns from d.
    __aicore__ inline void output_tile(uint32_t c, uint32_t p_slot, uint32_t v_slot, uint32_t rows,
                                       uint32_t d, uint32_t keys, bool is_first) {
        const uint32_t cols = min_u32(t_.tile_n, t_.head_dim_v - d);
        const uint32_t keys16 = round_up(keys, kFractal);
        for (uint32_t key = 0; key < keys; key += t_.tile_k) {
            const uint32_t depth = min_u32(t_.tile_k, keys - key);
            const uint32_t slot = l0_ring_.acquire();
            load_l0a(memory_.l0a[slot], p_l1(p_slot), round_up(rows, kFractal), keys16, key,
                     round_up(depth, kFractal));
            load_l0b_window(memory_.l0b[slot], v_l1(v_slot), keys16, t_.head_dim_v, key, d,
                            round_up(depth, kFractal), cols);
            l0_ring_.publish(slot);
            l0_ring_.await(slot);
            mmad(memory_.l0c[c], memory_.l0a[slot], memory_.l0b[slot], rows, cols, depth,
                 is_first && key == 0);
            l0_ring_.release(slot);
        }
    }

    __aicore__ inline void store_o(uint32_t c, uint32_t bundle, uint32_t m, uint32_t rows, uint32_t d) {
        l0c_ring_.publish(c);
        l0c_ring_.await(c);
        copy_l0c_to_gm(ring_.o(bundle)[static_cast<uint64_t>(m) * t_.head_dim_v + d], memory_.l0c[c], rows,
                       min_u32(t_.tile_n, t_.head_dim_v - d), t_.head_dim_v);
        l0c_ring_.release(c);
    }

    const FlashFwdTilingData& t_;
    FlashFwdWorkspace<T, S> ring_;
    AscendC::GlobalTensor<T> q_gm_;
    AscendC::GlobalTensor<T> k_gm_;
    AscendC::GlobalTensor<T> v_gm_;
    CubeMemory<T> memory_;  // before the rings, see fa/memory.h
    uint32_t q_slot_ = 0;
    uint32_t v_slot_[2] = {0, 0};
    uint32_t num_v_ = 0;  // chunks of V that the coming or present PV has asked for
    Ring<AscendC::HardEvent::MTE2_MTE1, AscendC::HardEvent::MTE1_MTE2, 0, 1> q_ring_;
    Ring<AscendC::HardEvent::MTE2_MTE1, AscendC::HardEvent::MTE1_MTE2, 1, 2> k_ring_;
    Ring<AscendC::HardEvent::MTE2_MTE1, AscendC::HardEvent::MTE1_MTE2, 3, 2> v_ring_;
    Ring<AscendC::HardEvent::MTE2_MTE1, AscendC::HardEvent::MTE1_MTE2, 5, 3> p_ring_;
    Ring<AscendC::HardEvent::MTE1_M, AscendC::HardEvent::M_MTE1, 0, 2> l0_ring_;
    Ring<AscendC::HardEvent::M_FIX, AscendC::HardEvent::FIX_M, 0, 2> l0c_ring_;
};

}  // namespace fa
