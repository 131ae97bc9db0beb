// Block shapes, and where every operand lies in shared memory.
#pragma once

namespace {

// One block: ROW_WARPS warps of 32 rows of q, in KEY_GROUPS groups; 64 keys a tile and group. K and V of a
// tile come in slices, K by head_dim and V by keys; each slice is one stage (K_SLICES, then V_SLICES, tile
// after tile), and SLOTS stages are in shared memory at a time. Every group has its own slots.
//
// Layout. A "vector" is 16 bytes. Lanes read 4 or 8 neighbouring vectors, so no swizzle is needed for reads;
// writers hold two neighbouring chunks of four rows, and the row index xor 4 (chunk & 1) puts those on
// different banks.
//   q   [chunk of 8 head dims][half of the chunk][warp][16]     vector = 4 dims of row r and 4 dims of row r
//   + 16 k   [half of a chunk][pair of chunks of 8 head dims][2][chunk of the pair][16]    vector = 4 dims of
//   keys r and r + 16 v   [chunk of 8 head dims][key]                             vector = 8 dims of one key
template <int HEAD_DIM, int HEAD_DIM_V_, int ROW_WARPS_, int KEY_GROUPS_, int K_SLICES_, int V_SLICES_,
          int SLOTS_, bool SUMS_IN_SHARED_, bool PAGED_ = false>
struct Shape {
    enum : int {  // an enumeration, because static constants would be variables in the PTX
        HEAD_DIM_V = HEAD_DIM_V_,
        COLUMN_BLOCKS = HEAD_DIM / HEAD_DIM_V,  // of v and o, by blockIdx.z
        ROW_WARPS = ROW_WARPS_,
        KEY_GROUPS = KEY_GROUPS_,
        GROUP_THREADS = 32 * ROW_WARPS,
        THREADS = GROUP_THREADS * KEY_GROUPS,
        BLOCK_M = 32 * ROW_WARPS,
        BLOCK_N = 64,
        TILE_KEYS = BLOCK_N * KEY_GROUPS,
        K_SLICES = K_SLICES_,
        V_SLICES = V_SLICES_,
        STAGES = K_SLICES + V_SLICES,
        SLOTS = SLOTS_,
        CHUNKS = HEAD_DIM / 8,
        CHUNKS_V = HEAD_DIM_V / 8,
        SLICE_CHUNKS = CHUNKS / K_SLICES,  // of K
        SLICE_KEYS = BLOCK_N / V_SLICES,   // of V
        K_SLICE_BYTES = SLICE_CHUNKS * BLOCK_N * 16,
        V_SLICE_BYTES = SLICE_KEYS * CHUNKS_V * 16,
        Q_BYTES = BLOCK_M * CHUNKS * 16,
        SLOTS_BYTES =
            SLOTS == STAGES ? K_SLICES * K_SLICE_BYTES + V_SLICES * V_SLICE_BYTES : SLOTS * K_SLICE_BYTES,
        OPERAND_BYTES = Q_BYTES + KEY_GROUPS * SLOTS_BYTES,
        SUMS_IN_SHARED = SUMS_IN_SHARED_,
        SHARED_BYTES = OPERAND_BYTES + SUMS_IN_SHARED * THREADS * 16,
        JOIN_BYTES = (KEY_GROUPS - 1) * GROUP_THREADS * (4 + 4 * CHUNKS_V) * 4,  // at the end
        READ_AHEAD = SLOTS >= 3,  // may operands of a stage be read before the barrier that opens it?
        PAGED = PAGED_,           // are rows, keys and pages of a sequence those that device memory gives?
    };
    static_assert(SLOTS == STAGES || (STAGES % SLOTS == 0 && K_SLICE_BYTES == V_SLICE_BYTES),
                  "slots change their place");
    static_assert(SLICE_CHUNKS % 2 == 0 && CHUNKS % K_SLICES == 0 && CHUNKS_V % 2 == 0 &&
                      (SLICE_KEYS % 16 == 0 || (SLICE_KEYS == 8 && CHUNKS_V % 8 == 0)),
                  "uneven slices");
    static_assert(!PAGED || KEY_GROUPS == 1, "a warp finds the pages of one tile at a time");
    static_assert(KEY_GROUPS <= 2 && JOIN_BYTES <= OPERAND_BYTES,
                  "only two groups join, in place of their operands");

    // Of this thread: its group, and its place among the threads of the group.
    __device__ static __forceinline__ int group() {
        return KEY_GROUPS > 1 ? (int)threadIdx.x / GROUP_THREADS : 0;
    }
    __device__ static __forceinline__ int thread() {
        return KEY_GROUPS > 1 ? (int)threadIdx.x % GROUP_THREADS : (int)threadIdx.x;
    }
    // Vector of the first key of a chunk in a slice of V.
    __device__ static constexpr int v_vector(int chunk) {
        return SLICE_KEYS == 8 ? (chunk >> 2) * 32 + (chunk & 1) * 16 + (chunk >> 1 & 1) * 8
                               : chunk * SLICE_KEYS;
    }

    __device__ static constexpr int slot(int stage) {  // byte offset of a stage
        return Q_BYTES + (SLOTS < STAGES     ? stage % SLOTS * K_SLICE_BYTES
                          : stage < K_SLICES ? stage * K_SLICE_BYTES
                                             : K_SLICES * K_SLICE_BYTES + (stage - K_SLICES) * V_SLICE_BYTES);
    }
};
}  // namespace
