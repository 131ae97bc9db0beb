// SPDX-License-Identifier: MIT OR Apache-2.0
// Sum of two vectors: the yardstick of what a vector kernel that only streams can reach.
//
// Maths      z[i] = x[i] + y[i]. Core c takes the elements from c * core_elements on, core_elements of them,
//            in tiles.
// UB         buffers x (x | y | z) of tile elements each, where the planner puts them (it proves that they
//            fit 188 160 bytes and do not overlap): two sources 256 bytes apart modulo 512 lie in different
//            bank groups (dav-c220.md 1.5).
// Pipeline   MTE2 -> V [x and y, buffers]   V -> MTE3 [z, buffers]
//            With one buffer the pipes of a core take turns; with two, loads, sums and stores of three tiles
//            overlap.
// Limits     AIV only. Any number of elements; z overlaps with nothing.
#include "fa/copy.h"
#include "fa/memory.h"
#include "fa/sync.h"
#include "families.h"

namespace fa {

template <typename T>
class AddKernel {
  public:
    __aicore__ inline AddKernel(const AddTilingData& t, const AddOperands& gm)
        : t_(t), in_ring_(t.buffers), out_ring_(t.buffers) {
        x_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.x));
        y_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.y));
        z_gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.z));
        if (t.past_l2 != 0) {
            x_gm_.SetL2CacheHint(AscendC::CacheMode::CACHE_MODE_DISABLE);
            y_gm_.SetL2CacheHint(AscendC::CacheMode::CACHE_MODE_DISABLE);
        }
        for (uint32_t i = 0; i < 2; ++i) {
            x_ub_[i] = memory_.ub[t.x_offset_bytes[i]].template ReinterpretCast<T>();
            y_ub_[i] = memory_.ub[t.y_offset_bytes[i]].template ReinterpretCast<T>();
            z_ub_[i] = memory_.ub[t.z_offset_bytes[i]].template ReinterpretCast<T>();
        }
    }

    __aicore__ inline void run() {
        const uint64_t first = block_index() * t_.core_elements;
        const uint64_t end = first + t_.core_elements < t_.n ? first + t_.core_elements : t_.n;
        for (uint64_t at = first; at < end; at += t_.tile) {
            add_tile(at, end - at < t_.tile ? static_cast<uint32_t>(end - at) : t_.tile);
        }
    }

  private:
    __aicore__ inline void add_tile(uint64_t at, uint32_t count) {
        const AscendC::DataCopyExtParams burst(1, count * static_cast<uint32_t>(sizeof(T)), 0, 0, 0);
        const AscendC::DataCopyPadExtParams<T> no_pad(false, 0, 0, T{});
        const uint32_t slot = in_ring_.acquire();
        AscendC::DataCopyPad(x_ub_[slot], x_gm_[at], burst, no_pad);
        AscendC::DataCopyPad(y_ub_[slot], y_gm_[at], burst, no_pad);
        in_ring_.publish(slot);
        in_ring_.await(slot);
        const uint32_t out = out_ring_.acquire();
        AscendC::Add(z_ub_[out], x_ub_[slot], y_ub_[slot], static_cast<int32_t>(count));
        in_ring_.release(slot);
        out_ring_.publish(out);
        out_ring_.await(out);
        AscendC::DataCopyPad(z_gm_[at], z_ub_[out], burst);
        out_ring_.release(out);
    }

    const AddTilingData& t_;
    VectorMemory memory_;  // before the rings, see fa/memory.h
    AscendC::GlobalTensor<T> x_gm_;
    AscendC::GlobalTensor<T> y_gm_;
    AscendC::GlobalTensor<T> z_gm_;
    AscendC::LocalTensor<T> x_ub_[2];
    AscendC::LocalTensor<T> y_ub_[2];
    AscendC::LocalTensor<T> z_ub_[2];
    Ring<AscendC::HardEvent::MTE2_V, AscendC::HardEvent::V_MTE2, 0, 2> in_ring_;
    Ring<AscendC::HardEvent::V_MTE3, AscendC::HardEvent::MTE3_V, 0, 2> out_ring_;
};

template <typename T>
__aicore__ inline void add(const AddOperands& gm) {
    const auto data = load_tiling<AddTilingData>(gm.tiling);
    AddKernel<T> kernel(data, gm);
    kernel.run();
}

}  // namespace fa

#undef FA_ADD
#define FA_ADD(name, T) FA_ENTRY(ADD, name, fa::add<T>)
#include "variants.def"
