// SPDX-License-Identifier: MIT OR Apache-2.0
// Numbers that tokens have in GM, as places, positions and ids, and what is told of wrong ones.
#pragma once
#include "fa/arch.h"

namespace fa {

// A number of each token in GM, i32 or i64.
class TokenNumbers {
  public:
    __aicore__ inline TokenNumbers(GM_ADDR numbers, uint32_t words) : words_(words) {
        gm_.SetGlobalBuffer(reinterpret_cast<__gm__ uint32_t*>(numbers));
    }
    __aicore__ inline int64_t of(uint32_t token) const {
        if (words_ == 1) return static_cast<int32_t>(gm_.GetValue(token));
        const uint64_t low = gm_.GetValue(uint64_t{token} * 2);
        const uint64_t high = gm_.GetValue(uint64_t{token} * 2 + 1);
        return static_cast<int64_t>(high << 32 | low);
    }

  private:
    uint32_t words_;
    AscendC::GlobalTensor<uint32_t> gm_;
};

// How many numbers are wrong, and token and value of the first.
struct Wrong {
    uint32_t count = 0;
    uint32_t token = 0;
    uint64_t number = 0;

    __aicore__ inline void note(uint32_t wrong_token, int64_t wrong_number) {
        if (count == 0) {
            token = wrong_token;
            number = static_cast<uint64_t>(wrong_number);
        }
        ++count;
    }
};

// Four words of the block at `words`, from word `first` on.
__aicore__ inline void set_wrong(const AscendC::LocalTensor<int32_t>& words, const Wrong& wrong,
                                 uint32_t first) {
    const uint32_t values[4] = {wrong.count, wrong.token, static_cast<uint32_t>(wrong.number),
                                static_cast<uint32_t>(wrong.number >> 32)};
    for (uint32_t i = 0; i < 4; ++i) {
        uint64_t mask[2] = {uint64_t{1} << (first + i), 0};
        AscendC::Duplicate(words, static_cast<int32_t>(values[i]), mask, 1, 1, 8);
    }
}

// The block of this core in `status`: of one kind of numbers, and of a second one if there is one, how many
// are wrong, and token and number (low and high word) of the first. The rest is 0. `words`: a block of UB.
__aicore__ inline void store_wrong(GM_ADDR status, const AscendC::LocalTensor<int32_t>& words,
                                   const Wrong& first, const Wrong* second) {
    AscendC::GlobalTensor<int32_t> status_gm;
    status_gm.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(status));
    AscendC::Duplicate(words, 0, static_cast<int32_t>(kBlockF32));
    AscendC::PipeBarrier<PIPE_V>();
    set_wrong(words, first, 0);
    if (second != nullptr) set_wrong(words, *second, 4);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(0);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(0);
    AscendC::DataCopy(status_gm[uint64_t{block_index()} * kBlockF32], words, kBlockF32);
}

}  // namespace fa
