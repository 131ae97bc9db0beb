// SPDX-License-Identifier: MIT OR Apache-2.0
// Sizes of the dav-c220 core that kernels rely on, each named once. Source: architecture page of NPU
// architecture version 2201 in the AscendC documents; cann.toml holds the same figures for the planner.
#pragma once
#include "kernel_operator.h"

namespace fa {

constexpr uint32_t kBlockBytes = 32;        // a DataBlock: unit of UB addresses and of most strides
constexpr uint32_t kFractal = 16;           // rows (and 16-bit columns) of a fractal
constexpr uint32_t kFractalElements = 256;  // 16-bit elements of a 512-byte fractal
constexpr uint32_t kLanesF32 = 64;          // f32 elements of one vector repeat
constexpr uint32_t kBlockF32 = 8;           // f32 elements of a DataBlock
constexpr uint32_t kReservedBytes = 256;    // end of UB and L1, kept by the framework
constexpr uint32_t kSelectBytes = 8192;     // end of UB, used by Select
constexpr uint32_t kUbBytes = 196608 - kReservedBytes - kSelectBytes;
constexpr uint32_t kL1Bytes = 524288 - kReservedBytes;
constexpr uint32_t kL0aBytes = 65536;
constexpr uint32_t kL0bBytes = 65536;
constexpr uint32_t kL0cBytes = 131072;
// Mmads that accumulate on the same L0C tile need a barrier between them below this many fractals.
constexpr uint32_t kMmadSafeFractals = 10;

__aicore__ inline constexpr uint32_t ceil_div(uint32_t a, uint32_t b) { return (a + b - 1) / b; }
__aicore__ inline constexpr uint32_t round_up(uint32_t a, uint32_t b) { return ceil_div(a, b) * b; }
__aicore__ inline constexpr uint32_t min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }
__aicore__ inline constexpr uint32_t max_u32(uint32_t a, uint32_t b) { return a < b ? b : a; }
__aicore__ inline constexpr int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }
__aicore__ inline constexpr int64_t max_i64(int64_t a, int64_t b) { return a > b ? a : b; }
__aicore__ inline constexpr uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }
__aicore__ inline constexpr int64_t clamp_i64(int64_t value, int64_t low, int64_t high) {
    return min_i64(max_i64(value, low), high);
}

// GetBlockIdx and its kin return signed 64-bit numbers; block counts are small.
__aicore__ inline uint32_t block_index() { return static_cast<uint32_t>(AscendC::GetBlockIdx()); }
__aicore__ inline uint32_t num_blocks() { return static_cast<uint32_t>(AscendC::GetBlockNum()); }
__aicore__ inline uint32_t sub_block_index() { return static_cast<uint32_t>(AscendC::GetSubBlockIdx()); }

}  // namespace fa
