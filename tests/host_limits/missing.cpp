// SPDX-License-Identifier: MIT OR Apache-2.0
// An image written by hand: a kernel whose blocks wait for each other, all but the first, which never comes.
#include "machine_abi.h"

static const FasimHooks* hooks;

// Flag 3 of all groups (mode 0), set by MTE3.
static int32_t one_is_missing(const uint64_t*, uint32_t) {
    FasimInstr set = {};
    set.op = 0;
    set.num_args = 2;
    set.args[0] = 5;
    set.args[1] = 1 | 3 << 8;
    FasimInstr wait = {};
    wait.op = 1;
    wait.num_args = 1;
    wait.args[0] = 3;
    uint64_t block = 0;
    if (hooks->special(FASIM_BLOCK_IDX, &block) != 0) {
        return 1;
    }
    if (block == 0) {
        return 0;
    }
    return hooks->issue(&set) != 0 || hooks->issue(&wait) != 0;
}

static const char* const kOps[] = {"ffts_cross_core_sync", "wait_flag_dev"};
static const FasimKernel kKernels[] = {{"one_is_missing", one_is_missing, 0, 0}};

static void bind(const FasimHooks* given) { hooks = given; }

extern "C" __attribute__((visibility("default"))) const FasimImage* fasim_image(void) {
    static const FasimImage image = {FASIM_ABI_VERSION, 2, kOps, 1, 0, kKernels, bind};
    return &image;
}
