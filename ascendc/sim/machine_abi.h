// SPDX-License-Identifier: MIT OR Apache-2.0
// How a host build of a kernel talks to the machine (crates/dav-c220/src/machine/abi.rs holds the same
// structures).
#pragma once
#include <cstdint>

#define FASIM_ABI_VERSION 1u
#define FASIM_MAX_ARGS 20

// Element type tags of overloads (crates/dav-c220/src/access/instr.rs: Elem).
enum FasimElem : uint8_t {
    FASIM_NONE = 0,
    FASIM_F16 = 1,
    FASIM_BF16 = 2,
    FASIM_F32 = 3,
    FASIM_S8 = 4,
    FASIM_U8 = 5,
    FASIM_S16 = 6,
    FASIM_U16 = 7,
    FASIM_S32 = 8,
    FASIM_U32 = 9,
    FASIM_S64 = 10,
    FASIM_U64 = 11,
};

// Address tags of memories: tag << 48 | byte offset (crates/dav-c220/src/access/addr.rs).
enum FasimSpace : uint64_t {
    FASIM_GM = 0,
    FASIM_UB = 1,
    FASIM_L1 = 2,
    FASIM_L0A = 3,
    FASIM_L0B = 4,
    FASIM_L0C = 5,
    FASIM_BT = 6,
    FASIM_FB = 7,
    FASIM_GM_PAST_L2 = 8,  // GM, by a way that leaves L2 out
};

// Special registers (crates/dav-c220/src/machine/abi.rs: Special).
enum FasimSpecial : uint32_t {
    FASIM_BLOCK_IDX = 0,
    FASIM_BLOCK_NUM = 1,
    FASIM_SUBBLOCK_ID = 2,
    FASIM_SUBBLOCK_DIM = 3,
    FASIM_CORE_TYPE = 4,
    FASIM_ACC_VAL = 5,
    FASIM_MAX_MIN_CNT = 6,
    FASIM_CTRL = 7,
    FASIM_SYS_CNT = 8,
    FASIM_RSVD_CNT = 9,
};

extern "C" {
struct FasimInstr {
    uint16_t op;  // index into FasimImage::ops
    uint8_t elem;
    uint8_t elem_dst;
    uint32_t num_args;
    uint64_t args[FASIM_MAX_ARGS];
};

// Each returns 0, or 1 when the core must stop.
struct FasimHooks {
    uint32_t abi_version;
    uint32_t reserved;
    int32_t (*issue)(const FasimInstr*);
    int32_t (*scalar_load)(uint64_t addr, uint32_t bytes, uint64_t* value);
    int32_t (*scalar_store)(uint64_t addr, uint32_t bytes, uint64_t value);
    int32_t (*special)(uint32_t which, uint64_t* value);
    int32_t (*api_fault)(uint32_t kind, const char* message);  // see crates/dav-c220/src/machine/abi.rs
};

struct FasimKernel {
    const char* name;
    int32_t (*launch)(const uint64_t* slots, uint32_t num_slots);
    uint32_t num_args;
    uint32_t kernel_type;  // crates/dav-c220/src/machine/abi.rs: KernelType (0 AIV only, 1 AIC only, 2 MIX
                           // 1:2, 3 MIX 1:1)
};

struct FasimImage {
    uint32_t abi_version;
    uint32_t num_ops;
    const char* const* ops;
    uint32_t num_kernels;
    uint32_t reserved;
    const FasimKernel* kernels;
    void (*bind)(const FasimHooks*);
};

const FasimImage* fasim_image(void);  // exported by every image
}
