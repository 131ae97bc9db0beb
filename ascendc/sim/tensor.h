// SPDX-License-Identifier: MIT OR Apache-2.0
// LocalTensor and GlobalTensor: a position, an address and a length. An on-chip address is a tag and an
// offset (machine_abi.h); nothing here dereferences one, elements travel through the machine's scalar hooks.
#pragma once
#include "intrinsics_scalar.h"

namespace AscendC {

enum class DataFormat : uint8_t { ND = 0, NZ, NCHW, NC1HWC0, NHWC };

constexpr uint8_t K_MAX_SHAPE_DIM = 8;

// Carried along for the kernel's own use; no instruction reads it.
struct ShapeInfo {
    uint8_t shapeDim = 0;
    uint8_t originalShapeDim = 0;
    uint32_t shape[K_MAX_SHAPE_DIM] = {};
    uint32_t originalShape[K_MAX_SHAPE_DIM] = {};
    DataFormat dataFormat = DataFormat::ND;
};

using TBufHandle = uint8_t*;

struct TBuffAddr {
    uint8_t logicPos = 0;
    TBufHandle bufferHandle = nullptr;
    uint32_t dataLen = 0;     // bytes
    uint32_t bufferAddr = 0;  // byte offset in the memory of logicPos
};

}  // namespace AscendC

namespace fasim {

// Memory behind a position (dav-c220.md 1.2). CO2 is GM on this chip.
constexpr FasimSpace space_of(AscendC::TPosition position) {
    using AscendC::TPosition;
    switch (position) {
        case TPosition::A1:
        case TPosition::B1:
        case TPosition::C1:
        case TPosition::TSCM:
            return FASIM_L1;
        case TPosition::A2:
            return FASIM_L0A;
        case TPosition::B2:
            return FASIM_L0B;
        case TPosition::C2:
            return FASIM_BT;
        case TPosition::CO1:
            return FASIM_L0C;
        case TPosition::VECIN:
        case TPosition::VECOUT:
        case TPosition::VECCALC:
            return FASIM_UB;
        case TPosition::C2PIPE2GM:
        case TPosition::C2PIPE2LOCAL:
            return FASIM_FB;
        default:
            return FASIM_GM;
    }
}

inline uint64_t local_address(uint8_t position, uint64_t offset) {
    return (static_cast<uint64_t>(space_of(static_cast<AscendC::TPosition>(position))) << 48) + offset;
}

template <class T>
T scalar_load(uint64_t address) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8, "a scalar has 1, 2, 4 or 8 bytes");
    uint64_t bits = 0;
    check(hooks->scalar_load(address, sizeof(T), &bits));
    T value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

template <class T>
void scalar_store(uint64_t address, T value) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8, "a scalar has 1, 2, 4 or 8 bytes");
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    check(hooks->scalar_store(address, sizeof(T), bits));
}

}  // namespace fasim

namespace AscendC {

template <typename T>
class LocalTensor {
  public:
    using PrimType = T;

    LocalTensor() = default;
    LocalTensor(TPosition position, uint32_t addr, uint32_t tileSize) {
        address_.logicPos = static_cast<uint8_t>(position);
        address_.bufferAddr = addr;
        address_.dataLen = tileSize * static_cast<uint32_t>(sizeof(T));
    }

    // The tagged address. As on the CPU twin it is a pointer; it must not be dereferenced.
    __ubuf__ T* GetPhyAddr() const { return GetPhyAddr(0); }
    __ubuf__ T* GetPhyAddr(const uint32_t offset) const { return reinterpret_cast<T*>(address_of(offset)); }

    LocalTensor operator[](const uint32_t offset) const {
        LocalTensor result = *this;
        const uint32_t bytes = offset * static_cast<uint32_t>(sizeof(T));
        result.address_.bufferAddr += bytes;
        result.address_.dataLen -= bytes;
        return result;
    }

    template <typename U>
    LocalTensor<U> ReinterpretCast() const {
        LocalTensor<U> result;
        result.address_ = address_;
        return result;
    }

    T GetValue(const uint32_t index) const { return fasim::scalar_load<T>(address_of(index)); }

    template <typename S>
    void SetValue(const uint32_t index, const S value) const {
        fasim::scalar_store<T>(address_of(index), static_cast<T>(value));
    }

    void SetAddr(const TBuffAddr& address) { address_ = address; }
    void SetSize(const uint32_t size) { address_.dataLen = size * static_cast<uint32_t>(sizeof(T)); }
    uint32_t GetSize() const { return address_.dataLen / static_cast<uint32_t>(sizeof(T)); }
    void SetBufferLen(uint32_t length) { SetSize(length); }
    int32_t GetPosition() const { return address_.logicPos; }
    TBufHandle GetBufferHandle() const { return address_.bufferHandle; }
    void SetShapeInfo(const ShapeInfo& shapeInfo) { shapeInfo_ = shapeInfo; }
    ShapeInfo GetShapeInfo() const { return shapeInfo_; }

    TBuffAddr address_;
    ShapeInfo shapeInfo_;

  private:
    uint64_t address_of(uint32_t index) const {
        return fasim::local_address(address_.logicPos,
                                    uint64_t{address_.bufferAddr} + uint64_t{index} * sizeof(T));
    }
};

template <typename T>
class GlobalTensor {
  public:
    using PrimType = T;

    void SetGlobalBuffer(__gm__ T* buffer) { SetGlobalBuffer(buffer, 0); }
    void SetGlobalBuffer(__gm__ T* buffer, uint64_t bufferSize) {
        oriAddress_ = buffer;
        bufferSize_ = bufferSize;
        SetL2CacheHint(cacheMode_);
    }

    const __gm__ T* GetPhyAddr() const { return address_; }
    __gm__ T* GetPhyAddr(const uint64_t offset) const { return reinterpret_cast<T*>(address_of(offset)); }

    GlobalTensor operator[](const uint64_t offset) const {
        GlobalTensor result = *this;
        result.address_ = GetPhyAddr(offset);
        result.oriAddress_ = reinterpret_cast<T*>(address_of(oriAddress_, offset));
        return result;
    }

    // The scalar unit has a cache of its own in front of L2 and keeps the plain address.
    T GetValue(const uint64_t offset) const { return fasim::scalar_load<T>(address_of(oriAddress_, offset)); }
    void SetValue(const uint64_t offset, T value) {
        fasim::scalar_store<T>(address_of(oriAddress_, offset), value);
    }
    uint64_t GetSize() const { return bufferSize_; }
    void SetShapeInfo(const ShapeInfo& shapeInfo) { shapeInfo_ = shapeInfo; }
    ShapeInfo GetShapeInfo() const { return shapeInfo_; }

    // As L2CacheAlter of CANN 8.1 has it on this chip: DISABLE adds an offset to the address, where the same
    // memory is seen past L2, for reads and writes alike; the other modes change nothing. The machine's
    // offset is a tag.
    template <CacheRwMode rwMode = CacheRwMode::RW>
    void SetL2CacheHint(CacheMode mode) {
        cacheMode_ = mode;
        const uint64_t alias = mode == CacheMode::CACHE_MODE_DISABLE ? FASIM_GM_PAST_L2 << 48 : 0;
        address_ = reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(oriAddress_) + alias);
    }

    __gm__ T* address_ = nullptr;
    __gm__ T* oriAddress_ = nullptr;
    uint64_t bufferSize_ = 0;
    ShapeInfo shapeInfo_;
    CacheMode cacheMode_ = CacheMode::CACHE_MODE_NORMAL;

  private:
    // In integers: arithmetic on a null or foreign pointer is undefined in C++, a wrong GM address is the
    // machine's to report.
    uint64_t address_of(uint64_t index) const { return address_of(address_, index); }
    static uint64_t address_of(__gm__ T* address, uint64_t index) {
        return reinterpret_cast<uintptr_t>(address) + index * sizeof(T);
    }
};

}  // namespace AscendC
