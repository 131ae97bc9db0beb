// SPDX-License-Identifier: MIT OR Apache-2.0
// What CANN's CPU twin has in closed libraries besides the intrinsics: the core's identity, the addresses of
// its memories, conversions of scalars, and debug calls that are no instructions.
#include "twin.h"

#include <sys/mman.h>

// Identity of the core (stub_def.h).
int64_t block_idx = 0;
int64_t block_num = 0;
int32_t g_coreType = AscendC::MIX;
int32_t g_taskRation = 1;
int32_t sub_block_idx = 0;

namespace fasim {

void CoreState::restore() const {
    g_coreType = core_type;
    g_taskRation = task_ration;
    sub_block_idx = sub_block;
    block_idx = block;
    g_tPipePtr = pipe;
    std::memcpy(static_cast<void*>(&g_deqValue), &deq_value, sizeof deq_value);
    AscendC::MaskSetter::Instance().SetMask(is_set_mask);
}

namespace {

const FasimHooks* machine = nullptr;

int32_t issue_here(const FasimInstr* instr) {
    const CoreState mine;
    const int32_t status = machine->issue(instr);
    mine.restore();
    return status;
}

int32_t special_here(uint32_t which, uint64_t* value) {
    const CoreState mine;
    const int32_t status = machine->special(which, value);
    mine.restore();
    return status;
}

FasimHooks switching_hooks = {};

// Host memory that stands for the on-chip memories: CANN's headers compute addresses in it, and TPipe fills
// it with random numbers. No instruction looks into it. Each memory has a range of 2^kRangeBits bytes around
// it, so that an address that runs out of one is still told apart from the next.
class HostRanges {
  public:
    HostRanges() {
        using AscendC::Hardware;
        void* const reserved = mmap(nullptr, kRanges << kRangeBits, PROT_NONE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (reserved == MAP_FAILED) return;
        start_ = reinterpret_cast<uint64_t>(reserved);
        place(Hardware::UB, all_.cpuUB, FASIM_UB);
        place(Hardware::L1, all_.cpuL1, FASIM_L1);
        place(Hardware::L0A, all_.cpuL0A, FASIM_L0A);
        place(Hardware::L0B, all_.cpuL0B, FASIM_L0B);
        place(Hardware::L0C, all_.cpuL0C, FASIM_L0C);
        place(Hardware::BIAS, all_.cpuBIAS, FASIM_BT);
        place(Hardware::FIXBUF, all_.cpuFIXBUF, FASIM_FB);
    }
    // Runs before the destructor of CANN's table, which frees what is not null.
    ~HostRanges() {
        if (start_ == 0) return;
        for (uint8_t** memory : {&all_.cpuUB, &all_.cpuL1, &all_.cpuL0A, &all_.cpuL0B, &all_.cpuL0C,
                                 &all_.cpuBIAS, &all_.cpuFIXBUF}) {
            *memory = nullptr;
        }
        munmap(reinterpret_cast<void*>(start_), kRanges << kRangeBits);
    }
    HostRanges(const HostRanges&) = delete;
    HostRanges& operator=(const HostRanges&) = delete;

    // The subtraction wraps, as the lower halves may: an address in front of UB becomes one far behind it.
    uint32_t ub_offset(uint32_t lower_half) const {
        return lower_half - static_cast<uint32_t>(reinterpret_cast<uint64_t>(all_.cpuUB));
    }

    // Addresses outside are those of GM.
    uint64_t machine_address(uint64_t host) const {
        if (host < start_ || host >= start_ + (kRanges << kRangeBits)) return host;
        const uint64_t space = (host - start_) >> kRangeBits;
        return (space << 48) + host - middle(space);
    }

  private:
    static constexpr uint64_t kRanges = 8;  // the values of FasimSpace
    static constexpr uint32_t kRangeBits = 30;

    uint64_t middle(uint64_t space) const {
        return start_ + (space << kRangeBits) + (uint64_t{1} << (kRangeBits - 1));
    }

    void place(AscendC::Hardware hardware, uint8_t*& memory, FasimSpace space) {
        void* const here = reinterpret_cast<void*>(middle(space));
        if (mprotect(here, all_.bufferInitLen.at(hardware), PROT_READ | PROT_WRITE) != 0) return;
        delete[] memory;
        memory = static_cast<uint8_t*>(here);
        all_.hardwareCpuBufferMap[hardware] = memory;
    }

    AscendC::ConstDefiner& all_ = AscendC::ConstDefiner::Instance();
    uint64_t start_ = 0;
};

const HostRanges& host_ranges() {
    static const HostRanges ranges;
    return ranges;
}

}  // namespace

void bind(const FasimHooks* table) {
    host_ranges();
    machine = table;
    switching_hooks = *table;
    switching_hooks.issue = issue_here;
    switching_hooks.special = special_here;
    hooks = &switching_hooks;
}

uint64_t machine_address(const void* host) {
    return host_ranges().machine_address(reinterpret_cast<uint64_t>(host));
}

uint32_t ub_offset(uint32_t lower_half) { return host_ranges().ub_offset(lower_half); }

void start_core() {
    block_num = target::get_block_num();
    block_idx = target::get_block_idx();
    sub_block_idx = static_cast<int32_t>(target::get_subblockid());
    g_coreType = is_aic() ? AscendC::AIC : AscendC::AIV;
    g_taskRation = is_aic() ? 1 : static_cast<int32_t>(target::get_subblockdim());
    g_tPipePtr = nullptr;
}

}  // namespace fasim

// Bit operations of the scalar unit, on values that the kernel has.
uint64_t sbitset0(uint64_t x, int64_t index) { return x & ~(uint64_t{1} << index); }
uint64_t sbitset1(uint64_t x, int64_t index) { return x | uint64_t{1} << index; }
int64_t sff0(uint64_t x) {
    for (int64_t i = 0; i < 64; ++i) {
        if ((x >> i & 1) == 0) return i;
    }
    return -1;
}

// The machine has no boundary register of Load3D; at 0, its value at kernel entry, it bounds nothing.
void set_l1_3d_size(uint64_t config) {
    if (config != 0) fasim::not_modelled("set_l1_3d_size with a boundary other than 0");
}

// Calls with which CANN's headers tell its checking tool what they do with buffers.
void AscendCQueCreate(uint8_t, uint8_t, uint8_t) {}
void AscendCBufInit(uint8_t, uint8_t, uint8_t, uint64_t, uint64_t) {}
void AscendCBufAlloc(uint8_t, uint8_t, uint64_t, uint64_t) {}
void AscendCBufFree(uint8_t, uint8_t, uint64_t, uint64_t) {}
void AscendCBufEnque(uint8_t, uint8_t, uint8_t, uint64_t) {}
void AscendCBufDeque(uint8_t, uint8_t, uint8_t, uint64_t) {}
void AscendCBufAbsAddr(uint8_t, uint64_t, uint64_t) {}
void AscendCBufGet(uint8_t, uint8_t, uint64_t, uint64_t) {}
void AscendCTBufPoolInit(uint8_t, uint64_t, uint64_t, uint64_t) {}
void AscendCUpdateTbufPoolStatus(uint64_t, bool) {}
void AscendCRecordPoolHierarchy(uint64_t, uint64_t) {}
void AscendCTBufPoolResetCheck(uint8_t, uint64_t, uint64_t, uint64_t) {}

namespace AscendC {

// Tells CANN's own model of the core where Gather reads.
void SetModelGatherbSrc0Tensor(uint64_t, const uint32_t) {}

const int MIX_TYPE = MIX;
const int AIC_TYPE = AIC;
const int AIV_TYPE = AIV;
// Set, headers would add stores to GM up themselves; the machine does it.
bool g_isAtomic = false;

// One process runs all cores, one at a time: there is nobody to lock out.
ProcessLock* ProcessLock::processLock = nullptr;
ProcessLock::ProcessLock() = default;
ProcessLock::~ProcessLock() = default;
ProcessLock* ProcessLock::CreateLock() {
    static ProcessLock lock;
    return &lock;
}
int ProcessLock::Read() { return 0; }
int ProcessLock::Write() { return 0; }
int ProcessLock::Unlock() { return 0; }

}  // namespace AscendC

// Scalars of 16 bits: the conversions that parameter structures use. The classes have other names in other
// releases.
half& half::operator=(const half& other) {
    val = other.val;
    return *this;
}
uint16_t half::Int32ToFp16(const int32_t& value) const {
    return fasim::half_from_float(static_cast<float>(value));
}
uint16_t half::FloatToFp16(const float& value) const { return fasim::half_from_float(value); }

bfloat16_t& bfloat16_t::operator=(const bfloat16_t& other) {
    val = other.val;
    return *this;
}
uint16_t bfloat16_t::FloatToBf16(const float& value) const { return fasim::bfloat16_from_float(value); }
