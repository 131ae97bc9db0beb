// SPDX-License-Identifier: MIT OR Apache-2.0
// Conversions between float and the bits of half and bfloat16_t, for scalar code; tensors are converted by
// the machine.
#pragma once
#include <cstdint>
#include <cstring>

namespace fasim {

inline uint32_t float_bits(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float float_from_bits(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// Shifts right, rounding to nearest, ties to even. 0 < shift < 32.
inline uint32_t shift_right_rne(uint32_t value, uint32_t shift) {
    const uint32_t half_unit = (1u << (shift - 1)) - 1 + ((value >> shift) & 1u);
    return (value + half_unit) >> shift;
}

inline uint16_t half_from_float(float value) {
    const uint32_t bits = float_bits(value);
    const uint32_t sign = (bits >> 16) & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    uint32_t result;
    if (magnitude > 0x7f800000u) {
        result = 0x7e00u;  // NaN
    } else if (magnitude >= 0x47800000u) {
        result = 0x7c00u;  // 65536 and above, infinity
    } else if (magnitude >= 0x38800000u) {
        result = shift_right_rne(magnitude - 0x38000000u, 13);  // rebias 127 to 15; 65520 rounds to infinity
    } else if (magnitude > 0x33000000u) {
        const uint32_t exponent = magnitude >> 23;
        result = shift_right_rne((magnitude & 0x7fffffu) | 0x800000u, 126 - exponent);  // subnormal
    } else {
        result = 0;
    }
    return static_cast<uint16_t>(sign | result);
}

inline float half_to_float(uint16_t bits) {
    const uint32_t sign = (bits & 0x8000u) << 16;
    const uint32_t exponent = (bits >> 10) & 0x1fu;
    const uint32_t fraction = bits & 0x3ffu;
    if (exponent == 0) {
        const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
        return float_from_bits(sign | float_bits(magnitude));
    }
    const uint32_t biased = exponent == 0x1fu ? 0xffu : exponent + 112u;
    return float_from_bits(sign | (biased << 23) | (fraction << 13));
}

inline uint16_t bfloat16_from_float(float value) {
    const uint32_t bits = float_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
    return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace fasim
