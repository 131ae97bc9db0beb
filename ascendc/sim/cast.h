// SPDX-License-Identifier: MIT OR Apache-2.0
// Cast. Each pair of types and rounding mode is an intrinsic of its own (casts.def).
#pragma once
#include "vec_arith.h"

namespace fasim {

struct CastRule {
    FasimElem dst;
    FasimElem src;
    AscendC::RoundMode mode;
    Op op;
};

constexpr CastRule kCastRules[] = {
#define X(dst, src, mode, name) {elem_of<dst>(), elem_of<src>(), AscendC::RoundMode::CAST_##mode, Op::name},
#include "casts.def"
#undef X
};

constexpr bool can_cast(FasimElem dst, FasimElem src) {
    for (const CastRule& rule : kCastRules) {
        if (rule.dst == dst && rule.src == src) return true;
    }
    return false;
}

// int32_t to half scales by SetDeqScale and ignores the rounding mode.
template <class T, class U>
constexpr bool kIsDequant = std::is_same_v<T, half> && std::is_same_v<U, int32_t>;

template <class T, class U>
void cast(T* dst, U* src, AscendC::RoundMode mode, uint8_t repeat, const AscendC::UnaryRepeatParams& p) {
    static_assert(kIsDequant<T, U> || can_cast(elem_of<T>(), elem_of<U>()),
                  "Cast: dav-c220 does not convert between these types (dav-c220.md 2.3)");
    if constexpr (kIsDequant<T, U>) {
        issue(Op::vconv_deq, elem_of<U>(), elem_of<T>(), dst, src, repeat, p.dstBlkStride, p.srcBlkStride,
              p.dstRepStride, p.srcRepStride);
    } else {
        for (const CastRule& rule : kCastRules) {
            if (rule.dst != elem_of<T>() || rule.src != elem_of<U>() || rule.mode != mode) continue;
            return issue(rule.op, elem_of<U>(), elem_dst_of<T, U>(), dst, src, repeat, p.dstBlkStride,
                         p.srcBlkStride, p.dstRepStride, p.srcRepStride);
        }
        fault("Cast: rounding mode %d does not exist between element types %d and %d of dav-c220",
              static_cast<int>(mode), static_cast<int>(elem_of<U>()), static_cast<int>(elem_of<T>()));
    }
}

}  // namespace fasim

namespace AscendC {

template <typename T, typename U, bool isSetMask = true>
void Cast(const LocalTensor<T>& dst, const LocalTensor<U>& src, const RoundMode& roundMode,
          const uint64_t mask, const uint8_t repeatTime, const UnaryRepeatParams& p) {
    // CANN measures the mask in the narrower type; the full masks of both are the same for the wider one.
    fasim::apply_mask<std::conditional_t<(sizeof(T) >= sizeof(U)), U, T>, isSetMask>(mask);
    fasim::cast(dst.GetPhyAddr(), src.GetPhyAddr(), roundMode, repeatTime, p);
}

template <typename T, typename U, bool isSetMask = true>
void Cast(const LocalTensor<T>& dst, const LocalTensor<U>& src, const RoundMode& roundMode,
          const uint64_t mask[], const uint8_t repeatTime, const UnaryRepeatParams& p) {
    fasim::apply_mask<T, isSetMask>(mask);
    fasim::cast(dst.GetPhyAddr(), src.GetPhyAddr(), roundMode, repeatTime, p);
}

template <typename T, typename U>
void Cast(const LocalTensor<T>& dst, const LocalTensor<U>& src, const RoundMode& roundMode,
          const uint32_t count) {
    using Wide = std::conditional_t<(sizeof(T) > sizeof(U)), T, U>;
    fasim::begin_count(count);
    fasim::cast(dst.GetPhyAddr(), src.GetPhyAddr(), roundMode, 1,
                {1, 1, fasim::count_stride<T, Wide>(), fasim::count_stride<U, Wide>()});
    fasim::end_count();
}

}  // namespace AscendC
