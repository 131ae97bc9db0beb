// SPDX-License-Identifier: MIT OR Apache-2.0
// A core's part of a matrix product. See matmul.cpp.
#pragma once
#include "fa/copy.h"
#include "fa/memory.h"
#include "fa/mmad.h"
#include "fa/sync.h"
#include "matmul_tiles.h"

namespace fa {

enum class MatmulSide { kA, kB };

// Chunks of one operand on their way through L1.
template <typename T, MatmulSide kSide>
class MatmulOperand {
  public:
    __aicore__ inline MatmulOperand(const MatmulTilingData& t, GM_ADDR operand,
                                    const AscendC::LocalTensor<uint8_t>& l1)
        : t_(t), chunks_(t, block_index(), t.tile_k * steps()), ring_(t.l1_buffers) {
        gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(operand));
        if (kSide == MatmulSide::kB && t.b_past_l2 != 0) {
            gm_.SetL2CacheHint(AscendC::CacheMode::CACHE_MODE_DISABLE);
        }
        const auto& offset_bytes = kSide == MatmulSide::kA ? t.l1_a_offset_bytes : t.l1_b_offset_bytes;
        for (uint32_t i = 0; i < 2; ++i) l1_[i] = l1[offset_bytes[i]].template ReinterpretCast<T>();
    }

    // Issues the copies that run ahead.
    __aicore__ inline void start() {
        for (uint32_t i = 1; i < t_.l1_buffers; ++i) copy_next();
    }
    // Makes the chunk with step `step` of a tile the current one, if that step begins one.
    __aicore__ inline void open(uint32_t step) {
        if (step % steps() != 0) return;
        copy_next();
        slot_ = (slot_ + 1) % t_.l1_buffers;
        ring_.await(slot_);
    }
    // Gives the current chunk back behind its last step.
    __aicore__ inline void close(uint32_t step, bool is_last) {
        if (is_last || step % steps() == steps() - 1) ring_.release(slot_);
    }

    // k columns of the current chunk, from step `step` on, to L0.
    __aicore__ inline void load(const AscendC::LocalTensor<T>& l0, const MatmulTile& tile, uint32_t step,
                                uint32_t k) {
        const uint32_t inside = step % steps() * t_.tile_k;
        const uint32_t first = (step - step % steps()) * t_.tile_k;
        const uint32_t all_k = round_up(min_u32(steps() * t_.tile_k, t_.k - first), kFractal);
        const uint32_t k16 = round_up(k, kFractal);
        if constexpr (kSide == MatmulSide::kA) {
            load_l0a(l0, l1_[slot_], round_up(tile.rows, kFractal), all_k, inside, k16);
        } else if (t_.b_is_nk != 0) {
            copy_l1_to_l0b_transposed(l0, l1_[slot_], round_up(tile.cols, kFractal), 0, inside, tile.cols, k);
        } else {
            load_l0b(l0, l1_[slot_], round_up(tile.cols, kFractal), all_k, inside, k16);
        }
    }

  private:
    static constexpr int32_t kFirstId = kSide == MatmulSide::kA ? 0 : 2;

    __aicore__ inline uint32_t steps() const { return kSide == MatmulSide::kA ? t_.step_k_a : t_.step_k_b; }

    __aicore__ inline void copy_next() {
        if (!chunks_.next()) return;
        const MatmulTile& tile = chunks_.tile();
        const uint32_t slot = ring_.acquire();
        if constexpr (kSide == MatmulSide::kA) {
            const uint64_t at =
                batch_offset(t_.a_batch_stride, tile) + tile.row * t_.a_stride + chunks_.first();
            copy_gm_to_l1_nz(l1_[slot], gm_[at], tile.rows, chunks_.depth(), t_.a_stride);
        } else if (t_.b_is_nk != 0) {
            const uint64_t at =
                batch_offset(t_.b_batch_stride, tile) + tile.col * t_.b_stride + chunks_.first();
            copy_gm_to_l1_nz(l1_[slot], gm_[at], tile.cols, chunks_.depth(), t_.b_stride);
        } else {
            const uint64_t at =
                batch_offset(t_.b_batch_stride, tile) + chunks_.first() * t_.b_stride + tile.col;
            copy_gm_to_l1_nz(l1_[slot], gm_[at], chunks_.depth(), tile.cols, t_.b_stride);
        }
        ring_.publish(slot);
    }

    const MatmulTilingData& t_;
    MatmulChunkCursor chunks_;
    AscendC::GlobalTensor<T> gm_;
    AscendC::LocalTensor<T> l1_[2];
    uint32_t slot_ = t_.l1_buffers - 1;
    Ring<AscendC::HardEvent::MTE2_MTE1, AscendC::HardEvent::MTE1_MTE2, kFirstId, 2> ring_;
};

template <typename T, typename Out>
class MatmulKernel {
  public:
    template <typename Operands>
    __aicore__ inline MatmulKernel(const MatmulTilingData& t, const Operands& gm)
        : t_(t),
          a_(t, gm.a, memory_.l1),
          b_(t, gm.b, memory_.l1),
          l0_ring_(t.l0_buffers),
          l0c_ring_(t.l0c_buffers) {
        c_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ Out*>(gm.c));
    }

    // Issues the copies of B that run ahead; A need not be there yet.
    __aicore__ inline void start_b() { b_.start(); }

    // All tiles of this core, behind start_b().
    __aicore__ inline void run() {
        a_.start();
        if constexpr (sizeof(Out) == sizeof(float)) {
            if (t_.accumulates != 0) AscendC::SetAtomicAdd<float>();
        }
        MatmulTileCursor tiles(t_, block_index());
        while (tiles.next()) {
            multiply(tiles.tile());
        }
        if constexpr (sizeof(Out) == sizeof(float)) AscendC::SetAtomicNone();
    }

  private:
    __aicore__ inline void multiply(const MatmulTile& tile) {
        const uint32_t c = t_.unit_flag != 0 ? turn_++ % t_.l0c_buffers : l0c_ring_.acquire();
        const uint32_t num_steps = ceil_div(t_.k, t_.tile_k);
        for (uint32_t step = 0; step < num_steps; ++step) {
            const uint32_t k = min_u32(t_.tile_k, t_.k - step * t_.tile_k);
            const bool is_last = step + 1 == num_steps;
            a_.open(step);
            b_.open(step);
            const uint32_t slot = l0_ring_.acquire();
            a_.load(memory_.l0a[slot], tile, step, k);
            b_.load(memory_.l0b[slot], tile, step, k);
            a_.close(step, is_last);
            b_.close(step, is_last);
            l0_ring_.publish(slot);
            l0_ring_.await(slot);
            mmad(memory_.l0c[c], memory_.l0a[slot], memory_.l0b[slot], tile.rows, tile.cols, k, step == 0,
                 unit_flag(is_last));
            l0_ring_.release(slot);
        }
        store(tile, c);
    }

    __aicore__ inline void store(const MatmulTile& tile, uint32_t c) {
        if (t_.unit_flag == 0) {
            l0c_ring_.publish(c);
            l0c_ring_.await(c);
        }
        const uint64_t at = batch_offset(t_.c_batch_stride, tile) + tile.row * t_.c_stride + tile.col;
        copy_l0c_to_gm(c_gm_[at], memory_.l0c[c], tile.rows, tile.cols, t_.c_stride, unit_flag(true));
        if (t_.unit_flag == 0) l0c_ring_.release(c);
    }

    __aicore__ inline uint8_t unit_flag(bool is_last) const {
        if (t_.unit_flag == 0) return kUnitFlagOff;
        return is_last ? kUnitFlagToggle : kUnitFlagCheck;
    }

    const MatmulTilingData& t_;
    CubeMemory<T> memory_;  // before the rings, see fa/memory.h
    MatmulOperand<T, MatmulSide::kA> a_;
    MatmulOperand<T, MatmulSide::kB> b_;
    AscendC::GlobalTensor<Out> c_gm_;
    uint32_t turn_ = 0;
    Ring<AscendC::HardEvent::MTE1_M, AscendC::HardEvent::M_MTE1, 0, 2> l0_ring_;
    Ring<AscendC::HardEvent::M_FIX, AscendC::HardEvent::FIX_M, 0, 2> l0c_ring_;
};

}  // namespace fa
