// SPDX-License-Identifier: MIT OR Apache-2.0
// Attention forward, FlashAttention-2 with FastAttention's two-level tiling and tiling-mask (arXiv
// 2410.16663).
//
// Maths, per head, for a block of query rows and the key blocks j = 1, 2, ... that it sees:
//   S_j = scale * Q K_j^T, hidden entries -inf
//   m_j = max(m_{j-1}, rowmax S_j), m_0 = the lowest finite f32
//   P_j = exp(S_j - m_j), a_j = exp(m_{j-1} - m_j)
//   l_j = a_j l_{j-1} + rowsum P_j, O_j = a_j O_{j-1} + P_j V_j
//   o = O / max(l, 1), lse = m + ln l; no visible key: o = 0, lse = -inf
//
// Bundles. The Cube adds up P V of up to bundle_steps blocks, so that O passes L2 once for all of them. Their
// P must then be relative to one m, which is m_j = max(m_{j-1}, rowmax S_j - h) behind the first block of a
// bundle: with headroom h it nearly always stays. Where it does not, a vector core multiplies what it has
// handed over of this bundle, in the workspace (flash_fwd_bundle.h). The Cube does the same whatever the data
// are.
//
// Two-level tiling. Level 1 is one Cube/Vector hand-over: block_m x block_n scores. Level 2 on the Cube is
// one Mmad (tile_m x tile_n x tile_k in L0), on a vector core one slice of whole rows in UB, so that a row's
// maximum and sum never leave a vector core. Every size and offset comes from the planner (fa/tiling_data.h).
// With f16 scores the softmax is computed in f16, in place (flash_fwd_softmax_f16.h).
//
// k may come from shift_keys.cpp: keys less a vector c, and behind them 16 rows of c. Then the Cube also
// makes q c, at the first step of each item, and lse = scale * (m + q c) + ln l, m being the unscaled
// maximum.
//
// Buffers (bytes; the planner proves the sums):
//
//   L1   Q block_m*head_dim*2 | 2 x K chunk_n*head_dim*2 | 2 x V chunk_p*head_dim_v*2
//        | 3 x P tile_m*chunk_p*2
//
//   L0A  2 x 32768    L0B  2 x 32768    L0C  2 x 65536
//
//   UB   f32 scores: 5 x slice (scores, P V) | 2 x P or o slice/2 | acc
//        | 2 x tmp ceil256(slice/8 + slice/64) | ...
//        f16 scores: 4 x slice (scores, P, P V) | 2 x o slice/4 | acc | 2 x tmp 3*slice/4 | ...
//        of both: acc rows_v*head_dim_v*4 | blocks 2*ceil16(rows_v)*32+256
//        | stats (bundle_steps+9)*ceil64(rows_v)*4
//        | 2 x mask bits max(slice_rows*32, slice/32; in f16 slice/16)
//
//   GM   per core, num_stages slots of S block_m*block_n*sizeof(S) | num_stages+bundle_steps-1 of P
//        block_m*block_n*2 | 2 of O block_m*head_dim_v*4 | num_stages of q c block_m*64, where needed.
//        S in tiles of 128 keys, each [block_m, 128] without gaps; P, O and q c row by row
//
// Pipeline (-> is a flag; [n: ids] the ring of n buffers that it protects, and its event ids):
//
//   AIC  MTE2 -> MTE1 [Q 1: 0, K 2: 1-2, V 2: 3-4, P 3: 5-7]   MTE1 -> M [L0 2: 0-1]
//        M -> FIX [L0C 2: 0-1]
//   AIV  MTE2 -> V [f32 slices 5: 0-4, mask 1: 5; f16 slices 4: 0-3, mask 1: 4]
//        V -> MTE3 [f16 slices, lent 4: 0-3; out 2: 4-5, lse 1: 6]
//        V -> S, S -> V [which rows have grown: 0]   MTE3 -> MTE2 [P of a bundle: 0]
//
//   On V several slices of a step are under way, so that one barrier serves all of them
//   (flash_fwd_softmax_*.h). The first two chunks of a bundle's values are loaded behind the K of the QK^T
//   before its PV. PV takes as many rows at a time as L0C has accumulators for, so that the values pass by
//   once for all of them.
//
//   AIC FIX  --QkReady-->       AIV: S of step t
//   AIV MTE3 --SoftmaxReady-->  AIC: P of step t (when both AIVs have set it; one without rows sets it too)
//   AIC FIX  --PvReady-->       AIV: O of a bundle
//
//   The Cube issues QK^T of step t before it waits for the softmax of step t - preload, and PV behind the
//   last one of a bundle; a vector core the softmax of bundle b before the update of bundle b - 1. No flag
//   runs backwards, because slots are written again late enough: one of S num_stages >= preload + 1 steps
//   later, when SoftmaxReady of its step has been waited for; one of P num_stages + bundle_steps - 1 steps
//   later, when QkReady has been waited for, which FIX sets behind PV of its bundle; one of O two bundles
//   later, when SoftmaxReady has been waited for, which MTE3 sets behind the update of its bundle.
//
// Limits: head_dim and head_dim_v multiples of 16 up to 256; the planner refuses the rest.
#include "families.h"
#include "flash_fwd_cube.h"
#include "flash_fwd_vector.h"

namespace fa {

template <typename T, typename S>
__aicore__ inline void flash_fwd(const FlashFwdOperands& gm) {
    const auto data = load_tiling<FlashFwdTilingData>(gm.tiling);
    if ASCEND_IS_AIC {
        FlashFwdCube<T, S> cube(data, gm);
        cube.run();
    }
    if ASCEND_IS_AIV {
        FlashFwdVector<T, S> vector(data, gm);
        vector.run();
    }
}

}  // namespace fa

#undef FA_FLASH_FWD
#define FA_FLASH_FWD(name, T, S) FA_ENTRY(FLASH_FWD, name, fa::flash_fwd<T, S>)
#include "variants.def"
