// SPDX-License-Identifier: MIT OR Apache-2.0
// Keys less their mean over the sequence, for attention with f16 scores: what every key of a head has in
// common adds the same to all scores of a row, which the softmax does not see and f16 may not hold.
//
// Maths      of each head of k, [seqlen_k, head_dim]:
//              c = mean of its rows, summed in f32 and rounded to f16; 0 in columns where it is not finite
//              k' = k - c, rounded to f16
//            The result holds k' and behind it 16 rows of c, head by head without gaps. q k'^T is q k^T less
//            q c of each row; flash_fwd adds scale * q c to lse. With the c of this kernel that is no
//            approximation: any vector would do. PASA (arXiv 2503.01873) shifts by a part of the mean of each
//            block, and restores it from the shifted scores.
// Tiling     tiles of tile_rows rows, in order over all heads; a core takes core_tiles of them, one behind
//            the other. It makes the mean of each head that it has tiles of, for which it reads that head
//            once more: so no core waits for another.
// UB         2 x in and 2 x out tile_rows*head_dim*2 | wide and sum tile_rows*head_dim*4 | mean 2*256
//            | bits 32
// Pipeline   MTE2 -> V [in 2: 0-1]   V -> MTE3 [out 2: 0-1, mean 1: 2]
// Limits     AIV only; head_dim a multiple of 16 up to 256, tile_rows at most 255.
#include "fa/copy.h"
#include "fa/memory.h"
#include "fa/row_tree_f16.h"
#include "fa/sync.h"
#include "families.h"

namespace fa {

class ShiftKeysKernel {
  public:
    __aicore__ inline ShiftKeysKernel(const ShiftKeysTilingData& t, const ShiftKeysOperands& gm) : t_(t) {
        k_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(gm.k));
        shifted_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(gm.shifted));
        const auto ub = memory_.ub;
        const uint32_t bytes = t.tile_rows * t.head_dim * static_cast<uint32_t>(sizeof(half));
        for (uint32_t i = 0; i < 2; ++i) {
            in_ub_[i] = ub[t.ub_in_offset_bytes + i * bytes].template ReinterpretCast<half>();
            out_ub_[i] = ub[t.ub_out_offset_bytes + i * bytes].template ReinterpretCast<half>();
        }
        wide_ub_ = ub[t.ub_wide_offset_bytes].template ReinterpretCast<float>();
        sum_ub_ = ub[t.ub_sum_offset_bytes].template ReinterpretCast<float>();
        mean_ub_ = ub[t.ub_mean_offset_bytes].template ReinterpretCast<half>();
        bits_ub_ = ub[t.ub_bits_offset_bytes];
    }

    __aicore__ inline void run() {
        const uint64_t first = block_index() * t_.core_tiles;
        const uint64_t end = first + t_.core_tiles < t_.num_tiles ? first + t_.core_tiles : t_.num_tiles;
        for (uint64_t tile = first; tile < end; ++tile) {
            const uint64_t head = tile / t_.head_tiles;
            const auto index = static_cast<uint32_t>(tile % t_.head_tiles);
            if (tile == first || index == 0) take_mean(head, index == 0);
            shift_tile(head, index * t_.tile_rows);
        }
    }

  private:
    __aicore__ inline uint32_t num_rows(uint32_t row) const {
        return min_u32(t_.tile_rows, t_.seqlen_k - row);
    }
    // Element of the result at which a row of a head starts.
    __aicore__ inline uint64_t shifted_offset(uint64_t head, uint32_t row) const {
        return head * t_.head_stride + static_cast<uint64_t>(row) * t_.head_dim;
    }

    __aicore__ inline uint32_t load_tile(uint64_t head, uint32_t row) {
        const auto batch = static_cast<uint32_t>(head / t_.num_heads_k);
        const auto head_k = static_cast<uint32_t>(head % t_.num_heads_k);
        const uint32_t rows = num_rows(row);
        const uint64_t at = batch * t_.k_stride[0] + row * t_.k_stride[1] + head_k * t_.k_stride[2];
        AscendC::DataCopyExtParams params;
        params.blockCount = static_cast<uint16_t>(rows);
        params.blockLen = t_.head_dim * static_cast<uint32_t>(sizeof(half));
        // A single row has no gap behind it, and its stride may be any number.
        params.srcStride =
            rows > 1 ? static_cast<uint32_t>((t_.k_stride[1] - t_.head_dim) * sizeof(half)) : 0;
        params.dstStride = 0;
        params.rsv = 0;
        const AscendC::DataCopyPadExtParams<half> no_pad(false, 0, 0, half{});
        const uint32_t slot = in_ring_.acquire();
        AscendC::DataCopyPad(in_ub_[slot], k_gm_[at], params, no_pad);
        in_ring_.publish(slot);
        return slot;
    }

    // mean_ub_ = mean of a head, and where the core has its first tile, the rows behind the keys.
    __aicore__ inline void take_mean(uint64_t head, bool is_stored) {
        const uint32_t columns = round_up(t_.head_dim, kLanesF32);
        sum_rows(head);
        AscendC::Muls(sum_ub_, sum_ub_, t_.inverse_seqlen_k, static_cast<int32_t>(columns));
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Sub(wide_ub_, sum_ub_, sum_ub_, static_cast<int32_t>(columns));
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::CompareScalar(bits_ub_, wide_ub_, 0.0f, AscendC::CMPMODE::EQ, columns);
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Select(sum_ub_, bits_ub_, sum_ub_, 0.0f, AscendC::SELMODE::VSEL_TENSOR_SCALAR_MODE, columns);
        AscendC::PipeBarrier<PIPE_V>();
        const uint32_t slot = mean_ring_.acquire();
        AscendC::Cast(mean_ub_, sum_ub_, AscendC::RoundMode::CAST_RINT, t_.head_dim);
        mean_ring_.publish(slot);
        mean_ring_.await(slot);
        for (uint32_t row = 0; is_stored && row < kFractal; ++row)
            AscendC::DataCopy(shifted_gm_[shifted_offset(head, t_.seqlen_k + row)], mean_ub_, t_.head_dim);
        mean_ring_.release(slot);
        AscendC::PipeBarrier<PIPE_V>();
    }

    // The first row of sum_ub_ = sum of the rows of a head: tiles onto each other, then their rows.
    __aicore__ inline void sum_rows(uint64_t head) {
        AscendC::Duplicate(sum_ub_, 0.0f,
                           static_cast<int32_t>(max_u32(t_.tile_rows * t_.head_dim, kLanesF32)));
        for (uint32_t row = 0; row < t_.seqlen_k; row += t_.tile_rows) {
            const uint32_t elements = num_rows(row) * t_.head_dim;
            const uint32_t slot = load_tile(head, row);
            in_ring_.await(slot);
            AscendC::Cast(wide_ub_, in_ub_[slot], AscendC::RoundMode::CAST_NONE, elements);
            in_ring_.release(slot);
            AscendC::PipeBarrier<PIPE_V>();
            AscendC::Add(sum_ub_, sum_ub_, wide_ub_, static_cast<int32_t>(elements));
            AscendC::PipeBarrier<PIPE_V>();
        }
        for (uint32_t rows = t_.tile_rows; rows > 1;) {
            const uint32_t half_rows = rows / 2;
            rows -= half_rows;
            AscendC::Add(sum_ub_, sum_ub_, sum_ub_[rows * t_.head_dim],
                         static_cast<int32_t>(half_rows * t_.head_dim));
            AscendC::PipeBarrier<PIPE_V>();
        }
    }

    __aicore__ inline void shift_tile(uint64_t head, uint32_t row) {
        const uint32_t rows = num_rows(row);
        const uint32_t in = load_tile(head, row);
        const uint32_t out = out_ring_.acquire();
        in_ring_.await(in);
        AscendC::BinaryRepeatParams params;
        params.dstRepStride = static_cast<uint8_t>(t_.head_dim / kBlockF16);
        params.src0RepStride = params.dstRepStride;
        params.src1RepStride = 0;
        for (uint32_t column = 0; column < t_.head_dim; column += kLanesF16) {
            AscendC::Sub(out_ub_[out][column], in_ub_[in][column], mean_ub_[column],
                         uint64_t{min_u32(kLanesF16, t_.head_dim - column)}, static_cast<uint8_t>(rows),
                         params);
        }
        in_ring_.release(in);
        out_ring_.publish(out);
        out_ring_.await(out);
        AscendC::DataCopy(shifted_gm_[shifted_offset(head, row)], out_ub_[out], rows * t_.head_dim);
        out_ring_.release(out);
    }

    const ShiftKeysTilingData& t_;
    VectorMemory memory_;  // before the rings, see fa/memory.h
    AscendC::GlobalTensor<half> k_gm_;
    AscendC::GlobalTensor<half> shifted_gm_;
    AscendC::LocalTensor<half> in_ub_[2];
    AscendC::LocalTensor<half> out_ub_[2];
    AscendC::LocalTensor<float> wide_ub_;
    AscendC::LocalTensor<float> sum_ub_;
    AscendC::LocalTensor<half> mean_ub_;
    AscendC::LocalTensor<uint8_t> bits_ub_;
    Ring<AscendC::HardEvent::MTE2_V, AscendC::HardEvent::V_MTE2, 0, 2> in_ring_;
    Ring<AscendC::HardEvent::V_MTE3, AscendC::HardEvent::MTE3_V, 0, 2> out_ring_;
    Ring<AscendC::HardEvent::V_MTE3, AscendC::HardEvent::MTE3_V, 2, 1> mean_ring_;
};

__aicore__ inline void shift_keys(const ShiftKeysOperands& gm) {
    const auto data = load_tiling<ShiftKeysTilingData>(gm.tiling);
    ShiftKeysKernel kernel(data, gm);
    kernel.run();
}

}  // namespace fa

#undef FA_SHIFT_KEYS
#define FA_SHIFT_KEYS(name) FA_ENTRY(SHIFT_KEYS, name, fa::shift_keys)
#include "variants.def"
