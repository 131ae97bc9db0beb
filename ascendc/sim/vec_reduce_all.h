// SPDX-License-Identifier: MIT OR Apache-2.0
// ReduceSum, ReduceMax, ReduceMin: one result of many repeats, composed of repeat reductions as CANN composes
// them (impl/basic_api/dav_c220/kernel_operator_vec_reduce_impl.h of asc-devkit). They need a TPipe for event
// ids.
#pragma once
#include "pipe.h"
#include "vec_reduce.h"

namespace fasim {

enum class Extreme { kMax, kMin };

template <class T>
constexpr uint32_t kLanes = AscendC::ONE_REPEAT_BYTE_SIZE / sizeof(T);

// Bits 0, 2, 4, ...: the values of (value, index) pairs.
inline MaskBits pair_mask(uint32_t pairs) {
    constexpr uint64_t even = 0x5555555555555555;
    const uint32_t low = pairs < 32 ? pairs : 32;
    const uint32_t high = pairs - low;
    const auto first = [](uint32_t n) { return n == 0 ? 0 : even >> (2 * (32 - n)); };
    return {first(high), first(low)};
}

inline MaskBits mask_of(uint64_t lanes, size_t bytes) { return contiguous_mask(lanes, bytes); }

// Results must be visible to later V and MTE3 instructions after the scalar unit wrote them.
inline void publish_scalars() {
    hand_over<AscendC::HardEvent::S_V>("ReduceMax, ReduceMin, ReduceSum");
    hand_over<AscendC::HardEvent::S_MTE3>("ReduceMax, ReduceMin, ReduceSum");
}

inline void await_vector() { hand_over<AscendC::HardEvent::V_S>("ReduceMax, ReduceMin, ReduceSum"); }

template <class T>
void extreme(Extreme which, T* dst, T* src, uint32_t repeats, uint32_t src_rep, MaskBits mask) {
    set_vector_mask(mask.high, mask.low);
    const uint8_t times = static_cast<uint8_t>(repeats);
    const uint16_t stride = static_cast<uint16_t>(src_rep);
    if (which == Extreme::kMax) {
        vcmax(dst, src, times, 1, 1, stride, Order_t::VALUE_INDEX);
    } else {
        vcmin(dst, src, times, 1, 1, stride, Order_t::VALUE_INDEX);
    }
}

// Calls step(first repeat, repeats) for as many repeats as an instruction takes.
template <class Step>
void in_repeat_steps(uint32_t repeats, Step step) {
    for (uint32_t done = 0; done < repeats; done += AscendC::MAX_REPEAT_TIMES) {
        const uint32_t rest = repeats - done;
        step(done, rest < AscendC::MAX_REPEAT_TIMES ? rest : AscendC::MAX_REPEAT_TIMES);
    }
}

// A (value, index) pair of each repeat of src.
template <class T>
void extreme_of_repeats(Extreme which, T* dst, T* src, uint32_t repeats, uint32_t src_rep, MaskBits mask) {
    in_repeat_steps(repeats, [&](uint32_t done, uint32_t times) {
        extreme(which, dst + done * 2, src + done * src_rep * AscendC::ONE_BLK_SIZE / sizeof(T), times,
                src_rep, mask);
    });
}

// Reduces packed pairs, `elements` of them counting both; returns the elements written.
template <class T>
uint32_t extreme_of_pairs(Extreme which, T* dst, T* src, uint32_t elements) {
    const uint32_t whole = elements / kLanes<T>;
    const uint32_t rest = elements % kLanes<T>;
    if (whole > 0) extreme(which, dst, src, whole, 8, pair_mask(kLanes<T> / 2));
    if (rest > 0) extreme(which, dst + whole * 2, src + whole * kLanes<T>, 1, 8, pair_mask(rest / 2));
    return 2 * (whole + (rest > 0 ? 1 : 0));
}

// Elements of tmp are addressed by number; indices come back as unsigned integers of the element's width.
template <class T>
class Scratch {
  public:
    using Index = std::conditional_t<sizeof(T) == 2, uint16_t, uint32_t>;

    explicit Scratch(T* base) : base_(base) {}
    T* at(uint32_t element) const { return base_ + element; }
    T value(uint32_t element) const { return scalar_load<T>(raw(at(element))); }
    uint32_t index(uint32_t element) const { return scalar_load<Index>(raw(at(element))); }
    // The next 32-byte boundary.
    static uint32_t align(uint32_t element) {
        constexpr uint32_t block = AscendC::ONE_BLK_SIZE / sizeof(T);
        return AscendC::AlignUp(element, block);
    }

  private:
    T* base_;
};

template <class T>
void store_pair(T* dst, T value, uint32_t index) {
    scalar_store(raw(dst), value);
    scalar_store(raw(dst + 1), static_cast<typename Scratch<T>::Index>(index));
}

template <class T>
void extreme_with_index(Extreme which, T* dst, T* src, T* tmp, uint32_t repeats, uint32_t src_rep,
                        MaskBits mask) {
    if (repeats == 1) return extreme(which, dst, src, 1, src_rep, mask);
    const Scratch<T> s(tmp);
    const uint32_t lanes = kLanes<T>;
    const uint32_t repeat_elements = AscendC::ONE_BLK_SIZE / static_cast<uint32_t>(sizeof(T)) * src_rep;
    extreme_of_repeats(which, tmp, src, repeats, src_rep, mask);
    AscendC::PipeBarrier<PIPE_V>();
    const uint32_t second = Scratch<T>::align(2 * repeats);
    const uint32_t elements = extreme_of_pairs(which, s.at(second), tmp, 2 * repeats);
    AscendC::PipeBarrier<PIPE_V>();
    uint32_t last = second;
    if (elements > 2) {
        // 192 KiB of source give at most 24 pairs here, less than a repeat.
        last = Scratch<T>::align(second + elements);
        extreme(which, s.at(last), s.at(second), 1, 8, pair_mask(elements / 2));
    }
    await_vector();
    const uint32_t in_last = s.index(last + 1);
    // Element of the first level's pair that won.
    const uint32_t pair = elements > 2 ? lanes * (in_last / 2) + s.index(second + in_last + 1) : in_last;
    store_pair(dst, s.value(last), s.index(pair + 1) + repeat_elements * (pair / 2));
    publish_scalars();
}

template <class T>
void extreme_value(Extreme which, T* dst, T* src, T* tmp, uint32_t repeats, uint32_t src_rep, MaskBits mask) {
    if (repeats == 1) {
        extreme(which, tmp, src, 1, src_rep, mask);
    } else {
        extreme_of_repeats(which, tmp, src, repeats, src_rep, mask);
        AscendC::PipeBarrier<PIPE_V>();
        const uint32_t elements = extreme_of_pairs(which, tmp, tmp, 2 * repeats);
        AscendC::PipeBarrier<PIPE_V>();
        extreme(which, tmp, tmp, 1, 8, pair_mask(elements / 2));
    }
    await_vector();
    scalar_store(raw(dst), scalar_load<T>(raw(tmp)));
    publish_scalars();
}

template <class T>
void reduce_extreme(Extreme which, T* dst, T* src, T* tmp, uint32_t repeats, uint32_t src_rep, MaskBits mask,
                    bool with_index) {
    static_assert(one_of<T, half, float>, "ReduceMax, ReduceMin: elements are half or float");
    if (repeats == 0) return;
    if (with_index) {
        extreme_with_index(which, dst, src, tmp, repeats, src_rep, mask);
    } else {
        extreme_value(which, dst, src, tmp, repeats, src_rep, mask);
    }
}

// Adds the incomplete last repeat to the result that dst holds.
template <class T>
void reduce_extreme_tail(Extreme which, T* dst, T* src, T* tmp, uint32_t whole_repeats, uint32_t tail,
                         bool with_index) {
    const Scratch<T> out(dst);
    const uint32_t done = whole_repeats * kLanes<T>;
    await_vector();
    const T body = out.value(0);
    const uint32_t body_index = with_index ? out.index(1) : 0;
    reduce_extreme(which, dst, src + done, tmp, 1, 8, mask_of(tail, sizeof(T)), with_index);
    await_vector();
    const T rest = out.value(0);
    const uint32_t rest_index = with_index ? out.index(1) : 0;
    scalar_store(raw(tmp), body);
    scalar_store(raw(tmp + 1), rest);
    hand_over<AscendC::HardEvent::S_V>("ReduceMax, ReduceMin");
    reduce_extreme(which, dst, tmp, tmp, 1, 8, mask_of(2, sizeof(T)), with_index);
    if (!with_index) return;
    await_vector();
    const uint32_t winner = out.index(1) == 1 ? done + rest_index : body_index;
    scalar_store(raw(dst + 1), static_cast<typename Scratch<T>::Index>(winner));
    publish_scalars();
}

template <class T>
void reduce_extreme_count(Extreme which, T* dst, T* src, T* tmp, int32_t count, bool with_index) {
    if (count <= 0) return;
    const uint32_t elements = static_cast<uint32_t>(count);
    const uint32_t whole = elements / kLanes<T>;
    const uint32_t tail = elements % kLanes<T>;
    if (whole == 0) {
        reduce_extreme(which, dst, src, tmp, 1, 8, mask_of(elements, sizeof(T)), with_index);
        return;
    }
    reduce_extreme(which, dst, src, tmp, whole, 8, mask_of(kLanes<T>, sizeof(T)), with_index);
    if (tail > 0) reduce_extreme_tail(which, dst, src, tmp, whole, tail, with_index);
}

template <class T>
void sum_of_repeats(T* dst, T* src, uint32_t repeats, uint32_t src_rep, MaskBits mask) {
    in_repeat_steps(repeats, [&](uint32_t done, uint32_t times) {
        set_vector_mask(mask.high, mask.low);
        vcadd(dst + done, src + done * src_rep * AscendC::ONE_BLK_SIZE / sizeof(T),
              static_cast<uint8_t>(times), 1, 1, static_cast<uint16_t>(src_rep), false);
    });
}

template <class T>
void reduce_sum(T* dst, T* src, T* tmp, uint32_t repeats, uint32_t src_rep, MaskBits mask) {
    static_assert(one_of<T, half, float>, "ReduceSum: elements are half or float");
    if (repeats == 0) return;
    sum_of_repeats(tmp, src, repeats, src_rep, mask);
    uint32_t partial = repeats;
    if (repeats > 1) {
        AscendC::PipeBarrier<PIPE_V>();
        begin_count(repeats);
        vcadd(tmp, tmp, 1, 1, 1, 8, false);
        set_mask_norm();
        AscendC::PipeBarrier<PIPE_V>();
        partial = AscendC::DivCeil(repeats, kLanes<T>);
    }
    if (partial > 1) return sum_of_repeats(dst, tmp, 1, 8, mask_of(partial, sizeof(T)));
    await_vector();
    scalar_store(raw(dst), scalar_load<T>(raw(tmp)));
    publish_scalars();
}

}  // namespace fasim

namespace AscendC {

#define FASIM_REDUCE_EXTREME(Call, which)                                                                    \
    template <typename T>                                                                                    \
    void Call(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& sharedTmpBuffer,   \
              const int32_t mask, const int32_t repeatTime, const int32_t srcRepStride,                      \
              bool calIndex = false) {                                                                       \
        fasim::reduce_extreme(which, dst.GetPhyAddr(), src.GetPhyAddr(), sharedTmpBuffer.GetPhyAddr(),       \
                              static_cast<uint32_t>(repeatTime), static_cast<uint32_t>(srcRepStride),        \
                              fasim::mask_of(static_cast<uint64_t>(mask), sizeof(T)), calIndex);             \
    }                                                                                                        \
    template <typename T>                                                                                    \
    void Call(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& sharedTmpBuffer,   \
              const uint64_t mask[], const int32_t repeatTime, const int32_t srcRepStride,                   \
              bool calIndex = false) {                                                                       \
        fasim::reduce_extreme(which, dst.GetPhyAddr(), src.GetPhyAddr(), sharedTmpBuffer.GetPhyAddr(),       \
                              static_cast<uint32_t>(repeatTime), static_cast<uint32_t>(srcRepStride),        \
                              {mask[1], mask[0]}, calIndex);                                                 \
    }                                                                                                        \
    template <typename T>                                                                                    \
    void Call(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& sharedTmpBuffer,   \
              const int32_t count, bool calIndex = false) {                                                  \
        fasim::reduce_extreme_count(which, dst.GetPhyAddr(), src.GetPhyAddr(), sharedTmpBuffer.GetPhyAddr(), \
                                    count, calIndex);                                                        \
    }
FASIM_REDUCE_EXTREME(ReduceMax, fasim::Extreme::kMax)
FASIM_REDUCE_EXTREME(ReduceMin, fasim::Extreme::kMin)
#undef FASIM_REDUCE_EXTREME

template <typename T>
void ReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& sharedTmpBuffer,
               const int32_t mask, const int32_t repeatTime, const int32_t srcRepStride) {
    fasim::reduce_sum(dst.GetPhyAddr(), src.GetPhyAddr(), sharedTmpBuffer.GetPhyAddr(),
                      static_cast<uint32_t>(repeatTime), static_cast<uint32_t>(srcRepStride),
                      fasim::mask_of(static_cast<uint64_t>(mask), sizeof(T)));
}

template <typename T>
void ReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& sharedTmpBuffer,
               const uint64_t mask[], const int32_t repeatTime, const int32_t srcRepStride) {
    fasim::reduce_sum(dst.GetPhyAddr(), src.GetPhyAddr(), sharedTmpBuffer.GetPhyAddr(),
                      static_cast<uint32_t>(repeatTime), static_cast<uint32_t>(srcRepStride),
                      {mask[1], mask[0]});
}

// The count form sums into the accumulator register and stores it with the scalar unit; the buffer is not
// used.
template <typename T, bool isSetMask = true>
void ReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& sharedTmpBuffer,
               const int32_t count) {
    static_assert(fasim::one_of<T, half, float>, "ReduceSum: elements are half or float");
    static_cast<void>(sharedTmpBuffer);
    if (count == 0) return;
    if constexpr (isSetMask) fasim::begin_count(count);
    vcadd(dst.GetPhyAddr(), src.GetPhyAddr(), 1, 1, 1, 8, true);
    fasim::await_vector();
    const uint64_t bits = static_cast<uint64_t>(get_acc_val());
    T sum;
    std::memcpy(&sum, &bits, sizeof sum);
    dst.SetValue(0, sum);
    fasim::publish_scalars();
    if constexpr (isSetMask) fasim::end_count();
}

// The extreme value and its index as the last WholeReduceMax or WholeReduceMin left them.
template <typename T>
void GetReduceMaxMinCount(T& maxMinValue, T& maxMinIndex) {
    const uint64_t both = static_cast<uint64_t>(get_max_min_cnt());
    const uint32_t value = static_cast<uint32_t>(both);
    const uint32_t index = static_cast<uint32_t>(both >> 32);
    std::memcpy(&maxMinValue, &value, sizeof maxMinValue);
    std::memcpy(&maxMinIndex, &index, sizeof maxMinIndex);
}

}  // namespace AscendC
