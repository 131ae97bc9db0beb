// What both kernels know of a batch, and how a row's sum and offset become its o and lse.
#pragma once

#include "sm70/warp.cuh"

namespace {
// p is kept as half times 2^11, so that 2^-25 of a row's largest is still a normal half, and
// pack_scaled_halves multiplies by 2^112: exp2 gets score - maximum + SHIFT. The maximum in use may lag
// behind the true one by 2^LAG. An offset is SHIFT - maximum, NO_KEY_YET before the first key.
#define SHIFT (11.f - 112.f)
#define LAG 4.f
#define NO_KEY_YET 3e38f
#define LOG2_E 1.44269504088896341f
#define LN_2 0.693147180559945309f

// The sum of a row's p as the lanes added it, without the 2^-112 of pack_scaled_halves.
FA_DEVICE float unscaled(float total) { return total * 5192296858534827628530496329220096.f; }
// Of an unscaled sum. A row without keys has o = 0 and lse = -inf.
FA_DEVICE float inverse_of(float total) { return total == 0 ? 0 : rcp_approx(total); }
FA_DEVICE float lse_of(float total, float offset) {
    return total == 0 ? -__int_as_float(0x7f800000) : (log2_approx(total) - 112.f - offset) * LN_2;
}

// The largest entry of `row_starts` before a slot's, or 0. Called by whole warps.
FA_DEVICE int largest_before(const int* row_starts, int slot) {
    int largest = 0;
#pragma unroll 1
    for (int n = threadIdx.x & 31; n < slot; n += 32) largest = max(largest, row_starts[n]);
#pragma unroll
    for (int step = 16; step > 0; step >>= 1) largest = max(largest, __shfl_xor_sync(~0u, largest, step));
    return largest;
}

// Rows of a slot in packed q of `total` rows, whatever `row_starts` holds: entries that fall, leave q or are
// more than `most` apart count as the nearest that are right, so that no slot has a row of another's. `sum`
// is that of Sequence.
struct PackedRows {
    int first, count;
    float sum;

    FA_DEVICE PackedRows(const int* row_starts, int slot, int largest_before, int total, int most) {
        const int start = row_starts[slot], end = row_starts[slot + 1];
        first = min(max(start, largest_before), total);
        count = min(max(end, first) - first, min(most, total - first));
        const bool wrong =
            start < largest_before || end > total || (unsigned)end - (unsigned)start > (unsigned)most;
        sum = wrong ? __int_as_float(0x7fffffff) : 0;
    }
    // At least as many rows as the slot has. Two loads: for blocks that have nothing to do.
    FA_DEVICE static int bound(const int* row_starts, int slot, int total) {
        return min(max(row_starts[slot + 1], 0), total) - min(max(row_starts[slot], 0), total);
    }
};

// The rows and keys of a batch. `Problem` is the kernel's.
struct Sequence {
    int batch, seqlen_q, seqlen_k, first_q, first_k;
    int low, high;  // row r sees the keys r + low <= n <= r + high
    float sum;      // that rows begin with: NaN, which they become, if they are not those that memory names

    template <class Problem>
    FA_DEVICE void locate(const Problem& g, int batch) {
        this->batch = batch;
        lengths(g.cu_seqlens_q, g.seqlen_q, first_q, seqlen_q);
        lengths(g.cu_seqlens_k, g.seqlen_k, first_k, seqlen_k);
    }
    // Of a slot: its rows are packed or as many as all have, its keys those that device memory gives. Rows
    // are looked at in the light of the slots before if they are to be `exact`, which only wrong ones need.
    template <class Problem>
    FA_DEVICE void locate_slot(const Problem& g, int slot, bool exact) {
        batch = slot, seqlen_q = g.seqlen_q, first_q = first_k = 0, sum = 0;
        if (g.cu_seqlens_q) locate_rows(g.cu_seqlens_q, (int)g.lse_head, g.seqlen_q, exact);
        seqlen_k = min(max(g.seqused_k[slot], 0), g.seqlen_k);
    }
    FA_DEVICE void locate_rows(const int* row_starts, int total, int most, bool exact) {
        const int before = exact ? largest_before(row_starts, batch) : 0;
        const PackedRows rows(row_starts, batch, before, total, most);
        first_q = rows.first, seqlen_q = rows.count, sum = rows.sum;
    }
    template <class Problem>
    FA_DEVICE void window(const Problem& g) {
        // An unlimited window is one as long as everything.
        const unsigned everything = seqlen_q + seqlen_k;
        low = seqlen_k - seqlen_q - (int)min((unsigned)g.window_left, everything);
        high = seqlen_k - seqlen_q + (int)min((unsigned)g.window_right, everything);
    }
    // `volatile` keeps the compiler from seeing that the answer is the same when it is asked again: that
    // costs less than to keep it in a register.
    FA_DEVICE void lengths(const int* cu_seqlens, int dense, int& first, int& seqlen) const {
        int end = 0;
        first = 0;
        if (cu_seqlens) first = cu_seqlens[batch], end = cu_seqlens[batch + 1];
        asm volatile("{.reg .pred ragged; setp.ne.u64 ragged, %3, 0; selp.b32 %0, %1, %2, ragged;}"
                     : "=r"(seqlen)
                     : "r"(end - first), "r"(dense), "l"(cu_seqlens));
    }
    // Distance of the sequence's first row from the start of a tensor, in one head: strides in bytes.
    FA_DEVICE long long at(int head, long long head_stride, const int* cu_seqlens, int first,
                           unsigned row_stride, long long batch_stride) const {
        return head * head_stride + (cu_seqlens ? (long long)first * row_stride : batch * batch_stride);
    }
    template <class Problem>
    FA_DEVICE char* o(const Problem& g, int head) const {
        return g.o + at(head, g.o_head, g.cu_seqlens_q, first_q, g.o_row, g.o_batch);
    }
    template <class Problem>
    FA_DEVICE float* lse(const Problem& g, int head) const {
        return g.lse + head * g.lse_head + (g.cu_seqlens_q ? first_q : batch * g.lse_batch);
    }
};
}  // namespace
