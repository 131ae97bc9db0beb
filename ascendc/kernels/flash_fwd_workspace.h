// SPDX-License-Identifier: MIT OR Apache-2.0
// What the Cube and the vector cores of flash_fwd share: rings of blocks in GM and the flags that hand them
// over.
#pragma once
#include "fa/arch.h"
#include "fa/sync.h"
#include "fa/tiling_data.h"

namespace fa {

// Of kCrossCoreMode.
constexpr uint16_t kQkReady = 0;       // AIC -> AIV: S of a step is in the workspace
constexpr uint16_t kSoftmaxReady = 1;  // AIV -> AIC: P of a step is in the workspace (both AIVs)
constexpr uint16_t kPvReady = 2;       // AIC -> AIV: O of a bundle is in the workspace

// One core's part of the workspace.
template <typename T, typename S>
class FlashFwdWorkspace {
  public:
    __aicore__ inline FlashFwdWorkspace(const FlashFwdTilingData& t, GM_ADDR workspace, uint32_t core)
        : t_(t), base_(workspace + core * t.workspace_core_bytes) {}

    // Scores of a step from row `m` and key `n` on, `n` a multiple of score_pitch(). A tile of score_pitch()
    // keys of all rows lies without gaps, so that f16 scores, too, are written and read in whole lines of L2.
    __aicore__ inline AscendC::GlobalTensor<S> s(uint32_t step, uint32_t m, uint32_t n) const {
        const uint64_t stage = step % t_.num_stages;
        const uint64_t at = static_cast<uint64_t>(n) * t_.block_m + m * score_pitch();
        return slot<S>(0, sizeof(S) * (uint64_t{t_.block_m} * t_.block_n * stage + at));
    }
    __aicore__ inline uint32_t score_pitch() const { return min_u32(t_.tile_n, t_.block_n); }
    // Probabilities of a step, 16-bit [block_m, block_n]. The Cube reads those of a bundle when the last of
    // them are there.
    __aicore__ inline AscendC::GlobalTensor<T> p(uint32_t step) const {
        const uint32_t stage = step % (t_.num_stages + t_.bundle_steps - 1);
        return slot<T>(t_.workspace_p_offset_bytes, uint64_t{2} * t_.block_m * t_.block_n * stage);
    }
    // P V of a bundle, f32 [block_m, head_dim_v].
    __aicore__ inline AscendC::GlobalTensor<float> o(uint32_t bundle) const {
        return slot<float>(t_.workspace_o_offset_bytes,
                           uint64_t{4} * t_.block_m * t_.head_dim_v * (bundle % 2));
    }
    // q times what was subtracted from the keys, f32 [block_m, 16] of equal columns, from row `m` on; made
    // with the scores of a step.
    __aicore__ inline AscendC::GlobalTensor<float> mean(uint32_t step, uint32_t m) const {
        const uint64_t row = static_cast<uint64_t>(t_.block_m) * (step % t_.num_stages) + m;
        return slot<float>(t_.workspace_mean_offset_bytes, sizeof(float) * kFractal * row);
    }

  private:
    template <typename U>
    __aicore__ inline AscendC::GlobalTensor<U> slot(uint64_t ring_bytes, uint64_t slot_bytes) const {
        AscendC::GlobalTensor<U> tensor;
        tensor.SetGlobalBuffer(reinterpret_cast<__gm__ U*>(base_ + ring_bytes + slot_bytes));
        return tensor;
    }

    const FlashFwdTilingData& t_;
    GM_ADDR base_;
};

}  // namespace fa
