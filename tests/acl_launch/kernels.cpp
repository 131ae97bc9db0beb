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
static int32_t not_modelled(const uint64_t*, uint32_t) { return hooks->api_fault(1, "a feature of tomorrow"); }

static const FasimKernel kKernels[] = {
    {"add_words", add_words, 4, 0},
    {"per_block", per_block, 2, 0},
    {"not_modelled", not_modelled, 0, 0},
};

static void bind(const FasimHooks* given) { hooks = given; }

extern "C" __attribute__((visibility("default"))) const FasimImage* fasim_image(void) {
    static const FasimImage image = {FASIM_ABI_VERSION, 0, nullptr, 3, 0, kKernels, bind};
    return &image;
}
