// SPDX-License-Identifier: MIT OR Apache-2.0
// fa_self_test: does a launch deliver its arguments, and do the flags between cores work? Launched before
// attention, and before kernels in which all cores meet, are trusted with a device: a toolchain and a driver
// that disagree about the address of the flags show here, and not as wrong numbers.
//
// Maths      block b: A_b[r][c] = b % 8 + 1 + r / 8, 16 x 16 half;  out[b] = A_b A_p^T + magic, f32. All
//            exact.
//            p = b, or with partner_distance > 0 the block so far behind b: its A is there when all groups
//            have met. The last block is late with its A, so that who does not wait for it reads something
//            else.
// Buffers    L1 A_b 512 B, A_p 512 B | L0A A_b 512 B | L0B A_p^T 512 B | L0C C 1024 B | UB rows of A 256 B,
//            rows of C 512 B
//            GM workspace, per block: A 512 B, C 1024 B;  out, per block: 1024 B
// Pipeline   AIV MTE3 --kOperandReady--> AIC: both AIVs have written their 8 rows of A
//            AIC FIX  --kAllOperandsReady, mode 0--> all AICs, with a partner: every group has done so
//            AIC FIX  --kProductReady--> AIV: C is in the workspace; each AIV adds the magic number to its 8
//            rows
//            So every kind of flag that flash_fwd crosses is crossed once in each direction, and with a
//            partner the one at which the groups of flash_fwd_matmul meet.
// Limits     MIX 1:2. tiling is SelfTestTilingData. With a partner all groups run at the same time.
#include "fa/copy.h"
#include "fa/memory.h"
#include "fa/mmad.h"
#include "fa/sync.h"
#include "families.h"

namespace fa {
namespace {

constexpr uint16_t kOperandReady = 0;
constexpr uint16_t kProductReady = 1;
constexpr uint16_t kAllOperandsReady = 2;
constexpr uint32_t kElements = kFractal * kFractal;
constexpr uint32_t kHalfElements = kElements / 2;  // an AIV's rows
constexpr uint32_t kOperandBytes = kElements * sizeof(half);
constexpr uint32_t kProductBytes = kElements * sizeof(float);
constexpr uint32_t kLateTurns = 512;  // some 10 us of the last block's vector cores

template <AscendC::HardEvent kEvent>
__aicore__ inline void hand_over() {
    AscendC::SetFlag<kEvent>(EVENT_ID0);
    AscendC::WaitFlag<kEvent>(EVENT_ID0);
}

template <typename T>
__aicore__ inline AscendC::GlobalTensor<T> tensor(GM_ADDR base, uint64_t offset_bytes) {
    AscendC::GlobalTensor<T> at;
    at.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(base + offset_bytes));
    return at;
}

// One block's part of the workspace.
struct Exchange {
    __aicore__ inline Exchange(GM_ADDR workspace, uint32_t block)
        : a(tensor<half>(workspace, uint64_t{block} * (kOperandBytes + kProductBytes))),
          c(tensor<float>(workspace, uint64_t{block} * (kOperandBytes + kProductBytes) + kOperandBytes)) {}

    AscendC::GlobalTensor<half> a;
    AscendC::GlobalTensor<float> c;
};

__aicore__ inline void run_aic(const SelfTestTilingData& t, const SelfTestOperands& gm) {
    const Exchange own(gm.workspace, block_index());
    const Exchange partner(gm.workspace, (block_index() + t.partner_distance) % num_blocks());
    CubeMemory<half> memory;
    const auto a_l1 = memory.l1.ReinterpretCast<half>();
    const auto partner_l1 = memory.l1[kOperandBytes].ReinterpretCast<half>();
    AscendC::CrossCoreWaitFlag<kCrossCoreMode>(kOperandReady);
    if (t.partner_distance != 0) {
        AscendC::CrossCoreSetFlag<kAllCoresMode, PIPE_FIX>(kAllOperandsReady);
        AscendC::CrossCoreWaitFlag<kAllCoresMode>(kAllOperandsReady);
    }
    copy_gm_to_l1_nz(a_l1, own.a, kFractal, kFractal, kFractal);
    copy_gm_to_l1_nz(partner_l1, partner.a, kFractal, kFractal, kFractal);
    hand_over<AscendC::HardEvent::MTE2_MTE1>();
    load_l0a(memory.l0a[0], a_l1, kFractal, kFractal, 0, kFractal);
    copy_l1_to_l0b_transposed(memory.l0b[0], partner_l1, kFractal, 0, 0, kFractal, kFractal);
    hand_over<AscendC::HardEvent::MTE1_M>();
    mmad(memory.l0c[0], memory.l0a[0], memory.l0b[0], kFractal, kFractal, kFractal, true);
    hand_over<AscendC::HardEvent::M_FIX>();
    copy_l0c_to_gm(own.c, memory.l0c[0], kFractal, kFractal, kFractal);
    AscendC::CrossCoreSetFlag<kCrossCoreMode, PIPE_FIX>(kProductReady);
}

__aicore__ inline void run_aiv(const SelfTestTilingData& t, const SelfTestOperands& gm) {
    const uint32_t block = block_index() / 2;
    const uint32_t first = sub_block_index() * kHalfElements;
    const Exchange own(gm.workspace, block);
    const auto out_gm = tensor<float>(gm.out, uint64_t{block} * kProductBytes);
    VectorMemory memory;
    const auto a_ub = memory.ub.ReinterpretCast<half>();
    const auto c_ub = memory.ub[kOperandBytes / 2].ReinterpretCast<float>();
    const auto value = static_cast<float>(block % 8 + 1 + sub_block_index());
    const bool is_late = block + 1 == num_blocks();
    for (uint32_t turn = 0; turn < (is_late ? kLateTurns : 1); ++turn) {
        AscendC::Duplicate(a_ub, static_cast<half>(value), static_cast<int32_t>(kHalfElements));
        AscendC::PipeBarrier<PIPE_V>();
    }
    hand_over<AscendC::HardEvent::V_MTE3>();
    AscendC::DataCopy(own.a[first], a_ub, kHalfElements);
    AscendC::CrossCoreSetFlag<kCrossCoreMode, PIPE_MTE3>(kOperandReady);
    AscendC::CrossCoreWaitFlag<kCrossCoreMode>(kProductReady);
    AscendC::DataCopy(c_ub, own.c[first], kHalfElements);
    hand_over<AscendC::HardEvent::MTE2_V>();
    AscendC::Adds(c_ub, c_ub, t.magic, static_cast<int32_t>(kHalfElements));
    hand_over<AscendC::HardEvent::V_MTE3>();
    AscendC::DataCopy(out_gm[first], c_ub, kHalfElements);
}

__aicore__ inline void self_test(const SelfTestOperands& gm) {
    const auto data = load_tiling<SelfTestTilingData>(gm.tiling);
    if ASCEND_IS_AIC {
        run_aic(data, gm);
    }
    if ASCEND_IS_AIV {
        run_aiv(data, gm);
    }
}

}  // namespace
}  // namespace fa

#undef FA_SELF_TEST
#define FA_SELF_TEST(name) FA_ENTRY(SELF_TEST, name, fa::self_test)
#include "variants.def"
