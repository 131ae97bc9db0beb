// SPDX-License-Identifier: MIT OR Apache-2.0
// The CPU twin on the machine: kernels compiled with CANN's own headers, whose intrinsics (declared in
// stub_fun.h) are forwarded to the machine through the definitions that our headers use. The build writes the
// forwarding functions, one per declaration.
//
// CANN's twin runs every core in a process of its own and keeps the core's identity in global variables. Here
// the cores of a launch are coroutines of one thread; they change only inside a hook, so the hooks keep each
// core's values on its own stack. A twin image is for a simulated device with one thread.
#pragma once
#include <tuple>
#include <type_traits>
#include <utility>

#include <kernel_operator.h>  // CANN's
#include "issue.h"

namespace fasim::target {

#include "intrinsics_move.h"
#include "intrinsics_scalar.h"
#include "intrinsics_vector.h"

// Cast has no function per intrinsic in our headers; it picks them from the same list.
#define X(Dst, Src, mode, name)                                                                           \
    inline void name(Dst* dst, Src* src, uint8_t repeat, uint16_t dst_blk, uint16_t src_blk,              \
                     uint16_t dst_rep, uint16_t src_rep) {                                                \
        ::fasim::issue(::fasim::Op::name, ::fasim::elem_of<Src>(), ::fasim::elem_dst_of<Dst, Src>(), dst, \
                       src, repeat, dst_blk, src_blk, dst_rep, src_rep);                                  \
    }
#include "casts.def"
X(half, int32_t, NONE, vconv_deq)
#undef X

}  // namespace fasim::target

namespace fasim {

// Overloads of CANN end in two flags, repeatStrideMode and strideSizeMode. Off, they are the form without
// them.
template <class Call, class Args, size_t... index>
auto call_without_modes(Call call, const Args& args, std::index_sequence<index...>)
    -> decltype(call(std::get<index>(args)...)) {
    return call(std::get<index>(args)...);
}

template <class Args, size_t first>
constexpr bool kEndsInModes = std::is_same_v<std::tuple_element_t<first, Args>, bool> &&
                              std::is_same_v<std::tuple_element_t<first + 1, Args>, bool>;

template <class Call, class Args, size_t... index>
constexpr bool is_callable(std::index_sequence<index...>) {
    return std::is_invocable_v<Call, std::tuple_element_t<index, Args>...>;
}

// The machine's address of what CANN's headers take for memory of the core.
uint64_t machine_address(const void* host);

// The offset in UB of an address in UB that CANN's headers pass as a number: the lower half of the host's.
uint32_t ub_offset(uint32_t lower_half);

template <class T>
T on_machine(T operand) {
    if constexpr (std::is_pointer_v<T>) {
        return reinterpret_cast<T>(machine_address(operand));
    } else {
        return operand;
    }
}

template <class Result, class Call, class... Operands>
Result forward(const char* name, Call call, Operands... operands) {
    using Args = std::tuple<Operands...>;
    constexpr size_t count = sizeof...(Operands);
    if constexpr (std::is_invocable_v<Call, Operands...>) {
        return call(on_machine(operands)...);
    } else if constexpr (count > 2) {
        using Shorter = std::make_index_sequence<count - 2>;
        if constexpr (kEndsInModes<Args, count - 2> && is_callable<Call, Args>(Shorter{})) {
            const Args args{on_machine(operands)...};
            if (!std::get<count - 2>(args) && !std::get<count - 1>(args)) {
                return call_without_modes(call, args, Shorter{});
            }
        }
    }
    char message[160];
    std::snprintf(message, sizeof message, "%s with these %zu operands, as CANN's headers call it", name,
                  count);
    not_modelled(message);
    throw Stop{};
}

// What CANN's twin keeps in global variables, of one core.
struct CoreState {
    int32_t core_type = g_coreType;
    int32_t task_ration = g_taskRation;
    int32_t sub_block = sub_block_idx;
    int64_t block = block_idx;
    AscendC::TPipe* pipe = g_tPipePtr;
    uint16_t deq_value = static_cast<uint16_t>(raw(g_deqValue));
    bool is_set_mask = AscendC::MaskSetter::Instance().GetMask();

    void restore() const;
};

void start_core();
void bind(const FasimHooks* table);

}  // namespace fasim

// The function of our headers that stands for an intrinsic, with its name: the first operands of
// fasim::forward.
#define FASIM_TARGET(name)                                                        \
    #name, [](auto... operands) -> decltype(::fasim::target::name(operands...)) { \
        return ::fasim::target::name(operands...);                                \
    }
