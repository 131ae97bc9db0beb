// SPDX-License-Identifier: MIT OR Apache-2.0
// One vector instruction, many times: cycles per repeat, start-up cost and bank conflicts of single
// instructions.
//
// Maths      `count` times dst = op(src0, src1) on `repeat` repeats of 256 bytes, operands where the tiling
//            data says and with its strides; all of UB holds ones before. Then the bytes from dst on, 256 for
//            each repeat, go to GM.
// UB         all 188 160 bytes: the caller places dst, src0 and src1
// Pipeline   V alone while it is timed, with a barrier between two instructions if `barrier` is set. Without
//            one, instructions that write the same bytes are unordered, which a simulator that checks races
//            reports.
// Limits     AIV only, one core. For calibration.
#include "fa/copy.h"
#include "fa/memory.h"
#include "families.h"

namespace fa {

// Values of VectorStreamTilingData::op (src/baseline/vector_stream.rs).
enum class VectorOp : uint32_t { kAdd, kSub, kMul, kDiv, kMax, kMuls, kMaxs, kExp, kLn, kRelu, kRsqrt };

template <typename T>
class VectorStreamKernel {
  public:
    __aicore__ inline explicit VectorStreamKernel(const VectorStreamTilingData& t)
        : t_(t),
          dst_ub_(memory_.ub[t.dst_offset_bytes].template ReinterpretCast<T>()),
          src0_ub_(memory_.ub[t.src0_offset_bytes].template ReinterpretCast<T>()),
          src1_ub_(memory_.ub[t.src1_offset_bytes].template ReinterpretCast<T>()) {}

    __aicore__ inline void run(const VectorStreamOperands& gm) {
        AscendC::Duplicate(memory_.ub.template ReinterpretCast<T>(), static_cast<T>(1.0f),
                           static_cast<int32_t>(kUbBytes / sizeof(T)));
        AscendC::PipeBarrier<PIPE_V>();
        for (uint32_t i = 0; i < t_.count; ++i) {
            issue();
            if (t_.barrier != 0) AscendC::PipeBarrier<PIPE_V>();
        }
        AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(0);
        AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(0);
        AscendC::GlobalTensor<T> out_gm;
        out_gm.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.out));
        AscendC::DataCopy(out_gm, dst_ub_, t_.repeat * kLanes);
    }

  private:
    static constexpr uint32_t kLanes = 256 / sizeof(T);

    __aicore__ inline void issue() {
        AscendC::BinaryRepeatParams two;
        two.dstBlkStride = static_cast<uint8_t>(t_.block_stride[0]);
        two.src0BlkStride = static_cast<uint8_t>(t_.block_stride[1]);
        two.src1BlkStride = static_cast<uint8_t>(t_.block_stride[2]);
        two.dstRepStride = static_cast<uint8_t>(t_.repeat_stride[0]);
        two.src0RepStride = static_cast<uint8_t>(t_.repeat_stride[1]);
        two.src1RepStride = static_cast<uint8_t>(t_.repeat_stride[2]);
        AscendC::UnaryRepeatParams one;
        one.dstBlkStride = two.dstBlkStride;
        one.srcBlkStride = two.src0BlkStride;
        one.dstRepStride = two.dstRepStride;
        one.srcRepStride = two.src0RepStride;
        const uint64_t mask = kLanes;
        const auto repeat = static_cast<uint8_t>(t_.repeat);
        const auto scalar = static_cast<T>(t_.scalar);
        switch (static_cast<VectorOp>(t_.op)) {
            case VectorOp::kAdd:
                return AscendC::Add(dst_ub_, src0_ub_, src1_ub_, mask, repeat, two);
            case VectorOp::kSub:
                return AscendC::Sub(dst_ub_, src0_ub_, src1_ub_, mask, repeat, two);
            case VectorOp::kMul:
                return AscendC::Mul(dst_ub_, src0_ub_, src1_ub_, mask, repeat, two);
            case VectorOp::kDiv:
                return AscendC::Div(dst_ub_, src0_ub_, src1_ub_, mask, repeat, two);
            case VectorOp::kMax:
                return AscendC::Max(dst_ub_, src0_ub_, src1_ub_, mask, repeat, two);
            case VectorOp::kMuls:
                return AscendC::Muls(dst_ub_, src0_ub_, scalar, mask, repeat, one);
            case VectorOp::kMaxs:
                return AscendC::Maxs(dst_ub_, src0_ub_, scalar, mask, repeat, one);
            case VectorOp::kExp:
                return AscendC::Exp(dst_ub_, src0_ub_, mask, repeat, one);
            case VectorOp::kLn:
                return AscendC::Ln(dst_ub_, src0_ub_, mask, repeat, one);
            case VectorOp::kRelu:
                return AscendC::Relu(dst_ub_, src0_ub_, mask, repeat, one);
            case VectorOp::kRsqrt:
                return AscendC::Rsqrt(dst_ub_, src0_ub_, mask, repeat, one);
        }
    }

    const VectorStreamTilingData& t_;
    VectorMemory memory_;
    AscendC::LocalTensor<T> dst_ub_;
    AscendC::LocalTensor<T> src0_ub_;
    AscendC::LocalTensor<T> src1_ub_;
};

template <typename T>
__aicore__ inline void vector_stream(const VectorStreamOperands& gm) {
    const auto data = load_tiling<VectorStreamTilingData>(gm.tiling);
    VectorStreamKernel<T> kernel(data);
    kernel.run(gm);
}

}  // namespace fa

#undef FA_VECTOR_STREAM
#define FA_VECTOR_STREAM(name, T) FA_ENTRY(VECTOR_STREAM, name, fa::vector_stream<T>)
#include "variants.def"
