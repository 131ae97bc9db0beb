// SPDX-License-Identifier: MIT OR Apache-2.0
// Reads a matrix of 16-bit elements from GM to UB and does nothing with it: what MTE2 of the vector cores can reach.
//
// Maths      none; which tiles are read in which order is written in read_tiles.h.
// UB         `buffers` buffers of buffer_bytes, of 188 160 bytes; rows of a tile start every 32 bytes
// Pipeline   MTE2 alone, one copy a tile, a barrier each time round the buffers
// Limits     AIV only. For calibration and benches.
#include "fa/copy.h"
#include "fa/entry.h"
#include "fa/memory.h"
#include "read_tiles.h"

namespace fa {

__aicore__ inline void read_ub(const ReadTilingData& t, GM_ADDR src) {
    const VectorMemory memory;
    AscendC::GlobalTensor<uint16_t> src_gm;
    src_gm.SetGlobalBuffer(reinterpret_cast<__gm__ uint16_t*>(src));
    read_tiles(t, [&](uint32_t buffer, const ReadCursor& tile) {
        AscendC::DataCopyExtParams params;
        params.blockCount = static_cast<uint16_t>(tile.rows());
        params.blockLen = tile.cols() * 2;
        params.srcStride = static_cast<uint32_t>((t.pitch - tile.cols()) * 2);
        params.dstStride = 0;
        params.rsv = 0;
        const AscendC::DataCopyPadExtParams<uint16_t> no_pad(false, 0, 0, 0);
        const auto dst = memory.ub[buffer * t.buffer_bytes].template ReinterpretCast<uint16_t>();
        AscendC::DataCopyPad(dst, src_gm[tile.offset()], params, no_pad);
    });
}

}  // namespace fa

#include "families.h"
#undef FA_READ_UB
#define FA_READ_UB(name)                                                       \
    extern "C" FA_TYPE_AIV_ONLY __global__ __aicore__ void name(GM_ADDR src, GM_ADDR tiling) {  \
        KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);                        \
        fa::read_ub(fa::load_tiling<fa::ReadTilingData>(tiling), src);         \
    }
#include "variants.def"
