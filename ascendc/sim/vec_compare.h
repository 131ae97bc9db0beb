// SPDX-License-Identifier: MIT OR Apache-2.0
// Compare, CompareScalar and Select (dav-c220.md 3.9).
#pragma once
#include "pipe.h"
#include "vec_move.h"

namespace fasim {

#define FASIM_BY_MODE(intrinsic, ...)           \
    switch (mode) {                             \
        case AscendC::CMPMODE::LT:              \
            return intrinsic##_lt(__VA_ARGS__); \
        case AscendC::CMPMODE::GT:              \
            return intrinsic##_gt(__VA_ARGS__); \
        case AscendC::CMPMODE::EQ:              \
            return intrinsic##_eq(__VA_ARGS__); \
        case AscendC::CMPMODE::LE:              \
            return intrinsic##_le(__VA_ARGS__); \
        case AscendC::CMPMODE::GE:              \
            return intrinsic##_ge(__VA_ARGS__); \
        case AscendC::CMPMODE::NE:              \
            return intrinsic##_ne(__VA_ARGS__); \
    }                                           \
    fault("Compare: mode %d, wanted LT to NE (0 to 5)", static_cast<int>(mode))

template <class T>
constexpr void check_compare_type() {
    static_assert(one_of<T, half, float, int32_t>, "Compare: elements are half or float, int32_t for EQ");
}

template <class T>
void check_compare_mode(AscendC::CMPMODE mode) {
    if (std::is_same_v<T, int32_t> && mode != AscendC::CMPMODE::EQ) {
        fault("Compare: mode %d of int32_t, dav-c220 compares int32_t with EQ only", static_cast<int>(mode));
    }
}

template <class T>
void compare(uint8_t* dst, T* src0, T* src1, AscendC::CMPMODE mode, uint8_t repeat,
             const AscendC::BinaryRepeatParams& p) {
    check_compare_type<T>();
    check_compare_mode<T>(mode);
    FASIM_BY_MODE(vcmpv, dst, src0, src1, repeat, p.dstBlkStride, p.src0BlkStride, p.src1BlkStride,
                  p.dstRepStride, p.src0RepStride, p.src1RepStride);
}

template <class T>
void compare_scalar(uint8_t* dst, T* src0, T src1, AscendC::CMPMODE mode, uint8_t repeat,
                    const AscendC::UnaryRepeatParams& p) {
    check_compare_type<T>();
    check_compare_mode<T>(mode);
    FASIM_BY_MODE(vcmpvs, dst, src0, src1, repeat, p.dstBlkStride, p.srcBlkStride, p.dstRepStride,
                  p.srcRepStride);
}

template <class T>
void compare_to_register(T* src0, T* src1, AscendC::CMPMODE mode, const AscendC::BinaryRepeatParams& p) {
    static_assert(one_of<T, half, float>, "Compare into CMPMASK: elements are half or float");
    FASIM_BY_MODE(vcmp, src0, src1, 1, p.dstBlkStride, p.src0BlkStride, p.src1BlkStride, p.dstRepStride,
                  p.src0RepStride, p.src1RepStride);
}
#undef FASIM_BY_MODE

// Count forms are cut into instructions of at most this many repeats, a multiple of 4 as the packed bits want
// it.
constexpr uint32_t kCompareRepeats = 252;

// The chip compares whole repeats. CANN checks the count in debug builds and drops the rest otherwise.
inline uint32_t whole_repeats(const char* call, uint32_t count, uint32_t lanes) {
    if (count % lanes != 0) fault("%s: count = %u, wanted a multiple of %u (256 bytes)", call, count, lanes);
    return count / lanes;
}

// Calls step(repeats already done, repeats of this instruction); the last may have none.
template <class Step>
void in_compare_steps(uint32_t repeats, Step step) {
    uint32_t done = 0;
    for (; repeats - done >= kCompareRepeats; done += kCompareRepeats) step(done, kCompareRepeats);
    step(done, repeats - done);
}

}  // namespace fasim

namespace AscendC {

// The mask is part of the signature and has no effect on this chip.
template <typename T, typename U, bool isSetMask = true>
void Compare(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,
             CMPMODE cmpMode, const uint64_t mask, uint8_t repeatTime, const BinaryRepeatParams& p) {
    static_cast<void>(mask);
    fasim::compare(reinterpret_cast<uint8_t*>(dst.GetPhyAddr()), src0.GetPhyAddr(), src1.GetPhyAddr(),
                   cmpMode, repeatTime, p);
}

template <typename T, typename U, bool isSetMask = true>
void Compare(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,
             CMPMODE cmpMode, const uint64_t mask[], uint8_t repeatTime, const BinaryRepeatParams& p) {
    static_cast<void>(mask);
    fasim::compare(reinterpret_cast<uint8_t*>(dst.GetPhyAddr()), src0.GetPhyAddr(), src1.GetPhyAddr(),
                   cmpMode, repeatTime, p);
}

template <typename T, typename U>
void Compare(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,
             CMPMODE cmpMode, uint32_t count) {
    constexpr uint32_t lanes = ONE_REPEAT_BYTE_SIZE / sizeof(T);
    fasim::in_compare_steps(
        fasim::whole_repeats("Compare", count, lanes), [&](uint32_t done, uint32_t repeats) {
            fasim::compare(reinterpret_cast<uint8_t*>(dst.GetPhyAddr()) + done * lanes / 8,
                           src0.GetPhyAddr(done * lanes), src1.GetPhyAddr(done * lanes), cmpMode,
                           static_cast<uint8_t>(repeats), {});
        });
}

// One repeat into CMPMASK.
template <typename T, bool isSetMask = true>
void Compare(const LocalTensor<T>& src0, const LocalTensor<T>& src1, CMPMODE cmpMode, const uint64_t mask,
             const BinaryRepeatParams& p) {
    fasim::apply_mask<T, isSetMask>(mask);
    fasim::compare_to_register(src0.GetPhyAddr(), src1.GetPhyAddr(), cmpMode, p);
}

template <typename T, bool isSetMask = true>
void Compare(const LocalTensor<T>& src0, const LocalTensor<T>& src1, CMPMODE cmpMode, const uint64_t mask[],
             const BinaryRepeatParams& p) {
    fasim::apply_mask<T, isSetMask>(mask);
    fasim::compare_to_register(src0.GetPhyAddr(), src1.GetPhyAddr(), cmpMode, p);
}

template <typename T, typename U, bool isSetMask = true>
void CompareScalar(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const T src1Scalar, CMPMODE cmpMode,
                   const uint64_t mask, uint8_t repeatTime, const UnaryRepeatParams& p) {
    static_cast<void>(mask);
    fasim::compare_scalar(reinterpret_cast<uint8_t*>(dst.GetPhyAddr()), src0.GetPhyAddr(), src1Scalar,
                          cmpMode, repeatTime, p);
}

template <typename T, typename U, bool isSetMask = true>
void CompareScalar(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const T src1Scalar, CMPMODE cmpMode,
                   const uint64_t mask[], uint8_t repeatTime, const UnaryRepeatParams& p) {
    static_cast<void>(mask);
    fasim::compare_scalar(reinterpret_cast<uint8_t*>(dst.GetPhyAddr()), src0.GetPhyAddr(), src1Scalar,
                          cmpMode, repeatTime, p);
}

template <typename T, typename U>
void CompareScalar(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const T src1Scalar, CMPMODE cmpMode,
                   uint32_t count) {
    constexpr uint32_t lanes = ONE_REPEAT_BYTE_SIZE / sizeof(T);
    fasim::in_compare_steps(
        fasim::whole_repeats("CompareScalar", count, lanes), [&](uint32_t done, uint32_t repeats) {
            fasim::compare_scalar(reinterpret_cast<uint8_t*>(dst.GetPhyAddr()) + done * lanes / 8,
                                  src0.GetPhyAddr(done * lanes), src1Scalar, cmpMode,
                                  static_cast<uint8_t>(repeats), {});
        });
}

template <typename T>
void SetCmpMask(const LocalTensor<T>& src) {
    set_cmpmask(src.GetPhyAddr());
}

template <typename T>
void GetCmpMask(const LocalTensor<T>& dst) {
    get_cmpmask(dst.GetPhyAddr());
}

}  // namespace AscendC

namespace fasim {

constexpr uint64_t kSelectLanes = 32;  // lanes of the operand in the tail of UB

template <class V>
V* select_tail() {
    AscendC::TPipe* const pipe = find_pipe();
    if (pipe != nullptr) pipe->claim_select_tail();
    return reinterpret_cast<V*>(
        local_address(static_cast<uint8_t>(AscendC::TPosition::VECCALC), kSelectTailOffset));
}

// Spreads `value` over the operand in the tail of UB and loads CMPMASK from it. The caller has set the lanes.
template <class V>
void load_cmpmask(V value) {
    V* const tail = select_tail<V>();
    vector_dup(tail, value, 1, 1, 1, 8, 0);
    AscendC::PipeBarrier<PIPE_V>();
    set_cmpmask(tail);
    AscendC::PipeBarrier<PIPE_V>();
}

template <class T, class U>
uint32_t mask_offset(const AscendC::LocalTensor<U>& mask) {
    return static_cast<uint32_t>(raw(mask.GetPhyAddr()));
}

template <class T>
void select(T* dst, T* src0, void* src1, AscendC::SELMODE mode, uint8_t repeat,
            const AscendC::BinaryRepeatParams& p) {
    static_assert(one_of<T, half, float>, "Select: elements are half or float");
    if (mode == AscendC::SELMODE::VSEL_CMPMASK_SPR) {
        vsel(dst, src0, src1, repeat, p.dstBlkStride, p.src0BlkStride, p.src1BlkStride, p.dstRepStride,
             p.src0RepStride, p.src1RepStride);
    } else {
        vsel(dst, src0, src1, repeat, p.dstBlkStride, p.src0BlkStride, p.src1BlkStride, p.dstRepStride,
             p.src0RepStride, p.src1RepStride, static_cast<uint8_t>(mode));
    }
}

// What CMPMASK must hold before vsel: the bits themselves (mode 0), or the UB address of the bits (mode 2).
template <class U>
void prepare_select(const AscendC::LocalTensor<U>& mask, AscendC::SELMODE mode) {
    if (mode == AscendC::SELMODE::VSEL_CMPMASK_SPR) {
        set_cmpmask(mask.GetPhyAddr());
        AscendC::PipeBarrier<PIPE_V>();
    } else if (mode == AscendC::SELMODE::VSEL_TENSOR_TENSOR_MODE) {
        apply_mask<uint32_t>(kSelectLanes);
        load_cmpmask(mask_offset<uint32_t>(mask));
    } else {
        fault("Select of two tensors: mode %d, wanted VSEL_CMPMASK_SPR or VSEL_TENSOR_TENSOR_MODE",
              static_cast<int>(mode));
    }
}

inline void check_scalar_mode(AscendC::SELMODE mode) {
    if (mode != AscendC::SELMODE::VSEL_TENSOR_SCALAR_MODE) {
        fault("Select of a tensor and a scalar: mode %d, wanted VSEL_TENSOR_SCALAR_MODE",
              static_cast<int>(mode));
    }
}

}  // namespace fasim

namespace AscendC {

#define FASIM_SELECT(MaskType)                                                                            \
    template <typename T, typename U, bool isSetMask = true>                                              \
    void Select(const LocalTensor<T>& dst, const LocalTensor<U>& selMask, const LocalTensor<T>& src0,     \
                const LocalTensor<T>& src1, SELMODE selMode, MaskType, uint8_t repeatTime,                \
                const BinaryRepeatParams& p) {                                                            \
        fasim::prepare_select(selMask, selMode);                                                          \
        fasim::apply_mask<T>(mask);                                                                       \
        fasim::select(dst.GetPhyAddr(), src0.GetPhyAddr(), src1.GetPhyAddr(), selMode, repeatTime, p);    \
    }                                                                                                     \
    template <typename T, typename U, bool isSetMask = true>                                              \
    void Select(const LocalTensor<T>& dst, const LocalTensor<U>& selMask, const LocalTensor<T>& src0,     \
                T src1, SELMODE selMode, MaskType, uint8_t repeatTime, const BinaryRepeatParams& p) {     \
        fasim::check_scalar_mode(selMode);                                                                \
        fasim::apply_mask<T>(fasim::kSelectLanes);                                                        \
        fasim::load_cmpmask(src1);                                                                        \
        fasim::apply_mask<T>(mask);                                                                       \
        fasim::select(dst.GetPhyAddr(), src0.GetPhyAddr(), selMask.GetPhyAddr(), selMode, repeatTime, p); \
    }
FASIM_SELECT(uint64_t mask)
FASIM_SELECT(uint64_t mask[])
#undef FASIM_SELECT

template <typename T, typename U>
void Select(const LocalTensor<T>& dst, const LocalTensor<U>& selMask, const LocalTensor<T>& src0,
            const LocalTensor<T>& src1, SELMODE selMode, uint32_t count) {
    set_mask_count();
    if (selMode == SELMODE::VSEL_TENSOR_TENSOR_MODE) {
        set_vector_mask(0, fasim::kSelectLanes);
        fasim::load_cmpmask(fasim::mask_offset<uint32_t>(selMask));
    } else {
        fasim::prepare_select(selMask, selMode);
    }
    set_vector_mask(0, count);
    fasim::select(dst.GetPhyAddr(), src0.GetPhyAddr(), src1.GetPhyAddr(), selMode, 1, {});
    PipeBarrier<PIPE_V>();
    fasim::end_count_mask_first();
}

template <typename T, typename U>
void Select(const LocalTensor<T>& dst, const LocalTensor<U>& selMask, const LocalTensor<T>& src0, T src1,
            SELMODE selMode, uint32_t count) {
    fasim::check_scalar_mode(selMode);
    set_mask_count();
    set_vector_mask(0, fasim::kSelectLanes);
    fasim::load_cmpmask(src1);
    set_vector_mask(0, count);
    fasim::select(dst.GetPhyAddr(), src0.GetPhyAddr(), selMask.GetPhyAddr(), selMode, 1, {});
    fasim::end_count_mask_first();
}

// With CMPMASK as the caller has left it.
template <typename T, SELMODE selMode>
void Select(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,
            uint8_t repeatTime, const BinaryRepeatParams& p) {
    fasim::select(dst.GetPhyAddr(), src0.GetPhyAddr(), src1.GetPhyAddr(), selMode, repeatTime, p);
}

template <typename T, typename U>
void Select(const LocalTensor<T>& dst, const LocalTensor<U>& selMask, const LocalTensor<T>& src0,
            uint8_t repeatTime, const BinaryRepeatParams& p) {
    fasim::select(dst.GetPhyAddr(), src0.GetPhyAddr(), selMask.GetPhyAddr(), SELMODE::VSEL_TENSOR_SCALAR_MODE,
                  repeatTime, p);
}

}  // namespace AscendC
