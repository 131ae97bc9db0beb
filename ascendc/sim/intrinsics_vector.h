// SPDX-License-Identifier: MIT OR Apache-2.0
// Vector intrinsics (dav-c220.md 3.7 to 3.9). Names and operand order are CANN's; `elem` is the type of the
// source operand, or of the moved data where the source is a list of offsets.
#pragma once
#include "issue.h"

#define FASIM_BINARY(name)                                                                                \
    template <class D, class S>                                                                           \
    void name(__ubuf__ D* dst, __ubuf__ S* src0, __ubuf__ S* src1, uint8_t repeat, uint8_t dst_blk,       \
              uint8_t src0_blk, uint8_t src1_blk, uint8_t dst_rep, uint8_t src0_rep, uint8_t src1_rep) {  \
        ::fasim::issue(::fasim::Op::name, ::fasim::elem_of<S>(), ::fasim::elem_dst_of<D, S>(), dst, src0, \
                       src1, repeat, dst_blk, src0_blk, src1_blk, dst_rep, src0_rep, src1_rep);           \
    }
FASIM_BINARY(vadd)
FASIM_BINARY(vsub)
FASIM_BINARY(vmul)
FASIM_BINARY(vdiv)
FASIM_BINARY(vmax)
FASIM_BINARY(vmin)
FASIM_BINARY(vand)
FASIM_BINARY(vor)
FASIM_BINARY(vmla)
FASIM_BINARY(vmadd)
FASIM_BINARY(vmaddrelu)
FASIM_BINARY(vaddrelu)
FASIM_BINARY(vsubrelu)
FASIM_BINARY(vcmpv_lt)
FASIM_BINARY(vcmpv_gt)
FASIM_BINARY(vcmpv_eq)
FASIM_BINARY(vcmpv_le)
FASIM_BINARY(vcmpv_ge)
FASIM_BINARY(vcmpv_ne)
#undef FASIM_BINARY

// V is the scalar's type: the element type, or the shift distance.
#define FASIM_SCALAR(name)                                                                               \
    template <class D, class S, class V>                                                                 \
    void name(__ubuf__ D* dst, __ubuf__ S* src, V scalar, uint8_t repeat, uint16_t dst_blk,              \
              uint16_t src_blk, uint8_t dst_rep, uint8_t src_rep) {                                      \
        ::fasim::issue(::fasim::Op::name, ::fasim::elem_of<S>(), ::fasim::elem_dst_of<D, S>(), dst, src, \
                       scalar, repeat, dst_blk, src_blk, dst_rep, src_rep);                              \
    }
FASIM_SCALAR(vadds)
FASIM_SCALAR(vmuls)
FASIM_SCALAR(vmaxs)
FASIM_SCALAR(vmins)
FASIM_SCALAR(vlrelu)
FASIM_SCALAR(vaxpy)
FASIM_SCALAR(vshl)
FASIM_SCALAR(vcmpvs_lt)
FASIM_SCALAR(vcmpvs_gt)
FASIM_SCALAR(vcmpvs_eq)
FASIM_SCALAR(vcmpvs_le)
FASIM_SCALAR(vcmpvs_ge)
FASIM_SCALAR(vcmpvs_ne)
#undef FASIM_SCALAR

template <class T, class V>
void vshr(__ubuf__ T* dst, __ubuf__ T* src, V distance, uint8_t repeat, uint16_t dst_blk, uint16_t src_blk,
          uint16_t dst_rep, uint16_t src_rep, bool round) {
    fasim::issue(fasim::Op::vshr, fasim::elem_of<T>(), FASIM_NONE, dst, src, distance, repeat, dst_blk,
                 src_blk, dst_rep, src_rep, round);
}

#define FASIM_UNARY(name)                                                                                \
    template <class D, class S>                                                                          \
    void name(__ubuf__ D* dst, __ubuf__ S* src, uint8_t repeat, uint16_t dst_blk, uint16_t src_blk,      \
              uint8_t dst_rep, uint8_t src_rep) {                                                        \
        ::fasim::issue(::fasim::Op::name, ::fasim::elem_of<S>(), ::fasim::elem_dst_of<D, S>(), dst, src, \
                       repeat, dst_blk, src_blk, dst_rep, src_rep);                                      \
    }
FASIM_UNARY(vexp)
FASIM_UNARY(vln)
FASIM_UNARY(vabs)
FASIM_UNARY(vsqrt)
FASIM_UNARY(vrsqrt)
FASIM_UNARY(vrec)
FASIM_UNARY(vrelu)
FASIM_UNARY(vnot)
#undef FASIM_UNARY

template <class T>
void vector_dup(__ubuf__ T* dst, T value, uint8_t repeat, uint16_t dst_blk, uint16_t src_blk, uint8_t dst_rep,
                uint8_t src_rep) {
    fasim::issue(fasim::Op::vector_dup, fasim::elem_of<T>(), FASIM_NONE, dst, value, repeat, dst_blk, src_blk,
                 dst_rep, src_rep);
}

template <class T>
void vcopy(__ubuf__ T* dst, __ubuf__ T* src, uint8_t repeat, uint16_t dst_blk, uint16_t src_blk,
           uint16_t dst_rep, uint16_t src_rep) {
    fasim::issue(fasim::Op::vcopy, fasim::elem_of<T>(), FASIM_NONE, dst, src, repeat, dst_blk, src_blk,
                 dst_rep, src_rep);
}

template <class T>
void vbrcb(__ubuf__ T* dst, __ubuf__ T* src, uint16_t dst_blk, uint16_t dst_rep, uint8_t repeat) {
    fasim::issue(fasim::Op::vbrcb, fasim::elem_of<T>(), FASIM_NONE, dst, src, dst_blk, dst_rep, repeat);
}

template <class T>
void vgather(__ubuf__ T* dst, __ubuf__ uint32_t* offsets, uint32_t base, uint16_t dst_rep, uint8_t repeat) {
    fasim::issue(fasim::Op::vgather, fasim::elem_of<T>(), FASIM_NONE, dst, offsets, base, dst_rep, repeat);
}

template <class T>
void vgatherb(__ubuf__ T* dst, __ubuf__ uint32_t* offsets, uint32_t base, uint16_t dst_rep, uint8_t dst_blk,
              uint8_t repeat) {
    fasim::issue(fasim::Op::vgatherb, fasim::elem_of<T>(), FASIM_NONE, dst, offsets, base, dst_rep, dst_blk,
                 repeat);
}

template <class T>
void vreducev2(__ubuf__ T* dst, __ubuf__ T* src0, __ubuf__ T* src1, uint16_t repeat, uint8_t src0_blk,
               uint8_t pattern, uint16_t src0_rep, uint8_t src1_rep) {
    fasim::issue(fasim::Op::vreducev2, fasim::elem_of<T>(), FASIM_NONE, dst, src0, src1, repeat, src0_blk,
                 pattern, src0_rep, src1_rep);
}

inline void vtranspose(__ubuf__ uint16_t* dst, __ubuf__ uint16_t* src) {
    fasim::issue(fasim::Op::vtranspose, FASIM_U16, FASIM_NONE, dst, src);
}

template <class T>
void vcadd(__ubuf__ T* dst, __ubuf__ T* src, uint8_t repeat, uint16_t dst_rep, uint16_t src_blk,
           uint16_t src_rep, bool mode) {
    fasim::issue(fasim::Op::vcadd, fasim::elem_of<T>(), FASIM_NONE, dst, src, repeat, dst_rep, src_blk,
                 src_rep, mode);
}

#define FASIM_REDUCE_ORDER(name)                                                                        \
    template <class T>                                                                                  \
    void name(__ubuf__ T* dst, __ubuf__ T* src, uint8_t repeat, uint16_t dst_rep, uint16_t src_blk,     \
              uint16_t src_rep, Order_t order) {                                                        \
        ::fasim::issue(::fasim::Op::name, ::fasim::elem_of<T>(), FASIM_NONE, dst, src, repeat, dst_rep, \
                       src_blk, src_rep, order);                                                        \
    }
FASIM_REDUCE_ORDER(vcmax)
FASIM_REDUCE_ORDER(vcmin)
#undef FASIM_REDUCE_ORDER

#define FASIM_REDUCE(name)                                                                              \
    template <class T>                                                                                  \
    void name(__ubuf__ T* dst, __ubuf__ T* src, uint8_t repeat, uint16_t dst_rep, uint16_t src_blk,     \
              uint16_t src_rep) {                                                                       \
        ::fasim::issue(::fasim::Op::name, ::fasim::elem_of<T>(), FASIM_NONE, dst, src, repeat, dst_rep, \
                       src_blk, src_rep);                                                               \
    }
FASIM_REDUCE(vcgadd)
FASIM_REDUCE(vcgmax)
FASIM_REDUCE(vcgmin)
FASIM_REDUCE(vcpadd)
#undef FASIM_REDUCE

#define FASIM_COMPARE_TO_REGISTER(name)                                                                   \
    template <class T>                                                                                    \
    void name(__ubuf__ T* src0, __ubuf__ T* src1, uint8_t repeat, uint8_t dst_blk, uint8_t src0_blk,      \
              uint8_t src1_blk, uint8_t dst_rep, uint8_t src0_rep, uint8_t src1_rep) {                    \
        ::fasim::issue(::fasim::Op::name, ::fasim::elem_of<T>(), FASIM_NONE, src0, src1, repeat, dst_blk, \
                       src0_blk, src1_blk, dst_rep, src0_rep, src1_rep);                                  \
    }
FASIM_COMPARE_TO_REGISTER(vcmp_lt)
FASIM_COMPARE_TO_REGISTER(vcmp_gt)
FASIM_COMPARE_TO_REGISTER(vcmp_eq)
FASIM_COMPARE_TO_REGISTER(vcmp_le)
FASIM_COMPARE_TO_REGISTER(vcmp_ge)
FASIM_COMPARE_TO_REGISTER(vcmp_ne)
#undef FASIM_COMPARE_TO_REGISTER

inline void set_cmpmask(__ubuf__ void* src) {
    fasim::issue(fasim::Op::set_cmpmask, FASIM_NONE, FASIM_NONE, src);
}
inline void get_cmpmask(__ubuf__ void* dst) {
    fasim::issue(fasim::Op::get_cmpmask, FASIM_NONE, FASIM_NONE, dst);
}

// src1 is a second operand, or the selection bits in mode 1.
template <class T>
void vsel(__ubuf__ T* dst, __ubuf__ T* src0, __ubuf__ void* src1, uint8_t repeat, uint8_t dst_blk,
          uint8_t src0_blk, uint8_t src1_blk, uint8_t dst_rep, uint8_t src0_rep, uint8_t src1_rep) {
    fasim::issue(fasim::Op::vsel, fasim::elem_of<T>(), FASIM_NONE, dst, src0, src1, repeat, dst_blk, src0_blk,
                 src1_blk, dst_rep, src0_rep, src1_rep);
}

template <class T>
void vsel(__ubuf__ T* dst, __ubuf__ T* src0, __ubuf__ void* src1, uint8_t repeat, uint8_t dst_blk,
          uint8_t src0_blk, uint8_t src1_blk, uint8_t dst_rep, uint8_t src0_rep, uint8_t src1_rep,
          uint8_t mode) {
    fasim::issue(fasim::Op::vsel, fasim::elem_of<T>(), FASIM_NONE, dst, src0, src1, repeat, dst_blk, src0_blk,
                 src1_blk, dst_rep, src0_rep, src1_rep, mode);
}
