// SPDX-License-Identifier: MIT OR Apache-2.0
// Reductions of a repeat, of its blocks and of its pairs (dav-c220.md 3.8).
#pragma once
#include "vec_arith.h"

namespace fasim {

constexpr Order_t order_of(AscendC::ReduceOrder order) { return static_cast<Order_t>(order); }

}  // namespace fasim

namespace AscendC {

// (dst, src, repeat, mask, dstRepStride, srcBlkStride, srcRepStride)
#define FASIM_REDUCE_CALL(Call, intrinsic)                                                    \
    template <typename T, bool isSetMask = true>                                              \
    void Call(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t repeatTime, \
              const int32_t mask, const int32_t dstRepStride, const int32_t srcBlkStride,     \
              const int32_t srcRepStride) {                                                   \
        static_assert(fasim::one_of<T, half, float>, #Call ": elements are half or float");   \
        fasim::apply_mask<T, isSetMask>(static_cast<uint64_t>(mask));                         \
        intrinsic(dst.GetPhyAddr(), src.GetPhyAddr(), fasim::repeat_count(#Call, repeatTime), \
                  static_cast<uint16_t>(dstRepStride), static_cast<uint16_t>(srcBlkStride),   \
                  static_cast<uint16_t>(srcRepStride));                                       \
    }                                                                                         \
    template <typename T, bool isSetMask = true>                                              \
    void Call(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t repeatTime, \
              const uint64_t mask[], const int32_t dstRepStride, const int32_t srcBlkStride,  \
              const int32_t srcRepStride) {                                                   \
        static_assert(fasim::one_of<T, half, float>, #Call ": elements are half or float");   \
        fasim::apply_mask<T, isSetMask>(mask);                                                \
        intrinsic(dst.GetPhyAddr(), src.GetPhyAddr(), fasim::repeat_count(#Call, repeatTime), \
                  static_cast<uint16_t>(dstRepStride), static_cast<uint16_t>(srcBlkStride),   \
                  static_cast<uint16_t>(srcRepStride));                                       \
    }

FASIM_REDUCE_CALL(BlockReduceSum, vcgadd)
FASIM_REDUCE_CALL(BlockReduceMax, vcgmax)
FASIM_REDUCE_CALL(BlockReduceMin, vcgmin)
FASIM_REDUCE_CALL(PairReduceSum, vcpadd)
#undef FASIM_REDUCE_CALL

// (dst, src, mask, repeat, dstRepStride, srcBlkStride, srcRepStride[, order])
#define FASIM_WHOLE_REDUCE(Call, intrinsic)                                                     \
    template <typename T, bool isSetMask = true>                                                \
    void Call(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t mask,         \
              const int32_t repeatTime, const int32_t dstRepStride, const int32_t srcBlkStride, \
              const int32_t srcRepStride, ReduceOrder order = ReduceOrder::ORDER_VALUE_INDEX) { \
        static_assert(fasim::one_of<T, half, float>, #Call ": elements are half or float");     \
        fasim::apply_mask<T, isSetMask>(static_cast<uint64_t>(mask));                           \
        intrinsic(dst.GetPhyAddr(), src.GetPhyAddr(), fasim::repeat_count(#Call, repeatTime),   \
                  static_cast<uint16_t>(dstRepStride), static_cast<uint16_t>(srcBlkStride),     \
                  static_cast<uint16_t>(srcRepStride), fasim::order_of(order));                 \
    }                                                                                           \
    template <typename T, bool isSetMask = true>                                                \
    void Call(const LocalTensor<T>& dst, const LocalTensor<T>& src, const uint64_t mask[],      \
              const int32_t repeatTime, const int32_t dstRepStride, const int32_t srcBlkStride, \
              const int32_t srcRepStride, ReduceOrder order = ReduceOrder::ORDER_VALUE_INDEX) { \
        static_assert(fasim::one_of<T, half, float>, #Call ": elements are half or float");     \
        fasim::apply_mask<T, isSetMask>(mask);                                                  \
        intrinsic(dst.GetPhyAddr(), src.GetPhyAddr(), fasim::repeat_count(#Call, repeatTime),   \
                  static_cast<uint16_t>(dstRepStride), static_cast<uint16_t>(srcBlkStride),     \
                  static_cast<uint16_t>(srcRepStride), fasim::order_of(order));                 \
    }

FASIM_WHOLE_REDUCE(WholeReduceMax, vcmax)
FASIM_WHOLE_REDUCE(WholeReduceMin, vcmin)
#undef FASIM_WHOLE_REDUCE

template <typename T, bool isSetMask = true>
void WholeReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t mask,
                    const int32_t repeatTime, const int32_t dstRepStride, const int32_t srcBlkStride,
                    const int32_t srcRepStride) {
    static_assert(fasim::one_of<T, half, float>, "WholeReduceSum: elements are half or float");
    fasim::apply_mask<T, isSetMask>(static_cast<uint64_t>(mask));
    vcadd(dst.GetPhyAddr(), src.GetPhyAddr(), fasim::repeat_count("WholeReduceSum", repeatTime),
          static_cast<uint16_t>(dstRepStride), static_cast<uint16_t>(srcBlkStride),
          static_cast<uint16_t>(srcRepStride), false);
}

template <typename T, bool isSetMask = true>
void WholeReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, const uint64_t mask[],
                    const int32_t repeatTime, const int32_t dstRepStride, const int32_t srcBlkStride,
                    const int32_t srcRepStride) {
    static_assert(fasim::one_of<T, half, float>, "WholeReduceSum: elements are half or float");
    fasim::apply_mask<T, isSetMask>(mask);
    vcadd(dst.GetPhyAddr(), src.GetPhyAddr(), fasim::repeat_count("WholeReduceSum", repeatTime),
          static_cast<uint16_t>(dstRepStride), static_cast<uint16_t>(srcBlkStride),
          static_cast<uint16_t>(srcRepStride), false);
}

// The same instruction; dstBlkStride has no effect.
template <typename T, bool isSetMask = true>
void RepeatReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t repeatTime,
                     const int32_t mask, const int32_t dstBlkStride, const int32_t srcBlkStride,
                     const int32_t dstRepStride, const int32_t srcRepStride) {
    static_cast<void>(dstBlkStride);
    WholeReduceSum<T, isSetMask>(dst, src, mask, repeatTime, dstRepStride, srcBlkStride, srcRepStride);
}

}  // namespace AscendC
