// SPDX-License-Identifier: MIT OR Apache-2.0
// What an entry point says to CANN's device compilers. Every kernel file includes this header.
#pragma once
#include "kernel_operator.h"

// The kernels rely on the memories, data paths and instructions of dav-c220. Compilers before CANN 8.5 name
// it by one of the last two macros, later ones by the first (acl-runtime.md 2.5).
#if !(defined(__NPU_ARCH__) && __NPU_ARCH__ == 2201) && !defined(__DAV_C220__) && \
    !(defined(__CCE_AICORE__) && __CCE_AICORE__ == 220)
#error "these kernels are written for dav-c220 (NPU architecture 2201) only"
#endif

// Qualifiers are a feature of `bisheng -x asc`, for which the build defines FA_TYPE_QUALIFIERS
// (acl-runtime.md 2.4).
#if defined(FA_TYPE_QUALIFIERS)
#define FA_TYPE_AIC_ONLY __cube__
#define FA_TYPE_AIV_ONLY __vector__
#define FA_TYPE_MIX_AIC_1_0 __mix__(1, 0)
#define FA_TYPE_MIX_AIV_1_0 __mix__(0, 1)
#define FA_TYPE_MIX_AIC_1_1 __mix__(1, 1)
#define FA_TYPE_MIX_AIC_1_2 __mix__(1, 2)
#else
#define FA_TYPE_AIC_ONLY
#define FA_TYPE_AIV_ONLY
#define FA_TYPE_MIX_AIC_1_0
#define FA_TYPE_MIX_AIV_1_0
#define FA_TYPE_MIX_AIC_1_1
#define FA_TYPE_MIX_AIC_1_2
#endif

// Uses of the operand lists of kernels/families.h.
#define FA_COMMA() ,
#define FA_NOTHING()
#define FA_PARAMETER(type, name, role) type name
#define FA_FIELD(type, name, role) type name;
#define FA_NAME(type, name, role) name

// An entry point: it hands its operands, as one structure, to the function that is named last, which may
// have template arguments. The entry itself has a parameter for each operand: CANN's build scans the
// preprocessed text for such entries (acl-runtime.md 2.3). It states its core type twice, because each
// compiler knows one of the ways.
#define FA_ENTRY(family, name, ...) \
    FA_ENTRY_OF(FA_##family##_CORES, FA_##family##_OPERANDS, name, __VA_ARGS__)
#define FA_ENTRY_OF(cores, operands, name, ...) FA_ENTRY_ON(cores, operands, name, __VA_ARGS__)
#define FA_ENTRY_ON(cores, operands, name, ...)                                                    \
    extern "C" FA_TYPE_##cores __global__ __aicore__ void name(operands(FA_PARAMETER, FA_COMMA)) { \
        KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_##cores);                                             \
        __VA_ARGS__({operands(FA_NAME, FA_COMMA)});                                                \
    }
