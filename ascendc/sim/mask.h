// SPDX-License-Identifier: MIT OR Apache-2.0
// The vector mask and the three ways in which calls set it (dav-c220.md 2.2).
#pragma once
#include "tensor.h"

namespace fasim {

struct MaskBits {
    uint64_t high;
    uint64_t low;
};

// The first `lanes` of a repeat, for elements of `bytes`.
constexpr MaskBits contiguous_mask(uint64_t lanes, size_t bytes) {
    constexpr uint64_t full = AscendC::FULL_MASK;
    if (lanes == 64) return {0, full};
    if (lanes >= 128 || lanes == 256 / bytes) return {full, full};
    if (lanes > 64) return {(uint64_t{1} << (lanes - 64)) - 1, full};
    return {0, (uint64_t{1} << lanes) - 1};
}

template <class T, bool is_set_mask = true>
void apply_mask(uint64_t lanes) {
    if constexpr (is_set_mask) {
        constexpr uint64_t most = 256 / sizeof(T);
        if (lanes > most) {
            fault("mask = %llu lanes of %zu bytes, wanted at most %llu, a repeat",
                  static_cast<unsigned long long>(lanes), sizeof(T), static_cast<unsigned long long>(most));
        }
        const MaskBits bits = contiguous_mask(lanes, sizeof(T));
        set_vector_mask(bits.high, bits.low);
    }
}

// Bits as kernels give them: {low, high}.
template <class T, bool is_set_mask = true>
void apply_mask(const uint64_t mask[]) {
    if constexpr (is_set_mask) set_vector_mask(mask[1], mask[0]);
}

template <class N>
void begin_count(N count) {
    set_mask_count();
    set_vector_mask(0, static_cast<uint64_t>(count));
}

// Calls differ in the order of the last two writes; no instruction lies between them.
inline void end_count() {
    set_mask_norm();
    set_vector_mask(AscendC::FULL_MASK, AscendC::FULL_MASK);
}

inline void end_count_mask_first() {
    set_vector_mask(AscendC::FULL_MASK, AscendC::FULL_MASK);
    set_mask_norm();
}

// The instructions take 8 bits of repeats. CANN's calls cut what they are given and so do less than they were
// asked for.
inline uint8_t repeat_count(const char* call, int64_t repeats) {
    if (repeats < 0 || repeats > 255) {
        fault("%s: %lld repeats, wanted 0 to 255", call, static_cast<long long>(repeats));
    }
    return static_cast<uint8_t>(repeats);
}

template <class T>
uint64_t stored_bits(T value) {
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    return bits;
}

}  // namespace fasim

namespace AscendC {

inline void SetMaskNorm() { set_mask_norm(); }
inline void SetMaskCount() { set_mask_count(); }
inline void ResetMask() { set_vector_mask(FULL_MASK, FULL_MASK); }

template <typename T, MaskMode mode = MaskMode::NORMAL>
void SetVectorMask(const uint64_t maskHigh, const uint64_t maskLow) {
    set_vector_mask(maskHigh, maskLow);
}

template <typename T, MaskMode mode = MaskMode::NORMAL>
void SetVectorMask(int32_t len) {
    if constexpr (mode == MaskMode::COUNTER) {
        set_vector_mask(0, static_cast<uint64_t>(len));
    } else {
        fasim::apply_mask<T>(static_cast<uint64_t>(len));
    }
}

}  // namespace AscendC
