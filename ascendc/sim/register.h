// SPDX-License-Identifier: MIT OR Apache-2.0
// Registration of kernels in an image: a launch function that unpacks 8-byte slots into the kernel's
// parameters.
#pragma once
#include <iterator>
#include <tuple>
#include <utility>

#ifdef FASIM_TWIN
#include "twin.h"
#else
#include "pipe.h"
#endif

namespace fasim {

// Values of crates/dav-c220/src/machine/abi.rs: KernelType.
enum KernelType : uint32_t { kAivOnly = 0, kAicOnly = 1, kMixAic1Aiv2 = 2, kMixAic1Aiv1 = 3 };

template <class P>
constexpr uint32_t slots_of = static_cast<uint32_t>((sizeof(P) + 7) / 8);

// Parameters lie in consecutive slots; a structure passed by value takes as many as its bytes need.
template <class P>
P take(const uint64_t* slots, uint32_t& next) {
    static_assert(std::is_trivially_copyable_v<P>,
                  "a kernel parameter is a pointer, a number or a plain structure");
    P value;
    std::memcpy(&value, slots + next, sizeof value);
    next += slots_of<P>;
    return value;
}

template <class Kernel>
struct Signature;

template <class... Params>
struct Signature<void (*)(Params...)> {
    static constexpr uint32_t num_slots = (0u + ... + slots_of<Params>);

    static void call(void (*kernel)(Params...), [[maybe_unused]] const uint64_t* slots) {
        [[maybe_unused]] uint32_t next = 0;
        // Braces: elements are evaluated left to right.
        const std::tuple<Params...> params{take<Params>(slots, next)...};
        std::apply(kernel, params);
    }
};

// No C++ exception leaves an image.
template <auto kernel>
int32_t launch(const uint64_t* slots, uint32_t num_slots) {
    using Unpack = Signature<decltype(kernel)>;
    try {
        start_core();
        if (num_slots != Unpack::num_slots) {
            fault("launch: %u argument slots, the kernel takes %u", num_slots, Unpack::num_slots);
        }
        Unpack::call(kernel, slots);
    } catch (const Stop&) {
        return 1;
    } catch (...) {
        hooks->api_fault(kApi, "the kernel threw a C++ exception");
        return 1;
    }
    return 0;
}

template <auto kernel>
constexpr FasimKernel entry(const char* name, KernelType type) {
    return {name, &launch<kernel>, Signature<decltype(kernel)>::num_slots, type};
}

constexpr const char* kOpNames[] = {
#define X(name) #name,
#include "isa.def"
#undef X
};

template <size_t count>
constexpr FasimImage image(const FasimKernel (&kernels)[count]) {
    return {FASIM_ABI_VERSION,
            static_cast<uint32_t>(std::size(kOpNames)),
            kOpNames,
            static_cast<uint32_t>(count),
            0,
            kernels,
            &bind};
}

}  // namespace fasim

// The one symbol of an image. `kernels` is an array of FasimKernel.
#define FASIM_EXPORT_IMAGE(kernels)                                                         \
    extern "C" __attribute__((visibility("default"))) const FasimImage* fasim_image(void) { \
        static const FasimImage the_image = ::fasim::image(kernels);                        \
        return &the_image;                                                                  \
    }
