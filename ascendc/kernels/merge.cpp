// SPDX-License-Identifier: MIT OR Apache-2.0
// Merge of partial attention results: one result for all keys, from results for disjoint sets of keys.
//
// Maths      m = max(max_i lse_i, lowest finite f32),  e_i = exp(lse_i - m),  s = sum_i e_i
//            w_i = e_i / max(s, 1),  o = sum_i w_i o_i,  lse = m + ln s       (natural logarithm)
//            A row with a key has s of at least 1, as its largest part contributes exp(0). One without has
//            s = 0, so every weight is 0, o = 0 and lse = -inf. The sums run over the parts in order.
// Tiling     A tile is tile_rows rows of one place on the outer axes, with all parts of their lse. Tiles are
//            dealt to the vector cores in turn.
// UB         (bytes; rows = tile_rows; the planner places them and proves the sum of at most 188 160)
//            2 x part rows * dim * size | x rows * dim * 4, unless parts are f32 | sum rows * dim * 4, unless
//            the result is f32 | 2 x result rows * dim * size | 2 x lse, weights, tmp num_parts * rows * 4
//            each | spread 2 * (rows rounded up to 16) * 32 + 256 | row values 4 * rows * 4
// Pipeline   MTE2 -> V [lse 2, part 2]   V -> MTE3 [result and its lse 2]
//            The next part, or the next tile's lse, is loaded while V adds one up.
// Limits     AIV only. dim a multiple of 16; the planner bounds dim and num_parts.
// Source     Merging by lse as split-K attention does it (Flash-Decoding): the same sum, weighted once.
#include "fa/copy.h"
#include "fa/memory.h"
#include "fa/row_ops.h"
#include "fa/sync.h"
#include "families.h"

namespace fa {

// T: element type of the parts. O: of the result; float or T.
template <typename T, typename O>
class MergeKernel {
  public:
    __aicore__ inline MergeKernel(const MergeTilingData& t, const MergeOperands& gm) : t_(t) {
        o_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ O*>(gm.o));
        lse_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(gm.lse));
        const auto ub = memory_.ub;
        const uint32_t elements = t.tile_rows * t.dim;
        const uint32_t values = t.num_parts * t.tile_rows;
        const auto rows = ub[t.ub_rows_offset_bytes].template ReinterpretCast<float>();
        for (uint32_t i = 0; i < 2; ++i) {
            part_ub_[i] = ub[t.ub_in_offset_bytes].template ReinterpretCast<T>()[i * elements];
            out_ub_[i] = ub[t.ub_out_offset_bytes + i * t.out_bytes].template ReinterpretCast<O>();
            lse_ub_[i] = ub[t.ub_lse_offset_bytes].template ReinterpretCast<float>()[i * values];
            lse_out_ub_[i] = rows[(2 + i) * t.tile_rows];
        }
        x_ub_ = ub[t.ub_x_offset_bytes].template ReinterpretCast<float>();
        sum_ub_ = ub[t.ub_sum_offset_bytes].template ReinterpretCast<float>();
        weights_ub_ = ub[t.ub_weights_offset_bytes].template ReinterpretCast<float>();
        tmp_ub_ = ub[t.ub_tmp_offset_bytes].template ReinterpretCast<float>();
        spread_ = SpreadRows(ub[t.ub_spread_offset_bytes].template ReinterpretCast<float>(), t.tile_rows);
        row_max_ub_ = rows;
        row_sum_ub_ = rows[t.tile_rows];
    }

    __aicore__ inline void run() {
        clear_lse();
        const uint32_t tiles = ceil_div(t_.extent[2], t_.tile_rows);
        const uint64_t items = static_cast<uint64_t>(t_.extent[0]) * t_.extent[1] * tiles;
        for (uint64_t item = block_index(); item < items; item += t_.num_cores) {
            const auto row = static_cast<uint32_t>(item % tiles) * t_.tile_rows;
            const uint64_t outer = item / tiles;
            merge_tile(
                {outer / t_.extent[1], outer % t_.extent[1], row, min_u32(t_.tile_rows, t_.extent[2] - row)});
        }
    }

  private:
    static constexpr bool kIsF32In = sizeof(T) == sizeof(float);
    static constexpr bool kIsF32Out = sizeof(O) == sizeof(float);
    static constexpr int32_t kClearedId = 4;  // behind the ids of the rings
    static constexpr uint32_t kMaxRepeats = 255;

    // Rows of one place on the outer axes.
    struct Tile {
        uint64_t outer0;
        uint64_t outer1;
        uint32_t row;
        uint32_t rows;
    };

    // Lanes behind the last row are computed with the others, so they have to hold something.
    __aicore__ inline void clear_lse() {
        AscendC::Duplicate(lse_ub_[0], 0.0f, static_cast<int32_t>(2 * t_.num_parts * t_.tile_rows));
        AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(kClearedId);
        AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(kClearedId);
    }

    __aicore__ inline void merge_tile(const Tile& tile) {
        load_lse(tile);
        const uint32_t out = out_ring_.acquire();
        weigh(lse_out_ub_[out]);
        AscendC::LocalTensor<float> sum = sum_ub_;
        if constexpr (kIsF32Out) sum = out_ub_[out];
        uint32_t part = 0;
        for (uint32_t source = 0; part < t_.num_parts; ++source) {
            for (uint32_t i = 0; i < t_.parts_of[source]; ++i, ++part) {
                load_part(tile, source, i);
                add_part(sum, part, tile.rows);
            }
        }
        if constexpr (!kIsF32Out) {
            AscendC::PipeBarrier<PIPE_V>();
            AscendC::Cast(out_ub_[out], sum, AscendC::RoundMode::CAST_RINT, tile.rows * t_.dim);
        }
        out_ring_.publish(out);
        out_ring_.await(out);
        store(tile, out);
        out_ring_.release(out);
    }

    // The lse of each part, tile_rows apart.
    __aicore__ inline void load_lse(const Tile& tile) {
        const AscendC::DataCopyExtParams burst(1, tile.rows * static_cast<uint32_t>(sizeof(float)), 0, 0, 0);
        const AscendC::DataCopyPadExtParams<float> no_pad(false, 0, 0, 0.0f);
        const uint32_t slot = lse_ring_.acquire();
        uint32_t part = 0;
        for (uint32_t source = 0; part < t_.num_parts; ++source) {
            const uint64_t* stride = t_.lse_parts_stride + source * 3;
            AscendC::GlobalTensor<float> lse_gm;
            lse_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(t_.lse_parts[source]));
            uint64_t at = tile.outer0 * stride[1] + tile.outer1 * stride[2] + tile.row;
            for (uint32_t i = 0; i < t_.parts_of[source]; ++i, ++part, at += stride[0]) {
                AscendC::DataCopyPad(lse_ub_[slot][part * t_.tile_rows], lse_gm[at], burst, no_pad);
            }
        }
        lse_ring_.publish(slot);
        lse_slot_ = slot;
    }

    // Weights of the parts, and lse of the result.
    __aicore__ inline void weigh(const AscendC::LocalTensor<float>& lse_out) {
        const auto all = static_cast<int32_t>(t_.num_parts * t_.tile_rows);
        const auto rows = static_cast<int32_t>(t_.tile_rows);
        lse_ring_.await(lse_slot_);
        const auto lse = lse_ub_[lse_slot_];
        AscendC::Max(tmp_ub_, lse, lse, all);
        AscendC::PipeBarrier<PIPE_V>();
        fold<RowReduce::kMax>();
        AscendC::Maxs(row_max_ub_, tmp_ub_, kLowestF32, rows);
        AscendC::PipeBarrier<PIPE_V>();
        for_each_part<RowOp::kSub>(weights_ub_, lse, row_max_ub_);
        lse_ring_.release(lse_slot_);
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Exp(weights_ub_, weights_ub_, all);
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Max(tmp_ub_, weights_ub_, weights_ub_, all);
        AscendC::PipeBarrier<PIPE_V>();
        fold<RowReduce::kSum>();
        AscendC::Ln(lse_out, tmp_ub_, rows);
        AscendC::Maxs(row_sum_ub_, tmp_ub_, 1.0f, rows);
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Add(lse_out, lse_out, row_max_ub_, rows);
        for_each_part<RowOp::kDiv>(weights_ub_, weights_ub_, row_sum_ub_);
        AscendC::PipeBarrier<PIPE_V>();
    }

    // tmp[0..tile_rows] = reduction of tmp over the parts; with its barriers. Each step puts the second half
    // of the parts onto the first.
    template <RowReduce kOp>
    __aicore__ inline void fold() {
        for (uint32_t left = t_.num_parts; left > 1;) {
            const uint32_t half = (left + 1) / 2;
            const auto count = static_cast<int32_t>((left - half) * t_.tile_rows);
            const auto upper = tmp_ub_[half * t_.tile_rows];
            if constexpr (kOp == RowReduce::kMax) {
                AscendC::Max(tmp_ub_, tmp_ub_, upper, count);
            } else {
                AscendC::Add(tmp_ub_, tmp_ub_, upper, count);
            }
            AscendC::PipeBarrier<PIPE_V>();
            left = half;
        }
    }

    // dst = src op values for every part: one repeat for 64 rows of a part.
    template <RowOp kOp>
    __aicore__ inline void for_each_part(const AscendC::LocalTensor<float>& dst,
                                         const AscendC::LocalTensor<float>& src,
                                         const AscendC::LocalTensor<float>& values) {
        AscendC::BinaryRepeatParams params;
        params.dstRepStride = static_cast<uint8_t>(t_.tile_rows / kBlockF32);
        params.src0RepStride = params.dstRepStride;
        params.src1RepStride = 0;
        for (uint32_t first = 0; first < t_.num_parts; first += kMaxRepeats) {
            const auto repeats = static_cast<uint8_t>(min_u32(kMaxRepeats, t_.num_parts - first));
            for (uint32_t row = 0; row < t_.tile_rows; row += kLanesF32) {
                const uint32_t at = first * t_.tile_rows + row;
                const uint64_t lanes = min_u32(kLanesF32, t_.tile_rows - row);
                if constexpr (kOp == RowOp::kSub) {
                    AscendC::Sub(dst[at], src[at], values[row], lanes, repeats, params);
                } else {
                    AscendC::Div(dst[at], src[at], values[row], lanes, repeats, params);
                }
            }
        }
    }

    __aicore__ inline void load_part(const Tile& tile, uint32_t source, uint64_t part) {
        const uint64_t* stride = t_.o_parts_stride + source * 4;
        const uint64_t at =
            part * stride[0] + tile.outer0 * stride[1] + tile.outer1 * stride[2] + tile.row * stride[3];
        AscendC::GlobalTensor<T> part_gm;
        part_gm.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(t_.o_parts[source]));
        const auto burst = rows_of<T>(tile.rows, stride[3]);
        const AscendC::DataCopyExtParams params(burst.count, burst.bytes, burst.gap_bytes, 0, 0);
        const AscendC::DataCopyPadExtParams<T> no_pad(false, 0, 0, T{});
        part_slot_ = part_ring_.acquire();
        AscendC::DataCopyPad(part_ub_[part_slot_], part_gm[at], params, no_pad);
        part_ring_.publish(part_slot_);
    }

    // sum += weights of the part * part; the first one begins it. Ends without a barrier: the next part needs
    // two before it touches the sum.
    __aicore__ inline void add_part(const AscendC::LocalTensor<float>& sum, uint32_t part, uint32_t rows) {
        const uint32_t elements = rows * t_.dim;
        const auto count = static_cast<int32_t>(elements);
        const bool is_first = part == 0;
        spread_rows(spread_, weights_ub_[part * t_.tile_rows], rows);
        part_ring_.await(part_slot_);
        AscendC::LocalTensor<float> x;
        uint32_t phase = 0;
        if constexpr (kIsF32In) {
            x = part_ub_[part_slot_];
        } else {
            x = is_first ? sum : x_ub_;
            phase = is_first ? 1 : 0;
            AscendC::Cast(x, part_ub_[part_slot_], AscendC::RoundMode::CAST_NONE, elements);
            part_ring_.release(part_slot_);
        }
        AscendC::PipeBarrier<PIPE_V>();
        apply_rows<RowOp::kMul>(x, spread_, rows, t_.dim, t_.dim, phase);
        AscendC::PipeBarrier<PIPE_V>();
        if constexpr (kIsF32In) {
            if (is_first) {
                AscendC::Muls(sum, x, 1.0f, count);
            } else {
                AscendC::Add(sum, sum, x, count);
            }
            part_ring_.release(part_slot_);
        } else if (!is_first) {
            AscendC::Add(sum, sum, x, count);
        }
    }

    __aicore__ inline void store(const Tile& tile, uint32_t out) {
        const uint64_t at =
            tile.outer0 * t_.o_stride[0] + tile.outer1 * t_.o_stride[1] + tile.row * t_.o_stride[2];
        const auto burst = rows_of<O>(tile.rows, t_.o_stride[2]);
        const AscendC::DataCopyExtParams params(burst.count, burst.bytes, 0, burst.gap_bytes, 0);
        AscendC::DataCopyPad(o_gm_[at], out_ub_[out], params);
        const uint64_t lse_at = tile.outer0 * t_.lse_stride[0] + tile.outer1 * t_.lse_stride[1] + tile.row;
        const AscendC::DataCopyExtParams values(1, tile.rows * static_cast<uint32_t>(sizeof(float)), 0, 0, 0);
        AscendC::DataCopyPad(lse_gm_[lse_at], lse_out_ub_[out], values);
    }

    // Rows in GM as bursts: one where they follow each other.
    struct Bursts {
        uint16_t count;
        uint32_t bytes;
        uint32_t gap_bytes;
    };
    template <typename E>
    __aicore__ inline Bursts rows_of(uint32_t rows, uint64_t stride) const {
        const uint32_t bytes = t_.dim * static_cast<uint32_t>(sizeof(E));
        if (rows == 1 || stride == t_.dim) return {1, rows * bytes, 0};
        return {static_cast<uint16_t>(rows), bytes, static_cast<uint32_t>((stride - t_.dim) * sizeof(E))};
    }

    const MergeTilingData& t_;
    VectorMemory memory_;  // before the rings, see fa/memory.h
    AscendC::GlobalTensor<O> o_gm_;
    AscendC::GlobalTensor<float> lse_gm_;
    AscendC::LocalTensor<T> part_ub_[2];
    AscendC::LocalTensor<O> out_ub_[2];
    AscendC::LocalTensor<float> lse_ub_[2];
    AscendC::LocalTensor<float> lse_out_ub_[2];
    AscendC::LocalTensor<float> x_ub_;
    AscendC::LocalTensor<float> sum_ub_;
    AscendC::LocalTensor<float> weights_ub_;
    AscendC::LocalTensor<float> tmp_ub_;
    AscendC::LocalTensor<float> row_max_ub_;
    AscendC::LocalTensor<float> row_sum_ub_;
    SpreadRows spread_;
    uint32_t lse_slot_ = 0;
    uint32_t part_slot_ = 0;
    Ring<AscendC::HardEvent::MTE2_V, AscendC::HardEvent::V_MTE2, 0, 2> lse_ring_;
    Ring<AscendC::HardEvent::MTE2_V, AscendC::HardEvent::V_MTE2, 2, 2> part_ring_;
    Ring<AscendC::HardEvent::V_MTE3, AscendC::HardEvent::MTE3_V, 0, 2> out_ring_;
};

template <typename T, typename O>
__aicore__ inline void merge(const MergeOperands& gm) {
    const auto data = load_tiling<MergeTilingData>(gm.tiling);
    MergeKernel<T, O> kernel(data, gm);
    kernel.run();
}

}  // namespace fa

#undef FA_MERGE
#define FA_MERGE(name, T, O) FA_ENTRY(MERGE, name, fa::merge<T, O>)
#include "variants.def"
