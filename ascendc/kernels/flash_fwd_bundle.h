// SPDX-License-Identifier: MIT OR Apache-2.0
// The end of a bundle on a vector core of flash_fwd: one row maximum for all its steps.
//
// The Cube adds up P V of a bundle, so all its P must be relative to one maximum m. Within a bundle m stays
// as long as the row's scores exceed it by no more than the headroom h: m_j = max(m_{j-1}, rowmax - h), and P
// <= exp(h) fits 16 bits. Where m had to grow all the same, what the steps before have left in the workspace
// is scaled again, before the Cube is told to read any of it.
#pragma once
#include "flash_fwd_state.h"

namespace fa {

template <typename T, typename S>
class FlashFwdBundle {
  public:
    using State = FlashFwdState<T, S>;

    // No row has grown. What the state has set in UB is there when this is.
    __aicore__ inline explicit FlashFwdBundle(State& state)
        : state_(state), t_(state.t), grown_(state.block_sum(0).template ReinterpretCast<uint64_t>()) {
        AscendC::SetFlag<AscendC::HardEvent::V_S>(kEvent);
        AscendC::WaitFlag<AscendC::HardEvent::V_S>(kEvent);
        for (uint32_t word = 0; word < kWords; ++word) grown_.SetValue(word, uint64_t{0});
        AscendC::SetFlag<AscendC::HardEvent::S_V>(kEvent);
        AscendC::WaitFlag<AscendC::HardEvent::S_V>(kEvent);
    }

    // Behind the softmax of the last step `s` of a bundle, the `number`-th step of this core.
    __aicore__ inline void close(const Step& s, uint32_t number) {
        const uint32_t rows = state_.num_rows(s);
        if (s.in_bundle == 0 || rows == 0) return;
        join_rescales(s, rows);
        for (uint32_t row = 0; row < rows; row += kBlockF32) {
            const uint32_t count = min_u32(kBlockF32, rows - row);
            const uint64_t bits = grown_.GetValue(row / kLanesF32) >> (row % kLanesF32);
            if ((bits & ((uint64_t{1} << count) - 1)) == 0) continue;
            for (uint32_t i = 0; i < s.in_bundle; ++i) scale_rows(s, number, i, row, count);
        }
    }

  private:
    static constexpr int32_t kEvent = 0;
    static constexpr uint32_t kWords = 2;  // rows_v is at most 128

    // Factors of the steps become the products of those from each step on; a bit for each row that has grown
    // behind the first step.
    __aicore__ inline void join_rescales(const Step& s, uint32_t rows) {
        for (uint32_t i = s.in_bundle; i-- > 0;) {
            const auto factors = state_.rescale(s.bundle, i, 0);
            AscendC::Mul(factors, factors, state_.rescale(s.bundle, i + 1, 0), static_cast<int32_t>(rows));
            if (i > 0) AscendC::PipeBarrier<PIPE_V>();
        }
        AscendC::CompareScalar(grown_.template ReinterpretCast<uint8_t>(), state_.rescale(s.bundle, 1, 0),
                               1.0f, AscendC::CMPMODE::LT, round_up(rows, kLanesF32));
        AscendC::SetFlag<AscendC::HardEvent::V_S>(kEvent);
        AscendC::WaitFlag<AscendC::HardEvent::V_S>(kEvent);
    }

    // Rows of the probabilities of step `i` of the bundle that ends with step `number`.
    __aicore__ inline void scale_rows(const Step& s, uint32_t number, uint32_t i, uint32_t row,
                                      uint32_t rows) {
        spread_rows(state_.blocks, state_.rescale(s.bundle, i + 1, row), rows);
        const auto p = state_.ring.p(number - s.in_bundle + i);
        const uint64_t at = static_cast<uint64_t>(state_.first_row(s) + row) * t_.block_n;
        const uint32_t cols = min_u32(t_.block_n, state_.out_bytes() / sizeof(T) / kBlockF32);
        for (uint32_t n = 0; n < t_.block_n; n += cols) scale_piece(p[at + n], rows, cols);
    }

    // `rows` x `cols` probabilities in rows of block_n. Needed for few data, so nothing runs side by side.
    __aicore__ inline void scale_piece(const AscendC::GlobalTensor<T>& p, uint32_t rows, uint32_t cols) {
        AscendC::SetFlag<AscendC::HardEvent::MTE3_MTE2>(kEvent);
        AscendC::WaitFlag<AscendC::HardEvent::MTE3_MTE2>(kEvent);
        const uint32_t slot = state_.load_ring.acquire();
        const uint32_t out = state_.out_ring.acquire();
        const auto wide = state_.output(slot);
        const auto narrow = state_.out_ub[out];
        const auto gap = static_cast<uint16_t>((t_.block_n - cols) / kFractal);
        AscendC::DataCopyParams params;
        params.blockCount = static_cast<uint16_t>(rows);
        params.blockLen = static_cast<uint16_t>(cols / kFractal);
        params.srcStride = gap;
        params.dstStride = 0;
        AscendC::DataCopy(narrow, p, params);
        state_.load_ring.publish(slot);
        state_.load_ring.await(slot);
        AscendC::Cast(wide, narrow, AscendC::RoundMode::CAST_NONE, rows * cols);
        AscendC::PipeBarrier<PIPE_V>();  // for the factors, too
        apply_rows<RowOp::kMul>(wide, state_.blocks, rows, cols, cols);
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Cast(narrow, wide, AscendC::RoundMode::CAST_RINT, rows * cols);
        state_.load_ring.release(slot);
        state_.out_ring.publish(out);
        state_.out_ring.await(out);
        params.srcStride = 0;
        params.dstStride = gap;
        AscendC::DataCopy(p, narrow, params);
        state_.out_ring.release(out);
    }

    State& state_;
    const FlashFwdTilingData& t_;
    AscendC::LocalTensor<uint64_t> grown_;
};

}  // namespace fa
