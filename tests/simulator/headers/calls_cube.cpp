// SPDX-License-Identifier: MIT OR Apache-2.0
// Every copy, load, Mmad and Fixpipe call once. Kernel text: it also compiles with CANN's headers.
#include "kernel_operator.h"
#include "record.h"

namespace {

using namespace AscendC;

template <typename T>
LocalTensor<T> at(TPosition position, uint32_t address) {
    TBuffAddr where;
    where.logicPos = static_cast<uint8_t>(position);
    where.bufferAddr = address;
    where.dataLen = 4096;
    LocalTensor<T> tensor;
    tensor.SetAddr(where);
    return tensor;
}

template <typename T>
GlobalTensor<T> gm(uint64_t offset) {
    GlobalTensor<T> tensor;
    tensor.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(0x100000000000 + offset));
    return tensor;
}

void copy_calls() {
    GlobalTensor<half> g = gm<half>(0x100);
    LocalTensor<half> ub = at<half>(TPosition::VECIN, 0x1000);
    LocalTensor<half> l1 = at<half>(TPosition::A1, 0x2000);
    note("DataCopy GM to UB count");
    DataCopy(ub, g, 64);
    note("DataCopy GM to UB");
    DataCopy(ub, g, DataCopyParams(4, 2, 3, 1));
    note("DataCopy UB to GM count");
    DataCopy(g, ub, 64);
    note("DataCopy UB to GM");
    DataCopy(g, ub, DataCopyParams(4, 2, 3, 1));
    note("DataCopy GM to L1");
    DataCopy(l1, g, DataCopyParams(4, 2, 3, 1));
    note("DataCopy L1 to GM");
    DataCopy(g, l1, DataCopyParams(4, 2, 3, 1));
    note("DataCopy ND2NZ");
    DataCopy(l1, g, Nd2NzParams(1, 60, 128, 0, 512, 64, 1, 0));
    note("DataCopy ND2NZ float");
    DataCopy(at<float>(TPosition::B1, 0x2000), gm<float>(0), Nd2NzParams(1, 16, 8, 0, 8, 16, 1, 0));
    note("DataCopy L1 to bias table");
    DataCopy(at<float>(TPosition::C2, 64), at<float>(TPosition::C1, 0x2000), DataCopyParams(1, 2, 0, 0));
    note("DataCopyPad GM to UB, half, padded");
    DataCopyPad(ub, g, DataCopyExtParams(2, 30, 4, 1, 0),
                DataCopyPadExtParams<half>(true, 0, 1, static_cast<half>(1.0f)));
    note("DataCopyPad GM to UB, uint8_t");
    DataCopyPad(at<uint8_t>(TPosition::VECIN, 0x1000), gm<uint8_t>(7), DataCopyExtParams(1, 33, 0, 0, 0),
                DataCopyPadExtParams<uint8_t>(false, 0, 0, 0));
    note("DataCopyPad GM to UB, int64_t");
    DataCopyPad(at<int64_t>(TPosition::VECIN, 0x1000), gm<int64_t>(0), DataCopyExtParams(1, 24, 0, 0, 0),
                DataCopyPadExtParams<int64_t>(false, 0, 1, 0));
    note("DataCopyPad UB to GM, float");
    DataCopyPad(gm<float>(0), at<float>(TPosition::VECOUT, 0x1000), DataCopyExtParams(2, 20, 1, 4, 0));
    note("DataCopyPad UB to GM, int64_t");
    DataCopyPad(gm<int64_t>(0), at<int64_t>(TPosition::VECOUT, 0x1000), DataCopyExtParams(1, 24, 0, 0, 0));
}

void load_calls() {
    LocalTensor<half> l1 = at<half>(TPosition::A1, 0x2000);
    LocalTensor<half> l0a = at<half>(TPosition::A2, 0x400);
    LocalTensor<half> l0b = at<half>(TPosition::B2, 0x800);
    note("LoadData 2D to L0A");
    LoadData(l0a, l1, LoadData2DParams(1, 8, 4, 0, 0, false, 0));
    note("LoadData 2D to L0B, transposed");
    LoadData(l0b, l1, LoadData2DParams(0, 8, 4, 0, 1, true, 0));
    note("LoadData 2D int16_t moves as half");
    LoadData(at<int16_t>(TPosition::A2, 0), at<int16_t>(TPosition::A1, 0),
             LoadData2DParams(0, 1, 1, 0, 0, false, 0));
    note("LoadData GM to L1");
    LoadData(l1, gm<half>(0), LoadData2DParams(0, 8, 1, 0, 0, false, 0));
    note("LoadDataWithTranspose");
    LoadDataWithTranspose(at<int8_t>(TPosition::B2, 0), at<int8_t>(TPosition::B1, 0),
                          LoadData2dTransposeParams(1, 2, 3, 4, 5));
    note("LoadData 3D v2 to L0A, bfloat16_t moves as half");
    LoadData3DParamsV2<bfloat16_t> p;
    p.l1H = 1;
    p.l1W = 64;
    p.channelSize = 128;
    p.kExtension = 128;
    p.mExtension = 64;
    p.kStartPt = 16;
    p.mStartPt = 32;
    LoadData(at<bfloat16_t>(TPosition::A2, 0), at<bfloat16_t>(TPosition::A1, 0x2000), p);
    note("InitConstValue L1 half");
    InitConstValue(l1, InitConstValueParams<half>(1, 4, 0, static_cast<half>(1.0f)));
    note("InitConstValue L0A float");
    InitConstValue(at<float>(TPosition::A2, 0), InitConstValueParams<float>(2, 4, 1, 1.0f));
    note("InitConstValue L0B bfloat16_t");
    InitConstValue(at<bfloat16_t>(TPosition::B2, 0),
                   InitConstValueParams<bfloat16_t>(1, 4, 0, ToBfloat16(1.0f)));
    note("InitConstValue L1 int16_t");
    InitConstValue(at<int16_t>(TPosition::A1, 0), InitConstValueParams<int16_t>(1, 4, 0, 7));
}

void mmad_calls() {
    LocalTensor<float> c = at<float>(TPosition::CO1, 0x400);
    LocalTensor<half> a = at<half>(TPosition::A2, 0x400);
    LocalTensor<half> b = at<half>(TPosition::B2, 0x800);
    note("Mmad");
    Mmad(c, a, b, MmadParams(128, 64, 32, 3, false, true));
    note("Mmad that accumulates (isBias)");
    Mmad(c, a, b, MmadParams(128, 64, 32, true, 0, false, false, false));
    note("Mmad float");
    Mmad(c, at<float>(TPosition::A2, 0), at<float>(TPosition::B2, 0), MmadParams(16, 16, 8, 0, false, false));
    note("Mmad with bias table");
    Mmad(c, a, b, at<float>(TPosition::C2, 64), MmadParams(128, 64, 32, 0, false, false));
}

void fixpipe_calls() {
    LocalTensor<float> c = at<float>(TPosition::CO1, 0x400);
    FixpipeParamsV220 p(64, 128, 128, 512, false);
    note("Fixpipe ND");
    Fixpipe<float, float, CFG_ROW_MAJOR>(gm<float>(0), c, p);
    note("Fixpipe ND half, unit flag");
    p.quantPre = QuantMode_t::F322F16;
    p.unitFlag = 3;
    Fixpipe<half, float, CFG_ROW_MAJOR>(gm<half>(0), c, p);
    note("Fixpipe ND, the default, three matrices");
    Fixpipe(gm<half>(0), c, FixpipeParamsV220(64, 16, 16, 64, true, QuantMode_t::F322F16, 0, 3, 2, 1024, 0));
    note("Fixpipe NZ to L1");
    Fixpipe<half, float, CFG_NZ>(at<half>(TPosition::C1, 0x2000), c, p);
    note("Fixpipe with a scale");
    Fixpipe<half, int32_t, CFG_NZ>(
        gm<half>(0), at<int32_t>(TPosition::CO1, 0),
        FixpipeParamsV220(16, 16, 16, 16, false, QuantMode_t::DEQF16, 0x3f800000, 1, 0, 0, 0));
    note("SetFixPipeConfig of a table for columns");
    SetFixPipeConfig<uint64_t>(at<uint64_t>(TPosition::C2PIPE2GM, 0x400), true);
    note("DataCopy CO1 to GM");
    SetFixpipeNz2ndFlag(1, 0, 0);
    DataCopy(gm<half>(0), c, DataCopyCO12DstParams(64, 128, 512, 128, QuantMode_t::F322F16, 0, false, true));
}

void register_calls() {
    note("SetAtomicAdd, SetAtomicMax, SetAtomicMin, SetAtomicNone");
    SetAtomicAdd<float>();
    SetAtomicMax<half>();
    SetAtomicMin<int32_t>();
    SetAtomicAdd<bfloat16_t>();
    SetAtomicNone();
    note("CrossCoreSetFlag, CrossCoreWaitFlag");
    CrossCoreSetFlag<2, PIPE_FIX>(5);
    CrossCoreWaitFlag(6);
    note("SetFlag, WaitFlag");
    SetFlag<HardEvent::M_FIX>(1);
    WaitFlag<HardEvent::MTE2_MTE1>(2);
    note("SyncAll of all cores, on AIC");
    SyncAll<false>();
    note("DataCacheCleanAndInvalid");
    DataCacheCleanAndInvalid<half, CacheLine::SINGLE_CACHE_LINE, DcciDst::CACHELINE_OUT>(gm<half>(0x40));
    note("Global scalars");
    GlobalTensor<uint32_t> g = gm<uint32_t>(0x40);
    g.SetValue(1, g.GetValue(2));
}

}  // namespace

void calls_cube() {
    {
        note("TPipe on AIC: three M_MTE1 events");
        TPipe pipe;
        note("its end");
    }
    copy_calls();
    load_calls();
    mmad_calls();
    fixpipe_calls();
    register_calls();
}
