// SPDX-License-Identifier: MIT OR Apache-2.0
// Vector half of flash_fwd: mask, online softmax, rescaling and output. See flash_fwd.cpp.
#pragma once
#include "flash_fwd_bundle.h"
#include "flash_fwd_softmax_f16.h"
#include "flash_fwd_softmax_f32.h"

namespace fa {

template <typename T, typename S>
struct SoftmaxOf {
    using Type = SoftmaxF32<T>;
};
template <>
struct SoftmaxOf<half, half> {
    using Type = SoftmaxF16;
};

// T: q, k, v and o; S: the scores on their way here, float or half.
template <typename T, typename S>
class FlashFwdVector {
  public:
    template <typename Operands>
    __aicore__ inline FlashFwdVector(const FlashFwdTilingData& t, const Operands& gm)
        : t_(t), state_(t, gm), softmax_(state_), bundle_(state_) {
        o_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.o));
        lse_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(gm.lse));
        acc_ub_ = state_.memory.ub[t.ub_acc_offset_bytes].template ReinterpretCast<float>();
    }

    // The update of bundle i runs after the softmax of bundle i + 1, while the Cube makes P V of bundle i.
    __aicore__ inline void run() {
        write_empty_items();
        StepCursor softmax(t_, state_.core);
        StepCursor update(t_, state_.core, true);
        bool more = true;
        uint32_t steps = 0;
        for (uint32_t turn = 0;; ++turn) {
            for (bool is_whole = false; more && !is_whole; ++steps) {
                more = softmax.next();
                if (!more) break;
                softmax_step(softmax.step(), steps);
                is_whole = softmax.step().ends_bundle;
            }
            if (turn == 0) continue;
            if (!update.next()) break;
            update_bundle(update.step());
        }
    }

  private:
    // The accumulator starts 256 bytes behind a multiple of 512 and what is added to it does not: so the two
    // sources of the sum lie in different bank groups.
    static constexpr uint32_t kAccPhase = 1;

    __aicore__ inline void write_empty_items() {
        ItemCursor items(t_, state_.core);
        Step s{};
        KeyRange keys{0, 0};
        while (items.next(s, keys)) {
            const uint32_t rows = state_.num_rows(s);
            if (keys.begin != keys.end || rows == 0) continue;
            state_.start_item(s);
            AscendC::Duplicate(acc_ub_, 0.0f, static_cast<int32_t>(rows * t_.head_dim_v));
            finish_item(s);  // its first barrier covers acc, too
        }
    }

    __aicore__ inline void softmax_step(const Step& s, uint32_t number) {
        if (s.first) state_.start_item(s);
        AscendC::CrossCoreWaitFlag<kCrossCoreMode>(kQkReady);
        if constexpr (!State::kIsWide) {
            if (s.first && t_.adds_mean != 0) state_.load_mean(s, number);
        }
        softmax_.step(s, number);
        if (s.ends_bundle) bundle_.close(s, number);
        AscendC::CrossCoreSetFlag<kCrossCoreMode, PIPE_MTE3>(kSoftmaxReady);
    }

    // acc = acc * rescale + (P V of this bundle), in pieces of whole rows: the sum of one beside the product
    // of the next.
    __aicore__ inline void update_bundle(const Step& s) {
        AscendC::CrossCoreWaitFlag<kCrossCoreMode>(kPvReady);
        const uint32_t step = state_.rows_within(t_.slice_bytes, 4 * t_.head_dim_v);
        const uint32_t total = state_.num_rows(s);
        if (!s.first) {
            spread_rows(state_.blocks, state_.rescale(s.bundle, 0, 0), total);
            AscendC::PipeBarrier<PIPE_V>();
        }
        uint32_t before = 0;
        for (uint32_t row = 0; row < total + step; row += step) {
            const uint32_t slot = row < total ? state_.load_output(s, row, min_u32(step, total - row)) : 0;
            if (row < total && !s.first) {
                apply_rows<RowOp::kMul>(acc_ub_[row * t_.head_dim_v], state_.blocks.from(row),
                                        min_u32(step, total - row), t_.head_dim_v, t_.head_dim_v, kAccPhase);
            }
            if (row > 0) add_output(s, before, row - step, min_u32(step, total - (row - step)));
            AscendC::PipeBarrier<PIPE_V>();
            before = slot;
        }
        if (s.last) finish_item(s);
    }

    __aicore__ inline void add_output(const Step& s, uint32_t slot, uint32_t row, uint32_t rows) {
        const auto acc = acc_ub_[row * t_.head_dim_v];
        const auto elements = static_cast<int32_t>(rows * t_.head_dim_v);
        state_.load_ring.await(slot);
        if (s.first) {
            AscendC::Adds(acc, state_.output(slot), 0.0f, elements);
        } else {
            AscendC::Add(acc, acc, state_.output(slot), elements);
        }
        state_.load_ring.release(slot);
    }

    // o = acc / sum, lse = max + ln(sum), and the mean that the keys lack. A row that saw no key has sum 0: o
    // = 0 / max(sum, 1) and ln(0) = -inf. Any other row has sum >= 1, because its largest score contributes
    // exp(0).
    __aicore__ inline void finish_item(const Step& s) {
        const uint32_t total = state_.num_rows(s);
        if (total == 0) return;
        AscendC::Maxs(state_.block_max(0), state_.row_sum(s.item, 0), 1.0f, static_cast<int32_t>(total));
        AscendC::PipeBarrier<PIPE_V>();
        const uint32_t step = state_.rows_within(state_.out_bytes(), 2 * t_.head_dim_v);
        for (uint32_t row = 0; row < total; row += step) {
            const uint32_t rows = min_u32(step, total - row);
            const auto acc = acc_ub_[row * t_.head_dim_v];
            spread_rows(state_.blocks, state_.block_max(row), rows);
            AscendC::PipeBarrier<PIPE_V>();
            apply_rows<RowOp::kDiv>(acc, state_.blocks, rows, t_.head_dim_v, t_.head_dim_v, kAccPhase);
            AscendC::PipeBarrier<PIPE_V>();
            const uint32_t out = state_.out_ring.acquire();
            AscendC::Cast(state_.out_ub[out], acc, AscendC::RoundMode::CAST_RINT, rows * t_.head_dim_v);
            state_.out_ring.publish(out);
            state_.out_ring.await(out);
            store_output(state_.out_ub[out], s, row, rows);
            state_.out_ring.release(out);
        }
        if (t_.want_lse != 0) store_lse(s, total);
    }

    __aicore__ inline void store_output(const AscendC::LocalTensor<T>& o, const Step& s, uint32_t row,
                                        uint32_t rows) {
        const uint64_t m = static_cast<uint64_t>(s.m0) + state_.first_row(s) + row;
        AscendC::DataCopyExtParams params;
        params.blockCount = static_cast<uint16_t>(rows);
        params.blockLen = t_.head_dim_v * static_cast<uint32_t>(sizeof(T));
        params.srcStride = 0;
        // A single row has no gap behind it, and its stride may be any number.
        params.dstStride = rows > 1 ? static_cast<uint32_t>((t_.o_stride[1] - t_.head_dim_v) * sizeof(T)) : 0;
        params.rsv = 0;
        AscendC::DataCopyPad(o_gm_[row_offset(t_.o_stride, s.batch, m, s.head)], o, params);
    }

    __aicore__ inline void store_lse(const Step& s, uint32_t total) {
        const auto count = static_cast<int32_t>(total);
        const uint32_t slot = lse_ring_.acquire();
        const auto maxima = State::kIsWide ? state_.row_max(s.item, 0) : state_.new_max(0);
        AscendC::Ln(state_.lse_out(0), state_.row_sum(s.item, 0), count);
        if constexpr (!State::kIsWide) {
            if (t_.adds_mean != 0) {
                AscendC::Add(maxima, state_.row_max(s.item, 0), state_.mean(s.item), count);
                AscendC::PipeBarrier<PIPE_V>();
                AscendC::Muls(maxima, maxima, t_.softmax_scale, count);
            } else {
                AscendC::Muls(maxima, state_.row_max(s.item, 0), t_.softmax_scale, count);
            }
        }
        AscendC::PipeBarrier<PIPE_V>();
        AscendC::Add(state_.lse_out(0), state_.lse_out(0), maxima, count);
        lse_ring_.publish(slot);
        lse_ring_.await(slot);
        const uint64_t head = static_cast<uint64_t>(s.batch) * t_.num_heads + s.head;
        AscendC::DataCopyExtParams params;
        params.blockCount = 1;
        params.blockLen = total * static_cast<uint32_t>(sizeof(float));
        params.srcStride = 0;
        params.dstStride = 0;
        params.rsv = 0;
        AscendC::DataCopyPad(lse_gm_[head * t_.seqlen_q + s.m0 + state_.first_row(s)], state_.lse_out(0),
                             params);
        lse_ring_.release(slot);
    }

    using State = FlashFwdState<T, S>;

    const FlashFwdTilingData& t_;
    State state_;
    typename SoftmaxOf<T, S>::Type softmax_;
    FlashFwdBundle<T, S> bundle_;
    AscendC::GlobalTensor<T> o_gm_;
    AscendC::GlobalTensor<float> lse_gm_;
    AscendC::LocalTensor<float> acc_ub_;
    Ring<AscendC::HardEvent::V_MTE3, AscendC::HardEvent::MTE3_V, 6, 1> lse_ring_;
};

}  // namespace fa
