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

// The rows and keys of a batch. `Problem` is the kernel's.
struct Sequence {
    int batch, seqlen_q, seqlen_k, first_q, first_k;
    int low, high;  // row r sees the keys r + low <= n <= r + high

    template <class Problem>
    FA_DEVICE void locate(const Problem& g, int batch) {
        this->batch = batch;
        lengths(g.cu_seqlens_q, g.seqlen_q, first_q, seqlen_q);
        lengths(g.cu_seqlens_k, g.seqlen_k, first_k, seqlen_k);
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
