// FlashAttention decode for sm_70 (V100): few rows of q on many keys. docs/volta.md explains it and gives the
// figures.
//
//   o = softmax(softmax_scale q k^T + mask) v,  lse = ln sum exp(softmax_scale q k^T + mask)      f16 in and
//   out, f32 inside
//
// The rows of all q heads that share a K/V head are packed: row r is head r % group of query r / group. A
// block takes ROWS of them and one range of keys (a split); its warps take steps of 8 keys in turn and share
// nothing until the end. With several splits the block writes its part of o and its lse, and
// `flash_decode_combine` joins the parts in their order.
//
// K and V go from global memory straight to the operands of the tensor instruction. First product: the four
// quadpairs of a warp have the same 8 keys and a quarter of the head dims each, so that a load reads 64 bytes
// of 8 keys, and s is the sum over the quadpairs. Second product: each quadpair has a quarter of the columns,
// so that a load reads 128 bytes of 4 keys.
#include "sm70/sequence.cuh"

namespace {
struct Problem {
    const char *q, *k, *v;
    char* o;
    float* lse;
    float *partial_o, *partial_lse;  // [batch][head][query][split] and head_dim_v; unused with one split
    // Null: every batch has seqlen_q queries; its keys start at k_batch, v_batch. cu_seqlens_q may hold
    // anything; lse_head is then the number of queries in all, and batches of more than seqlen_q are left
    // out.
    const int *cu_seqlens_q, *cu_seqlens_k;
    const int* seqused_k;    // keys of each batch, at most seqlen_k; null: from cu_seqlens_k, else seqlen_k
    const int* block_table;  // [batch][max_pages]; null: K and V are not paged
    float softmax_scale_log2;
    int seqlen_q, seqlen_k, num_heads, num_heads_k, head_dim, head_dim_v, window_left, window_right;
    int max_pages, num_pages, page_shift;  // a page holds 2^page_shift keys, at least 8; not paged: 31
    int keys_per_split;                    // of a part at least, a multiple of 8
    unsigned q_row, k_row, v_row, o_row;   // strides in bytes
    long long q_batch, k_batch, v_batch, o_batch, q_head, k_head, v_head,
        o_head;                     // paged: k_batch, v_batch are those of a page
    long long lse_batch, lse_head;  // in elements
    unsigned q_and, q_xor;          // as in flash_fwd_sm70.cu
    int most_rows;                  // queries that a batch can have where cu_seqlens_q says so
};

// Whether cu_seqlens_q can say which rows of q a batch has. The kernel that joins has a text for each: the
// code for packed rows costs it 0.4 us (modelled on a V100), the others nothing that shows.
#if defined(KERNEL_COMBINE) && !defined(KERNEL_PACKED)
#define CAN_PACK false
#else
#define CAN_PACK true
#endif

// A batch, and the rows of all q heads of one K/V head packed.
struct Packed : Sequence {
    int group;
    float per_group;

    FA_DEVICE Packed(const Problem& g, int batch) {
        locate(g, batch);
        sum = 0;
        if (CAN_PACK && g.cu_seqlens_q) locate_rows(g.cu_seqlens_q, (int)g.lse_head, g.most_rows, true);
        if (g.seqused_k) seqlen_k = min(max(g.seqused_k[batch], 0), g.seqlen_k);
        window(g);
        if (CAN_PACK && seqlen_q > g.seqlen_q) seqlen_q = 0;
        group = g.num_heads / g.num_heads_k;
        per_group = rcp_approx((float)group);
    }
    // Query of a packed row. Exact below 2^20 rows: the quotient is 1 / (2 group) away from an integer at
    // least.
    FA_DEVICE int query_of(int row) const { return (int)(((float)row + 0.5f) * per_group); }
    FA_DEVICE int first_key(int query) const { return max(0, query + low); }
    FA_DEVICE int end_key(int query) const { return min(seqlen_k, query + high + 1); }
};

// At least the queries of a batch that it takes, without a look at the others: for blocks that have nothing
// to do.
FA_DEVICE int queries_bound(const Problem& g, int batch) {
    if (!CAN_PACK || !g.cu_seqlens_q) return g.seqlen_q;
    return min(PackedRows::bound(g.cu_seqlens_q, batch, (int)g.lse_head), g.seqlen_q);
}

// Keys of a block of packed rows, and the part of them that is numbered `split`. The parts are even, whatever
// the length of the sequence, but for the least keys of one.
struct Keys {
    int begin, end, parts;
    FA_DEVICE Keys(const Problem& g, const Packed& s, int row0, int rows, int split, int splits) {
        const int last = min(row0 + rows, s.seqlen_q * s.group) - 1;
        const int all_begin = s.first_key(s.query_of(row0)) & ~7,
                  all_end = max(all_begin, s.end_key(s.query_of(last)));
        const int all = all_end - all_begin, share = (all + 8 * splits - 1) / (8 * splits) * 8,
                  keys = max(g.keys_per_split, share);
        parts = max(1, (all + keys - 1) / keys);
        begin = all_begin + split * keys;
        end = min(all_end, begin + keys);
    }
};

template <int HEAD_DIM_, int M_TILES_, bool V_AHEAD_>
struct Shape {
    enum : int {
        HEAD_DIM = HEAD_DIM_,
        M_TILES = M_TILES_,
        ROWS = 8 * M_TILES,
        WARPS = 4,
        THREADS = 32 * WARPS,
        V_AHEAD = V_AHEAD_,        // is V loaded a step ahead, as K always is?
        K_LOADS = HEAD_DIM / 32,   // of 16 bytes a lane, for 8 keys: chunk 4 load + quadpair
        V_LOADS = HEAD_DIM / 64,   // for 4 keys: chunk 8 load + 2 quadpair + half
        TILES = 2 * V_LOADS,       // of 8 columns, a quadpair
        ROW_WORDS = HEAD_DIM + 4,  // in shared memory, at the end
        SHARED_BYTES = WARPS * ROWS * (ROW_WORDS + 2) * 4,
    };
};

// Where the 8 keys of a step lie. Keys that are not there are read as zero. Of a page that no cache has, K is
// read as NaN, which makes the rows that see it NaN, and V as zero, which leaves the others alone.
struct Step {
    int key0, end;
    long long k, v;  // distance of the first key in bytes
    bool there;

    FA_DEVICE Step(const Problem& g, int first_k, unsigned page, int key0, int end) : key0(key0), end(end) {
        const long long row = first_k + (key0 & (int)((1u << g.page_shift) - 1));
        const bool paged = g.block_table != nullptr;
        there = !paged || page < (unsigned)g.num_pages;
        k = row * g.k_row + (paged ? page * g.k_batch : 0);
        v = row * g.v_row + (paged ? page * g.v_batch : 0);
    }

    // Lane t of a quadpair: key t, chunk 4 load + quadpair.
    template <class T>
    FA_DEVICE void load_k(uint4 (&to)[T::K_LOADS], const Problem& g, const char* k_head) const {
        const int lane = threadIdx.x & 31, quadpair = lane >> 2 & 3, n = lane & 3 | lane >> 4 << 2;
        const bool inside = key0 + n < end;
        const unsigned other = inside && !there ? 0x7fff7fff : 0;
        const char* const from = k_head + k + (long long)n * g.k_row + quadpair * 16;
#pragma unroll
        for (int load = 0; load < T::K_LOADS; load++) {
            to[load] = words(other, other, other, other);
            if (inside && there && (4 * load + quadpair) * 8 < g.head_dim)
                to[load] = *(const uint4*)(from + load * 64);
        }
    }

    // Keys 4 slice + (lane & 3), chunk 8 load + 2 quadpair + half.
    template <class T>
    FA_DEVICE void load_v(uint4 (&to)[2][T::V_LOADS], const Problem& g, const char* v_head) const {
        const int lane = threadIdx.x & 31, chunk = (lane >> 2 & 3) * 2 + (lane >> 4);
#pragma unroll
        for (int slice = 0; slice < 2; slice++) {
            const int n = (lane & 3) + 4 * slice;
            const bool inside = there && key0 + n < end;
            const char* const from = v_head + v + (long long)n * g.v_row + chunk * 16;
#pragma unroll
            for (int load = 0; load < T::V_LOADS; load++) {
                to[slice][load] = words(0, 0, 0, 0);
                if (inside && (8 * load + chunk) * 8 < g.head_dim_v)
                    to[slice][load] = *(const uint4*)(from + load * 128);
            }
        }
    }
};

template <class T>
FA_DEVICE void flash_decode(const Problem& g) {
    const float infinity = __int_as_float(0x7f800000);
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int quadpair = lane >> 2 & 3, t0 = lane & 1, t1 = lane >> 1 & 1, t2 = lane >> 4,
              t = lane & 3 | t2 << 2;

    const int row_blocks = (int)gridDim.x / g.num_heads_k;
    const int head_k = (int)blockIdx.x / row_blocks, row0 = (int)blockIdx.x % row_blocks * T::ROWS;
    if (row0 >= queries_bound(g, blockIdx.z) * (g.num_heads / g.num_heads_k)) return;
    const Packed s(g, blockIdx.z);
    const int rows = s.seqlen_q * s.group;
    if (row0 >= rows) return;
    const Keys keys(g, s, row0, T::ROWS, blockIdx.y, gridDim.y);
    if (keys.begin + (blockIdx.y > 0) > keys.end)
        return;  // the first split of a row without keys writes that there are none

    // ---- q: lane t of a quadpair holds row t of each tile, and the quadpair's head dims
    uint4 q[T::M_TILES][T::K_LOADS];
#pragma unroll
    for (int m = 0; m < T::M_TILES; m++) {
        const int row = row0 + 8 * m + t, query = s.query_of(row),
                  head = head_k * s.group + row - query * s.group;
        const char* const from = g.q + s.at(head, g.q_head, g.cu_seqlens_q, s.first_q, g.q_row, g.q_batch) +
                                 (long long)query * g.q_row + quadpair * 16;
#pragma unroll
        for (int load = 0; load < T::K_LOADS; load++) {
            uint4 x = words(0, 0, 0, 0);
            if (row < rows && (4 * load + quadpair) * 8 < g.head_dim) x = *(const uint4*)(from + load * 64);
            q[m][load] = words(x.x & g.q_and ^ g.q_xor, x.y & g.q_and ^ g.q_xor, x.z & g.q_and ^ g.q_xor,
                               x.w & g.q_and ^ g.q_xor);
        }
    }

    float acc[T::M_TILES][T::TILES][8];
    float offset[T::M_TILES][2], sum[T::M_TILES][2];
    int first[T::M_TILES][2], count[T::M_TILES][2];  // keys of row 8 m + t0 + 4 t2 + 2 v1
#pragma unroll
    for (int m = 0; m < T::M_TILES; m++)
#pragma unroll
        for (int v1 = 0; v1 < 2; v1++) {
            const int query = s.query_of(min(row0 + 8 * m + t0 + 4 * t2 + 2 * v1, rows - 1));
            first[m][v1] = s.first_key(query);
            count[m][v1] = max(0, s.end_key(query) - first[m][v1]);
            offset[m][v1] = NO_KEY_YET, sum[m][v1] = s.sum;
#pragma unroll
            for (int tile = 0; tile < T::TILES; tile++)
#pragma unroll
                for (int e = 0; e < 8; e++) acc[m][tile][e] = 0;
        }
    // Keys that all rows of this block see.
    const int full_begin = s.first_key(s.query_of(min(row0 + T::ROWS, rows) - 1));
    const int full_end = s.end_key(s.query_of(row0));

    const long long k_start = g.block_table || g.cu_seqlens_k ? 0 : s.batch * g.k_batch;
    const long long v_start = g.block_table || g.cu_seqlens_k ? 0 : s.batch * g.v_batch;
    const char *const k_head = g.k + head_k * g.k_head + k_start, *const v_head =
                                                                      g.v + head_k * g.v_head + v_start;
    const int* const table = g.block_table ? g.block_table + (long long)s.batch * g.max_pages : nullptr;
    auto page_of = [&](int key) {
        return table && key < keys.end ? (unsigned)table[key >> g.page_shift] : 0u;
    };

    // The page of the step after next is known before the loads of the next step are issued.
    int key0 = keys.begin + warp * 8;
    uint4 next_k[T::K_LOADS], v[2][T::V_LOADS], next_v[2][T::V_LOADS];
    Step step(g, s.first_k, page_of(key0), key0, keys.end);
    step.load_k<T>(next_k, g, k_head);
    if (T::V_AHEAD) step.load_v<T>(next_v, g, v_head);
    unsigned page = page_of(key0 + 8 * T::WARPS);

    for (; key0 < keys.end; key0 += 8 * T::WARPS) {
        uint4 k[T::K_LOADS];
#pragma unroll
        for (int load = 0; load < T::K_LOADS; load++) k[load] = next_k[load];
        if (T::V_AHEAD) {
#pragma unroll
            for (int load = 0; load < 2 * T::V_LOADS; load++)
                v[load & 1][load >> 1] = next_v[load & 1][load >> 1];
        } else {
            step.load_v<T>(v, g, v_head);
        }
        step = Step(g, s.first_k, page, key0 + 8 * T::WARPS, keys.end);
        step.load_k<T>(next_k, g, k_head);
        if (T::V_AHEAD) step.load_v<T>(next_v, g, v_head);
        page = page_of(key0 + 16 * T::WARPS);

        // ---- s = q k^T: 8 rows x 8 keys a tile; the same in all quadpairs afterwards
        float x[T::M_TILES][8];
#pragma unroll
        for (int m = 0; m < T::M_TILES; m++) {
#pragma unroll
            for (int e = 0; e < 8; e++) x[m][e] = 0;
#pragma unroll
            for (int load = 0; load < T::K_LOADS; load++) {
                mma_b_col(x[m], q[m][load].x, q[m][load].y, k[load].x, k[load].y);
                mma_b_col(x[m], q[m][load].z, q[m][load].w, k[load].z, k[load].w);
            }
        }
#pragma unroll
        for (int m = 0; m < T::M_TILES; m++)
#pragma unroll
            for (int e = 0; e < 8; e++) {
                x[m][e] += shuffle_xor(x[m][e], 4);
                x[m][e] += shuffle_xor(x[m][e], 8);
            }

        // ---- mask, where an edge crosses
        if (key0 < full_begin || key0 + 8 > full_end) {
#pragma unroll
            for (int m = 0; m < T::M_TILES; m++)
#pragma unroll
                for (int e = 0; e < 8; e++) {
                    const int v1 = e >> 1 & 1, n = key0 + (e & 1) + 2 * t1 + (e & 4);
                    if ((unsigned)(n - first[m][v1]) >= (unsigned)count[m][v1]) x[m][e] = -infinity;
                }
        }

        // ---- online softmax
        float top[T::M_TILES][2];
        bool moves = false;
#pragma unroll
        for (int m = 0; m < T::M_TILES; m++)
#pragma unroll
            for (int v1 = 0; v1 < 2; v1++) {
                const float(&r)[8] = x[m];
                top[m][v1] = fmaxf(fmaxf(r[2 * v1], r[2 * v1 + 1]), fmaxf(r[2 * v1 + 4], r[2 * v1 + 5]));
                moves |= __fmaf_rn(top[m][v1], g.softmax_scale_log2, offset[m][v1]) > SHIFT + LAG;
            }
        if (__any_sync(~0u, moves)) {
#pragma unroll
            for (int m = 0; m < T::M_TILES; m++)
#pragma unroll
                for (int v1 = 0; v1 < 2; v1++) {
                    const float largest = fmaxf(top[m][v1], shuffle_xor(top[m][v1], 2));
                    const float before = offset[m][v1],
                                after = fminf(before, SHIFT - largest * g.softmax_scale_log2);
                    const float factor = exp2_approx(after - before);
                    offset[m][v1] = after;
                    sum[m][v1] *= factor;
#pragma unroll
                    for (int tile = 0; tile < T::TILES; tile++)
#pragma unroll
                        for (int e = 0; e < 4; e++) acc[m][tile][(e & 1) + 2 * v1 + 4 * (e >> 1)] *= factor;
                }
        }

        // ---- acc += p v, four keys at a time
#pragma unroll
        for (int slice = 0; slice < 2; slice++)
#pragma unroll
            for (int m = 0; m < T::M_TILES; m++) {
                unsigned p[2], a[2];
#pragma unroll
                for (int v1 = 0; v1 < 2; v1++) {
                    const float y =
                        exp2_approx(__fmaf_rn(x[m][2 * v1 + 4 * slice], g.softmax_scale_log2, offset[m][v1]));
                    const float z = exp2_approx(
                        __fmaf_rn(x[m][2 * v1 + 4 * slice + 1], g.softmax_scale_log2, offset[m][v1]));
                    sum[m][v1] += y;
                    sum[m][v1] += z;
                    p[v1] = pack_scaled_halves(y, z);
                }
                gather_row(a, p[0], p[1], t1);
#pragma unroll
                for (int load = 0; load < T::V_LOADS; load++) {
                    mma_b_row(acc[m][2 * load], a[0], a[1], v[slice][load].x, v[slice][load].y);
                    mma_b_row(acc[m][2 * load + 1], a[0], a[1], v[slice][load].z, v[slice][load].w);
                }
            }
    }

    // ---- the warps join what they have: acc of every warp at the largest maximum of all, then the sum in
    // order of the warps
    float *const shared = (float*)shared_memory,
                 *const shared_offset = shared + T::WARPS * T::ROWS * T::ROW_WORDS,
                 *const shared_sum = shared_offset + T::WARPS * T::ROWS;
#pragma unroll
    for (int m = 0; m < T::M_TILES; m++)
#pragma unroll
        for (int v1 = 0; v1 < 2; v1++) {
            sum[m][v1] += shuffle_xor(sum[m][v1], 2);
            if (quadpair == 0 && t1 == 0) {
                const int at = warp * T::ROWS + 8 * m + t0 + 4 * t2 + 2 * v1;
                shared_offset[at] = offset[m][v1], shared_sum[at] = sum[m][v1];
            }
        }
    __syncthreads();
#pragma unroll
    for (int m = 0; m < T::M_TILES; m++)
#pragma unroll
        for (int v1 = 0; v1 < 2; v1++) {
            const int row = 8 * m + t0 + 4 * t2 + 2 * v1;
            float least = shared_offset[row];
#pragma unroll
            for (int w = 1; w < T::WARPS; w++) least = fminf(least, shared_offset[w * T::ROWS + row]);
            const float factor = exp2_approx(least - offset[m][v1]);
#pragma unroll
            for (int tile = 0; tile < T::TILES; tile++)
#pragma unroll
                for (int half = 0; half < 2;
                     half++) {  // xor: the sixteen lanes of a phase meet different banks
                    const int column = 64 * (tile >> 1) + 16 * quadpair + (8 * half ^ (quadpair & 2) << 2) +
                                       4 * (tile & 1) + 2 * t1;
                    const float* const from = acc[m][tile] + 2 * v1 + 4 * half;
                    *(float2*)(shared + (warp * T::ROWS + row) * T::ROW_WORDS + column) =
                        make_float2(from[0] * factor, from[1] * factor);
                }
        }
    __syncthreads();

    // ---- o and lse; a thread writes 8 columns of a row at a time
    const int splits = gridDim.y;
    for (int vector = threadIdx.x; vector < T::ROWS * (T::HEAD_DIM / 8); vector += T::THREADS) {
        const int local = vector / (T::HEAD_DIM / 8), column = vector % (T::HEAD_DIM / 8) * 8,
                  row = row0 + local;
        if (row >= rows || column >= g.head_dim_v) continue;
        const int query = s.query_of(row), head = head_k * s.group + row - query * s.group;
        float least = shared_offset[local], total = 0;
#pragma unroll
        for (int w = 1; w < T::WARPS; w++) least = fminf(least, shared_offset[w * T::ROWS + local]);
        float y[8] = {0, 0, 0, 0, 0, 0, 0, 0};
#pragma unroll
        for (int w = 0; w < T::WARPS; w++) {
            const int at = w * T::ROWS + local;
            total += shared_sum[at] * exp2_approx(least - shared_offset[at]);
#pragma unroll
            for (int e = 0; e < 8; e++) y[e] += shared[at * T::ROW_WORDS + (column ^ (column & 32) >> 2) + e];
        }
        total = unscaled(total);
        const float inverse = inverse_of(total), lse = lse_of(total, least);
#pragma unroll
        for (int e = 0; e < 8; e++) y[e] *= inverse;
        if (splits == 1) {
            char* const to = s.o(g, head) + (long long)query * g.o_row;
            *(uint4*)(to + column * 2) = words(pack_halves(y[0], y[1]), pack_halves(y[2], y[3]),
                                               pack_halves(y[4], y[5]), pack_halves(y[6], y[7]));
            if (column == 0) s.lse(g, head)[query] = lse;
        } else {
            const long long part =
                (((long long)s.batch * g.num_heads + head) * g.seqlen_q + query) * splits + blockIdx.y;
            float4* const to = (float4*)(g.partial_o + part * g.head_dim_v + column);
            to[0] = make_float4(y[0], y[1], y[2], y[3]);
            to[1] = make_float4(y[4], y[5], y[6], y[7]);
            if (column == 0) g.partial_lse[part] = lse;
        }
    }
}

// Joins the parts of 64 columns of a row of one head: a block with its four warps, each of which takes every
// fourth part, in the order of the warps; or each warp by itself those of another head, which is quicker
// where parts are few, for the grid is a quarter then. `largest` and `total` are a warp's own until the end.
FA_DEVICE void combine(const Problem& g, int splits, int rows_per_block, int warps_of_row) {
    const float infinity = __int_as_float(0x7f800000);
    const int lane = threadIdx.x & 31, all_warps = threadIdx.x >> 5;
    const bool alone = warps_of_row == 1;
    const int warp = alone ? 0 : all_warps, head = alone ? 4 * blockIdx.x + all_warps : blockIdx.x;
    const int blocks = (g.head_dim_v + 63) / 64, query = (int)blockIdx.y / blocks,
              column = (int)blockIdx.y % blocks * 64 + 2 * lane;
    if (head >= g.num_heads || query >= queries_bound(g, blockIdx.z)) return;
    const Packed s(g, blockIdx.z);
    if (query >= s.seqlen_q) return;
    const int row = query * s.group + head % s.group;
    const int parts = Keys(g, s, row / rows_per_block * rows_per_block, rows_per_block, 0, splits).parts;
    const long long part = (((long long)s.batch * g.num_heads + head) * g.seqlen_q + query) * splits;

    auto lse_of_part = [&](int n) { return n < parts ? g.partial_lse[part + n] : -infinity; };
    const float first = lse_of_part(warp + warps_of_row * lane);
    float largest = first;
    for (int n = warp + warps_of_row * (lane + 32); n < parts; n += 32 * warps_of_row)
        largest = fmaxf(largest, lse_of_part(n));
#pragma unroll
    for (int step = 16; step > 0; step >>= 1) largest = fmaxf(largest, shuffle_xor(largest, step));

    // A lane makes the weight of one part, and all lanes take it from there: 32 parts of this warp a round,
    // eight of which are on their way at a time.
    float2 y = make_float2(0, 0);
    float total = 0;
    const float* const from = g.partial_o + part * g.head_dim_v + column;
    for (int round = warp; round < parts; round += 32 * warps_of_row) {
        const float lse = round == warp ? first : lse_of_part(round + warps_of_row * lane);
        const float weight = lse == -infinity ? 0 : exp2_approx((lse - largest) * LOG2_E);
        for (int n = 0; n < 32 && round + warps_of_row * n < parts; n += 8) {
            float2 z[8];
#pragma unroll
            for (int i = 0; i < 8; i++) {
                const int at = round + warps_of_row * (n + i);
                z[i] = make_float2(0, 0);
                if (at < parts && column < g.head_dim_v)
                    z[i] = *(const float2*)(from + (long long)at * g.head_dim_v);
            }
#pragma unroll
            for (int i = 0; i < 8; i++) {
                const float w = __shfl_sync(~0u, weight, n + i);
                total += w;
                y = make_float2(y.x + w * z[i].x, y.y + w * z[i].y);
            }
        }
    }
    if (!alone) {
        float2* const shared_y = (float2*)shared_memory;
        float2* const shared_of_warp = shared_y + 4 * 32;  // total, largest
        shared_y[threadIdx.x] = y;
        if (lane == 0) shared_of_warp[warp] = make_float2(total, largest);
        __syncthreads();
        if (warp > 0) return;
#pragma unroll
        for (int w = 1; w < 4; w++) largest = fmaxf(largest, shared_of_warp[w].y);
        total = 0, y = make_float2(0, 0);
#pragma unroll
        for (int w = 0; w < 4; w++) {
            const float2 z = shared_y[32 * w + lane], of_warp = shared_of_warp[w];
            const float factor = of_warp.y == -infinity ? 0 : exp2_approx((of_warp.y - largest) * LOG2_E);
            total += of_warp.x * factor;
            y = make_float2(y.x + z.x * factor, y.y + z.y * factor);
        }
    }
    const float inverse = inverse_of(total);
    char* const o = s.o(g, head) + (long long)query * g.o_row;
    if (column < g.head_dim_v) *(unsigned*)(o + column * 2) = pack_halves(y.x * inverse, y.y * inverse);
    // NaN parts make `total` NaN, whatever `largest` is.
    if (column == 0) s.lse(g, head)[query] = total == 0 ? -infinity : largest + log2_approx(total) * LN_2;
}
}  // namespace

#define DECODE_PARAMS                                                                                       \
    const char *q, const char *k, const char *v, char *o, float *lse, float *partial_o, float *partial_lse, \
        const int *cu_seqlens_q, const int *cu_seqlens_k, const int *seqused_k, const int *block_table,     \
        float softmax_scale_log2, int seqlen_q, int seqlen_k, int num_heads, int num_heads_k, int head_dim, \
        int head_dim_v, int window_left, int window_right, int max_pages, int num_pages, int page_shift,    \
        int keys_per_split, unsigned q_row, unsigned k_row, unsigned v_row, unsigned o_row,                 \
        long long q_batch, long long k_batch, long long v_batch, long long o_batch, long long q_head,       \
        long long k_head, long long v_head, long long o_head, long long lse_batch, long long lse_head,      \
        unsigned q_and, unsigned q_xor, int most_rows
#define DECODE_PROBLEM   \
    {q,                  \
     k,                  \
     v,                  \
     o,                  \
     lse,                \
     partial_o,          \
     partial_lse,        \
     cu_seqlens_q,       \
     cu_seqlens_k,       \
     seqused_k,          \
     block_table,        \
     softmax_scale_log2, \
     seqlen_q,           \
     seqlen_k,           \
     num_heads,          \
     num_heads_k,        \
     head_dim,           \
     head_dim_v,         \
     window_left,        \
     window_right,       \
     max_pages,          \
     num_pages,          \
     page_shift,         \
     keys_per_split,     \
     q_row,              \
     k_row,              \
     v_row,              \
     o_row,              \
     q_batch,            \
     k_batch,            \
     v_batch,            \
     o_batch,            \
     q_head,             \
     k_head,             \
     v_head,             \
     o_head,             \
     lse_batch,          \
     lse_head,           \
     q_and,              \
     q_xor,              \
     most_rows}
#define FLASH_DECODE(NAME, BLOCKS, ...)                                                                     \
    extern "C" __global__ void __launch_bounds__(Shape<__VA_ARGS__>::THREADS, BLOCKS) NAME(DECODE_PARAMS) { \
        const Problem g = DECODE_PROBLEM;                                                                   \
        flash_decode<Shape<__VA_ARGS__>>(g);                                                                \
    }

// One kernel a text of PTX: its name and its shape are those of a line of kernels.csv (make_ptx.py).
#ifdef KERNEL_COMBINE
extern "C" __global__ void __launch_bounds__(128)
    KERNEL_NAME(DECODE_PARAMS, int splits, int rows_per_block, int warps_of_row) {
    const Problem g = DECODE_PROBLEM;
    combine(g, splits, rows_per_block, warps_of_row);
}
#else
FLASH_DECODE(KERNEL_NAME, KERNEL_BLOCKS, KERNEL_SHAPE)
static_assert(Shape<KERNEL_SHAPE>::SHARED_BYTES == KERNEL_SHARED_BYTES, "kernels.csv: shared_bytes");
#endif
