// SPDX-License-Identifier: MIT OR Apache-2.0
// Rotation of rows in UB: of each head the first `dims` elements, in pairs (x, y), become
// (x cos - y sin, y cos + x sin). In f32, rounded once.
//
// Halves: element i is paired with element i + dims / 2. Both are whole blocks, so that products with the
// sines read one half and write the other.
// Adjacent: element 2 i is paired with element 2 i + 1. The partner of each element comes by shifts of the
// 32-bit words that hold a pair, before they are widened: vgather would take 24 cycles for what a shift does
// in one. Cosines and sines are spread over both elements by vgather, once for all heads of a token.
#pragma once
#include "fa/arch.h"
#include "families.h"

namespace fa {

template <typename T>
class Rotation {
  public:
    __aicore__ inline Rotation(const KvAppendRotaryTilingData& t, const AscendC::LocalTensor<uint8_t>& ub)
        : t_(t), half_(t.dims / 2) {
        x_ = ub[t.ub_x_offset_bytes].template ReinterpretCast<float>();
        y_ = ub[t.ub_y_offset_bytes].template ReinterpretCast<float>();
        factors_ = ub[t.ub_factors_offset_bytes].template ReinterpretCast<float>();
        spread_ = ub[t.ub_spread_offset_bytes].template ReinterpretCast<int32_t>();
        if (is_adjacent()) fill_spread();
    }

    // Takes the cosines and sines of the tokens, f32 `[tokens, 2, dims / 2]`.
    __aicore__ inline void take(const AscendC::LocalTensor<float>& table, uint32_t tokens) {
        if (!is_adjacent()) {
            cos_ = table;
            sin_ = table[half_];
            factor_stride_ = t_.dims;
            return;
        }
        cos_ = factors_;
        sin_ = factors_[t_.dims];
        factor_stride_ = 2 * t_.dims;
        AscendC::PipeBarrier<PIPE_V>();  // rows of wrong positions are filled by V
        const auto offsets = spread_.template ReinterpretCast<uint32_t>();
        for (uint32_t i = 0; i < tokens; ++i)
            AscendC::Gather(factors_[i * factor_stride_], table[i * t_.dims], offsets, 0, 2 * t_.dims);
        AscendC::PipeBarrier<PIPE_V>();
        // The first of a pair loses its partner's product.
        const AscendC::UnaryRepeatParams strides(1, 1, blocks(factor_stride_), blocks(factor_stride_));
        for (uint32_t at = 0; at < t_.dims; at += kLanesF32) {
            uint64_t mask[2] = {kFirsts >> (kLanesF32 - min_u32(kLanesF32, t_.dims - at)), 0};
            AscendC::Muls(sin_[at], sin_[at], -1.0f, mask, static_cast<uint8_t>(tokens), strides);
        }
    }

    // Rotates `[tokens, heads, head_dim]` in place, some tokens or some heads of one at a time.
    __aicore__ inline void rotate(const AscendC::LocalTensor<T>& rows, uint32_t tokens, uint32_t heads) {
        const uint32_t head_step = min_u32(heads, t_.chunk_rows);
        const uint32_t token_step = head_step < heads ? 1 : t_.chunk_rows / heads;
        for (uint32_t token = 0; token < tokens; token += token_step) {
            for (uint32_t head = 0; head < heads; head += head_step) {
                chunk(rows[(token * heads + head) * t_.head_dim], token, min_u32(token_step, tokens - token),
                      min_u32(head_step, heads - head));
            }
        }
    }

  private:
    static constexpr uint64_t kFirsts = 0x5555555555555555;

    __aicore__ inline bool is_adjacent() const { return t_.is_adjacent != 0; }
    __aicore__ static inline uint8_t blocks(uint32_t elements) {
        return static_cast<uint8_t>(elements / kBlockF32);
    }
    __aicore__ inline uint8_t row_blocks() const {
        return static_cast<uint8_t>(t_.head_dim * sizeof(T) / kBlockBytes);
    }

    // Bytes from a table's row of each spread cosine and sine: 0, 0, 4, 4, 8, 8, ... and the same behind the
    // cosines.
    __aicore__ inline void fill_spread() {
        constexpr uint32_t kPairs = kBlockF32 / 2;
        for (uint32_t i = 0; i < kPairs; ++i) {
            uint64_t mask[2] = {uint64_t{3} << (2 * i), 0};
            AscendC::Duplicate(spread_, static_cast<int32_t>(i * sizeof(float)), mask, 1, 1, 8);
        }
        AscendC::PipeBarrier<PIPE_V>();
        for (uint32_t done = kBlockF32; done < 2 * t_.dims; done *= 2) {
            AscendC::Adds(spread_[done], spread_, static_cast<int32_t>(done / 2 * sizeof(float)),
                          static_cast<int32_t>(min_u32(done, 2 * t_.dims - done)));
            AscendC::PipeBarrier<PIPE_V>();
        }
    }

    __aicore__ inline void chunk(const AscendC::LocalTensor<T>& rows, uint32_t token, uint32_t tokens,
                                 uint32_t heads) {
        const uint32_t all = tokens * heads;
        if (is_adjacent()) swap(rows, all);
        widen(x_, rows, row_blocks(), all);
        AscendC::PipeBarrier<PIPE_V>();
        const auto cos = cos_[token * factor_stride_];
        const auto sin = sin_[token * factor_stride_];
        if (is_adjacent()) {
            multiply(y_, y_, sin, t_.dims, tokens, heads);
            multiply(x_, x_, cos, t_.dims, tokens, heads);
            AscendC::PipeBarrier<PIPE_V>();
            AscendC::Add(x_, x_, y_, static_cast<int32_t>(all * t_.dims));
        } else {
            multiply(y_, x_[half_], sin, half_, tokens, heads);
            multiply(y_[half_], x_, sin, half_, tokens, heads);
            multiply(x_, x_, cos, half_, tokens, heads);
            multiply(x_[half_], x_[half_], cos, half_, tokens, heads);
            AscendC::PipeBarrier<PIPE_V>();
            add_halves(all);
        }
        AscendC::PipeBarrier<PIPE_V>();
        narrow(rows, all);
    }

    // y = rows in f32, elements of each pair exchanged.
    __aicore__ inline void swap(const AscendC::LocalTensor<T>& rows, uint32_t all) {
        const auto pairs = rows.template ReinterpretCast<uint32_t>();
        const auto low = x_.template ReinterpretCast<uint32_t>();
        const auto high = y_.template ReinterpretCast<uint32_t>();
        const auto dense = static_cast<uint8_t>(half_ * sizeof(uint32_t) / kBlockBytes);
        const AscendC::UnaryRepeatParams strides(1, 1, dense, row_blocks());
        for (uint32_t at = 0; at < half_; at += kLanesF32) {
            const uint64_t lanes = min_u32(kLanesF32, half_ - at);
            AscendC::ShiftRight(low[at], pairs[at], uint32_t{16}, lanes, static_cast<uint8_t>(all), strides);
            AscendC::ShiftLeft(high[at], pairs[at], uint32_t{16}, lanes, static_cast<uint8_t>(all), strides);
        }
        AscendC::PipeBarrier<PIPE_V>();
        const auto swapped = x_.template ReinterpretCast<uint16_t>();
        AscendC::Or(swapped, swapped, y_.template ReinterpretCast<uint16_t>(),
                    static_cast<int32_t>(all * t_.dims));
        AscendC::PipeBarrier<PIPE_V>();
        widen(y_, x_.template ReinterpretCast<T>(), dense, all);
    }

    // dst = f32 of `all` rows of T that lie so many blocks apart.
    __aicore__ inline void widen(const AscendC::LocalTensor<float>& dst, const AscendC::LocalTensor<T>& rows,
                                 uint8_t stride_blocks32, uint32_t all) {
        const AscendC::UnaryRepeatParams strides(1, 1, blocks(t_.dims), stride_blocks32);
        for (uint32_t at = 0; at < t_.dims; at += kLanesF32) {
            AscendC::Cast(dst[at], rows[at], AscendC::RoundMode::CAST_NONE,
                          uint64_t{min_u32(kLanesF32, t_.dims - at)}, static_cast<uint8_t>(all), strides);
        }
    }

    __aicore__ inline void narrow(const AscendC::LocalTensor<T>& rows, uint32_t all) {
        const AscendC::UnaryRepeatParams strides(1, 1, row_blocks(), blocks(t_.dims));
        for (uint32_t at = 0; at < t_.dims; at += kLanesF32) {
            AscendC::Cast(rows[at], x_[at], AscendC::RoundMode::CAST_RINT,
                          uint64_t{min_u32(kLanesF32, t_.dims - at)}, static_cast<uint8_t>(all), strides);
        }
    }

    // dst = src * factors of the row's token, `width` elements of each row. An instruction takes the heads of
    // a token, or one head of all tokens, whichever are more.
    __aicore__ inline void multiply(const AscendC::LocalTensor<float>& dst,
                                    const AscendC::LocalTensor<float>& src,
                                    const AscendC::LocalTensor<float>& factors, uint32_t width,
                                    uint32_t tokens, uint32_t heads) {
        constexpr uint32_t kMaxStride = 255;
        const uint32_t token_row = heads * t_.dims;
        const bool by_head = heads < tokens && token_row / kBlockF32 <= kMaxStride;
        const uint32_t row = by_head ? token_row : t_.dims;
        const uint32_t factor_row = by_head ? factor_stride_ : 0;
        const uint32_t outer_row = by_head ? t_.dims : token_row;
        const uint32_t outer_factor = by_head ? 0 : factor_stride_;
        const AscendC::BinaryRepeatParams strides(1, 1, 1, blocks(row), blocks(row), blocks(factor_row));
        const auto repeats = static_cast<uint8_t>(by_head ? tokens : heads);
        for (uint32_t i = 0; i < (by_head ? heads : tokens); ++i) {
            for (uint32_t at = 0; at < width; at += kLanesF32) {
                const uint32_t from = i * outer_row + at;
                AscendC::Mul(dst[from], src[from], factors[i * outer_factor + at],
                             uint64_t{min_u32(kLanesF32, width - at)}, repeats, strides);
            }
        }
    }

    __aicore__ inline void add_halves(uint32_t all) {
        const uint8_t row = blocks(t_.dims);
        const AscendC::BinaryRepeatParams strides(1, 1, 1, row, row, row);
        const auto repeats = static_cast<uint8_t>(all);
        for (uint32_t at = 0; at < half_; at += kLanesF32) {
            const uint64_t lanes = min_u32(kLanesF32, half_ - at);
            AscendC::Sub(x_[at], x_[at], y_[at], lanes, repeats, strides);
            AscendC::Add(x_[half_ + at], x_[half_ + at], y_[half_ + at], lanes, repeats, strides);
        }
    }

    const KvAppendRotaryTilingData& t_;
    uint32_t half_;
    AscendC::LocalTensor<float> x_;
    AscendC::LocalTensor<float> y_;
    AscendC::LocalTensor<float> factors_;
    AscendC::LocalTensor<int32_t> spread_;
    // Of the tokens that are rotated, factor_stride_ apart.
    AscendC::LocalTensor<float> cos_;
    AscendC::LocalTensor<float> sin_;
    uint32_t factor_stride_ = 0;
};

}  // namespace fa
