// SPDX-License-Identifier: MIT OR Apache-2.0
// Vector calls that move or convert: Duplicate, Copy, Brcb, Gather, GatherMask, Transpose, CreateVecIndex,
// Cast (dav-c220.md 3.7, 3.9).
#pragma once
#include "pipe.h"
#include "vec_arith.h"

namespace fasim {

// Moves between elements of one size do not look at the type.
template <class T>
using Bits = std::conditional_t<sizeof(T) == 2, uint16_t, uint32_t>;

template <class T>
Bits<T>* bits_of(T* pointer) {
    static_assert(sizeof(T) == 2 || sizeof(T) == 4, "elements have 2 or 4 bytes");
    return reinterpret_cast<Bits<T>*>(pointer);
}

template <class T>
constexpr bool kDuplicateTypes = one_of<T, half, bfloat16_t, int16_t, uint16_t, int32_t, uint32_t, float>;

template <class T>
void duplicate(T* dst, T value, uint8_t repeat, uint16_t dst_blk, uint8_t dst_rep) {
    static_assert(kDuplicateTypes<T>, "Duplicate: elements have 2 or 4 bytes");
    vector_dup(dst, value, repeat, dst_blk, 1, dst_rep, 0);
}

}  // namespace fasim

namespace AscendC {

template <typename T, bool isSetMask = true>
void Duplicate(const LocalTensor<T>& dst, const T& scalarValue, uint64_t mask, const uint8_t repeatTime,
               const uint16_t dstBlockStride, const uint8_t dstRepeatStride) {
    fasim::apply_mask<T, isSetMask>(mask);
    fasim::duplicate(dst.GetPhyAddr(), scalarValue, repeatTime, dstBlockStride, dstRepeatStride);
}

template <typename T, bool isSetMask = true>
void Duplicate(const LocalTensor<T>& dst, const T& scalarValue, uint64_t mask[], const uint8_t repeatTime,
               const uint16_t dstBlockStride, const uint8_t dstRepeatStride) {
    fasim::apply_mask<T, isSetMask>(mask);
    fasim::duplicate(dst.GetPhyAddr(), scalarValue, repeatTime, dstBlockStride, dstRepeatStride);
}

template <typename T>
void Duplicate(const LocalTensor<T>& dst, const T& scalarValue, const int32_t& count) {
    fasim::begin_count(count);
    fasim::duplicate(dst.GetPhyAddr(), scalarValue, 1, 1, 8);
    fasim::end_count_mask_first();
}

template <typename T, bool isSetMask = true>
void Copy(const LocalTensor<T>& dst, const LocalTensor<T>& src, const uint64_t mask, const uint8_t repeatTime,
          const CopyRepeatParams& p) {
    fasim::apply_mask<T, isSetMask>(mask);
    vcopy(fasim::bits_of(dst.GetPhyAddr()), fasim::bits_of(src.GetPhyAddr()), repeatTime, p.dstStride,
          p.srcStride, p.dstRepeatSize, p.srcRepeatSize);
}

template <typename T, bool isSetMask = true>
void Copy(const LocalTensor<T>& dst, const LocalTensor<T>& src, const uint64_t mask[],
          const uint8_t repeatTime, const CopyRepeatParams& p) {
    fasim::apply_mask<T, isSetMask>(mask);
    vcopy(fasim::bits_of(dst.GetPhyAddr()), fasim::bits_of(src.GetPhyAddr()), repeatTime, p.dstStride,
          p.srcStride, p.dstRepeatSize, p.srcRepeatSize);
}

template <typename T>
void Brcb(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const uint8_t repeatTime,
          const BrcbRepeatParams& p) {
    ResetMask();
    vbrcb(fasim::bits_of(dst.GetPhyAddr()), fasim::bits_of(src0.GetPhyAddr()), p.dstBlkStride, p.dstRepStride,
          repeatTime);
}

}  // namespace AscendC

namespace fasim {

// The instruction takes a 32-bit UB address.
template <class T>
uint32_t gather_base(const AscendC::LocalTensor<T>& src, uint32_t offset_bytes) {
    return static_cast<uint32_t>(raw(src.GetPhyAddr())) + offset_bytes;
}

}  // namespace fasim

namespace AscendC {

template <typename T>
void Gather(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<uint32_t>& srcOffset,
            const uint32_t srcBaseOffset, const uint64_t mask, const uint8_t repeatTime,
            const uint16_t dstRepStride) {
    fasim::apply_mask<T>(mask);
    vgather(fasim::bits_of(dst.GetPhyAddr()), srcOffset.GetPhyAddr(), fasim::gather_base(src, srcBaseOffset),
            dstRepStride, repeatTime);
}

template <typename T>
void Gather(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<uint32_t>& srcOffset,
            const uint32_t srcBaseOffset, const uint64_t mask[], const uint8_t repeatTime,
            const uint16_t dstRepStride) {
    fasim::apply_mask<T>(mask);
    vgather(fasim::bits_of(dst.GetPhyAddr()), srcOffset.GetPhyAddr(), fasim::gather_base(src, srcBaseOffset),
            dstRepStride, repeatTime);
}

// Whole repeats, then the rest under a mask.
template <typename T>
void Gather(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<uint32_t>& srcOffset,
            const uint32_t srcBaseOffset, const uint32_t count) {
    constexpr uint32_t lanes = ONE_REPEAT_BYTE_SIZE / sizeof(T);
    const uint32_t tail = count % lanes;
    const uint32_t done = count - tail;
    if (done > 0) {
        const uint8_t repeats = fasim::repeat_count("Gather", done / lanes);
        Gather(dst, src, srcOffset, srcBaseOffset, uint64_t{lanes}, repeats, 8);
    }
    if (tail > 0) Gather(dst[done], src, srcOffset[done], srcBaseOffset, uint64_t{tail}, 1, 8);
}

template <typename T>
void Gatherb(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<uint32_t>& offset,
             const uint8_t repeatTime, const GatherRepeatParams& p) {
    ResetMask();
    vgatherb(fasim::bits_of(dst.GetPhyAddr()), offset.GetPhyAddr(), fasim::gather_base(src0, 0),
             p.dstRepStride, p.dstBlkStride, repeatTime);
}

}  // namespace AscendC

namespace fasim {

template <class B>
void gather_mask(B* dst, B* src0, B* src1, uint8_t pattern, bool reduce_mode, uint32_t mask,
                 const AscendC::GatherMaskParams& p, uint64_t& kept) {
    if (reduce_mode) {
        set_mask_count();
    } else {
        set_mask_norm();
    }
    set_vector_mask(0, mask);
    vreducev2(dst, src0, src1, p.repeatTimes, p.src0BlockStride, pattern, p.src0RepeatStride,
              p.src1RepeatStride);
    // CANN reads the count at once, so on the chip the read waits for the instruction. The machine wants a
    // flag for it.
    hand_over<AscendC::HardEvent::V_S>("GatherMask");
    kept = static_cast<uint64_t>(get_rsvd_cnt());
    set_mask_norm();
}

}  // namespace fasim

namespace AscendC {

// Bits of `src1Pattern` choose the elements; `rsvdCnt` says how many were kept.
template <typename T, typename U>
void GatherMask(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<U>& src1Pattern,
                const bool reduceMode, const uint32_t mask, const GatherMaskParams& p, uint64_t& rsvdCnt) {
    static_assert(std::is_same_v<U, fasim::Bits<T>>,
                  "GatherMask: the pattern is uint16_t or uint32_t, as wide as T");
    fasim::gather_mask(fasim::bits_of(dst.GetPhyAddr()), fasim::bits_of(src0.GetPhyAddr()),
                       src1Pattern.GetPhyAddr(), 0, reduceMode, mask, p, rsvdCnt);
}

// One of the built-in patterns 1 to 7. The instruction still names a second source; it is not read.
template <typename T>
void GatherMask(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const uint8_t src1Pattern,
                const bool reduceMode, const uint32_t mask, const GatherMaskParams& p, uint64_t& rsvdCnt) {
    const LocalTensor<T> unread = src0[ONE_REPEAT_BYTE_SIZE * sizeof(T)];
    fasim::gather_mask(fasim::bits_of(dst.GetPhyAddr()), fasim::bits_of(src0.GetPhyAddr()),
                       fasim::bits_of(unread.GetPhyAddr()), src1Pattern, reduceMode, mask, p, rsvdCnt);
}

// One 16 x 16 tile of 16-bit elements.
template <typename T>
void Transpose(const LocalTensor<T>& dst, const LocalTensor<T>& src) {
    static_assert(fasim::one_of<T, int16_t, uint16_t, half>,
                  "Transpose: elements are int16_t, uint16_t or half");
    vtranspose(fasim::bits_of(dst.GetPhyAddr()), fasim::bits_of(src.GetPhyAddr()));
}

template <typename T>
void TransDataTo5HD(const LocalTensor<T> (&)[16], const LocalTensor<T> (&)[16], const TransDataTo5HDParams&) {
    fasim::not_modelled("TransDataTo5HD: the VA registers of scatter_vnchwconv are not modelled");
}

template <typename T>
void TransDataTo5HD(uint64_t[16], uint64_t[16], const TransDataTo5HDParams&) {
    fasim::not_modelled("TransDataTo5HD: the VA registers of scatter_vnchwconv are not modelled");
}

// firstValue, firstValue + 1, ...: the first block by the scalar unit, the rest of the first repeat and the
// later repeats by adding to what is there.
template <typename T>
void CreateVecIndex(LocalTensor<T> dst, const T& firstValue, uint32_t count) {
    static_assert(fasim::one_of<T, half, float, int16_t, int32_t>,
                  "CreateVecIndex: elements are half, float, int16_t or int32_t");
    constexpr uint32_t block = ONE_BLK_SIZE / sizeof(T);
    constexpr uint32_t repeat = ONE_REPEAT_BYTE_SIZE / sizeof(T);
    const UnaryRepeatParams params;
    for (uint32_t i = 0; i < (count < block ? count : block); ++i) {
        dst.SetValue(i, static_cast<T>(static_cast<float>(firstValue) + static_cast<float>(i)));
    }
    fasim::hand_over<HardEvent::S_V>("CreateVecIndex");
    const auto extend = [&](uint32_t done, uint32_t step, uint32_t end) {
        for (; done < end; done += step) {
            const uint32_t lanes = end - done < step ? end - done : step;
            Adds(dst[done], dst[done - step], static_cast<T>(step), uint64_t{lanes}, 1, params);
            PipeBarrier<PIPE_V>();
        }
    };
    extend(block, block, count < repeat ? count : repeat);
    extend(repeat, repeat, count);
}

inline void SetDeqScale(half scale) { set_deqscale(scale); }

}  // namespace AscendC
