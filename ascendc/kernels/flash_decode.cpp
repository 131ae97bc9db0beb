// SPDX-License-Identifier: MIT OR Apache-2.0
// Attention of a serving step: query rows of many sequences, few or many of each, against long K and V, paged
// or not. FlashAttention-2 with the keys split over cores (Flash-Decoding); the split is found by the cores
// from lengths in GM (flash_decode_work.h), so that a launch needs nothing of the host but upper bounds.
//
// Maths      of a piece that of flash_fwd.cpp. Pieces of one task are combined at the end:
//              w_p = exp(m_p - max m),  l = sum w_p l_p,  o = sum w_p O_p / max(l, 1),  lse = max m + ln l
// Rows       Of a sequence: as many for all, or by a list in GM. The heads of q that share a K/V head, and
//            their query rows, are packed into the rows of the Cube. A task has `task_heads` K/V heads whose
//            rows lie side by side, so that rows of K and V come in whole lines of L2. A task with few rows
//            takes more keys in a step.
// Buffers    (bytes; the planner proves the sums; keys: those of a step of a task with so many rows)
//   L1   2 x Q task_heads*rows16*head_dim*2 | 2 x P task_heads*rows16*keys*2
//        | 4 x K or V chunk_n*task_heads*max(head_dim, head_dim_v)*2; K and V share a ring, because they are
//        used in the order in which they are loaded
//   L0A  2 x 32768    L0B  2 x 32768    L0C  2 x 65536
//   UB   2 x S rows_v*keys*4 | P rows_v*keys*2 | o rows_v*head_dim_v*2 | acc, P V rows_v*head_dim_v*4
//        | scratch | 3 x blocks | stats; afterwards, for the combination, see flash_decode_rest.h
//   GM   per core num_stages slots of S, P and O; two parts a core
// Pipeline   as flash_fwd.cpp (-> is a flag; [n: ids]):
//   AIC   MTE2 -> MTE1 [Q 2: 0-1, P 2: 2-3, KV 4: 4-7]   MTE1 -> M [L0 2: 0-1]   M -> FIX [L0C 2: 0-1]
//   AIV   MTE2 -> V [S 2: 0-1, P V 1: 2, parts 1: 3]   V -> MTE3 [P 1: 0, o and parts 1: 1, the rest 1: 2]
//   AIC FIX --QkReady--> AIV,  AIV MTE3 --SoftmaxReady--> AIC,  AIC FIX --PvReady--> AIV, for each step
//   AIV MTE3 --PartsReady, mode 0--> all AIVs, if any task is split: all know whether one is
//   QK^T of step t comes before PV of step t - preload, the softmax of step t before the update of step
//   t - preload. A slot is written again num_stages = preload + 1 steps later.
// Pages      An id that the cache does not have is read as page 0, and makes the rows that see it NaN.
// Limits     head_dim and head_dim_v multiples of 16 up to 256; for the mode 0 flag all groups of a launch
//            run at the same time. The planner refuses the rest.
#include "families.h"
#include "flash_decode_cube.h"
#include "flash_decode_rest.h"
#include "flash_decode_vector.h"

namespace fa {

template <typename T>
__aicore__ inline void decode_vector(const FlashDecodeTilingData& data, const FlashDecodeOperands& gm) {
    const DecodeWork work(data, gm);
    {
        FlashDecodeVector<T> vector(data, work, gm);
        vector.run();
    }
    SplitCursor splits(work);
    const bool is_split = splits.next();
    if (is_split) AscendC::CrossCoreSetFlag<kAllCoresMode, PIPE_MTE3>(kDecodePartsReady);
    FlashDecodeRest<T> rest(data, work, gm);
    rest.fill_blind_rows();
    if (data.want_status != 0) rest.check();
    if (!is_split) return;
    AscendC::CrossCoreWaitFlag<kAllCoresMode>(kDecodePartsReady);
    rest.combine();
}

template <typename T>
__aicore__ inline void flash_decode(const FlashDecodeOperands& gm) {
    const auto data = load_tiling<FlashDecodeTilingData>(gm.tiling);
    if ASCEND_IS_AIC {
        FlashDecodeCube<T> cube(data, gm);
        cube.run();
    }
    if ASCEND_IS_AIV {
        decode_vector<T>(data, gm);
    }
}

}  // namespace fa

#undef FA_FLASH_DECODE
#define FA_FLASH_DECODE(name, T) FA_ENTRY(FLASH_DECODE, name, fa::flash_decode<T>)
#include "variants.def"
