// SPDX-License-Identifier: MIT OR Apache-2.0
// Every vector call once. Kernel text: it also compiles with CANN's headers.
#include "kernel_operator.h"
#include "record.h"

namespace {

using namespace AscendC;

template <typename T>
LocalTensor<T> ub(uint32_t address) {
    TBuffAddr where;
    where.logicPos = static_cast<uint8_t>(TPosition::VECCALC);
    where.bufferAddr = address;
    where.dataLen = 4096;
    LocalTensor<T> tensor;
    tensor.SetAddr(where);
    return tensor;
}

template <typename T>
struct Operands {
    LocalTensor<T> d = ub<T>(0x1000);
    LocalTensor<T> a = ub<T>(0x2000);
    LocalTensor<T> b = ub<T>(0x3000);
};

uint64_t bits[2] = {0xff, 0x1};
const uint64_t const_bits[2] = {0xff, 0x1};
const BinaryRepeatParams binary(1, 2, 3, 8, 16, 0);
const UnaryRepeatParams unary(1, 2, 8, 4);

void binary_calls() {
    Operands<half> h;
    Operands<float> f;
    Operands<int16_t> s;
    Operands<int32_t> w;
    Operands<uint16_t> u;
    note("Add half count");
    Add(h.d, h.a, h.b, 200);
    note("Add float mask");
    Add(f.d, f.a, f.b, 40, 3, binary);
    note("Add half mask 100");
    Add(h.d, h.a, h.b, 100, 3, binary);
    note("Add int32_t bits");
    Add(w.d, w.a, w.b, bits, 2, binary);
    note("Add int16_t without mask");
    Add<int16_t, false>(s.d, s.a, s.b, 64, 2, binary);
    note("Sub");
    Sub(f.d, f.a, f.b, 64);
    note("Mul");
    Mul(f.d, f.a, f.b, 64);
    note("Div");
    Div(f.d, f.a, f.b, 64);
    note("Max");
    Max(f.d, f.a, f.b, 64);
    note("Min");
    Min(f.d, f.a, f.b, 64);
    note("And");
    And(u.d, u.a, u.b, 128, 1, binary);
    note("Or");
    Or(s.d, s.a, s.b, 128, 1, binary);
    note("AddRelu");
    AddRelu(h.d, h.a, h.b, 128);
    note("SubRelu");
    SubRelu(h.d, h.a, h.b, 128);
    note("FusedMulAdd");
    FusedMulAdd(f.d, f.a, f.b, 64);
    note("FusedMulAddRelu");
    FusedMulAddRelu(f.d, f.a, f.b, 64);
    note("MulAddDst float count");
    MulAddDst(f.d, f.a, f.b, 64);
    note("MulAddDst float from half count");
    MulAddDst(f.d, h.a, h.b, 64);
}

void scalar_calls() {
    Operands<half> h;
    Operands<float> f;
    Operands<int16_t> s;
    Operands<int32_t> w;
    note("Adds float count");
    Adds(f.d, f.a, 1.5f, 100);
    note("Adds half mask");
    Adds(h.d, h.a, static_cast<half>(1.0f), 128, 2, unary);
    note("Adds int16_t bits");
    Adds(s.d, s.a, static_cast<int16_t>(-2), bits, 2, unary);
    note("Muls");
    Muls(f.d, f.a, 2.0f, 64);
    note("Maxs");
    Maxs(f.d, f.a, 2.0f, 64);
    note("Mins");
    Mins(f.d, f.a, 2.0f, 64);
    note("LeakyRelu");
    LeakyRelu(f.d, f.a, 2.0f, 64);
    note("ShiftLeft");
    ShiftLeft(w.d, w.a, static_cast<int32_t>(3), 64);
    note("ShiftRight mask, rounding");
    ShiftRight(w.d, w.a, static_cast<int32_t>(3), 64, 1, unary, true);
    note("ShiftRight count");
    ShiftRight(w.d, w.a, static_cast<int32_t>(3), 64);
    note("Axpy float");
    Axpy(f.d, f.a, 2.0f, 64);
    note("Axpy float from half");
    Axpy(f.d, h.a, static_cast<half>(1.0f), 64);
}

void unary_calls() {
    Operands<half> h;
    Operands<float> f;
    Operands<int16_t> s;
    note("Exp count");
    Exp(f.d, f.a, 100);
    note("Exp half mask");
    Exp(h.d, h.a, 128, 2, unary);
    note("Ln");
    Ln(f.d, f.a, 64);
    note("Abs");
    Abs(f.d, f.a, 64);
    note("Sqrt");
    Sqrt(f.d, f.a, 64);
    note("Rsqrt");
    Rsqrt(f.d, f.a, 64);
    note("Reciprocal");
    Reciprocal(f.d, f.a, 64);
    note("Relu");
    Relu(f.d, f.a, 64);
    note("Not");
    Not(s.d, s.a, 128, 1, unary);
}

void cast_calls() {
    Operands<half> h;
    Operands<float> f;
    Operands<bfloat16_t> g;
    Operands<int32_t> w;
    Operands<int8_t> c;
    note("Cast half from float count");
    Cast(h.d, f.a, RoundMode::CAST_NONE, 64);
    note("Cast half from float mask");
    Cast(h.d, f.a, RoundMode::CAST_RINT, 64, 2, unary);
    note("Cast bfloat16_t from float");
    Cast(g.d, f.a, RoundMode::CAST_RINT, 64);
    note("Cast float from bfloat16_t");
    Cast(f.d, g.a, RoundMode::CAST_NONE, 64);
    note("Cast float from half");
    Cast(f.d, h.a, RoundMode::CAST_NONE, 64);
    note("Cast int32_t from float");
    Cast(w.d, f.a, RoundMode::CAST_FLOOR, 64);
    note("Cast float from int32_t");
    Cast(f.d, w.a, RoundMode::CAST_NONE, 64);
    note("Cast int8_t from half");
    Cast(c.d, h.a, RoundMode::CAST_TRUNC, 128);
    note("Cast half from int32_t");
    SetDeqScale(static_cast<half>(1.0f));
    Cast(h.d, w.a, RoundMode::CAST_NONE, 64);
}

void move_calls() {
    Operands<half> h;
    Operands<float> f;
    Operands<uint16_t> u;
    LocalTensor<uint32_t> offsets = ub<uint32_t>(0x5000);
    note("Duplicate float count");
    Duplicate(f.d, 1.5f, 100);
    note("Duplicate half mask");
    Duplicate(h.d, static_cast<half>(1.0f), 128, 2, 1, 8);
    note("Copy");
    Copy(h.d, h.a, 128, 4, CopyRepeatParams(1, 1, 8, 16));
    note("Brcb");
    Brcb(f.d, f.a, 3, BrcbRepeatParams(1, 8));
    note("Gather mask");
    Gather(f.d, f.a, offsets, 32, static_cast<uint64_t>(64), 2, 8);
    note("Gather count");
    Gather(h.d, h.a, offsets, 0, 130);
    note("Gatherb");
    Gatherb(u.d, u.a, offsets, 2, GatherRepeatParams(1, 8));
    uint64_t kept = 0;
    note("GatherMask bits");
    GatherMask(h.d, h.a, ub<uint16_t>(0x4000), true, 100, GatherMaskParams(1, 2, 8, 1), kept);
    ub<int32_t>(0x1000).SetValue(0, static_cast<int32_t>(kept));
    note("Transpose");
    Transpose(h.d, h.a);
    note("CreateVecIndex");
    LocalTensor<int32_t> index = ub<int32_t>(0x1000);
    CreateVecIndex(index, static_cast<int32_t>(5), 70u);
    note("DataCopy UB to UB");
    DataCopy(h.d, h.a, 64);
}

void compare_calls() {
    Operands<half> h;
    Operands<float> f;
    LocalTensor<uint8_t> m = ub<uint8_t>(0x4000);
    note("Compare count");
    Compare(m, f.a, f.b, CMPMODE::GE, 128);
    note("Compare mask");
    Compare(m, h.a, h.b, CMPMODE::LT, static_cast<uint64_t>(128), 2, binary);
    note("Compare into CMPMASK");
    Compare(f.a, f.b, CMPMODE::NE, static_cast<uint64_t>(64), binary);
    note("CompareScalar count");
    CompareScalar(m, f.a, 2.0f, CMPMODE::EQ, 64u);
    note("Select mode 0 count");
    Select(f.d, m, f.a, f.b, SELMODE::VSEL_CMPMASK_SPR, 64u);
    note("Select mode 1 count");
    Select(f.d, m, f.a, 2.0f, SELMODE::VSEL_TENSOR_SCALAR_MODE, 100u);
    note("Select mode 2 count");
    Select(f.d, m, f.a, f.b, SELMODE::VSEL_TENSOR_TENSOR_MODE, 100u);
    note("Select mode 0 mask");
    Select(h.d, m, h.a, h.b, SELMODE::VSEL_CMPMASK_SPR, static_cast<uint64_t>(128), 2, binary);
    note("Select mode 1 mask");
    Select(h.d, m, h.a, static_cast<half>(1.0f), SELMODE::VSEL_TENSOR_SCALAR_MODE, static_cast<uint64_t>(128),
           2, binary);
    note("Select mode 2 bits");
    Select(f.d, m, f.a, f.b, SELMODE::VSEL_TENSOR_TENSOR_MODE, bits, 2, binary);
    note("SetCmpMask, GetCmpMask");
    SetCmpMask(m);
    GetCmpMask(m);
}

void reduce_calls() {
    Operands<half> h;
    Operands<float> f;
    LocalTensor<float> tmp = ub<float>(0x6000);
    note("BlockReduceMax");
    BlockReduceMax(f.d, f.a, 4, 64, 1, 1, 8);
    note("BlockReduceMin");
    BlockReduceMin(f.d, f.a, 4, 64, 1, 1, 8);
    note("BlockReduceSum bits");
    BlockReduceSum(f.d, f.a, 4, const_bits, 1, 1, 8);
    note("PairReduceSum");
    PairReduceSum(h.d, h.a, 4, 128, 1, 1, 8);
    note("WholeReduceMax value and index");
    WholeReduceMax(f.d, f.a, 64, 4, 1, 1, 8);
    note("WholeReduceMax only value");
    WholeReduceMax(f.d, f.a, 64, 4, 1, 1, 8, ReduceOrder::ORDER_ONLY_VALUE);
    note("WholeReduceMin index first");
    WholeReduceMin(h.d, h.a, 128, 4, 1, 1, 8, ReduceOrder::ORDER_INDEX_VALUE);
    note("WholeReduceSum");
    WholeReduceSum(f.d, f.a, 32, 4, 1, 2, 16);
    note("RepeatReduceSum");
    RepeatReduceSum(f.d, f.a, 4, 64, 0, 1, 2, 8);
    note("ReduceSum count");
    ReduceSum(f.d, f.a, tmp, 200);
    note("ReduceMax count, one repeat");
    ReduceMax(f.d, f.a, tmp, 64);
    note("ReduceMax count, two repeats and a tail");
    ReduceMax(f.d, f.a, tmp, 130);
    note("ReduceMin mask with index");
    ReduceMin(f.d, f.a, tmp, 64, 3, 8, true);
}

void mask_calls() {
    note("SetVectorMask");
    SetVectorMask<half, MaskMode::NORMAL>(0x1, 0xff);
    SetVectorMask<float, MaskMode::NORMAL>(8);
    SetVectorMask<float, MaskMode::COUNTER>(300);
    note("SetMaskCount, SetMaskNorm, ResetMask");
    SetMaskCount();
    SetMaskNorm();
    ResetMask();
    note("PipeBarrier");
    PipeBarrier<PIPE_V>();
}

}  // namespace

void calls_vector() {
    note("TPipe, for event ids");
    AscendC::TPipe pipe;
    binary_calls();
    scalar_calls();
    unary_calls();
    cast_calls();
    move_calls();
    compare_calls();
    reduce_calls();
    mask_calls();
    note("end");
}
