// SPDX-License-Identifier: MIT OR Apache-2.0
// TPipe: buffers and event ids of one core (dav-c220.md 4.2). All state is in the object, because several
// cores run as coroutines of one thread; only the pointer to it is found by core.
#pragma once
#include "sync.h"

namespace AscendC {

class TPipe;
using TEventID = int8_t;
constexpr TEventID INVALID_TEVENTID = -1;

template <TPosition src, TPosition dst, int32_t depth, auto mask>
class TQueBind;
template <TPosition pos>
class TBuf;

}  // namespace AscendC

namespace fasim {

// Bytes that buffers may take, in the order of FasimSpace. dav-c220.md 1.2; UB and L1 without the last 256
// bytes, which belong to the framework.
constexpr uint32_t kPoolBytes[] = {0, 196608 - 256, 524288 - 256, 65536, 65536, 131072, 1024, 2048};
constexpr const char* kPoolNames[] = {"GM", "UB", "L1", "L0A", "L0B", "L0C", "BT", "FB"};
constexpr uint32_t kPools = 8;

// Select modes 1 and 2 keep an operand in the last 8 KiB of UB (CANN: TMP_UB_OFFSET 184 KiB on this chip).
constexpr uint32_t kSelectTailOffset = 184 * 1024;

constexpr uint32_t kMaxBuffers = 64;
constexpr int32_t kMaxEvents = 8;

enum class BufferState : uint8_t { kFree, kOccupied, kEnqueued, kDequeued };

struct Buffer {
    BufferState state = BufferState::kFree;
    AscendC::HardEvent free_event = AscendC::HardEvent::MAX;
    AscendC::TEventID enque_id = AscendC::INVALID_TEVENTID;
    AscendC::TEventID free_id = AscendC::INVALID_TEVENTID;
    uint32_t address = 0;
    uint32_t bytes = 0;
};

// Pipes of the cores that run on this thread. A thread runs whole groups, far fewer than this at a time.
constexpr uint64_t kCoresPerThread = 192;
struct PipeEntry {
    uint64_t core;
    AscendC::TPipe* pipe;
};
inline thread_local PipeEntry pipe_table[kCoresPerThread] = {};

// 1-based, so that a zeroed entry belongs to nobody.
inline uint64_t this_core() {
    const uint64_t core = is_aic() ? 0 : 1 + special(FASIM_SUBBLOCK_ID);
    return special(FASIM_BLOCK_IDX) * 3 + core + 1;
}

inline PipeEntry& pipe_entry(uint64_t core) { return pipe_table[core % kCoresPerThread]; }

inline AscendC::TPipe* find_pipe() {
    const uint64_t core = this_core();
    const PipeEntry& entry = pipe_entry(core);
    return entry.core == core ? entry.pipe : nullptr;
}

// A launch on this core begins: whatever an earlier one left behind is forgotten.
inline void start_core() { pipe_entry(this_core()) = {}; }

inline void bind(const FasimHooks* table) { hooks = table; }

}  // namespace fasim

namespace AscendC {

class TPipe {
  public:
    TPipe() { Init(); }
    TPipe(const TPipe&) = delete;
    TPipe& operator=(const TPipe&) = delete;
    // May throw fasim::Stop, as any issue does.
    ~TPipe() noexcept(false) {
        if (!alive_) return;
        if (std::uncaught_exceptions() == 0) {
            Destroy();
        } else {
            forget();
        }
    }

    void Init() {
        if (fasim::find_pipe() != nullptr)
            fasim::fault("TPipe::Init: this core already has a TPipe; Destroy it first");
        core_ = fasim::this_core();
        fasim::pipe_entry(core_) = {core_, this};
        alive_ = true;
        reset_core_state();
        reset_pools();
        if ASCEND_IS_AIC {
            for (int32_t i = 0; i < kCubeEvents; ++i)
                SetFlag<HardEvent::M_MTE1>(AllocEventID<HardEvent::M_MTE1>());
        }
    }

    void Destroy() {
        forget();
        drain_free_events();
        if ASCEND_IS_AIC {
            for (int32_t i = 0; i < kCubeEvents; ++i) {
                WaitFlag<HardEvent::M_MTE1>(i);
                ReleaseEventID<HardEvent::M_MTE1>(static_cast<TEventID>(i));
            }
        }
        pipe_barrier(PIPE_ALL);
    }

    void Reset() {
        drain_free_events();
        reset_core_state();
        reset_pools();
        if ASCEND_IS_AIC
            events_[static_cast<size_t>(HardEvent::M_MTE1)] = (1u << kCubeEvents) - 1;
    }

    template <TPosition src, TPosition dst, int32_t depth, auto mask>
    bool InitBuffer(TQueBind<src, dst, depth, mask>& que, uint8_t num, uint32_t len);

    template <TPosition pos>
    bool InitBuffer(TBuf<pos>& buf, uint32_t len);

    template <HardEvent event>
    TEventID AllocEventID() {
        const TEventID id = FetchEventID(event);
        events_[static_cast<size_t>(event)] |= 1u << id;
        return id;
    }

    template <HardEvent event>
    void ReleaseEventID(TEventID id) {
        if (id < 0 || id >= fasim::kMaxEvents) {
            fasim::fault("TPipe::ReleaseEventID: id %d, wanted 0 to %d", id, fasim::kMaxEvents - 1);
        }
        events_[static_cast<size_t>(event)] &= ~(1u << id);
    }

    // The lowest free id, without taking it.
    TEventID FetchEventID(HardEvent event) {
        const uint32_t taken = events_[static_cast<size_t>(event)];
        for (int32_t id = 0; id < fasim::kMaxEvents; ++id) {
            if ((taken >> id & 1u) == 0) return static_cast<TEventID>(id);
        }
        fasim::fault("TPipe: all %d event ids of HardEvent %d are taken; a flag is set and never waited for",
                     fasim::kMaxEvents, static_cast<int32_t>(event));
        return 0;
    }

    template <HardEvent event>
    TEventID FetchEventID() {
        return FetchEventID(event);
    }

    // Bytes of UB given out so far.
    template <TPosition pos>
    uint64_t GetQueueEndAddress() {
        return used_[fasim::space_of(pos)];
    }

    // Called by the APIs that keep an operand in the last 8 KiB of UB.
    void claim_select_tail() {
        select_tail_ = true;
        check_select_tail();
    }

  private:
    static constexpr int32_t kCubeEvents = 3;

    // CANN also clears the boundary register of Load3D (set_l1_3d_size 0), its value at kernel entry.
    static void reset_core_state() {
        set_atomic_none();
        if ASCEND_IS_AIC {
            set_mask_norm();
            set_padding(0);
        } else {
            set_vector_mask(FULL_MASK, FULL_MASK);
            set_mask_norm();
        }
    }

    void reset_pools() {
        for (fasim::Buffer& buffer : buffers_) buffer = {};
        for (uint32_t& used : used_) used = 0;
        for (uint32_t& taken : events_) taken = 0;
        num_buffers_ = 0;
        select_tail_ = false;
    }

    void forget() {
        alive_ = false;
        fasim::PipeEntry& entry = fasim::pipe_entry(core_);
        if (entry.pipe == this) entry = {};
    }

    void drain_free_events() {
        for (uint32_t i = 0; i < num_buffers_; ++i) {
            fasim::Buffer& buffer = buffers_[i];
            if (buffer.free_id == INVALID_TEVENTID || buffer.state != fasim::BufferState::kFree) continue;
            const fasim::EventPipes pipes = fasim::pipes_of(buffer.free_event);
            wait_flag(pipes.src, pipes.dst, static_cast<uint64_t>(buffer.free_id));
            buffer.free_id = INVALID_TEVENTID;
        }
    }

    void check_select_tail() {
        const uint32_t used = used_[FASIM_UB];
        if (select_tail_ && used > fasim::kSelectTailOffset) {
            fasim::fault(
                "Select in mode 1 or 2 keeps an operand in UB[%u..), but TPipe has given out UB[0..%u)",
                fasim::kSelectTailOffset, used);
        }
    }

    // Takes `num` consecutive buffers of `len` bytes out of a memory.
    fasim::Buffer* take(FasimSpace space, const char* what, uint32_t num, uint32_t len) {
        const uint32_t unit = space == FASIM_BT ? 64 : 32;
        const uint32_t bytes = DivCeil(len, unit) * unit;
        const uint64_t end = uint64_t{used_[space]} + uint64_t{num} * bytes;
        if (num == 0 || len == 0) {
            fasim::fault("TPipe::InitBuffer of a %s: %u buffers of %u bytes, wanted at least one of one byte",
                         what, num, len);
        }
        if (end > fasim::kPoolBytes[space]) {
            fasim::fault("TPipe::InitBuffer of a %s: %u buffers of %u bytes end at %s[%llu], capacity is %u",
                         what, num, bytes, fasim::kPoolNames[space], static_cast<unsigned long long>(end),
                         fasim::kPoolBytes[space]);
        }
        if (num_buffers_ + num > fasim::kMaxBuffers) {
            fasim::fault("TPipe::InitBuffer of a %s: %u buffers, a TPipe holds at most %u", what,
                         num_buffers_ + num, fasim::kMaxBuffers);
        }
        fasim::Buffer* const first = &buffers_[num_buffers_];
        for (uint32_t i = 0; i < num; ++i) {
            first[i].address = used_[space] + i * bytes;
            first[i].bytes = bytes;
        }
        used_[space] = static_cast<uint32_t>(end);
        num_buffers_ += num;
        check_select_tail();
        return first;
    }

    fasim::Buffer buffers_[fasim::kMaxBuffers];
    uint32_t used_[fasim::kPools] = {};
    uint32_t events_[static_cast<size_t>(HardEvent::MAX)] = {};
    uint32_t num_buffers_ = 0;
    uint64_t core_ = 0;
    bool alive_ = false;
    bool select_tail_ = false;
};

inline TPipe* GetTPipePtr() { return fasim::find_pipe(); }

}  // namespace AscendC

namespace fasim {

inline AscendC::TPipe& current_pipe(const char* who) {
    AscendC::TPipe* const pipe = find_pipe();
    if (pipe == nullptr) {
        fault("%s needs event ids, but this core has no TPipe", who);
        throw Stop{};
    }
    return *pipe;
}

// One set and wait of an event under a fetched id, as CANN's composed calls do.
template <AscendC::HardEvent event>
void hand_over(const char* who) {
    const AscendC::TEventID id = current_pipe(who).FetchEventID(event);
    AscendC::SetFlag<event>(id);
    AscendC::WaitFlag<event>(id);
}

}  // namespace fasim
