// SPDX-License-Identifier: MIT OR Apache-2.0
// Flags, barriers, cross-core synchronisation and system variables (dav-c220.md 4.1, 4.3, 4.5).
#pragma once
#include "tensor.h"

// Constant conditions on the chip, where a kernel is compiled once per core type; here one image serves both.
#define ASCEND_IS_AIC (::fasim::is_aic())
#define ASCEND_IS_AIV (::fasim::is_aiv())
#define ASCEND_IS_NOT_AIC (::fasim::is_aiv())
#define ASCEND_IS_NOT_AIV (::fasim::is_aic())

namespace AscendC {

template <HardEvent event>
void SetFlag(int32_t eventID) {
    constexpr fasim::EventPipes pipes = fasim::pipes_of(event);
    set_flag(pipes.src, pipes.dst, static_cast<uint64_t>(eventID));
}

template <HardEvent event>
void WaitFlag(int32_t eventID) {
    constexpr fasim::EventPipes pipes = fasim::pipes_of(event);
    wait_flag(pipes.src, pipes.dst, static_cast<uint64_t>(eventID));
}

template <pipe_t pipe>
void PipeBarrier() {
    pipe_barrier(pipe);
}

template <MemDsbT scope>
void DataSyncBarrier() {
    dsb(static_cast<mem_dsb_t>(scope));
}

inline int64_t GetSubBlockIdx() { return get_subblockid(); }
inline int64_t GetTaskRation() { return fasim::is_aic() ? 1 : get_subblockdim(); }
inline int64_t GetSubBlockNum() { return GetTaskRation(); }
inline int64_t GetBlockNum() { return get_block_num(); }
inline int64_t GetBlockIdx() {
    return fasim::is_aic() ? get_block_idx() : get_block_idx() * get_subblockdim() + get_subblockid();
}
inline int64_t GetSystemCycle() { return get_sys_cnt(); }

// Message of ffts_cross_core_sync: bit 0 set, mode in bits 4.., flag in bits 8...
constexpr uint64_t GetffstMsg(uint64_t mode, uint64_t flagId) { return 1 | (mode << 4) | (flagId << 8); }

template <uint8_t modeId, pipe_t pipe>
void CrossCoreSetFlag(uint16_t flagId) {
    static_assert(modeId <= 2, "CrossCoreSetFlag: modeId is 0, 1 or 2 on dav-c220");
    ffts_cross_core_sync(pipe, GetffstMsg(modeId, flagId));
}

// dav-c220 has no pipe on the waiting side: the scalar unit stops. `pipe` is accepted as CANN accepts it.
template <uint8_t modeId = 0, pipe_t pipe = PIPE_S>
void CrossCoreWaitFlag(uint16_t flagId) {
    wait_flag_dev(flagId);
}

// The framework's flag ids for SyncAll (dav-c220.md 4.3).
constexpr uint16_t SYNC_AIC_FLAG = 11;
constexpr uint16_t SYNC_AIV_FLAG = 12;
constexpr uint16_t SYNC_AIC_AIV_FLAG = 13;
constexpr uint16_t SYNC_AIV_ONLY_ALL = 14;

template <bool isAIVOnly = true>
void SyncAll() {
    PipeBarrier<PIPE_ALL>();
    if constexpr (isAIVOnly) {
        ffts_cross_core_sync(PIPE_MTE3, GetffstMsg(0, SYNC_AIV_ONLY_ALL));
        wait_flag_dev(SYNC_AIV_ONLY_ALL);
    } else if (fasim::is_aic()) {
        wait_flag_dev(SYNC_AIV_FLAG);
        ffts_cross_core_sync(PIPE_FIX, GetffstMsg(0, SYNC_AIC_FLAG));
        wait_flag_dev(SYNC_AIC_FLAG);
        ffts_cross_core_sync(PIPE_MTE3, GetffstMsg(2, SYNC_AIC_AIV_FLAG));
    } else {
        ffts_cross_core_sync(PIPE_MTE3, GetffstMsg(2, SYNC_AIV_FLAG));
        wait_flag_dev(SYNC_AIC_AIV_FLAG);
    }
}

// The machine needs no table of core addresses.
inline void SetSyncBaseAddr(uint64_t config) { static_cast<void>(config); }

// The first 16 MiB of a workspace belong to the framework (RESERVED_WORKSPACE of this chip).
inline GM_ADDR GetUserWorkspace(GM_ADDR workspace) { return workspace + (uint64_t{16} << 20); }

template <typename T, CacheLine entireType, DcciDst dcciDst>
void DataCacheCleanAndInvalid(const GlobalTensor<T>& dst) {
    dcci(dst.GetPhyAddr(0), static_cast<uint64_t>(entireType), static_cast<uint64_t>(dcciDst));
}

template <typename T, CacheLine entireType>
void DataCacheCleanAndInvalid(const GlobalTensor<T>& dst) {
    dcci(dst.GetPhyAddr(0), static_cast<uint64_t>(entireType));
}

inline void SetAtomicNone() { set_atomic_none(); }
inline void DisableDmaAtomic() { set_atomic_none(); }

template <typename T>
void SetAtomicType() {
    static_assert(fasim::one_of<T, float, half, bfloat16_t, int32_t, int16_t, int8_t>,
                  "SetAtomicType: float, half, bfloat16_t, int32_t, int16_t or int8_t");
    if constexpr (std::is_same_v<T, float>) set_atomic_f32();
    if constexpr (std::is_same_v<T, half>) set_atomic_f16();
    if constexpr (std::is_same_v<T, bfloat16_t>) set_atomic_bf16();
    if constexpr (std::is_same_v<T, int32_t>) set_atomic_s32();
    if constexpr (std::is_same_v<T, int16_t>) set_atomic_s16();
    if constexpr (std::is_same_v<T, int8_t>) set_atomic_s8();
}

template <typename T>
void SetAtomicAdd() {
    set_atomic_add();
    SetAtomicType<T>();
}

template <typename T>
void SetAtomicMax() {
    set_atomic_max();
    SetAtomicType<T>();
}

template <typename T>
void SetAtomicMin() {
    set_atomic_min();
    SetAtomicType<T>();
}

// CTRL[48]: 0 saturating, 1 INF/NAN; dav-c220 exposes this bit alone (dav-c220.md 6.1).
template <int8_t startBit, int8_t endBit>
void SetCtrlSpr(int64_t value) {
    static_assert(startBit == 48 && endBit == 48, "SetCtrlSpr: dav-c220 exposes bit 48 alone");
    const uint64_t bit = uint64_t{1} << 48;
    set_ctrl((static_cast<uint64_t>(get_ctrl()) & ~bit) | (value != 0 ? bit : 0));
}

}  // namespace AscendC
