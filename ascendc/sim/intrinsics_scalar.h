// SPDX-License-Identifier: MIT OR Apache-2.0
// Flags, barriers, masks and registers (dav-c220.md 3.10, 4.1, 4.3). Names and operand order are CANN's.
#pragma once
#include "issue.h"

#define FASIM_PLAIN(name) \
    inline void name() { ::fasim::issue(::fasim::Op::name, FASIM_NONE, FASIM_NONE); }
#define FASIM_REGISTER(name) \
    inline void name(uint64_t value) { ::fasim::issue(::fasim::Op::name, FASIM_NONE, FASIM_NONE, value); }

FASIM_PLAIN(set_mask_norm)
FASIM_PLAIN(set_mask_count)
FASIM_PLAIN(set_atomic_none)
FASIM_PLAIN(set_atomic_add)
FASIM_PLAIN(set_atomic_max)
FASIM_PLAIN(set_atomic_min)
FASIM_PLAIN(set_atomic_f32)
FASIM_PLAIN(set_atomic_f16)
FASIM_PLAIN(set_atomic_bf16)
FASIM_PLAIN(set_atomic_s32)
FASIM_PLAIN(set_atomic_s16)
FASIM_PLAIN(set_atomic_s8)
FASIM_REGISTER(set_ctrl)
FASIM_REGISTER(set_fmatrix)
FASIM_REGISTER(set_padding)
FASIM_REGISTER(set_l3d_rpt)
FASIM_REGISTER(set_nd_para)
FASIM_REGISTER(set_quant_pre)
FASIM_REGISTER(set_fpc)
FASIM_REGISTER(set_mov_pad_val)

#undef FASIM_PLAIN
#undef FASIM_REGISTER

inline void set_flag(pipe_t src, pipe_t dst, uint64_t event) {
    fasim::issue(fasim::Op::set_flag, FASIM_NONE, FASIM_NONE, src, dst, event);
}

inline void wait_flag(pipe_t src, pipe_t dst, uint64_t event) {
    fasim::issue(fasim::Op::wait_flag, FASIM_NONE, FASIM_NONE, src, dst, event);
}

inline void pipe_barrier(pipe_t pipe) { fasim::issue(fasim::Op::pipe_barrier, FASIM_NONE, FASIM_NONE, pipe); }

inline void ffts_cross_core_sync(pipe_t pipe, uint64_t config) {
    fasim::issue(fasim::Op::ffts_cross_core_sync, FASIM_NONE, FASIM_NONE, pipe, config);
}

inline void wait_flag_dev(uint64_t flag_id) {
    fasim::issue(fasim::Op::wait_flag_dev, FASIM_NONE, FASIM_NONE, flag_id);
}

inline void set_vector_mask(uint64_t high, uint64_t low) {
    fasim::issue(fasim::Op::set_vector_mask, FASIM_NONE, FASIM_NONE, high, low);
}

inline void set_deqscale(half scale) { fasim::issue(fasim::Op::set_deqscale, FASIM_F16, FASIM_NONE, scale); }
inline void set_deqscale(uint64_t config) {
    fasim::issue(fasim::Op::set_deqscale, FASIM_U64, FASIM_NONE, config);
}

inline void dcci(__gm__ void* dst, uint64_t entire) {
    fasim::issue(fasim::Op::dcci, FASIM_NONE, FASIM_NONE, dst, entire);
}
inline void dcci(__gm__ void* dst, uint64_t entire, uint64_t type) {
    fasim::issue(fasim::Op::dcci, FASIM_NONE, FASIM_NONE, dst, entire, type);
}
inline void dsb(mem_dsb_t scope) { fasim::issue(fasim::Op::dsb, FASIM_NONE, FASIM_NONE, scope); }

inline int64_t get_block_idx() { return static_cast<int64_t>(fasim::special(FASIM_BLOCK_IDX)); }
inline int64_t get_block_num() { return static_cast<int64_t>(fasim::special(FASIM_BLOCK_NUM)); }
inline int64_t get_subblockid() { return static_cast<int64_t>(fasim::special(FASIM_SUBBLOCK_ID)); }
inline int64_t get_subblockdim() { return static_cast<int64_t>(fasim::special(FASIM_SUBBLOCK_DIM)); }
inline int64_t get_acc_val() { return static_cast<int64_t>(fasim::special(FASIM_ACC_VAL)); }
inline int64_t get_max_min_cnt() { return static_cast<int64_t>(fasim::special(FASIM_MAX_MIN_CNT)); }
inline int64_t get_ctrl() { return static_cast<int64_t>(fasim::special(FASIM_CTRL)); }
inline int64_t get_sys_cnt() { return static_cast<int64_t>(fasim::special(FASIM_SYS_CNT)); }
inline int64_t get_rsvd_cnt() { return static_cast<int64_t>(fasim::special(FASIM_RSVD_CNT)); }
