// SPDX-License-Identifier: MIT OR Apache-2.0
// SiLU or GELU of every element, multiplied with a second tensor where there is one (SwiGLU, GeGLU).
//
// Maths      y = x / (1 + exp(x P(min(x^2, limit)))) * up,  P a polynomial whose coefficients the planner
//            has: of degree 0 for SiLU, 1 for GELU with tanh, 6 for GELU with erf (src/layer/activation says
//            why). All of it in f32; y is rounded once.
// Tiling     Rows are cut into tiles of tile_rows rows and `chunk` columns, numbered along the rows; N of
//            them. Core c of C has those from N c / C to N (c + 1) / C. The planner takes dense rows as one.
// UB         (bytes; tile = tile_rows * chunk columns)  2 x tile * size | up the same | 2 x out tile * size
//            | x tile * 4, unless it is f32 | power tile * 4 | square, then up, tile * 4; the planner proves
//            the sum of at most 188 160
// Pipeline   MTE2 -> V [x and up 2]   V -> MTE3 [y 2]
//            Two tiles are read ahead.
// Limits     AIV only. Any shape. y may lie on x or on up, element on element: a tile is written behind its
//            read.
// Source     Hendrycks and Gimpel, Gaussian Error Linear Units (arXiv 1606.08415); Shazeer, GLU Variants
//            (arXiv 2002.05202). tanh(a) = 1 - 2 / (1 + exp(2a)) makes one form of all three.
#include "fa/copy.h"
#include "fa/memory.h"
#include "fa/row_copy.h"
#include "fa/sync.h"
#include "families.h"

namespace fa {

template <typename T>
class ActivationKernel {
  public:
    __aicore__ inline ActivationKernel(const ActivationTilingData& t, const ActivationOperands& gm)
        : t_(t), row_tiles_(ceil_div(t.rows, t.tile_rows)), col_tiles_(ceil_div(t.dim, t.chunk)) {
        x_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.x));
        up_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.up));
        y_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.y));
        const auto ub = memory_.ub;
        const uint32_t elements = t.tile_rows * t.chunk;
        for (uint32_t i = 0; i < 2; ++i) {
            x_ub_[i] = ub[t.ub_x_offset_bytes].template ReinterpretCast<T>()[i * elements];
            up_ub_[i] = ub[t.ub_up_offset_bytes].template ReinterpretCast<T>()[i * elements];
            out_ub_[i] = ub[t.ub_out_offset_bytes].template ReinterpretCast<T>()[i * elements];
        }
        wide_ub_ = ub[t.ub_wide_offset_bytes].template ReinterpretCast<float>();
        power_ub_ = ub[t.ub_power_offset_bytes].template ReinterpretCast<float>();
        square_ub_ = ub[t.ub_square_offset_bytes].template ReinterpretCast<float>();
    }

    __aicore__ inline void run() {
        const uint64_t tiles = row_tiles_ * col_tiles_;
        const uint64_t first = tiles * block_index() / t_.num_cores;
        end_ = tiles * (block_index() + 1) / t_.num_cores;
        next_ = first;
        load_next();
        load_next();
        for (uint64_t number = first; number < end_; ++number) activate(tile(number));
    }

  private:
    static constexpr bool kIsF32 = sizeof(T) == sizeof(float);
    static constexpr uint32_t kBlock = kBlockBytes / sizeof(T);

    // `rows` rows of `cols` elements, `width` apart in UB.
    struct Tile {
        uint64_t row;
        uint32_t rows;
        uint32_t col;
        uint32_t cols;
        uint32_t width;
    };
    __aicore__ inline Tile tile(uint64_t number) const {
        const uint64_t row = number / col_tiles_ * t_.tile_rows;
        const auto col = static_cast<uint32_t>(number % col_tiles_) * t_.chunk;
        const uint32_t cols = min_u32(t_.chunk, t_.dim - col);
        const auto rows = static_cast<uint32_t>(min_u64(t_.tile_rows, t_.rows - row));
        return {row, rows, col, cols, round_up(cols, kBlock)};
    }

    // The next tile of the core, if there is one.
    __aicore__ inline void load_next() {
        if (next_ >= end_) return;
        const Tile t = tile(next_++);
        const uint32_t slot = in_ring_.acquire();
        copy_rows_gm_to_ub(x_ub_[slot], x_gm_[t.row * t_.x_stride + t.col], t.rows, t.cols, t_.x_stride,
                           t.width);
        if (t_.is_gated != 0) {
            copy_rows_gm_to_ub(up_ub_[slot], up_gm_[t.row * t_.up_stride + t.col], t.rows, t.cols,
                               t_.up_stride, t.width);
        }
        in_ring_.publish(slot);
    }

    __aicore__ inline void activate(const Tile& t) {
        const uint32_t slot = slot_;
        slot_ = 1 - slot_;
        const uint32_t elements = t.rows * t.width;
        const auto count = static_cast<int32_t>(elements);
        const auto power = power_ub_;
        AscendC::LocalTensor<float> x = wide_ub_;
        in_ring_.await(slot);
        if constexpr (kIsF32) {
            x = x_ub_[slot];
        } else {
            AscendC::Cast(x, x_ub_[slot], AscendC::RoundMode::CAST_NONE, elements);
            AscendC::PipeBarrier<PIPE_V>();
        }
        exponent(power, x, count);
        AscendC::Exp(power, power, count);
        AscendC::LocalTensor<float> up = square_ub_;
        if (t_.is_gated != 0) {
            if constexpr (kIsF32) {
                up = up_ub_[slot];
            } else {
                AscendC::Cast(up, up_ub_[slot], AscendC::RoundMode::CAST_NONE, elements);
            }
        }
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Adds(power, power, 1.0f, count);
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Div(power, x, power, count);
        AscendC::PipeBarrier<PIPE_V>();
        if (t_.is_gated != 0) {
            AscendC::Mul(power, power, up, count);
            AscendC::PipeBarrier<PIPE_V>();
        }
        in_ring_.release(slot);
        load_next();
        store(t, power, count);
    }

    // to = x P(min(x^2, limit)); with its barriers.
    __aicore__ inline void exponent(const AscendC::LocalTensor<float>& to,
                                    const AscendC::LocalTensor<float>& x, int32_t count) {
        if (t_.degree == 0) {
            AscendC::Muls(to, x, t_.coefficients[0], count);
            AscendC::PipeBarrier<PIPE_V>();
            return;
        }
        const auto square = square_ub_;
        AscendC::Mul(square, x, x, count);
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Mins(square, square, t_.square_limit, count);
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Muls(to, square, t_.coefficients[t_.degree], count);
        for (uint32_t i = t_.degree; i-- > 0;) {
            AscendC::PipeBarrier<PIPE_V>();
            AscendC::Adds(to, to, t_.coefficients[i], count);
            AscendC::PipeBarrier<PIPE_V>();
            AscendC::Mul(to, to, i > 0 ? square : x, count);
        }
        AscendC::PipeBarrier<PIPE_V>();
    }

    // Rounds a tile and writes it.
    __aicore__ inline void store(const Tile& t, const AscendC::LocalTensor<float>& y, int32_t count) {
        const uint32_t out = out_ring_.acquire();
        if constexpr (kIsF32) {
            AscendC::Muls(out_ub_[out], y, 1.0f, count);
        } else {
            AscendC::Cast(out_ub_[out], y, AscendC::RoundMode::CAST_RINT, static_cast<uint32_t>(count));
        }
        out_ring_.publish(out);
        out_ring_.await(out);
        copy_rows_ub_to_gm(y_gm_[t.row * t_.y_stride + t.col], out_ub_[out], t.rows, t.cols, t_.y_stride,
                           t.width);
        out_ring_.release(out);
    }

    const ActivationTilingData& t_;
    uint64_t row_tiles_;
    uint64_t col_tiles_;
    VectorMemory memory_;  // before the rings, see fa/memory.h
    AscendC::GlobalTensor<T> x_gm_;
    AscendC::GlobalTensor<T> up_gm_;
    AscendC::GlobalTensor<T> y_gm_;
    AscendC::LocalTensor<T> x_ub_[2];
    AscendC::LocalTensor<T> up_ub_[2];
    AscendC::LocalTensor<T> out_ub_[2];
    AscendC::LocalTensor<float> wide_ub_;
    AscendC::LocalTensor<float> power_ub_;
    AscendC::LocalTensor<float> square_ub_;
    uint64_t next_ = 0;
    uint64_t end_ = 0;
    uint32_t slot_ = 0;
    Ring<AscendC::HardEvent::MTE2_V, AscendC::HardEvent::V_MTE2, 0, 2> in_ring_;
    Ring<AscendC::HardEvent::V_MTE3, AscendC::HardEvent::MTE3_V, 0, 2> out_ring_;
};

template <typename T>
__aicore__ inline void activation(const ActivationOperands& gm) {
    const auto data = load_tiling<ActivationTilingData>(gm.tiling);
    ActivationKernel<T> kernel(data, gm);
    kernel.run();
}

}  // namespace fa

#undef FA_ACTIVATION
#define FA_ACTIVATION(name, T) FA_ENTRY(ACTIVATION, name, fa::activation<T>)
#include "variants.def"
