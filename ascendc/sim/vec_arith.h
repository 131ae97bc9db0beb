// SPDX-License-Identifier: MIT OR Apache-2.0
// Element-wise vector calls (dav-c220.md 3.7): two operands, one operand and a scalar, one operand. Each has
// a form with a contiguous mask, one with mask bits, and one with an element count.
#pragma once
#include "intrinsics_vector.h"
#include "mask.h"
#include "params.h"

namespace fasim {

// Repeat stride of an operand in a count form: a narrower type fills less of a repeat.
template <class T, class Wide>
constexpr uint8_t count_stride() {
    return static_cast<uint8_t>(AscendC::DEFAULT_REPEAT_STRIDE * sizeof(T) / sizeof(Wide));
}

// The count forms of And and Or, the only calls of two operands that take uint16_t, hand it on as int16_t.
template <class T>
auto count_operand(const AscendC::LocalTensor<T>& tensor) {
    using Elem = std::conditional_t<std::is_same_v<T, uint16_t>, int16_t, T>;
    return reinterpret_cast<__ubuf__ Elem*>(tensor.GetPhyAddr());
}

}  // namespace fasim

namespace AscendC {

// FASIM_BINARY_CALL(call, intrinsic, message, element types...)
#define FASIM_BINARY_CALL(Call, intrinsic, message, ...)                                                   \
    template <typename T, bool isSetMask = true>                                                           \
    void Call(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,           \
              uint64_t mask, const uint8_t repeatTime, const BinaryRepeatParams& p) {                      \
        static_assert(fasim::one_of<T, __VA_ARGS__>, #Call ": elements are " message);                     \
        fasim::apply_mask<T, isSetMask>(mask);                                                             \
        intrinsic(dst.GetPhyAddr(), src0.GetPhyAddr(), src1.GetPhyAddr(), repeatTime, p.dstBlkStride,      \
                  p.src0BlkStride, p.src1BlkStride, p.dstRepStride, p.src0RepStride, p.src1RepStride);     \
    }                                                                                                      \
    template <typename T, bool isSetMask = true>                                                           \
    void Call(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,           \
              uint64_t mask[], const uint8_t repeatTime, const BinaryRepeatParams& p) {                    \
        static_assert(fasim::one_of<T, __VA_ARGS__>, #Call ": elements are " message);                     \
        fasim::apply_mask<T, isSetMask>(mask);                                                             \
        intrinsic(dst.GetPhyAddr(), src0.GetPhyAddr(), src1.GetPhyAddr(), repeatTime, p.dstBlkStride,      \
                  p.src0BlkStride, p.src1BlkStride, p.dstRepStride, p.src0RepStride, p.src1RepStride);     \
    }                                                                                                      \
    template <typename T>                                                                                  \
    void Call(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,           \
              const int32_t& count) {                                                                      \
        static_assert(fasim::one_of<T, __VA_ARGS__>, #Call ": elements are " message);                     \
        fasim::begin_count(count);                                                                         \
        intrinsic(fasim::count_operand(dst), fasim::count_operand(src0), fasim::count_operand(src1), 1, 1, \
                  1, 1, 8, 8, 8);                                                                          \
        fasim::end_count();                                                                                \
    }

FASIM_BINARY_CALL(Add, vadd, "half, float, int16_t or int32_t", half, float, int16_t, int32_t)
FASIM_BINARY_CALL(Sub, vsub, "half, float, int16_t or int32_t", half, float, int16_t, int32_t)
FASIM_BINARY_CALL(Mul, vmul, "half, float, int16_t or int32_t", half, float, int16_t, int32_t)
FASIM_BINARY_CALL(Max, vmax, "half, float, int16_t or int32_t", half, float, int16_t, int32_t)
FASIM_BINARY_CALL(Min, vmin, "half, float, int16_t or int32_t", half, float, int16_t, int32_t)
FASIM_BINARY_CALL(Div, vdiv, "half or float", half, float)
FASIM_BINARY_CALL(And, vand, "int16_t or uint16_t (reinterpret others)", int16_t, uint16_t)
FASIM_BINARY_CALL(Or, vor, "int16_t or uint16_t (reinterpret others)", int16_t, uint16_t)
FASIM_BINARY_CALL(AddRelu, vaddrelu, "half, float or int16_t", half, float, int16_t)
FASIM_BINARY_CALL(SubRelu, vsubrelu, "half, float or int16_t", half, float, int16_t)
FASIM_BINARY_CALL(FusedMulAdd, vmadd, "half or float", half, float)
FASIM_BINARY_CALL(FusedMulAddRelu, vmaddrelu, "half or float", half, float)
#undef FASIM_BINARY_CALL

}  // namespace AscendC

namespace fasim {

template <class T, class U>
void mul_add_dst(T* dst, U* src0, U* src1, uint8_t repeat, const AscendC::BinaryRepeatParams& p) {
    static_assert((one_of<T, half, float> && std::is_same_v<T, U>) ||
                      (std::is_same_v<T, float> && std::is_same_v<U, half>),
                  "MulAddDst: half, float, or float from half");
    vmla(dst, src0, src1, repeat, p.dstBlkStride, p.src0BlkStride, p.src1BlkStride, p.dstRepStride,
         p.src0RepStride, p.src1RepStride);
}

}  // namespace fasim

namespace AscendC {

template <typename T, typename U, bool isSetMask = true>
void MulAddDst(const LocalTensor<T>& dst, const LocalTensor<U>& src0, const LocalTensor<U>& src1,
               uint64_t mask, const uint8_t repeatTime, const BinaryRepeatParams& p) {
    fasim::apply_mask<T, isSetMask>(mask);
    fasim::mul_add_dst(dst.GetPhyAddr(), src0.GetPhyAddr(), src1.GetPhyAddr(), repeatTime, p);
}

template <typename T, typename U, bool isSetMask = true>
void MulAddDst(const LocalTensor<T>& dst, const LocalTensor<U>& src0, const LocalTensor<U>& src1,
               const uint64_t mask[], const uint8_t repeatTime, const BinaryRepeatParams& p) {
    fasim::apply_mask<T, isSetMask>(mask);
    fasim::mul_add_dst(dst.GetPhyAddr(), src0.GetPhyAddr(), src1.GetPhyAddr(), repeatTime, p);
}

template <typename T, typename U>
void MulAddDst(const LocalTensor<T>& dst, const LocalTensor<U>& src0, const LocalTensor<U>& src1,
               const int32_t& count) {
    constexpr uint8_t src_rep = fasim::count_stride<U, T>();
    fasim::begin_count(count);
    fasim::mul_add_dst(dst.GetPhyAddr(), src0.GetPhyAddr(), src1.GetPhyAddr(), 1,
                       {1, 1, 1, 8, src_rep, src_rep});
    fasim::end_count();
}

// The machine has no fused conversions.
template <typename... Args>
void AddReluCast(const Args&...) {
    fasim::not_modelled("AddReluCast: vaddreluconv is not modelled; use AddRelu and Cast");
}
template <typename... Args>
void SubReluCast(const Args&...) {
    fasim::not_modelled("SubReluCast: vsubreluconv is not modelled; use SubRelu and Cast");
}
template <typename... Args>
void MulCast(const Args&...) {
    fasim::not_modelled("MulCast: vmulconv is not modelled; use Mul and Cast");
}

#define FASIM_SCALAR_CALL(Call, intrinsic, message, ...)                                                   \
    template <typename T, bool isSetMask = true>                                                           \
    void Call(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalarValue, uint64_t mask,   \
              const uint8_t repeatTime, const UnaryRepeatParams& p) {                                      \
        static_assert(fasim::one_of<T, __VA_ARGS__>, #Call ": elements are " message);                     \
        fasim::apply_mask<T, isSetMask>(mask);                                                             \
        intrinsic(dst.GetPhyAddr(), src.GetPhyAddr(), scalarValue, repeatTime, p.dstBlkStride,             \
                  p.srcBlkStride, p.dstRepStride, p.srcRepStride);                                         \
    }                                                                                                      \
    template <typename T, bool isSetMask = true>                                                           \
    void Call(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalarValue, uint64_t mask[], \
              const uint8_t repeatTime, const UnaryRepeatParams& p) {                                      \
        static_assert(fasim::one_of<T, __VA_ARGS__>, #Call ": elements are " message);                     \
        fasim::apply_mask<T, isSetMask>(mask);                                                             \
        intrinsic(dst.GetPhyAddr(), src.GetPhyAddr(), scalarValue, repeatTime, p.dstBlkStride,             \
                  p.srcBlkStride, p.dstRepStride, p.srcRepStride);                                         \
    }                                                                                                      \
    template <typename T, bool isSetMask = true>                                                           \
    void Call(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalarValue,                  \
              const int32_t& count) {                                                                      \
        static_assert(fasim::one_of<T, __VA_ARGS__>, #Call ": elements are " message);                     \
        if constexpr (isSetMask) fasim::begin_count(count);                                                \
        intrinsic(dst.GetPhyAddr(), src.GetPhyAddr(), scalarValue, 1, 1, 1, 8, 8);                         \
        if constexpr (isSetMask) fasim::end_count_mask_first();                                            \
    }

FASIM_SCALAR_CALL(Adds, vadds, "half, float, int16_t or int32_t", half, float, int16_t, int32_t)
FASIM_SCALAR_CALL(Muls, vmuls, "half, float, int16_t or int32_t", half, float, int16_t, int32_t)
FASIM_SCALAR_CALL(Maxs, vmaxs, "half, float, int16_t or int32_t", half, float, int16_t, int32_t)
FASIM_SCALAR_CALL(Mins, vmins, "half, float, int16_t or int32_t", half, float, int16_t, int32_t)
FASIM_SCALAR_CALL(LeakyRelu, vlrelu, "half or float", half, float)
FASIM_SCALAR_CALL(ShiftLeft, vshl, "int16_t, uint16_t, int32_t or uint32_t", int16_t, uint16_t, int32_t,
                  uint32_t)
#undef FASIM_SCALAR_CALL

}  // namespace AscendC

namespace fasim {

template <class T>
void shift_right(T* dst, T* src, T distance, uint8_t repeat, const AscendC::UnaryRepeatParams& p,
                 bool round) {
    static_assert(one_of<T, int16_t, uint16_t, int32_t, uint32_t>,
                  "ShiftRight: elements are int16_t, uint16_t, int32_t or uint32_t");
    vshr(dst, src, distance, repeat, p.dstBlkStride, p.srcBlkStride, p.dstRepStride, p.srcRepStride, round);
}

template <class T, class U>
void axpy(T* dst, U* src, U scalar, uint8_t repeat, const AscendC::UnaryRepeatParams& p) {
    static_assert((one_of<T, half, float> && std::is_same_v<T, U>) ||
                      (std::is_same_v<T, float> && std::is_same_v<U, half>),
                  "Axpy: half, float, or float from half");
    vaxpy(dst, src, scalar, repeat, p.dstBlkStride, p.srcBlkStride, p.dstRepStride, p.srcRepStride);
}

}  // namespace fasim

namespace AscendC {

template <typename T, bool isSetMask = true>
void ShiftRight(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalarValue, uint64_t mask,
                const uint8_t repeatTime, const UnaryRepeatParams& p, bool roundEn = false) {
    fasim::apply_mask<T, isSetMask>(mask);
    fasim::shift_right(dst.GetPhyAddr(), src.GetPhyAddr(), scalarValue, repeatTime, p, roundEn);
}

template <typename T, bool isSetMask = true>
void ShiftRight(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalarValue, uint64_t mask[],
                const uint8_t repeatTime, const UnaryRepeatParams& p, bool roundEn = false) {
    fasim::apply_mask<T, isSetMask>(mask);
    fasim::shift_right(dst.GetPhyAddr(), src.GetPhyAddr(), scalarValue, repeatTime, p, roundEn);
}

template <typename T, bool isSetMask = true>
void ShiftRight(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalarValue,
                const int32_t& count) {
    if constexpr (isSetMask) fasim::begin_count(count);
    fasim::shift_right(dst.GetPhyAddr(), src.GetPhyAddr(), scalarValue, 1, {}, false);
    if constexpr (isSetMask) fasim::end_count_mask_first();
}

template <typename T, typename U, bool isSetMask = true>
void Axpy(const LocalTensor<T>& dst, const LocalTensor<U>& src, const U& scalarValue, uint64_t mask,
          const uint8_t repeatTime, const UnaryRepeatParams& p) {
    fasim::apply_mask<std::conditional_t<(sizeof(T) > sizeof(U)), T, U>, isSetMask>(mask);
    fasim::axpy(dst.GetPhyAddr(), src.GetPhyAddr(), scalarValue, repeatTime, p);
}

template <typename T, typename U, bool isSetMask = true>
void Axpy(const LocalTensor<T>& dst, const LocalTensor<U>& src, const U& scalarValue, uint64_t mask[],
          const uint8_t repeatTime, const UnaryRepeatParams& p) {
    fasim::apply_mask<T, isSetMask>(mask);
    fasim::axpy(dst.GetPhyAddr(), src.GetPhyAddr(), scalarValue, repeatTime, p);
}

template <typename T, typename U>
void Axpy(const LocalTensor<T>& dst, const LocalTensor<U>& src, const U& scalarValue, const int32_t& count) {
    fasim::begin_count(count);
    fasim::axpy(dst.GetPhyAddr(), src.GetPhyAddr(), scalarValue, 1, {1, 1, 8, fasim::count_stride<U, T>()});
    fasim::end_count_mask_first();
}

#define FASIM_UNARY_CALL(Call, intrinsic, message, ...)                                                      \
    template <typename T, bool isSetMask = true>                                                             \
    void Call(const LocalTensor<T>& dst, const LocalTensor<T>& src, uint64_t mask, const uint8_t repeatTime, \
              const UnaryRepeatParams& p) {                                                                  \
        static_assert(fasim::one_of<T, __VA_ARGS__>, #Call ": elements are " message);                       \
        fasim::apply_mask<T, isSetMask>(mask);                                                               \
        intrinsic(dst.GetPhyAddr(), src.GetPhyAddr(), repeatTime, p.dstBlkStride, p.srcBlkStride,            \
                  p.dstRepStride, p.srcRepStride);                                                           \
    }                                                                                                        \
    template <typename T, bool isSetMask = true>                                                             \
    void Call(const LocalTensor<T>& dst, const LocalTensor<T>& src, uint64_t mask[],                         \
              const uint8_t repeatTime, const UnaryRepeatParams& p) {                                        \
        static_assert(fasim::one_of<T, __VA_ARGS__>, #Call ": elements are " message);                       \
        fasim::apply_mask<T, isSetMask>(mask);                                                               \
        intrinsic(dst.GetPhyAddr(), src.GetPhyAddr(), repeatTime, p.dstBlkStride, p.srcBlkStride,            \
                  p.dstRepStride, p.srcRepStride);                                                           \
    }                                                                                                        \
    template <typename T>                                                                                    \
    void Call(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t& count) {                  \
        static_assert(fasim::one_of<T, __VA_ARGS__>, #Call ": elements are " message);                       \
        fasim::begin_count(count);                                                                           \
        intrinsic(dst.GetPhyAddr(), src.GetPhyAddr(), 1, 1, 1, 8, 8);                                        \
        fasim::end_count();                                                                                  \
    }

FASIM_UNARY_CALL(Exp, vexp, "half or float", half, float)
FASIM_UNARY_CALL(Ln, vln, "half or float", half, float)
FASIM_UNARY_CALL(Abs, vabs, "half or float", half, float)
FASIM_UNARY_CALL(Sqrt, vsqrt, "half or float", half, float)
FASIM_UNARY_CALL(Rsqrt, vrsqrt, "half or float", half, float)
FASIM_UNARY_CALL(Reciprocal, vrec, "half or float", half, float)
FASIM_UNARY_CALL(Relu, vrelu, "half, float or int32_t", half, float, int32_t)
FASIM_UNARY_CALL(Not, vnot, "int16_t or uint16_t (reinterpret others)", int16_t, uint16_t)
#undef FASIM_UNARY_CALL

}  // namespace AscendC
