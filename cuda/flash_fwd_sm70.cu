// FlashAttention-2 forward for sm_70 (V100). docs/volta.md explains the layout and gives the figures.
//
//   o = softmax(softmax_scale q k^T + mask) v,  lse = ln sum exp(softmax_scale q k^T + mask)      f16 in and
//   out, f32 inside
//
// One block takes BLOCK_M rows of one head and walks over tiles of 64 keys a group of warps. A warp owns 32
// rows: quadpair (i, j) of it the rows with bit 2 equal to i, and the keys (first product) or head dims
// (second product) of half j.
#include "sm70/copy.cuh"
#include "sm70/sequence.cuh"
#include "sm70/shape.cuh"
#include "sm70/warp.cuh"

namespace {
struct Problem {
    const char *q, *k, *v;
    char* o;
    float* lse;
    const int *cu_seqlens_q, *cu_seqlens_k;  // null: every batch has seqlen_q rows and seqlen_k keys
    float softmax_scale_log2;
    int seqlen_q, seqlen_k, num_heads_k, head_dim, head_dim_v, window_left,
        window_right;                     // window: negative = unlimited
    unsigned q_row, k_row, v_row, o_row;  // strides in bytes
    long long q_batch, k_batch, v_batch, o_batch, q_head, k_head, v_head, o_head;
    long long lse_batch, lse_head;  // in elements
    // exp2 wants a positive scale: with a negative one the caller gives its magnitude and q_xor = 0x80008000,
    // with zero 1 and q_and = 0; else q_and = 0xffffffff, q_xor = 0.
    unsigned q_and, q_xor;
    unsigned zero;  // 0
    // Of paged kernels. The batch is a slot: cu_seqlens_q may hold anything, lse_head is the number of rows
    // in all and seqlen_q the most of a slot; seqlen_k is the most keys.
    const int *seqused_k, *block_table;    // keys of each slot; its pages [slot][max_pages], or null
    int max_pages, num_pages, page_shift;  // a page holds 2^page_shift keys, at least 8; without: slots, 31
    int few_rows;                          // slots of at most so many rows are left out
};

// Where a block works. Locating again costs less than keeping all this in registers through the main loop;
// `volatile` keeps the compiler from seeing that the answer is the same.
template <class T>
struct Place : Sequence {
    int head, row0;
    int column0;  // of v and o

    // `exact`: as in Sequence. Masks do not need it.
    FA_DEVICE explicit Place(const Problem& g, bool exact = true) {
        int block, blocks, z;
        asm volatile(
            "mov.u32 %0, %%ctaid.x; mov.u32 %1, %%ctaid.y; mov.u32 %2, %%ctaid.z; mov.u32 %3, %%nctaid.y;"
            : "=r"(head), "=r"(block), "=r"(z), "=r"(blocks));
        column0 = T::COLUMN_BLOCKS > 1 ? z % T::COLUMN_BLOCKS * T::HEAD_DIM_V : 0;
        if (T::PAGED)
            locate_slot(g, z / T::COLUMN_BLOCKS, exact);
        else
            locate(g, z / T::COLUMN_BLOCKS);
        // With a bound on the right, the last rows have the most keys: they start first.
        row0 = (g.window_right < 0 ? block : blocks - 1 - block) * T::BLOCK_M;
        window(g);
    }
    FA_DEVICE int tile_end() const {  // may be below the first tile
        return (min(seqlen_k, min(row0 + T::BLOCK_M, seqlen_q) + high) + T::TILE_KEYS - 1) / T::TILE_KEYS;
    }
};

// Which part of the work is this thread's. It is asked again where it is wanted, like Place.
template <class T>
struct Lane {
    int lane, warp, group;
    int i, j, t0, t1, t2;
    int row;  // row (m, v1) of the accumulators: row + 2 v1 + 16 m of the block

    FA_DEVICE Lane() {
        int thread;
        asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
        lane = thread & 31;
        group = T::KEY_GROUPS > 1 ? thread / T::GROUP_THREADS : 0;
        warp = (thread >> 5) - group * T::ROW_WARPS;
        i = lane >> 2 & 1, j = lane >> 3 & 1, t0 = lane & 1, t1 = lane >> 1 & 1, t2 = lane >> 4;
        row = warp * 32 + t0 + 4 * i + 8 * t2;
    }
};

// A thread's sums between the tiles: in registers, or in shared memory where the registers do not suffice.
template <class T>
struct Sums {
    FA_DEVICE static void put(const float (&sum)[2][2]) {
        if (T::SUMS_IN_SHARED) *place() = make_float4(sum[0][0], sum[0][1], sum[1][0], sum[1][1]);
    }
    FA_DEVICE static void take(float (&sum)[2][2]) {
        if (!T::SUMS_IN_SHARED) return;
        const float4 x = *place();
        sum[0][0] = x.x, sum[0][1] = x.y, sum[1][0] = x.z, sum[1][1] = x.w;
    }
    FA_DEVICE static float4* place() {
        return (float4*)((char*)shared_memory + T::OPERAND_BYTES) + threadIdx.x;
    }
};

// The second group of warps gives its sums to the first, whose lanes have the same rows and columns. True for
// the group that is done. Two rounds, one a value of m: so the sums have room where the operands were.
template <class T>
FA_DEVICE bool join(float (&acc)[2][T::CHUNKS_V / 2][8], float (&offset)[2][2], float (&sum)[2][2]) {
    const bool gives = T::group() == 1;
    float* const lane = (float*)shared_memory + threadIdx.x % T::GROUP_THREADS;
#pragma unroll
    for (int m = 0; m < 2; m++) {
        __syncthreads();
        if (gives) {
#pragma unroll
            for (int v1 = 0; v1 < 2; v1++) {
                lane[(2 * v1) * T::GROUP_THREADS] = offset[m][v1];
                lane[(2 * v1 + 1) * T::GROUP_THREADS] = sum[m][v1];
            }
#pragma unroll
            for (int n = 0; n < T::CHUNKS_V / 2; n++)
#pragma unroll
                for (int e = 0; e < 8; e++) lane[(4 + 8 * n + e) * T::GROUP_THREADS] = acc[m][n][e];
        }
        __syncthreads();
        if (gives) continue;
        float mine[2], theirs[2];  // factors
#pragma unroll
        for (int v1 = 0; v1 < 2; v1++) {
            const float there = lane[(2 * v1) * T::GROUP_THREADS], least = fminf(offset[m][v1], there);
            mine[v1] = exp2_approx(least - offset[m][v1]), theirs[v1] = exp2_approx(least - there);
            offset[m][v1] = least;
            sum[m][v1] = sum[m][v1] * mine[v1] + lane[(2 * v1 + 1) * T::GROUP_THREADS] * theirs[v1];
        }
#pragma unroll
        for (int n = 0; n < T::CHUNKS_V / 2; n++)
#pragma unroll
            for (int e = 0; e < 8; e++) {
                const int v1 = e >> 1 & 1;
                acc[m][n][e] =
                    acc[m][n][e] * mine[v1] + lane[(4 + 8 * n + e) * T::GROUP_THREADS] * theirs[v1];
            }
    }
    return gives;
}

template <class T>
FA_DEVICE void flash_fwd(const Problem& g) {
    constexpr int CHUNKS_J = T::CHUNKS_V / 2, PAIRS = CHUNKS_J / 2, ODD = CHUNKS_J & 1, TILES = CHUNKS_J;
    const Lane<T> at;
    const float infinity = __int_as_float(0x7f800000);

    // ---- this block's rows and keys
    if (T::PAGED && g.cu_seqlens_q) {
        const int block = g.window_right < 0 ? blockIdx.y : gridDim.y - 1 - blockIdx.y;
        if (block * T::BLOCK_M >=
            PackedRows::bound(g.cu_seqlens_q, blockIdx.z / T::COLUMN_BLOCKS, (int)g.lse_head))
            return;
    }
    const Place<T> place(g);
    if (T::PAGED && place.seqlen_q <= g.few_rows) return;
    const int row0 = place.row0, seqlen_q = place.seqlen_q, seqlen_k = place.seqlen_k;
    if (row0 >= seqlen_q || (T::COLUMN_BLOCKS > 1 && place.column0 >= g.head_dim_v)) return;
    const int head_k = place.head / ((int)gridDim.x / g.num_heads_k);
    const char* const q =
        g.q + place.at(place.head, g.q_head, g.cu_seqlens_q, place.first_q, g.q_row, g.q_batch);
    auto first_key = [&](long long head, unsigned row, long long batch) {  // `copier` finds pages
        return T::PAGED ? head_k * head : place.at(head_k, head, g.cu_seqlens_k, place.first_k, row, batch);
    };
    const unsigned k = first_key(g.k_head, g.k_row, g.k_batch) >> 4;
    const unsigned v = (first_key(g.v_head, g.v_row, g.v_batch) >> 4) + place.column0 / 8;
    const int tile_end = place.tile_end();
    const int tile_begin = max(0, row0 + place.low) / T::TILE_KEYS;
    // Tiles in [plain_begin, plain_end) need no mask for the rows of this warp. Tiles are counted by what is
    // left.
    const int plain_begin = (max(0, row0 + at.warp * 32 + 31 + place.low) + T::TILE_KEYS - 1) / T::TILE_KEYS;
    const int plain_end = max(0, min(seqlen_k, row0 + at.warp * 32 + place.high + 1)) / T::TILE_KEYS;
    // There are at most 15 tiles after the plain ones. No plain tile: 0, which is passed by every tile.
    const int plain = plain_begin < plain_end ? tile_end - plain_begin << 4 | tile_end - plain_end : 0;

    const float scale = g.softmax_scale_log2;
    copy_q<T>(q, g.q_row, row0, seqlen_q, g.head_dim >> 3, g.q_and, g.q_xor);
    Copier<T> copier(g.k, g.v, k, v, g.k_row >> 4, g.v_row >> 4,
                     tile_begin * T::TILE_KEYS + at.group * T::BLOCK_N, seqlen_k, g.head_dim >> 3,
                     g.head_dim_v - place.column0 >> 3);
    // Tiles, counted down. Paged kernels are short of registers: in the lowest bits, in place of `plain`, how
    // many of the next tiles and (4 bits) of the last ones need a mask. There are never more than 15.
    int left = 0;
    if (T::PAGED) {
        left = plain_begin < plain_end ? max(0, plain_begin - tile_begin) << 4 | max(0, tile_end - plain_end)
                                       : 15 << 4;
        left |= tile_end - tile_begin << 8;
        copier.find(g, left >> 8, 0);
    }
#pragma unroll
    for (int stage = 0; stage < T::SLOTS - 1; stage++) {
        copier.load(stage, left >> 8, g.zero);
        copier.store(stage);
    }
    copier.load(T::SLOTS - 1, left >> 8, g.zero);

    // Opens a stage: everybody has left the stage before it, whose slot takes what `copier` holds.
    auto open = [&](int stage) {
        __syncthreads();
        copier.store((stage + T::SLOTS - 1) % T::STAGES);
        copier.load((stage + T::SLOTS) % T::STAGES, (left >> 8) - (stage + T::SLOTS >= T::STAGES), g.zero);
    };

    // ---- where this lane reads its operands; index: chunk parity (q, k), own keys or the other half's (v)
    const int cell = (at.lane & 3) | at.t2 << 3, row_a = cell | at.i << 2, key_b = cell | at.j << 2;
    unsigned q_at[2] = {(at.warp * 16 + row_a) * 16u, (at.warp * 16 + (row_a ^ 4)) * 16u};
    const unsigned slots = at.group * T::SLOTS_BYTES;
    unsigned k_at[2] = {slots + key_b * 16u, slots + (key_b ^ 4) * 16u};
    unsigned v_at[2], v_odd_at[2];
#pragma unroll
    for (int far = 0; far < 2; far++) {
        const int key = (at.lane & 3) | (at.j ^ far) << 2, chunk = CHUNKS_J * at.j + at.t2,
                  last = CHUNKS_J * at.j + CHUNKS_J - 1;
        v_at[far] = slots + (T::v_vector(chunk) + (key ^ (chunk & 1) << 2)) * 16;
        v_odd_at[far] = slots + (T::v_vector(last) + (key ^ (last & 1) << 2)) * 16 + 8 * at.t2;
    }

    float acc[2][TILES][8];  // [m][tile of 8 head dims]
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
        for (int n = 0; n < TILES; n++)
#pragma unroll
            for (int e = 0; e < 8; e++) acc[m][n][e] = 0;
    // Of row (m, v1) of this lane. Its exp2 gets score * scale + offset; sum over this lane's keys.
    float offset[2][2], sum[2][2];
#pragma unroll
    for (int r = 0; r < 4; r++) {
        offset[r >> 1][r & 1] = NO_KEY_YET;
        sum[r >> 1][r & 1] = T::PAGED ? place.sum : 0;
    }
    Sums<T>::put(sum);

    if (!T::PAGED) left = tile_end - tile_begin;
    for (; left > (T::PAGED ? 255 : 0); left -= T::PAGED ? 256 + (left & 0xf0 ? 16 : 0) : 1) {
        if (T::PAGED) copier.find(g, (left >> 8) - 1, T::SLOTS < T::K_SLICES);
        // ---- s = q k^T: 32 rows x 64 keys; key of s[m][n][v]: 16 n + 8 (v >> 2) + 4 j + 2 t1 + (v & 1)
        float s[2][4][8];
#pragma unroll
        for (int e = 0; e < 64; e++) s[e >> 5][e >> 3 & 3][e & 7] = 0;
        {
            uint4 a[2], b[2][2];
            auto fetch = [&](int step) {
                const int chunk = step >> 1, half = step & 1, stage = chunk / T::SLICE_CHUNKS,
                          c = chunk % T::SLICE_CHUNKS;
                unsigned &from_q = q_at[chunk & 1], &from_k = k_at[c & 1];
                if (step > 1)
                    from_q = after(from_q, s[1][3][7], g.zero), from_k = after(from_k, s[1][3][7], g.zero);
                a[half] = load_shared16(from_q + (2 * chunk + half) * (T::BLOCK_M / 2) * 16);
#pragma unroll
                for (int n = 0; n < 2; n++)
                    b[half][n] = load_shared16(from_k + T::slot(stage) + half * (T::K_SLICE_BYTES / 2) +
                                               ((c >> 1) * 64 + 32 * n + (c & 1) * 16) * 16);
            };
            constexpr int STEPS = 2 * T::CHUNKS, SLICE_STEPS = 2 * T::SLICE_CHUNKS;
#pragma unroll
            for (int step = 0; step < STEPS; step++) {
                if (step % SLICE_STEPS == 0) {
                    open(step / SLICE_STEPS);
                    if (step == 0 || !T::READ_AHEAD) fetch(step);
                }
                if (step + 1 < STEPS && (T::READ_AHEAD || (step + 1) % SLICE_STEPS)) fetch(step + 1);
                const uint4 x = a[step & 1];
#pragma unroll
                for (int m = 0; m < 2; m++)
#pragma unroll
                    for (int n = 0; n < 4; n++) {
                        const uint4 y = b[step & 1][n >> 1];
                        mma_b_col(s[m][n], m ? x.z : x.x, m ? x.w : x.y, n & 1 ? y.z : y.x,
                                  n & 1 ? y.w : y.y);
                    }
            }
        }

        // ---- mask, where an edge crosses this warp's rows
        int first_plain, after_plain;  // volatile: unpacked here, not kept in two registers
        asm volatile("shr.s32 %0, %2, 4; and.b32 %1, %2, 15;"
                     : "=r"(first_plain), "=r"(after_plain)
                     : "r"(T::PAGED ? left : plain));
        if (T::PAGED ? (first_plain & 15) || left >> 8 <= after_plain
                     : left > first_plain || left <= after_plain) {
            const Place<T> again(g, false);
            const Lane<T> at;
            const int key0 =
                (again.tile_end() - (T::PAGED ? left >> 8 : left)) * T::TILE_KEYS + at.group * T::BLOCK_N;
#pragma unroll
            for (int r = 0; r < 4; r++) {
                const int row = again.row0 + at.row + 2 * (r & 1) + 16 * (r >> 1),
                          first = max(0, row + again.low);
                const int here = key0 + 4 * at.j + 2 * at.t1 - first;
                const int count = max(0, min(again.seqlen_k, row + again.high + 1) - first);
#pragma unroll
                for (int n = 0; n < 4; n++)
#pragma unroll
                    for (int e = 0; e < 4; e++) {
                        float& x = s[r >> 1][n][(e & 1) + 2 * (r & 1) + 4 * (e >> 1)];
                        if ((unsigned)(here + 16 * n + 8 * (e >> 1) + (e & 1)) >= (unsigned)count)
                            x = -infinity;
                    }
            }
        }

        // ---- online softmax. The maximum moves only when a score passes it by lag: rarely after the first
        // tile.
        Sums<T>::take(sum);
        float top[2][2];
        bool moves = false;
#pragma unroll
        for (int r = 0; r < 4; r++) {
            float x = s[r >> 1][0][2 * (r & 1)];
#pragma unroll
            for (int n = 0; n < 4; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) x = fmaxf(x, s[r >> 1][n][(e & 1) + 2 * (r & 1) + 4 * (e >> 1)]);
            top[r >> 1][r & 1] = x;
            moves |= __fmaf_rn(x, scale, offset[r >> 1][r & 1]) > SHIFT + LAG;
        }
        if (__any_sync(~0u, moves)) {
#pragma unroll
            for (int r = 0; r < 4; r++) {
                float x = top[r >> 1][r & 1];
                x = fmaxf(x, shuffle_xor(x, 2));
                x = fmaxf(x, shuffle_xor(x, 8));
                const float before = offset[r >> 1][r & 1], now = fminf(before, SHIFT - x * scale);
                const float factor = exp2_approx(now - before);
                offset[r >> 1][r & 1] = now;
                sum[r >> 1][r & 1] *= factor;
#pragma unroll
                for (int n = 0; n < TILES; n++)
#pragma unroll
                    for (int e = 0; e < 4; e++)
                        acc[r >> 1][n][(e & 1) + 2 * (r & 1) + 4 * (e >> 1)] *= factor;
            }
        }
        unsigned p[2][4][2][2];  // [m][n][v2][v1]: two keys a word
#pragma unroll
        for (int n = 0; n < 4; n++)
#pragma unroll
            for (int m = 0; m < 2; m++)
#pragma unroll
                for (int v2 = 0; v2 < 2; v2++)
#pragma unroll
                    for (int v1 = 0; v1 < 2; v1++) {
                        const float x =
                            exp2_approx(__fmaf_rn(s[m][n][2 * v1 + 4 * v2], scale, offset[m][v1]));
                        const float y =
                            exp2_approx(__fmaf_rn(s[m][n][2 * v1 + 4 * v2 + 1], scale, offset[m][v1]));
                        sum[m][v1] += x;
                        sum[m][v1] += y;
                        p[m][n][v2][v1] = pack_scaled_halves(x, y);
                    }

        Sums<T>::put(sum);

        // ---- acc += p v, four keys a step: those whose p this quadpair made, then those of the other half
        // (far)
        {
            unsigned a[2][2][2];
            uint4 b[2][PAIRS];
            uint2 b_odd[2];
            auto fetch = [&](int step) {
                const int far = step & 1, v2 = step >> 1 & 1, n = step >> 2;
                const int stage = T::K_SLICES + (16 * n + 8 * v2) / T::SLICE_KEYS,
                          key = (16 * n + 8 * v2) % T::SLICE_KEYS;
                if (step > 1) {
                    v_at[far] = after(v_at[far], acc[1][TILES - 1][7], g.zero);
                    if (ODD) v_odd_at[far] = after(v_odd_at[far], acc[1][TILES - 1][7], g.zero);
                }
#pragma unroll
                for (int pair = 0; pair < PAIRS; pair++)
                    b[far][pair] =
                        load_shared16(v_at[far] + T::slot(stage) + (T::v_vector(2 * pair) + key) * 16);
                if (ODD) b_odd[far] = load_shared8(v_odd_at[far] + T::slot(stage) + key * 16);
            };
            auto exchange = [&](int step) {
                const int far = step & 1, v2 = step >> 1 & 1, n = step >> 2;
#pragma unroll
                for (int m = 0; m < 2; m++) {
                    if (far)
                        a[1][m][0] = shuffle_xor(a[0][m][0], 8), a[1][m][1] = shuffle_xor(a[0][m][1], 8);
                    else
                        gather_row(a[0][m], p[m][n][v2][0], p[m][n][v2][1], at.t1);
                }
            };
            constexpr int SLICE_STEPS = 16 / T::V_SLICES;
#pragma unroll
            for (int step = 0; step < 16; step++) {
                if (step % SLICE_STEPS == 0) {
                    open(T::K_SLICES + step / SLICE_STEPS);
                    if (step == 0 || !T::READ_AHEAD) fetch(step);
                }
                if (step == 0) exchange(0);
                if (step < 15) {
                    if (T::READ_AHEAD || (step + 1) % SLICE_STEPS) fetch(step + 1);
                    exchange(step + 1);
                }
                const int far = step & 1;
#pragma unroll
                for (int pair = 0; pair < PAIRS; pair++) {
#pragma unroll
                    for (int m = 0; m < 2; m++)
                        mma_b_row(acc[m][2 * pair], a[far][m][0], a[far][m][1], b[far][pair].x,
                                  b[far][pair].y);
#pragma unroll
                    for (int m = 0; m < 2; m++)
                        mma_b_row(acc[m][2 * pair + 1], a[far][m][0], a[far][m][1], b[far][pair].z,
                                  b[far][pair].w);
                }
                if (ODD) {
#pragma unroll
                    for (int m = 0; m < 2; m++)
                        mma_b_row(acc[m][TILES - 1], a[far][m][0], a[far][m][1], b_odd[far].x, b_odd[far].y);
                }
            }
        }
    }

    Sums<T>::take(sum);
    if (T::KEY_GROUPS > 1 && join<T>(acc, offset, sum)) return;

    // ---- o and lse
    // Slots whose rows are wrong have sums of NaN, from the start.
    const Place<T> end(g,
                       T::PAGED && __any_sync(~0u, (__float_as_uint(sum[0][0]) & ~(1u << 31)) > 0x7f800000));
    const Lane<T> last;
    char* const o = end.o(g, end.head);
    float* const lse = end.lse(g, end.head);
#pragma unroll
    for (int m = 0; m < 2; m++) {
        float inverse[2];
#pragma unroll
        for (int v1 = 0; v1 < 2; v1++) {
            float total = sum[m][v1];
            total += shuffle_xor(total, 2);
            total += shuffle_xor(total, 8);
            total = unscaled(total);
            inverse[v1] = inverse_of(total);
            const int row = end.row0 + last.row + 2 * v1 + 16 * m;
            if (last.t1 == 0 && last.j == 0 && end.column0 == 0 && row < end.seqlen_q)
                lse[row] = lse_of(total, offset[m][v1]);
        }
        const int row = end.row0 + last.row + 2 * last.t1 + 16 * m;
        char* const to = o + (unsigned long long)(unsigned)row * g.o_row + end.column0 * 2;
        auto half_chunk = [&](unsigned(&out)[2], int tile, int v2) {  // 4 dims of this lane's row
            const float(&x)[8] = acc[m][tile];
            gather_row(out, pack_halves(x[4 * v2] * inverse[0], x[4 * v2 + 1] * inverse[0]),
                       pack_halves(x[4 * v2 + 2] * inverse[1], x[4 * v2 + 3] * inverse[1]), last.t1);
        };
        auto put = [&](int chunk, unsigned(&left)[2], unsigned(&right)[2]) {
            if (row < end.seqlen_q && chunk * 8 < g.head_dim_v - end.column0)
                *(uint4*)(to + chunk * 16) = words(left[0], left[1], right[0], right[1]);
        };
        unsigned left[2], right[2];
#pragma unroll
        for (int pair = 0; pair < PAIRS; pair++)
#pragma unroll
            for (int v2 = 0; v2 < 2;
                 v2++) {  // tile 2 pair holds dims 0..3 of two chunks, the next one dims 4..7
                half_chunk(left, 2 * pair, v2);
                half_chunk(right, 2 * pair + 1, v2);
                put(CHUNKS_J * last.j + 2 * pair + v2, left, right);
            }
        if (ODD) {
            half_chunk(left, TILES - 1, 0);
            half_chunk(right, TILES - 1, 1);
            put(CHUNKS_J * last.j + CHUNKS_J - 1, left, right);
        }
    }
}

}  // namespace

#define FORWARD_PARAMS                                                                                   \
    const char *q, const char *k, const char *v, char *o, float *lse, const int *cu_seqlens_q,           \
        const int *cu_seqlens_k, float softmax_scale_log2, int seqlen_q, int seqlen_k, int num_heads_k,  \
        int head_dim, int head_dim_v, int window_left, int window_right, unsigned q_row, unsigned k_row, \
        unsigned v_row, unsigned o_row, long long q_batch, long long k_batch, long long v_batch,         \
        long long o_batch, long long q_head, long long k_head, long long v_head, long long o_head,       \
        long long lse_batch, long long lse_head, unsigned q_and, unsigned q_xor, unsigned zero
#define FORWARD_VALUES                                                                                 \
    q, k, v, o, lse, cu_seqlens_q, cu_seqlens_k, softmax_scale_log2, seqlen_q, seqlen_k, num_heads_k,  \
        head_dim, head_dim_v, window_left, window_right, q_row, k_row, v_row, o_row, q_batch, k_batch, \
        v_batch, o_batch, q_head, k_head, v_head, o_head, lse_batch, lse_head, q_and, q_xor, zero
#define FLASH_FWD(NAME, BLOCKS, ...)                                                                         \
    extern "C" __global__ void __launch_bounds__(Shape<__VA_ARGS__>::THREADS, BLOCKS) NAME(FORWARD_PARAMS) { \
        const Problem g = {FORWARD_VALUES};                                                                  \
        flash_fwd<Shape<__VA_ARGS__>>(g);                                                                    \
    }
// Packed q and paged K and V.
#define FLASH_FWD_PAGED(NAME, BLOCKS, ...)                                                               \
    extern "C" __global__ void __launch_bounds__(Shape<__VA_ARGS__>::THREADS, BLOCKS)                    \
        NAME(FORWARD_PARAMS, const int* seqused_k, const int* block_table, int max_pages, int num_pages, \
             int page_shift, int few_rows) {                                                             \
        const Problem g = {FORWARD_VALUES, seqused_k,  block_table, max_pages,                           \
                           num_pages,      page_shift, few_rows};                                        \
        flash_fwd<Shape<__VA_ARGS__, true>>(g);                                                          \
    }

// One kernel a text of PTX: its name and its shape are those of a line of kernels.csv (make_ptx.py).
#ifdef KERNEL_PAGED
FLASH_FWD_PAGED(KERNEL_NAME, KERNEL_BLOCKS, KERNEL_SHAPE)
#else
FLASH_FWD(KERNEL_NAME, KERNEL_BLOCKS, KERNEL_SHAPE)
#endif
static_assert(Shape<KERNEL_SHAPE>::SHARED_BYTES == KERNEL_SHARED_BYTES, "kernels.csv: shared_bytes");
