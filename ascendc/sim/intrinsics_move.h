// SPDX-License-Identifier: MIT OR Apache-2.0
// MTE1, MTE2, MTE3, Cube and Fixpipe intrinsics (dav-c220.md 3.1 to 3.6). Names and operand order are CANN's.
#pragma once
#include "issue.h"

// (dst, src, sid, nBurst, lenBurst, srcGap, dstGap), blocks of 32 bytes.
#define FASIM_BURST_COPY(name)                                                                       \
    inline void name(void* dst, void* src, uint8_t sid, uint16_t n_burst, uint16_t len_burst,        \
                     uint16_t src_gap, uint16_t dst_gap) {                                           \
        ::fasim::issue(::fasim::Op::name, FASIM_NONE, FASIM_NONE, dst, src, sid, n_burst, len_burst, \
                       src_gap, dst_gap);                                                            \
    }
FASIM_BURST_COPY(copy_gm_to_ubuf)
FASIM_BURST_COPY(copy_ubuf_to_gm)
FASIM_BURST_COPY(copy_ubuf_to_ubuf)
FASIM_BURST_COPY(copy_cbuf_to_gm)
#undef FASIM_BURST_COPY

inline void copy_gm_to_cbuf(__cbuf__ void* dst, __gm__ void* src, uint8_t sid, uint16_t n_burst,
                            uint16_t len_burst, uint16_t src_gap, uint16_t dst_gap, pad_t pad) {
    fasim::issue(fasim::Op::copy_gm_to_cbuf, FASIM_NONE, FASIM_NONE, dst, src, sid, n_burst, len_burst,
                 src_gap, dst_gap, pad);
}

// Bursts of bytes; gaps in bytes on the GM side, in 32-byte blocks on the UB side.
#define FASIM_ALIGN_COPY(name)                                                                       \
    inline void name(void* dst, void* src, uint8_t sid, uint16_t n_burst, uint32_t len_burst,        \
                     uint8_t left_pad, uint8_t right_pad, uint32_t src_gap, uint32_t dst_gap) {      \
        ::fasim::issue(::fasim::Op::name, FASIM_NONE, FASIM_NONE, dst, src, sid, n_burst, len_burst, \
                       left_pad, right_pad, src_gap, dst_gap);                                       \
    }
FASIM_ALIGN_COPY(copy_gm_to_ubuf_align_b8)
FASIM_ALIGN_COPY(copy_gm_to_ubuf_align_b16)
FASIM_ALIGN_COPY(copy_gm_to_ubuf_align_b32)
FASIM_ALIGN_COPY(copy_ubuf_to_gm_align_b8)
FASIM_ALIGN_COPY(copy_ubuf_to_gm_align_b16)
FASIM_ALIGN_COPY(copy_ubuf_to_gm_align_b32)
#undef FASIM_ALIGN_COPY

#define FASIM_ND2NZ(name)                                                                                    \
    template <class T>                                                                                       \
    void name(__cbuf__ T* dst, __gm__ T* src, uint8_t sid, uint16_t nd_num, uint16_t n_value,                \
              uint16_t d_value, uint16_t src_nd_matrix_stride, uint16_t src_d_value,                         \
              uint16_t dst_nz_c0_stride, uint16_t dst_nz_n_stride, uint16_t dst_nz_matrix_stride) {          \
        ::fasim::issue(::fasim::Op::name, ::fasim::elem_of<T>(), FASIM_NONE, dst, src, sid, nd_num, n_value, \
                       d_value, src_nd_matrix_stride, src_d_value, dst_nz_c0_stride, dst_nz_n_stride,        \
                       dst_nz_matrix_stride);                                                                \
    }
FASIM_ND2NZ(copy_gm_to_cbuf_multi_nd2nz_b8)
FASIM_ND2NZ(copy_gm_to_cbuf_multi_nd2nz_b16)
FASIM_ND2NZ(copy_gm_to_cbuf_multi_nd2nz_b32s)
#undef FASIM_ND2NZ

#define FASIM_LOAD_GM(name)                                                                              \
    template <class T>                                                                                   \
    void name(T* dst, __gm__ T* src, uint16_t base_idx, uint8_t repeat, uint16_t src_stride,             \
              uint16_t dst_gap, uint8_t sid, addr_cal_mode_t mode) {                                     \
        ::fasim::issue(::fasim::Op::name, ::fasim::elem_of<T>(), FASIM_NONE, dst, src, base_idx, repeat, \
                       src_stride, dst_gap, sid, mode);                                                  \
    }
FASIM_LOAD_GM(load_gm_to_cbuf)
FASIM_LOAD_GM(load_gm_to_ca)
FASIM_LOAD_GM(load_gm_to_cb)
#undef FASIM_LOAD_GM

#define FASIM_LOAD_2D(name)                                                                              \
    template <class T>                                                                                   \
    void name(T* dst, __cbuf__ T* src, uint16_t base_idx, uint8_t repeat, uint16_t src_stride,           \
              uint16_t dst_gap, uint8_t sid, bool transpose, addr_cal_mode_t mode) {                     \
        ::fasim::issue(::fasim::Op::name, ::fasim::elem_of<T>(), FASIM_NONE, dst, src, base_idx, repeat, \
                       src_stride, dst_gap, sid, transpose, mode);                                       \
    }
FASIM_LOAD_2D(load_cbuf_to_ca)
FASIM_LOAD_2D(load_cbuf_to_cb)
#undef FASIM_LOAD_2D

#define FASIM_LOAD_TRANSPOSE(name)                                                                    \
    template <class T>                                                                                \
    void name(T* dst, __cbuf__ T* src, uint16_t index, uint8_t repeat, uint16_t src_stride,           \
              uint16_t dst_gap, bool mode, uint16_t dst_frac_gap) {                                   \
        ::fasim::issue(::fasim::Op::name, ::fasim::elem_of<T>(), FASIM_NONE, dst, src, index, repeat, \
                       src_stride, dst_gap, mode, dst_frac_gap);                                      \
    }
FASIM_LOAD_TRANSPOSE(load_cbuf_to_ca_transpose)
FASIM_LOAD_TRANSPOSE(load_cbuf_to_cb_transpose)
#undef FASIM_LOAD_TRANSPOSE

#define FASIM_IMG2COL(name)                                                                                  \
    template <class T>                                                                                       \
    void name(T* dst, __cbuf__ T* src, uint16_t step_k, uint16_t step_m, uint16_t pos_k, uint16_t pos_m,     \
              uint8_t stride_w, uint8_t stride_h, uint8_t wk, uint8_t hk, uint8_t dilation_w,                \
              uint8_t dilation_h, bool filter_w, bool filter_h, bool transpose, bool fmatrix_ctrl,           \
              uint16_t size_channel) {                                                                       \
        ::fasim::issue(::fasim::Op::name, ::fasim::elem_of<T>(), FASIM_NONE, dst, src, step_k, step_m,       \
                       pos_k, pos_m, stride_w, stride_h, wk, hk, dilation_w, dilation_h, filter_w, filter_h, \
                       transpose, fmatrix_ctrl, size_channel);                                               \
    }
FASIM_IMG2COL(img2colv2_cbuf_to_ca)
FASIM_IMG2COL(img2colv2_cbuf_to_cb)
#undef FASIM_IMG2COL

inline void copy_cbuf_to_bt(uint64_t dst, __cbuf__ void* src, uint16_t conv_control, uint16_t n_burst,
                            uint16_t len_burst, uint16_t src_gap, uint16_t dst_gap) {
    fasim::issue(fasim::Op::copy_cbuf_to_bt, FASIM_NONE, FASIM_NONE, dst, src, conv_control, n_burst,
                 len_burst, src_gap, dst_gap);
}

inline void copy_cbuf_to_fbuf(__fbuf__ void* dst, __cbuf__ void* src, uint16_t n_burst, uint16_t len_burst,
                              uint16_t src_gap, uint16_t dst_gap) {
    fasim::issue(fasim::Op::copy_cbuf_to_fbuf, FASIM_NONE, FASIM_NONE, dst, src, n_burst, len_burst, src_gap,
                 dst_gap);
}

// The fill value is a half, a bfloat16_t (own mnemonic) or 32 bits; `elem` is the type of the value.
#define FASIM_FILL(name)                                                                          \
    template <class V>                                                                            \
    void name(void* dst, int64_t repeat, V value) {                                               \
        ::fasim::issue(::fasim::Op::name, ::fasim::elem_of<V>(), FASIM_NONE, dst, repeat, value); \
    }
FASIM_FILL(create_cbuf_matrix)
FASIM_FILL(create_ca_matrix)
FASIM_FILL(create_cb_matrix)
FASIM_FILL(create_cbuf_matrix_bf16)
FASIM_FILL(create_ca_matrix_bf16)
FASIM_FILL(create_cb_matrix_bf16)
#undef FASIM_FILL

// `elem` is the type of A, `elem_dst` that of C, even if they are the same.
template <class C, class A, class B>
void mad(__cc__ C* c, __ca__ A* a, __cb__ B* b, uint16_t m, uint16_t k, uint16_t n, uint8_t unit_flag,
         bool k_direction_align, bool cmatrix_source, bool cmatrix_init_val) {
    fasim::issue(fasim::Op::mad, fasim::elem_of<A>(), fasim::elem_of<C>(), c, a, b, m, k, n, unit_flag,
                 k_direction_align, cmatrix_source, cmatrix_init_val);
}

template <class C, class A, class B>
void mad(__cc__ C* c, __ca__ A* a, __cb__ B* b, uint64_t bias, uint16_t m, uint16_t k, uint16_t n,
         uint8_t unit_flag, bool k_direction_align, bool cmatrix_source, bool cmatrix_init_val) {
    fasim::issue(fasim::Op::mad, fasim::elem_of<A>(), fasim::elem_of<C>(), c, a, b, bias, m, k, n, unit_flag,
                 k_direction_align, cmatrix_source, cmatrix_init_val);
}

#define FASIM_FIXPIPE(name)                                                                              \
    template <class D, class S>                                                                          \
    void name(D* dst, __cc__ S* src, uint8_t sid, uint16_t n_size, uint16_t m_size, uint32_t dst_stride, \
              uint16_t src_stride, uint8_t unit_flag_mode, QuantMode_t quant_pre, uint8_t relu_pre,      \
              bool channel_split, bool nz2nd_en) {                                                       \
        ::fasim::issue(::fasim::Op::name, ::fasim::elem_of<S>(), ::fasim::elem_of<D>(), dst, src, sid,   \
                       n_size, m_size, dst_stride, src_stride, unit_flag_mode, quant_pre, relu_pre,      \
                       channel_split, nz2nd_en);                                                         \
    }
FASIM_FIXPIPE(copy_matrix_cc_to_gm)
FASIM_FIXPIPE(copy_matrix_cc_to_cbuf)
#undef FASIM_FIXPIPE
