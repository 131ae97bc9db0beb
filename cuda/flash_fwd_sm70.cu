// FlashAttention-2 forward for sm_70 (V100). docs/volta.md explains the layout and gives the figures.
//
//   o = softmax(softmax_scale q k^T + mask) v,  lse = ln sum exp(softmax_scale q k^T + mask)      f16 in and
//   out, f32 inside
//
// One block takes BLOCK_M rows of one head and walks over tiles of 64 keys. A warp owns 32 rows: quadpair (i,
// j) of it the rows with bit 2 equal to i, and the keys (first product) or head dims (second product) of half
// j.
#include "sm70/copy.cuh"
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
};

// Where a block works. Locating again costs less than keeping all this in registers through the main loop;
// `volatile` keeps the compiler from seeing that the answer is the same.
template <class T>
struct Place {
    int head, batch, seqlen_q, seqlen_k, first_q, first_k, row0;
    int column0;    // of v and o
    int low, high;  // row r sees the keys r + low <= n <= r + high

    FA_DEVICE explicit Place(const Problem& g) {
        int block, blocks;
        asm volatile(
            "mov.u32 %0, %%ctaid.x; mov.u32 %1, %%ctaid.y; mov.u32 %2, %%ctaid.z; mov.u32 %3, %%nctaid.y;"
            : "=r"(head), "=r"(block), "=r"(batch), "=r"(blocks));
        column0 = T::COLUMN_BLOCKS > 1 ? batch % T::COLUMN_BLOCKS * T::HEAD_DIM_V : 0;
        batch /= T::COLUMN_BLOCKS;
        lengths(g.cu_seqlens_q, g.seqlen_q, first_q, seqlen_q);
        lengths(g.cu_seqlens_k, g.seqlen_k, first_k, seqlen_k);
        // With a bound on the right, the last rows have the most keys: they start first.
        row0 = (g.window_right < 0 ? block : blocks - 1 - block) * T::BLOCK_M;
        // An unlimited window is one as long as everything.
        const unsigned everything = seqlen_q + seqlen_k;
        low = seqlen_k - seqlen_q - (int)min((unsigned)g.window_left, everything);
        high = seqlen_k - seqlen_q + (int)min((unsigned)g.window_right, everything);
    }
    FA_DEVICE void lengths(const int* cu_seqlens, int dense, int& first, int& seqlen) const {
        int end = 0;
        first = 0;
        if (cu_seqlens) first = cu_seqlens[batch], end = cu_seqlens[batch + 1];
        asm volatile("{.reg .pred ragged; setp.ne.u64 ragged, %3, 0; selp.b32 %0, %1, %2, ragged;}"
                     : "=r"(seqlen)
                     : "r"(end - first), "r"(dense), "l"(cu_seqlens));
    }
    FA_DEVICE int tile_end() const {  // may be below the first tile
        return (min(seqlen_k, min(row0 + T::BLOCK_M, seqlen_q) + high) + T::BLOCK_N - 1) / T::BLOCK_N;
    }
    // Start of a head in a tensor: strides in bytes.
    FA_DEVICE static long long at(int head, long long head_stride, const int* cu_seqlens, int first,
                                  unsigned row_stride, int batch, long long batch_stride) {
        return head * head_stride + (cu_seqlens ? (long long)first * row_stride : batch * batch_stride);
    }
};

template <class T>
FA_DEVICE void flash_fwd(const Problem& g) {
    constexpr int CHUNKS_J = T::CHUNKS_V / 2, PAIRS = CHUNKS_J / 2, ODD = CHUNKS_J & 1, TILES = CHUNKS_J;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int i = lane >> 2 & 1, j = lane >> 3 & 1, t0 = lane & 1, t1 = lane >> 1 & 1, t2 = lane >> 4;
    const float infinity = __int_as_float(0x7f800000);
    // p is kept as half times 2^11, so that 2^-25 of a row's largest is still a normal half; the maximum in
    // use may lag behind the true one by 2^4. With the 2^112 of pack_scaled_halves, exp2 gets score - maximum
    // + shift.
    const float shift = 11.f - 112.f, lag = 4.f, no_key_yet = 3e38f;

    // ---- this block's rows and keys
    const Place<T> place(g);
    const int row0 = place.row0, seqlen_q = place.seqlen_q, seqlen_k = place.seqlen_k;
    if (row0 >= seqlen_q || (T::COLUMN_BLOCKS > 1 && place.column0 >= g.head_dim_v)) return;
    const int head_k = place.head / ((int)gridDim.x / g.num_heads_k);
    const char* const q = g.q + Place<T>::at(place.head, g.q_head, g.cu_seqlens_q, place.first_q, g.q_row,
                                             place.batch, g.q_batch);
    const unsigned k =
        Place<T>::at(head_k, g.k_head, g.cu_seqlens_k, place.first_k, g.k_row, place.batch, g.k_batch) >> 4;
    const unsigned v =
        (Place<T>::at(head_k, g.v_head, g.cu_seqlens_k, place.first_k, g.v_row, place.batch, g.v_batch) >>
         4) +
        place.column0 / 8;
    const int tile_end = place.tile_end();
    const int tile_begin = max(0, row0 + place.low) / T::BLOCK_N;
    // Tiles in [plain_begin, plain_end) need no mask for the rows of this warp. Tiles are counted by what is
    // left.
    const int plain_begin = (max(0, row0 + warp * 32 + 31 + place.low) + T::BLOCK_N - 1) / T::BLOCK_N;
    const int plain_end = max(0, min(seqlen_k, row0 + warp * 32 + place.high + 1)) / T::BLOCK_N;
    // There are at most 15 tiles after the plain ones. No plain tile: 0, which is passed by every tile.
    const int plain = plain_begin < plain_end ? tile_end - plain_begin << 4 | tile_end - plain_end : 0;

    const float scale = g.softmax_scale_log2;
    copy_q<T>(q, g.q_row, row0, seqlen_q, g.head_dim >> 3, g.q_and, g.q_xor);
    Copier<T> copier(g.k, g.v, k, v, g.k_row >> 4, g.v_row >> 4, tile_begin * T::BLOCK_N, seqlen_k,
                     g.head_dim >> 3, g.head_dim_v - place.column0 >> 3);
#pragma unroll
    for (int stage = 0; stage < T::SLOTS - 1; stage++) {
        copier.load(stage);
        copier.store(stage);
    }
    copier.load(T::SLOTS - 1);

    // Opens a stage: everybody has left the stage before it, whose slot takes what `copier` holds.
    auto open = [&](int stage) {
        __syncthreads();
        copier.store((stage + T::SLOTS - 1) % T::STAGES);
        copier.load((stage + T::SLOTS) % T::STAGES);
    };

    // ---- where this lane reads its operands; index: chunk parity (q, k), own keys or the other half's (v)
    const int cell = (lane & 3) | t2 << 3, row_a = cell | i << 2, key_b = cell | j << 2;
    unsigned q_at[2] = {(warp * 16 + row_a) * 16u, (warp * 16 + (row_a ^ 4)) * 16u};
    unsigned k_at[2] = {key_b * 16u, (key_b ^ 4) * 16u};
    unsigned v_at[2], v_odd_at[2];
#pragma unroll
    for (int far = 0; far < 2; far++) {
        const int key = (lane & 3) | (j ^ far) << 2, chunk = CHUNKS_J * j + t2,
                  last = CHUNKS_J * j + CHUNKS_J - 1;
        v_at[far] = (chunk * T::SLICE_KEYS + (key ^ (chunk & 1) << 2)) * 16;
        v_odd_at[far] = (last * T::SLICE_KEYS + (key ^ (last & 1) << 2)) * 16 + 8 * t2;
    }

    float acc[2][TILES][8];  // [m][tile of 8 head dims]
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
        for (int n = 0; n < TILES; n++)
#pragma unroll
            for (int e = 0; e < 8; e++) acc[m][n][e] = 0;
    // Row (m, v1) of this lane: row0 + row_c + 2 v1 + 16 m. Its exp2 gets score * scale + offset; sum over
    // this lane's keys.
    const int row_c = warp * 32 + t0 + 4 * i + 8 * t2;
    float offset[2][2], sum[2][2];
#pragma unroll
    for (int r = 0; r < 4; r++) offset[r >> 1][r & 1] = no_key_yet, sum[r >> 1][r & 1] = 0;

    for (int left = tile_end - tile_begin; left > 0; left--) {
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
                     : "r"(plain));
        if (left > first_plain || left <= after_plain) {
            const Place<T> again(g);
            const int key0 = (again.tile_end() - left) * T::BLOCK_N;
#pragma unroll
            for (int r = 0; r < 4; r++) {
                const int row = again.row0 + row_c + 2 * (r & 1) + 16 * (r >> 1),
                          first = max(0, row + again.low);
                const int here = key0 + 4 * j + 2 * t1 - first;
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
            moves |= __fmaf_rn(x, scale, offset[r >> 1][r & 1]) > shift + lag;
        }
        if (__any_sync(~0u, moves)) {
#pragma unroll
            for (int r = 0; r < 4; r++) {
                float x = top[r >> 1][r & 1];
                x = fmaxf(x, shuffle_xor(x, 2));
                x = fmaxf(x, shuffle_xor(x, 8));
                const float before = offset[r >> 1][r & 1], now = fminf(before, shift - x * scale);
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

        // ---- acc += p v, four keys a step: those whose p this quadpair made, then those of the other half
        // (far)
        {
            unsigned a[2][2][2];
            uint4 b[2][PAIRS];
            uint2 b_odd[2];
            auto fetch = [&](int step) {
                const int far = step & 1, v2 = step >> 1 & 1, n = step >> 2;
                const int stage = T::K_SLICES + 16 * n / T::SLICE_KEYS, key = 16 * n % T::SLICE_KEYS + 8 * v2;
                if (step > 1) {
                    v_at[far] = after(v_at[far], acc[1][TILES - 1][7], g.zero);
                    if (ODD) v_odd_at[far] = after(v_odd_at[far], acc[1][TILES - 1][7], g.zero);
                }
#pragma unroll
                for (int pair = 0; pair < PAIRS; pair++)
                    b[far][pair] =
                        load_shared16(v_at[far] + T::slot(stage) + (2 * pair * T::SLICE_KEYS + key) * 16);
                if (ODD) b_odd[far] = load_shared8(v_odd_at[far] + T::slot(stage) + key * 16);
            };
            auto exchange = [&](int step) {
                const int far = step & 1, v2 = step >> 1 & 1, n = step >> 2;
#pragma unroll
                for (int m = 0; m < 2; m++) {
                    if (far)
                        a[1][m][0] = shuffle_xor(a[0][m][0], 8), a[1][m][1] = shuffle_xor(a[0][m][1], 8);
                    else
                        gather_row(a[0][m], p[m][n][v2][0], p[m][n][v2][1], t1);
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

    // ---- o and lse
    const Place<T> end(g);
    char* const o =
        g.o + Place<T>::at(end.head, g.o_head, g.cu_seqlens_q, end.first_q, g.o_row, end.batch, g.o_batch);
    float* const lse =
        g.lse + end.head * g.lse_head + (g.cu_seqlens_q ? end.first_q : end.batch * g.lse_batch);
#pragma unroll
    for (int m = 0; m < 2; m++) {
        float inverse[2];
#pragma unroll
        for (int v1 = 0; v1 < 2; v1++) {
            float total = sum[m][v1];
            total += shuffle_xor(total, 2);
            total += shuffle_xor(total, 8);
            total *= 5192296858534827628530496329220096.f;  // 2^112
            inverse[v1] = total == 0 ? 0 : rcp_approx(total);
            const int row = end.row0 + row_c + 2 * v1 + 16 * m;
            if (t1 == 0 && j == 0 && end.column0 == 0 && row < end.seqlen_q)
                lse[row] = total == 0 ? -infinity
                                      : (log2_approx(total) - 112.f - offset[m][v1]) * 0.693147180559945309f;
        }
        const int row = end.row0 + row_c + 2 * t1 + 16 * m;
        char* const to = o + (unsigned long long)(unsigned)row * g.o_row + end.column0 * 2;
        auto half_chunk = [&](unsigned(&out)[2], int tile, int v2) {  // 4 dims of this lane's row
            const float(&x)[8] = acc[m][tile];
            gather_row(out, pack_halves(x[4 * v2] * inverse[0], x[4 * v2 + 1] * inverse[0]),
                       pack_halves(x[4 * v2 + 2] * inverse[1], x[4 * v2 + 3] * inverse[1]), t1);
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
                put(CHUNKS_J * j + 2 * pair + v2, left, right);
            }
        if (ODD) {
            half_chunk(left, TILES - 1, 0);
            half_chunk(right, TILES - 1, 1);
            put(CHUNKS_J * j + CHUNKS_J - 1, left, right);
        }
    }
}

}  // namespace

#define FLASH_FWD(NAME, BLOCKS, ...)                                                                     \
    extern "C" __global__ void __launch_bounds__(Shape<__VA_ARGS__>::THREADS, BLOCKS) NAME(              \
        const char* q, const char* k, const char* v, char* o, float* lse, const int* cu_seqlens_q,       \
        const int* cu_seqlens_k, float softmax_scale_log2, int seqlen_q, int seqlen_k, int num_heads_k,  \
        int head_dim, int head_dim_v, int window_left, int window_right, unsigned q_row, unsigned k_row, \
        unsigned v_row, unsigned o_row, long long q_batch, long long k_batch, long long v_batch,         \
        long long o_batch, long long q_head, long long k_head, long long v_head, long long o_head,       \
        long long lse_batch, long long lse_head, unsigned q_and, unsigned q_xor, unsigned zero) {        \
        const Problem g = {q,                                                                            \
                           k,                                                                            \
                           v,                                                                            \
                           o,                                                                            \
                           lse,                                                                          \
                           cu_seqlens_q,                                                                 \
                           cu_seqlens_k,                                                                 \
                           softmax_scale_log2,                                                           \
                           seqlen_q,                                                                     \
                           seqlen_k,                                                                     \
                           num_heads_k,                                                                  \
                           head_dim,                                                                     \
                           head_dim_v,                                                                   \
                           window_left,                                                                  \
                           window_right,                                                                 \
                           q_row,                                                                        \
                           k_row,                                                                        \
                           v_row,                                                                        \
                           o_row,                                                                        \
                           q_batch,                                                                      \
                           k_batch,                                                                      \
                           v_batch,                                                                      \
                           o_batch,                                                                      \
                           q_head,                                                                       \
                           k_head,                                                                       \
                           v_head,                                                                       \
                           o_head,                                                                       \
                           lse_batch,                                                                    \
                           lse_head,                                                                     \
                           q_and,                                                                        \
                           q_xor,                                                                        \
                           zero};                                                                        \
        flash_fwd<Shape<__VA_ARGS__>>(g);                                                                \
    }

//               kernel             blocks/SM  d, d_v, warps, K slices, V slices, slots.    One text of PTX
//               each: -DKERNEL_HEAD_DIM=...
#if KERNEL_HEAD_DIM == 32
FLASH_FWD(flash_fwd_f16_d32, 3, 32, 32, 4, 1, 1, 2)
#elif KERNEL_HEAD_DIM == 64
FLASH_FWD(flash_fwd_f16_d64, 2, 64, 64, 4, 2, 2, 4)
#elif KERNEL_HEAD_DIM == 80
FLASH_FWD(flash_fwd_f16_d80, 2, 80, 80, 4, 5, 2, 7)
#elif KERNEL_HEAD_DIM == 96
FLASH_FWD(flash_fwd_f16_d96, 2, 96, 96, 4, 3, 2, 5)
#elif KERNEL_HEAD_DIM == 128
FLASH_FWD(flash_fwd_f16_d128, 2, 128, 128, 4, 4, 4, 4)
#elif KERNEL_HEAD_DIM == 256  // d_v in blocks of 128 columns, each with the scores anew
FLASH_FWD(flash_fwd_f16_d256, 1, 256, 128, 4, 8, 4, 4)
#endif
