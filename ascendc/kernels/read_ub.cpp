// SPDX-License-Identifier: MIT OR Apache-2.0
// Reads a matrix of 16-bit elements from GM to UB and does nothing with it: what MTE2 of the vector cores can
// reach.
//
// Maths      none; which tiles are read in which order is written in read_tiles.h.
// UB         `buffers` buffers of buffer_bytes, of 188 160 bytes; rows of a tile start every 32 bytes
// Pipeline   MTE2 alone, one copy a tile, a barrier each time round the buffers
// Limits     AIV only. For calibration and benches.
#include "fa/copy.h"
#include "fa/memory.h"
#include "families.h"
#include "read_tiles.h"

namespace fa {

__aicore__ inline void read_ub(const ReadUbOperands& gm) {
    const auto t = load_tiling<ReadTilingData>(gm.tiling);
    const VectorMemory memory;
    AscendC::GlobalTensor<uint16_t> src_gm;
    src_gm.SetGlobalBuffer(reinterpret_cast<__gm__ uint16_t*>(gm.src));
    if (t.past_l2 != 0) src_gm.SetL2CacheHint(AscendC::CacheMode::CACHE_MODE_DISABLE);
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

#undef FA_READ_UB
#define FA_READ_UB(name) FA_ENTRY(READ_UB, name, fa::read_ub)
#include "variants.def"
