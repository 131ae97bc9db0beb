// Global memory to registers to shared memory. A thread owns one row (K, Q: rows r and r + 16) and every
// other chunk, so that lanes 2n and 2n + 1 read one 32-byte sector and one bound check a row is enough. What
// lies outside is zero.
#pragma once

#include "sm70/shape.cuh"
#include "sm70/warp.cuh"

namespace {
// Keys of a page that no cache has lie nowhere. Their K is NaN, which makes the rows that see them NaN, and
// their V zero, which leaves the others alone.
#define NO_PAGE 0xffffffffu
#define NAN_HALVES 0x7fff7fffu

FA_DEVICE uint4 load_or(unsigned other, const char* from, bool inside) {
    uint4 value = words(other, other, other, other);
    if (inside) value = *(const uint4*)from;
    return value;
}

// Rows r and r + 16 of one chunk become two vectors: dims 0..3 of both rows, dims 4..7 of both rows.
FA_DEVICE void store_row_pair(unsigned at, int half_bytes, uint4 a, uint4 b) {
    store_shared16(at, words(a.x, a.y, b.x, b.y));
    store_shared16(at + half_bytes, words(a.z, a.w, b.z, b.w));
}

template <class T>
FA_DEVICE void copy_q(const char* q, unsigned row_bytes, int row0, int seqlen_q, int chunks, unsigned keep,
                      unsigned flip) {
    const int thread = T::thread(), odd = thread & 1, cell = thread >> 1;
    const int row = row0 + (cell & 15) + (cell >> 4) * 32;
    const char* const from = q + (unsigned long long)row * row_bytes + odd * 16;
    const char* const from16 = from + 16ull * row_bytes;
    const unsigned to = (odd * T::BLOCK_M + (cell ^ odd << 2)) * 16;
#pragma unroll 2
    for (int pair = T::group(); pair < T::CHUNKS / 2; pair += T::KEY_GROUPS) {
        const bool chunk = 2 * pair + odd < chunks;
        uint4 a = load_or(0, from + pair * 32, chunk && row < seqlen_q);
        uint4 b = load_or(0, from16 + pair * 32, chunk && row + 16 < seqlen_q);
        a = words(a.x & keep ^ flip, a.y & keep ^ flip, a.z & keep ^ flip, a.w & keep ^ flip);
        b = words(b.x & keep ^ flip, b.y & keep ^ flip, b.z & keep ^ flip, b.w & keep ^ flip);
        store_row_pair(to + pair * 2 * T::BLOCK_M * 16, T::BLOCK_M * 8, a, b);
    }
}

template <class T>
struct Copier {
    enum : int {
        K_GROUPS = T::GROUP_THREADS / 64,
        K_PAIRS = T::SLICE_CHUNKS / 2,
        K_STEPS = (K_PAIRS + K_GROUPS - 1) / K_GROUPS,
        V_ROWS = T::SLICE_KEYS < T::GROUP_THREADS / 2 ? T::SLICE_KEYS : T::GROUP_THREADS / 2,
        V_PASSES = T::SLICE_KEYS / V_ROWS,
        V_GROUPS = T::GROUP_THREADS / 2 / V_ROWS,
        V_PAIRS = T::CHUNKS_V / 2,
        V_STEPS = (V_PAIRS + V_GROUPS - 1) / V_GROUPS,
        VECTORS = 2 * K_STEPS > V_PASSES* V_STEPS ? 2 * K_STEPS : V_PASSES* V_STEPS,
    };

    uint4 held[VECTORS];
    const char *base_k, *base_v;
    unsigned k, v;  // first vector of this thread in the tile: distance from the base in vectors
    unsigned k_stride, v_stride;
    int keys_k, keys_v;  // number of keys from this thread's first one of the tile on
    unsigned inside;     // a bit per chunk that this thread moves: is it within head_dim?
    int k_group, v_group;
    unsigned k_to, v_to;  // byte offset in a slot
    // With pages: `lines` has, for every eight keys of two tiles, how far from the base they lie, in vectors:
    // K in lanes 0 to 15, V in the others, the two tiles in eight lanes each. `next` is the first key of the
    // tile that is found next. Registers are scarce: `keys_k` counts from the first key of the tile whose K
    // is loaded next, for V too, and `inside` has this thread's first row of a tile from bit 16 (K) and 24
    // (V) on.
    unsigned lines;
    int next;

    FA_DEVICE Copier(const char* base_k, const char* base_v, unsigned k, unsigned v, unsigned k_stride,
                     unsigned v_stride, int first_key, int seqlen_k, int chunks_k, int chunks_v)
        : base_k(base_k),
          base_v(base_v),
          k_stride(k_stride),
          v_stride(v_stride),
          keys_k(seqlen_k - first_key),
          keys_v(seqlen_k - first_key) {
        const int thread = T::thread(), odd = thread & 1, cell = thread >> 1 & 31;
        const int k_row = (cell & 15) + (cell >> 4) * 32;
        k_group = thread >> 6;
        const int v_row = (thread >> 1) % V_ROWS;
        v_group = (thread >> 1) / V_ROWS;
        const int first_k = 2 * k_group + odd, first_v = 2 * v_group + odd;
        this->k = k + first_k + (first_key + k_row) * k_stride;
        this->v = v + first_v + (first_key + v_row) * v_stride;
        keys_k -= k_row, keys_v -= v_row;
        inside = 0;
#pragma unroll
        for (int n = 0; n < T::K_SLICES * K_STEPS; n++)
            if (first_k + k_chunk(n / K_STEPS, n % K_STEPS) < chunks_k) inside |= 1u << n;
#pragma unroll
        for (int n = 0; n < V_STEPS; n++)
            if (first_v + 2 * n * V_GROUPS < chunks_v) inside |= 1u << (T::K_SLICES * K_STEPS + n);
        if (T::PAGED) {
            next = first_key, lines = 0, keys_k = seqlen_k - first_key;
            inside |= k_row << 16 | v_row << 24;
            this->k = k + first_k + (k_row & 7) * k_stride;
            this->v = v + first_v + (v_row & 7) * v_stride;
        }
        const unsigned slots = T::group() * T::SLOTS_BYTES;
        k_to = slots + (k_group * 64 + (cell >> 4) * 32 + odd * 16 + ((cell & 15) ^ odd << 2)) * 16;
        // With 8 or 16 keys a slice of V, both are the same number: a register less.
        v_to = T::SLICE_KEYS <= 16 ? k_to : slots + (T::v_vector(first_v) + (v_row ^ odd << 2)) * 16;
    }

    __device__ static constexpr int k_chunk(int stage, int step) {
        return stage * T::SLICE_CHUNKS + 2 * step * K_GROUPS;
    }

    // Finds where the next tile lies, `ahead` tiles behind the one whose K is loaded next. `ring` is odd for
    // every other tile.
    template <class Problem>
    FA_DEVICE void find(const Problem& g, int ring, int ahead) {
        int slot;  // volatile: asked again, not kept in a register
        asm volatile("mov.u32 %0, %%ctaid.z;" : "=r"(slot));
        const int lane = threadIdx.x & 31, octet = 8 * (lane & 7), key = next + octet,
                  keys = keys_k - ahead * T::TILE_KEYS;
        next += T::TILE_KEYS;
        if (((lane >> 3 ^ ring) & 1) || octet >= keys) return;
        unsigned page = slot / T::COLUMN_BLOCKS;
        if (g.block_table) page = g.block_table[(long long)page * g.max_pages + (key >> g.page_shift)];
        const unsigned in_page = key & (int)((1u << g.page_shift) - 1);
        const long long at = lane < 16 ? page * g.k_batch + (long long)in_page * g.k_row
                                       : page * g.v_batch + (long long)in_page * g.v_row;
        lines = page < (unsigned)g.num_pages ? (unsigned)(at >> 4) : NO_PAGE;
    }
    // Where the eight keys lie that hold row `row`.
    FA_DEVICE unsigned found(bool of_v, int row, int ring) const {
        return __shfl_sync(~0u, lines, row / 8 + (ring & 1) * 8 + of_v * 16);
    }

    // The stages come in order, tile after tile. `ring` is that of the tile, as `find` got it. `zero` is 0.
    FA_DEVICE void load(int stage, int ring, unsigned zero) {
        // ptxas shall take rows from it every time, too.
        if (T::PAGED) this->inside = after(this->inside, __int_as_float(keys_k), zero);
        unsigned inside;  // volatile: a bit is taken here, not once and kept in a register
        asm volatile("mov.b32 %0, %1;" : "=r"(inside) : "r"(this->inside));
        if (stage < T::K_SLICES) {
#pragma unroll
            for (int pass = 0; pass < 2; pass++) {
                const int row = 16 * pass;
                const int mine = T::PAGED ? row + (inside >> 16 & 63) : row;
                const unsigned line = T::PAGED ? found(false, mine, ring) : 0;
                const char* const from = base_k + (k + (T::PAGED ? line : row * k_stride)) * 16ull;
#pragma unroll
                for (int step = 0; step < K_STEPS; step++) {
                    held[2 * step + pass] = load_or(T::PAGED && line == NO_PAGE ? NAN_HALVES : 0,
                                                    from + k_chunk(stage, step) * 16,
                                                    mine < keys_k && inside >> (stage * K_STEPS + step) & 1 &&
                                                        (!T::PAGED || line != NO_PAGE));
                }
            }
            if (stage == T::K_SLICES - 1) {
                if (!T::PAGED) k += T::TILE_KEYS * k_stride;
                keys_k -= T::TILE_KEYS;
            }
        } else {
#pragma unroll
            for (int pass = 0; pass < V_PASSES; pass++) {
                const int row = (stage - T::K_SLICES) * T::SLICE_KEYS + pass * V_ROWS;
                const int mine = T::PAGED ? row + (inside >> 24) : row;
                const unsigned line = T::PAGED ? found(true, mine, ring) : 0;
                const char* const from = base_v + (v + (T::PAGED ? line : row * v_stride)) * 16ull;
#pragma unroll
                for (int step = 0; step < V_STEPS; step++) {
                    const int chunk = 2 * step * V_GROUPS;
                    held[pass * V_STEPS + step] = load_or(
                        0, from + chunk * 16,
                        mine < (T::PAGED ? keys_k + T::TILE_KEYS : keys_v) &&
                            inside >> (T::K_SLICES * K_STEPS + step) & 1 && (!T::PAGED || line != NO_PAGE));
                }
            }
            if (stage == T::STAGES - 1) {
                if (!T::PAGED) v += T::TILE_KEYS * v_stride;
                keys_v -= T::TILE_KEYS;
            }
        }
    }

    FA_DEVICE void store(int stage) {
        if (stage < T::K_SLICES) {
#pragma unroll
            for (int step = 0; step < K_STEPS; step++)
                if (K_PAIRS % K_GROUPS == 0 || step * K_GROUPS + k_group < K_PAIRS)
                    store_row_pair(T::slot(stage) + k_to + step * K_GROUPS * 64 * 16, T::K_SLICE_BYTES / 2,
                                   held[2 * step], held[2 * step + 1]);
        } else {
#pragma unroll
            for (int pass = 0; pass < V_PASSES; pass++)
#pragma unroll
                for (int step = 0; step < V_STEPS; step++)
                    if (V_PAIRS % V_GROUPS == 0 || step * V_GROUPS + v_group < V_PAIRS)
                        store_shared16(
                            T::slot(stage) + v_to + (T::v_vector(2 * step * V_GROUPS) + pass * V_ROWS) * 16,
                            held[pass * V_STEPS + step]);
        }
    }
};
}  // namespace
