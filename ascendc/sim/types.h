// SPDX-License-Identifier: MIT OR Apache-2.0
// Address-space qualifiers, enumerations and constants of AscendC. Values: dav-c220.md 3.6, 3.8
// to 3.10, 4.1, 7.1.
#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "float16.h"

// The chip that these headers stand for (acl-runtime.md 2.4).
#define __NPU_ARCH__ 2201

#define __aicore__
#define __global__
#define __gm__
#define __ubuf__
#define __cbuf__
#define __ca__
#define __cb__
#define __cc__
#define __fbuf__

using GM_ADDR = __gm__ uint8_t*;

enum pipe_t : uint32_t {
    PIPE_S = 0,
    PIPE_V = 1,
    PIPE_M = 2,
    PIPE_MTE1 = 3,
    PIPE_MTE2 = 4,
    PIPE_MTE3 = 5,
    PIPE_ALL = 6,
    PIPE_FIX = 10,
};

enum event_t : uint32_t {
    EVENT_ID0 = 0,
    EVENT_ID1,
    EVENT_ID2,
    EVENT_ID3,
    EVENT_ID4,
    EVENT_ID5,
    EVENT_ID6,
    EVENT_ID7,
};

enum pad_t : uint32_t { PAD_NONE = 0 };
enum addr_cal_mode_t : uint32_t { inc = 0, dec = 1 };
enum mem_dsb_t : uint32_t { DSB_ALL = 0, DSB_DDR, DSB_UB, DSB_SEQ };
enum cache_line_t : uint64_t { SINGLE_CACHE_LINE = 0, ENTIRE_DATA_CACHE };
enum dcci_dst_t : uint64_t { CACHELINE_ALL = 0, CACHELINE_UB, CACHELINE_OUT, CACHELINE_ATOMIC };
enum class Order_t : uint32_t { VALUE_INDEX = 0, INDEX_VALUE, ONLY_VALUE, ONLY_INDEX };

enum QuantMode_t : uint32_t {
    NoQuant = 0,
    F322F16 = 1,
    VREQ8 = 8,
    REQ8 = 9,
    VDEQF16 = 10,
    DEQF16 = 11,
    F322BF16 = 16,
    VQF322B8_PRE = 23,
    QF322B8_PRE = 24,
};

// Accepted in the kernel text; the type that counts is the one given at registration (register.h).
enum KernelTaskType : uint32_t {
    KERNEL_TYPE_AIV_ONLY,
    KERNEL_TYPE_AIC_ONLY,
    KERNEL_TYPE_MIX_AIV_1_0,
    KERNEL_TYPE_MIX_AIC_1_0,
    KERNEL_TYPE_MIX_AIC_1_1,
    KERNEL_TYPE_MIX_AIC_1_2,
};
#define KERNEL_TASK_TYPE_DEFAULT(type) static_cast<void>(type)

namespace AscendC {

namespace Std {
using std::conditional_t;
using std::enable_if_t;
using std::is_same;
using std::is_same_v;
}  // namespace Std

template <typename T, typename U>
using IsSameType = std::is_same<T, U>;

enum class TPosition : uint8_t {
    GM,
    A1,
    A2,
    B1,
    B2,
    C1,
    C2,
    CO1,
    CO2,
    VECIN,
    VECOUT,
    VECCALC,
    LCM = VECCALC,
    SPM,
    SHM = SPM,
    TSCM,
    C2PIPE2GM,
    C2PIPE2LOCAL,
    MAX,
};
using QuePosition = TPosition;

// X(event, source pipe, destination pipe), in CANN's order.
#define FASIM_HARD_EVENTS(X)           \
    X(MTE2_MTE1, PIPE_MTE2, PIPE_MTE1) \
    X(MTE1_MTE2, PIPE_MTE1, PIPE_MTE2) \
    X(MTE1_M, PIPE_MTE1, PIPE_M)       \
    X(M_MTE1, PIPE_M, PIPE_MTE1)       \
    X(MTE2_V, PIPE_MTE2, PIPE_V)       \
    X(V_MTE2, PIPE_V, PIPE_MTE2)       \
    X(MTE3_V, PIPE_MTE3, PIPE_V)       \
    X(V_MTE3, PIPE_V, PIPE_MTE3)       \
    X(M_V, PIPE_M, PIPE_V)             \
    X(V_M, PIPE_V, PIPE_M)             \
    X(V_V, PIPE_V, PIPE_V)             \
    X(MTE3_MTE1, PIPE_MTE3, PIPE_MTE1) \
    X(MTE1_MTE3, PIPE_MTE1, PIPE_MTE3) \
    X(MTE1_V, PIPE_MTE1, PIPE_V)       \
    X(MTE2_M, PIPE_MTE2, PIPE_M)       \
    X(M_MTE2, PIPE_M, PIPE_MTE2)       \
    X(V_MTE1, PIPE_V, PIPE_MTE1)       \
    X(M_FIX, PIPE_M, PIPE_FIX)         \
    X(FIX_M, PIPE_FIX, PIPE_M)         \
    X(MTE3_MTE2, PIPE_MTE3, PIPE_MTE2) \
    X(MTE2_MTE3, PIPE_MTE2, PIPE_MTE3) \
    X(S_V, PIPE_S, PIPE_V)             \
    X(V_S, PIPE_V, PIPE_S)             \
    X(S_MTE2, PIPE_S, PIPE_MTE2)       \
    X(MTE2_S, PIPE_MTE2, PIPE_S)       \
    X(S_MTE3, PIPE_S, PIPE_MTE3)       \
    X(MTE3_S, PIPE_MTE3, PIPE_S)       \
    X(MTE2_FIX, PIPE_MTE2, PIPE_FIX)   \
    X(FIX_MTE2, PIPE_FIX, PIPE_MTE2)   \
    X(FIX_S, PIPE_FIX, PIPE_S)         \
    X(M_S, PIPE_M, PIPE_S)             \
    X(FIX_MTE3, PIPE_FIX, PIPE_MTE3)   \
    X(MTE1_FIX, PIPE_MTE1, PIPE_FIX)   \
    X(FIX_MTE1, PIPE_FIX, PIPE_MTE1)   \
    X(FIX_FIX, PIPE_FIX, PIPE_FIX)

enum class HardEvent : uint8_t {
#define FASIM_EVENT(name, src, dst) name,
    FASIM_HARD_EVENTS(FASIM_EVENT)
#undef FASIM_EVENT
        MAX,
};

enum class RoundMode : uint8_t {
    CAST_NONE = 0,
    CAST_RINT,
    CAST_FLOOR,
    CAST_CEIL,
    CAST_ROUND,
    CAST_TRUNC,
    CAST_ODD,
};
enum class CMPMODE : uint8_t { LT = 0, GT, EQ, LE, GE, NE };
enum class SELMODE : uint8_t { VSEL_CMPMASK_SPR = 0, VSEL_TENSOR_SCALAR_MODE, VSEL_TENSOR_TENSOR_MODE };
enum class MaskMode : uint8_t { NORMAL = 0, COUNTER };
enum class ReduceOrder : uint8_t {
    ORDER_VALUE_INDEX = 0,
    ORDER_INDEX_VALUE,
    ORDER_ONLY_VALUE,
    ORDER_ONLY_INDEX
};
enum class CacheMode {
    CACHE_MODE_DISABLE = 0,
    CACHE_MODE_NORMAL = 1,
    CACHE_MODE_LAST = 2,
    CACHE_MODE_PERSISTENT = 4,
};
enum class CacheRwMode { READ = 1, WRITE = 2, RW = 3 };
enum class CacheLine : uint64_t { SINGLE_CACHE_LINE = 0, ENTIRE_DATA_CACHE };
enum class DcciDst : uint64_t { CACHELINE_ALL = 0, CACHELINE_UB, CACHELINE_OUT, CACHELINE_ATOMIC };
enum class MemDsbT : uint8_t { ALL = 0, DDR, UB, SEQ };
enum class FmatrixMode : uint8_t { FMATRIX_LEFT = 0, FMATRIX_RIGHT };
enum class CO2Layout : uint8_t { NZ = 0, ROW_MAJOR, COLUMN_MAJOR };

constexpr uint32_t ONE_BLK_SIZE = 32;
constexpr uint32_t ONE_REPEAT_BYTE_SIZE = 256;
constexpr uint32_t DEFAULT_C0_SIZE = 32;
constexpr uint32_t BLOCK_CUBE = 16;
constexpr uint8_t DEFAULT_BLK_STRIDE = 1;
constexpr uint8_t DEFAULT_REPEAT_STRIDE = 8;
constexpr uint8_t MAX_REPEAT_TIMES = 255;
constexpr uint64_t MASK_PLACEHOLDER = 0;
constexpr uint64_t FULL_MASK = ~uint64_t{0};

template <typename T>
constexpr T DivCeil(T value, T unit) {
    return static_cast<T>((value + unit - 1) / unit);
}

template <typename T>
constexpr T AlignUp(T value, T unit) {
    return static_cast<T>(DivCeil(value, unit) * unit);
}

inline float ToFloat(const bfloat16_t& value) { return value; }
inline bfloat16_t ToBfloat16(const float& value) { return value; }

}  // namespace AscendC

namespace fasim {

template <class T, class... Allowed>
constexpr bool one_of = (std::is_same_v<T, Allowed> || ...);

struct EventPipes {
    pipe_t src;
    pipe_t dst;
};

constexpr EventPipes kEventPipes[] = {
#define FASIM_EVENT(name, src, dst) {src, dst},
    FASIM_HARD_EVENTS(FASIM_EVENT)
#undef FASIM_EVENT
};

constexpr EventPipes pipes_of(AscendC::HardEvent event) { return kEventPipes[static_cast<size_t>(event)]; }

}  // namespace fasim
