// SPDX-License-Identifier: MIT OR Apache-2.0
// Reads a matrix of 16-bit elements from GM to L1 as Nz and does nothing with it: what MTE2 of the Cube cores
// can reach.
//
// Maths      none; which tiles are read in which order is written in read_tiles.h.
// L1         `buffers` buffers of buffer_bytes, of 524 032 bytes
// Pipeline   MTE2 alone, one copy a tile (one a row where the pitch exceeds 16 bits), a barrier each time
//            round the buffers
// Limits     AIC only. For calibration and benches.
#include "fa/copy.h"
#include "fa/memory.h"
#include "families.h"
#include "read_tiles.h"

namespace fa {

__aicore__ inline void read_l1(const ReadL1Operands& gm) {
    const auto t = load_tiling<ReadTilingData>(gm.tiling);
    const CubeMemory<half> memory;
    AscendC::GlobalTensor<half> src_gm;
    src_gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(gm.src));
    if (t.past_l2 != 0) src_gm.SetL2CacheHint(AscendC::CacheMode::CACHE_MODE_DISABLE);
    read_tiles(t, [&](uint32_t buffer, const ReadCursor& tile) {
        const auto dst = memory.l1[buffer * t.buffer_bytes].template ReinterpretCast<half>();
        copy_gm_to_l1_nz(dst, src_gm[tile.offset()], tile.rows(), tile.cols(), t.pitch);
    });
}

}  // namespace fa

#undef FA_READ_L1
#define FA_READ_L1(name) FA_ENTRY(READ_L1, name, fa::read_l1)
#include "variants.def"
