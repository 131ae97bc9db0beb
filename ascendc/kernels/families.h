// SPDX-License-Identifier: MIT OR Apache-2.0
// The interfaces of the kernels. Of each family:
//
//   FA_X_CORES              the cores it runs on, as FA_TYPE_... (fa/entry.h) and KERNEL_TYPE_... (CANN) end
//   FA_X_OPERANDS(X, SEP)   X(type, name, role) for each operand in order, SEP() between two. Roles are in,
//                           out, workspace, value, and for tiling data the structure that lies there
//                           (fa/tiling_data.h). merge reads tensors that are no operands: as many as there
//                           are, their addresses lie in its tiling data
//   FA_X_TENSORS(X, SEP)    a part of such a list that two families share. What both kernels are made of
//                           takes either structure of operands, and finds them by their names
//   XOperands               the operands as one structure
//   FA_X(name, types...)    what variants.def makes of a kernel: nothing, but in x.cpp its entry point
//
// Entry points, the launch table (sim/entries.cpp) and what Rust launches kernels with
// (crates/kernel-build/src/interfaces.rs) are made of these lists, so their form is strict.
#pragma once
// clang-format off: a list, whose rows are its form
#include "fa/entry.h"
#include "fa/tiling_data.h"

namespace fa {

#define FA_FLASH_FWD_TENSORS(X, SEP)                                                                \
    X(GM_ADDR, q, in) SEP() X(GM_ADDR, k, in) SEP() X(GM_ADDR, v, in) SEP()                         \
    X(GM_ADDR, mask, in) SEP() X(GM_ADDR, o, out) SEP() X(GM_ADDR, lse, out) SEP()                  \
    X(GM_ADDR, workspace, workspace)
#define FA_MATMUL_TENSORS(X, SEP)                                                                   \
    X(GM_ADDR, a, in) SEP() X(GM_ADDR, b, in) SEP() X(GM_ADDR, c, out)
#define FA_KV_ROWS_TENSORS(X, SEP)                                                                  \
    X(GM_ADDR, k, in) SEP() X(GM_ADDR, v, in) SEP() X(GM_ADDR, places, in)
#define FA_KV_CACHE_TENSORS(X, SEP)                                                                 \
    X(GM_ADDR, k_cache, out) SEP() X(GM_ADDR, v_cache, out) SEP() X(GM_ADDR, status, out)

#define FA_ACTIVATION_CORES AIV_ONLY
#define FA_ACTIVATION_OPERANDS(X, SEP)                                                              \
    X(GM_ADDR, x, in) SEP() X(GM_ADDR, up, in) SEP() X(GM_ADDR, y, out) SEP()                       \
    X(GM_ADDR, tiling, ActivationTilingData)
#define FA_ACTIVATION(...)
struct ActivationOperands {
    FA_ACTIVATION_OPERANDS(FA_FIELD, FA_NOTHING)
};

#define FA_ADD_CORES AIV_ONLY
#define FA_ADD_OPERANDS(X, SEP)                                                                     \
    X(GM_ADDR, x, in) SEP() X(GM_ADDR, y, in) SEP() X(GM_ADDR, z, out) SEP()                        \
    X(GM_ADDR, tiling, AddTilingData)
#define FA_ADD(...)
struct AddOperands {
    FA_ADD_OPERANDS(FA_FIELD, FA_NOTHING)
};

#define FA_ARGMAX_CORES AIV_ONLY
#define FA_ARGMAX_OPERANDS(X, SEP)                                                                  \
    X(GM_ADDR, x, in) SEP() X(GM_ADDR, index, out) SEP() X(GM_ADDR, tiling, ArgmaxTilingData)
#define FA_ARGMAX(...)
struct ArgmaxOperands {
    FA_ARGMAX_OPERANDS(FA_FIELD, FA_NOTHING)
};

#define FA_COPY_CORES AIV_ONLY
#define FA_COPY_OPERANDS(X, SEP)                                                                    \
    X(GM_ADDR, dst, out) SEP() X(GM_ADDR, src, in) SEP() X(uint64_t, bytes, value)
#define FA_COPY(...)
struct CopyOperands {
    FA_COPY_OPERANDS(FA_FIELD, FA_NOTHING)
};

#define FA_EMBEDDING_CORES AIV_ONLY
#define FA_EMBEDDING_OPERANDS(X, SEP)                                                               \
    X(GM_ADDR, table, in) SEP() X(GM_ADDR, ids, in) SEP() X(GM_ADDR, y, out) SEP()                  \
    X(GM_ADDR, status, out) SEP() X(GM_ADDR, tiling, EmbeddingTilingData)
#define FA_EMBEDDING(...)
struct EmbeddingOperands {
    FA_EMBEDDING_OPERANDS(FA_FIELD, FA_NOTHING)
};

#define FA_FLASH_DECODE_CORES MIX_AIC_1_2
#define FA_FLASH_DECODE_OPERANDS(X, SEP)                                                            \
    X(GM_ADDR, q, in) SEP() X(GM_ADDR, k, in) SEP() X(GM_ADDR, v, in) SEP()                         \
    X(GM_ADDR, row_starts, in) SEP() X(GM_ADDR, lengths, in) SEP()                                  \
    X(GM_ADDR, block_table, in) SEP() X(GM_ADDR, page_starts, in) SEP() X(GM_ADDR, o, out) SEP()    \
    X(GM_ADDR, lse, out) SEP() X(GM_ADDR, status, out) SEP() X(GM_ADDR, workspace, workspace) SEP() \
    X(GM_ADDR, tiling, FlashDecodeTilingData)
#define FA_FLASH_DECODE(...)
struct FlashDecodeOperands {
    FA_FLASH_DECODE_OPERANDS(FA_FIELD, FA_NOTHING)
};

#define FA_FLASH_FWD_CORES MIX_AIC_1_2
#define FA_FLASH_FWD_OPERANDS(X, SEP)                                                               \
    FA_FLASH_FWD_TENSORS(X, SEP) SEP() X(GM_ADDR, tiling, FlashFwdTilingData)
#define FA_FLASH_FWD(...)
struct FlashFwdOperands {
    FA_FLASH_FWD_OPERANDS(FA_FIELD, FA_NOTHING)
};

#define FA_FLASH_FWD_MATMUL_CORES MIX_AIC_1_2
#define FA_FLASH_FWD_MATMUL_OPERANDS(X, SEP)                                                        \
    FA_FLASH_FWD_TENSORS(X, SEP) SEP() FA_MATMUL_TENSORS(X, SEP) SEP()                              \
    X(GM_ADDR, tiling, FlashFwdTilingData) SEP() X(GM_ADDR, matmul_tiling, MatmulTilingData)
#define FA_FLASH_FWD_MATMUL(...)
struct FlashFwdMatmulOperands {
    FA_FLASH_FWD_MATMUL_OPERANDS(FA_FIELD, FA_NOTHING)
};

#define FA_KV_APPEND_CORES AIV_ONLY
#define FA_KV_APPEND_OPERANDS(X, SEP)                                                               \
    FA_KV_ROWS_TENSORS(X, SEP) SEP() FA_KV_CACHE_TENSORS(X, SEP) SEP()                              \
    X(GM_ADDR, tiling, KvAppendTilingData)
#define FA_KV_APPEND(...)
struct KvAppendOperands {
    FA_KV_APPEND_OPERANDS(FA_FIELD, FA_NOTHING)
};

#define FA_KV_APPEND_ROTARY_CORES AIV_ONLY
#define FA_KV_APPEND_ROTARY_OPERANDS(X, SEP)                                                        \
    X(GM_ADDR, q, in) SEP() FA_KV_ROWS_TENSORS(X, SEP) SEP() X(GM_ADDR, positions, in) SEP()        \
    X(GM_ADDR, table, in) SEP() X(GM_ADDR, q_out, out) SEP() FA_KV_CACHE_TENSORS(X, SEP) SEP()      \
    X(GM_ADDR, tiling, KvAppendTilingData) SEP()                                                    \
    X(GM_ADDR, rotary_tiling, KvAppendRotaryTilingData)
#define FA_KV_APPEND_ROTARY(...)
struct KvAppendRotaryOperands {
    FA_KV_APPEND_ROTARY_OPERANDS(FA_FIELD, FA_NOTHING)
};

#define FA_MATMUL_CORES AIC_ONLY
#define FA_MATMUL_OPERANDS(X, SEP)                                                                  \
    FA_MATMUL_TENSORS(X, SEP) SEP() X(GM_ADDR, tiling, MatmulTilingData)
#define FA_MATMUL(...)
struct MatmulOperands {
    FA_MATMUL_OPERANDS(FA_FIELD, FA_NOTHING)
};

#define FA_MERGE_CORES AIV_ONLY
#define FA_MERGE_OPERANDS(X, SEP)                                                                   \
    X(GM_ADDR, o, out) SEP() X(GM_ADDR, lse, out) SEP() X(GM_ADDR, tiling, MergeTilingData)
#define FA_MERGE(...)
struct MergeOperands {
    FA_MERGE_OPERANDS(FA_FIELD, FA_NOTHING)
};

#define FA_NORM_CORES AIV_ONLY
#define FA_NORM_OPERANDS(X, SEP)                                                                    \
    X(GM_ADDR, x, in) SEP() X(GM_ADDR, r, in) SEP() X(GM_ADDR, weight, in) SEP()                    \
    X(GM_ADDR, bias, in) SEP() X(GM_ADDR, h, out) SEP() X(GM_ADDR, y, out) SEP()                    \
    X(GM_ADDR, tiling, NormTilingData)
#define FA_NORM(...)
struct NormOperands {
    FA_NORM_OPERANDS(FA_FIELD, FA_NOTHING)
};

#define FA_READ_L1_CORES AIC_ONLY
#define FA_READ_L1_OPERANDS(X, SEP)                                                                 \
    X(GM_ADDR, src, in) SEP() X(GM_ADDR, tiling, ReadTilingData)
#define FA_READ_L1(...)
struct ReadL1Operands {
    FA_READ_L1_OPERANDS(FA_FIELD, FA_NOTHING)
};

#define FA_READ_UB_CORES AIV_ONLY
#define FA_READ_UB_OPERANDS(X, SEP)                                                                 \
    X(GM_ADDR, src, in) SEP() X(GM_ADDR, tiling, ReadTilingData)
#define FA_READ_UB(...)
struct ReadUbOperands {
    FA_READ_UB_OPERANDS(FA_FIELD, FA_NOTHING)
};

#define FA_SCORE_PASS_CORES AIV_ONLY
#define FA_SCORE_PASS_OPERANDS(X, SEP)                                                              \
    X(GM_ADDR, x, in) SEP() X(GM_ADDR, mask, in) SEP() X(GM_ADDR, y, out) SEP()                     \
    X(GM_ADDR, tiling, ScorePassTilingData)
#define FA_SCORE_PASS(...)
struct ScorePassOperands {
    FA_SCORE_PASS_OPERANDS(FA_FIELD, FA_NOTHING)
};

#define FA_SELF_TEST_CORES MIX_AIC_1_2
#define FA_SELF_TEST_OPERANDS(X, SEP)                                                               \
    X(GM_ADDR, out, out) SEP() X(GM_ADDR, workspace, workspace) SEP()                               \
    X(GM_ADDR, tiling, SelfTestTilingData)
#define FA_SELF_TEST(...)
struct SelfTestOperands {
    FA_SELF_TEST_OPERANDS(FA_FIELD, FA_NOTHING)
};

#define FA_SHIFT_KEYS_CORES AIV_ONLY
#define FA_SHIFT_KEYS_OPERANDS(X, SEP)                                                              \
    X(GM_ADDR, k, in) SEP() X(GM_ADDR, shifted, out) SEP() X(GM_ADDR, tiling, ShiftKeysTilingData)
#define FA_SHIFT_KEYS(...)
struct ShiftKeysOperands {
    FA_SHIFT_KEYS_OPERANDS(FA_FIELD, FA_NOTHING)
};

#define FA_SOFTMAX_CORES AIV_ONLY
#define FA_SOFTMAX_OPERANDS(X, SEP)                                                                 \
    X(GM_ADDR, scores, in) SEP() X(GM_ADDR, mask, in) SEP() X(GM_ADDR, p, out) SEP()                \
    X(GM_ADDR, tiling, SoftmaxTilingData)
#define FA_SOFTMAX(...)
struct SoftmaxOperands {
    FA_SOFTMAX_OPERANDS(FA_FIELD, FA_NOTHING)
};

#define FA_VECTOR_STREAM_CORES AIV_ONLY
#define FA_VECTOR_STREAM_OPERANDS(X, SEP)                                                           \
    X(GM_ADDR, out, out) SEP() X(GM_ADDR, tiling, VectorStreamTilingData)
#define FA_VECTOR_STREAM(...)
struct VectorStreamOperands {
    FA_VECTOR_STREAM_OPERANDS(FA_FIELD, FA_NOTHING)
};

// A kernel of variants.def.
#define FA_KERNEL(family, ...) FA_##family(__VA_ARGS__)

}  // namespace fa
