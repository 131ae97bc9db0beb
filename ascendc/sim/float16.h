// SPDX-License-Identifier: MIT OR Apache-2.0
// half and bfloat16_t as the host sees them: 16 stored bits, arithmetic through float.
#pragma once
#include <type_traits>

#include "float_bits.h"

struct half {
    uint16_t bits;

    half() = default;
    template <class N, class = std::enable_if_t<std::is_arithmetic_v<N>>>
    half(N value) : bits(fasim::half_from_float(static_cast<float>(value))) {}
    operator float() const { return fasim::half_to_float(bits); }
};

struct bfloat16_t {
    uint16_t bits;

    bfloat16_t() = default;
    template <class N, class = std::enable_if_t<std::is_arithmetic_v<N>>>
    bfloat16_t(N value) : bits(fasim::bfloat16_from_float(static_cast<float>(value))) {}
    operator float() const { return fasim::float_from_bits(static_cast<uint32_t>(bits) << 16); }
};

static_assert(sizeof(half) == 2 && std::is_trivially_copyable_v<half>, "half is 16 bits of storage");
static_assert(sizeof(bfloat16_t) == 2 && std::is_trivially_copyable_v<bfloat16_t>,
              "bfloat16_t is 16 bits of storage");
