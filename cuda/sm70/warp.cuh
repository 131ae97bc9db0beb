// What one warp can do on sm_70: the tensor instruction, exchanges between lanes, fast exponentials, packed
// halves.
#pragma once

#define FA_DEVICE __device__ __forceinline__

extern __shared__ uint4 shared_memory[];

namespace {

// d += a b of an 8x8x4 product in each of the four quadpairs {q..q+3, q+16..q+19}, q = 0 4 8 12. Thread t of
// a quadpair is lane q + (t & 3) + 16 (t >> 2). It gives row t of a (two words: four halves along k). For
// b_col it gives column t of b, for b_row the columns 4 (t >> 2) .. + 3 of row t & 3. It gets d[v] at row (t
// & 1) + (v & 2) + 4 (t >> 2), column (v & 1) + (t & 2) + (v & 4).
FA_DEVICE void mma_b_col(float (&d)[8], unsigned a0, unsigned a1, unsigned b0, unsigned b1) {
    asm("mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {%0,%1,%2,%3,%4,%5,%6,%7}, {%8,%9}, {%10,%11}, "
        "{%0,%1,%2,%3,%4,%5,%6,%7};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7])
        : "r"(a0), "r"(a1), "r"(b0), "r"(b1));
}
FA_DEVICE void mma_b_row(float (&d)[8], unsigned a0, unsigned a1, unsigned b0, unsigned b1) {
    asm("mma.sync.aligned.m8n8k4.row.row.f32.f16.f16.f32 {%0,%1,%2,%3,%4,%5,%6,%7}, {%8,%9}, {%10,%11}, "
        "{%0,%1,%2,%3,%4,%5,%6,%7};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7])
        : "r"(a0), "r"(a1), "r"(b0), "r"(b1));
}

FA_DEVICE unsigned shuffle_xor(unsigned x, int mask) { return __shfl_xor_sync(~0u, x, mask); }
FA_DEVICE float shuffle_xor(float x, int mask) { return __shfl_xor_sync(~0u, x, mask); }

FA_DEVICE float exp2_approx(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
FA_DEVICE float log2_approx(float x) {
    float y;
    asm("lg2.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
FA_DEVICE float rcp_approx(float x) {
    float y;
    asm("rcp.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Two halves in one word, rounded to nearest even.
FA_DEVICE unsigned pack_halves(float low, float high) {
    unsigned short a, b;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(a) : "f"(low));
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(b) : "f"(high));
    return a | (unsigned)b << 16;
}

// The word of halves of low * 2^112 and high * 2^112, for values in [0, 2^-96). Such a float has the exponent
// field that its multiple has as a half, so its bits 13..27 are the half: two integer instructions that
// round, one that packs. sm_70 has no packed conversion, and its single one is slow.
FA_DEVICE unsigned pack_scaled_halves(float low, float high) {
    const unsigned a = __float_as_uint(low) * 8u + 0x8000u, b = __float_as_uint(high) * 8u + 0x8000u;
    return __byte_perm(a, b, 0x7632);
}

// Each lane holds, of two rows, the columns that its bit 1 chooses: words of row 0 and row 1. Afterwards it
// holds all four columns of the row that bit 1 chooses. This is the way from the fp32 accumulator's lane map
// to operand a's.
FA_DEVICE void gather_row(unsigned (&row)[2], unsigned row0, unsigned row1, bool second) {
    const unsigned given = shuffle_xor(second ? row0 : row1, 2);
    row[0] = second ? given : row0;
    row[1] = second ? row1 : given;
}

FA_DEVICE uint4 words(unsigned x, unsigned y, unsigned z, unsigned w) {
    uint4 r;
    r.x = x, r.y = y, r.z = z, r.w = w;
    return r;
}

FA_DEVICE uint4 load_shared16(unsigned at_bytes) {
    return *(const uint4*)((const char*)shared_memory + at_bytes);
}
FA_DEVICE uint2 load_shared8(unsigned at_bytes) {
    return *(const uint2*)((const char*)shared_memory + at_bytes);
}
FA_DEVICE void store_shared16(unsigned at_bytes, uint4 value) {
    *(uint4*)((char*)shared_memory + at_bytes) = value;
}

// `address`, once `value` is known. `zero` is a kernel argument that is 0, which ptxas cannot know. All HMMAs
// of a warp share one scoreboard: a wait for any is a wait for the youngest. Left alone, ptxas moves a load
// that refills operands up into the group of HMMAs before and waits twice; so the load waits, by its address,
// for what the next group waits for.
FA_DEVICE unsigned after(unsigned address, float value, unsigned zero) {
    unsigned r;
    asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(r) : "r"(__float_as_uint(value)), "r"(zero), "r"(address));
    return r;
}
}  // namespace
