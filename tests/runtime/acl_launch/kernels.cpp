// SPDX-License-Identifier: MIT OR Apache-2.0
// An image written by hand, without the AscendC headers: kernels that move words through the machine's hooks.
#include "machine_abi.h"

static const FasimHooks* hooks;

static bool load(uint64_t addr, uint64_t* value) { return hooks->scalar_load(addr, 8, value) == 0; }
static bool store(uint64_t addr, uint64_t value) { return hooks->scalar_store(addr, 8, value) == 0; }

// dst[i] = src[i] + add for `words` words.
static int32_t add_words(const uint64_t* slots, uint32_t) {
    const uint64_t dst = slots[0], src = slots[1], words = slots[2], add = slots[3];
    for (uint64_t i = 0; i < words; ++i) {
        uint64_t value = 0;
        if (!load(src + 8 * i, &value) || !store(dst + 8 * i, value + add)) {
            return 1;
        }
    }
    return 0;
}

// dst[block] = block * first + second, both from tiling data.
static int32_t per_block(const uint64_t* slots, uint32_t) {
    const uint64_t dst = slots[0], tiling = slots[1];
    uint64_t first = 0, second = 0, block = 0;
    if (!load(tiling, &first) || !load(tiling + 8, &second) || hooks->special(FASIM_BLOCK_IDX, &block) != 0) {
        return 1;
    }
    return store(dst + 8 * block, block * first + second) ? 0 : 1;
}

// Something that the simulator does not model.
static int32_t not_modelled(const uint64_t*, uint32_t) {
    return hooks->api_fault(1, "a feature of tomorrow");
}

// What tests give otherwise to see a wrong table refused.
#ifndef NUM_KERNELS
#define NUM_KERNELS 4
#endif
#ifndef KERNELS
#define KERNELS kKernels
#endif
#ifndef NUM_OPS
#define NUM_OPS 0
#endif
#ifndef NAME
#define NAME "last"
#endif
#ifndef LAUNCH
#define LAUNCH not_modelled
#endif
#ifndef BIND
#define BIND bind
#endif

#ifdef WITH_UNDEFINED
extern "C" int32_t defined_nowhere(const uint64_t*, uint32_t);
static int32_t calls_nothing(const uint64_t* slots, uint32_t count) { return defined_nowhere(slots, count); }
#undef LAUNCH
#define LAUNCH calls_nothing
#endif

[[maybe_unused]] static const FasimKernel kKernels[] = {
    {"add_words", add_words, 4, 0},
    {"per_block", per_block, 2, 0},
    {"not_modelled", not_modelled, 0, 0},
    {NAME, LAUNCH, 0, 0},
};

[[maybe_unused]] static void bind(const FasimHooks* given) { hooks = given; }

extern "C" __attribute__((visibility("default"))) const FasimImage* fasim_image(void) {
    static const FasimImage image = {FASIM_ABI_VERSION, NUM_OPS, nullptr, NUM_KERNELS, 0, KERNELS, BIND};
    return &image;
}
