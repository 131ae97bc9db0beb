// SPDX-License-Identifier: MIT OR Apache-2.0
// The one way from a kernel to the machine: pack the operands of an intrinsic and call the hook.
#pragma once
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <type_traits>

#include "float_bits.h"
#include "machine_abi.h"
// The twin (../twin/twin.h) brings the types of CANN's own headers.
#ifndef FASIM_TWIN
#include "types.h"
#endif

namespace fasim {

enum class Op : uint16_t {
#define X(name) name,
#include "isa.def"
#undef X
};

// Thrown when the machine stops the core; the launch trampoline (register.h) catches it.
struct Stop {};

// Set by FasimImage::bind before the first launch.
inline const FasimHooks* hooks = nullptr;

// A core that already unwinds issues from destructors; throwing again would end the process. The machine
// answers every hook of a stopped core at once, so nothing is lost.
inline void check(int32_t status) {
    if (status != 0 && std::uncaught_exceptions() == 0) throw Stop{};
}

template <class T>
constexpr FasimElem elem_of() {
    if constexpr (std::is_same_v<T, half>) return FASIM_F16;
    if constexpr (std::is_same_v<T, bfloat16_t>) return FASIM_BF16;
    if constexpr (std::is_same_v<T, float>) return FASIM_F32;
    if constexpr (std::is_integral_v<T>) {
        constexpr bool is_signed = std::is_signed_v<T>;
        if constexpr (sizeof(T) == 1) return is_signed ? FASIM_S8 : FASIM_U8;
        if constexpr (sizeof(T) == 2) return is_signed ? FASIM_S16 : FASIM_U16;
        if constexpr (sizeof(T) == 4) return is_signed ? FASIM_S32 : FASIM_U32;
        if constexpr (sizeof(T) == 8) return is_signed ? FASIM_S64 : FASIM_U64;
    }
    return FASIM_NONE;
}

// Destination tag: only where it differs from the source.
template <class Dst, class Src>
constexpr FasimElem elem_dst_of() {
    return elem_of<Dst>() == elem_of<Src>() ? FASIM_NONE : elem_of<Dst>();
}

// An operand as 64 bits: addresses as they are, integers sign- or zero-extended, floating point as its stored
// bits.
template <class T>
uint64_t raw(T value) {
    if constexpr (std::is_pointer_v<T>) {
        return reinterpret_cast<uintptr_t>(value);
    } else if constexpr (std::is_enum_v<T>) {
        return static_cast<uint64_t>(value);
    } else if constexpr (std::is_same_v<T, half> || std::is_same_v<T, bfloat16_t>) {
        uint16_t bits;
        std::memcpy(&bits, static_cast<const void*>(&value), sizeof bits);
        return bits;
    } else if constexpr (std::is_same_v<T, float>) {
        return float_bits(value);
    } else {
        static_assert(std::is_integral_v<T>,
                      "an operand is an address, an integer, an enumerator or a float");
        return static_cast<uint64_t>(value);
    }
}

template <class... Args>
void issue(Op op, FasimElem elem, FasimElem elem_dst, Args... args) {
    static_assert(sizeof...(Args) <= FASIM_MAX_ARGS,
                  "FASIM_MAX_ARGS is the longest operand list of dav-c220");
    const FasimInstr instr{static_cast<uint16_t>(op), elem, elem_dst, sizeof...(Args), {raw(args)...}};
    check(hooks->issue(&instr));
}

inline uint64_t special(FasimSpecial which) {
    uint64_t value = 0;
    check(hooks->special(which, &value));
    return value;
}

// Kinds of FasimHooks::api_fault.
enum FaultKind : uint32_t { kApi = 0, kNotModelled = 1, kNoSuchPath = 2 };

// Wrong use of an AscendC class. Ends the core.
[[gnu::format(printf, 1, 2)]] inline void fault(const char* format, ...) {
    char message[512];
    va_list args;
    va_start(args, format);
    std::vsnprintf(message, sizeof message, format, args);
    va_end(args);
    hooks->api_fault(kApi, message);
    check(1);
}

inline void not_modelled(const char* message) {
    hooks->api_fault(kNotModelled, message);
    check(1);
}

inline bool is_aic() { return special(FASIM_CORE_TYPE) == 0; }
inline bool is_aiv() { return !is_aic(); }

}  // namespace fasim
