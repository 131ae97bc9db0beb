// SPDX-License-Identifier: MIT OR Apache-2.0
// Buffers handed back and forth between two pipes of a core, and modes of the flags between cores.
#pragma once
#include "fa/arch.h"

namespace fa {

// Modes of cross-core flags.
constexpr uint8_t kAllCoresMode = 0;   // all AICs, or all AIVs, of the launch
constexpr uint8_t kCrossCoreMode = 2;  // one AIC and its two AIVs

// `kCount` buffers between a producer pipe and a consumer pipe. `kFull` is the flag producer -> consumer,
// `kFree` the flag back. The constructor marks every buffer free and the destructor waits until all are, so
// that flags balance. A ring that is given a `count` below `kCount` uses the first `count` buffers only.
//
//   producer:  slot = acquire();  ...write...;  publish(slot);
//   consumer:  await(slot);       ...read...;   release(slot);
template <AscendC::HardEvent kFull, AscendC::HardEvent kFree, int32_t kFirstId, uint32_t kCount>
class Ring {
  public:
    __aicore__ inline explicit Ring(uint32_t count = kCount) : count_(count) {
        for (uint32_t slot = 0; slot < kCount; ++slot) AscendC::SetFlag<kFree>(id(slot));
    }
    // On the simulator waiting may stop the kernel, which unwinds through here.
    __aicore__ inline ~Ring() noexcept(false) {
        for (uint32_t slot = 0; slot < kCount; ++slot) AscendC::WaitFlag<kFree>(id(slot));
    }
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;

    __aicore__ inline uint32_t acquire() {
        const uint32_t slot = next_;
        next_ = (next_ + 1) % count_;
        AscendC::WaitFlag<kFree>(id(slot));
        return slot;
    }
    __aicore__ inline void publish(uint32_t slot) { AscendC::SetFlag<kFull>(id(slot)); }
    __aicore__ inline void await(uint32_t slot) { AscendC::WaitFlag<kFull>(id(slot)); }
    __aicore__ inline void release(uint32_t slot) { AscendC::SetFlag<kFree>(id(slot)); }

  private:
    __aicore__ static inline int32_t id(uint32_t slot) { return kFirstId + static_cast<int32_t>(slot); }
    uint32_t count_;
    uint32_t next_ = 0;
};

// A buffer that its owner lends to another pipe and takes back before it goes on to anybody else.
//
//   owner: ...write...;  lend(slot);             borrower: await(slot);  ...read...;  give_back(slot);
//   owner: reclaim(slot);
template <AscendC::HardEvent kLent, AscendC::HardEvent kBack, int32_t kFirstId>
class Loan {
  public:
    __aicore__ inline void lend(uint32_t slot) { AscendC::SetFlag<kLent>(id(slot)); }
    __aicore__ inline void await(uint32_t slot) { AscendC::WaitFlag<kLent>(id(slot)); }
    __aicore__ inline void give_back(uint32_t slot) { AscendC::SetFlag<kBack>(id(slot)); }
    __aicore__ inline void reclaim(uint32_t slot) { AscendC::WaitFlag<kBack>(id(slot)); }

  private:
    __aicore__ static inline int32_t id(uint32_t slot) { return kFirstId + static_cast<int32_t>(slot); }
};

}  // namespace fa
