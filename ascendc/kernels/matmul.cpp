// SPDX-License-Identifier: MIT OR Apache-2.0
// Matrix product on the Cube, batched and strided: the linear layers around attention, and the yardstick of
// the Cube.
//
// Maths      C[i, j] = sum over k of A[i, k] B[k, j], for every batch. A and B half or bfloat16_t, products
//            summed in f32 along increasing k, the sum rounded once to the type of C (half, bfloat16_t or
//            float). B lies as [k, n] or, as weights often do, as [n, k]. With `accumulates` C is float, and
//            the sum is added to what it holds: one addition for each element, by the fixpipe on its way.
// Tiling     A core takes blocks of block_m x block_n (matmul_tiles.h), cut into tiles of tile_m x tile_n
//            that stay in L0C while k runs. k runs in steps of tile_k (one Mmad); step_k_a (step_k_b) steps
//            of A (B) come to L1 by one copy. All sizes come from the planner (src/matmul/plan.rs).
// Buffers    (bytes; the planner proves the sums)
//   L1   l1_buffers x A tile_m*tile_k*step_k_a*2 | l1_buffers x B tile_n*tile_k*step_k_b*2, of 524 032; the
//        two buffers of an operand in different halves, because a bank takes one access a cycle
//   L0A  l0_buffers x tile_m*tile_k*2   of 65 536      L0B  l0_buffers x tile_n*tile_k*2   of 65 536
//   L0C  l0c_buffers x tile_m*tile_n*4  of 131 072
// Pipeline   (-> is a flag; [n] the ring of n buffers it protects)
//   MTE2 -> MTE1 [A l1_buffers, B l1_buffers]   MTE1 -> M [L0 l0_buffers]   M -> FIX [L0C l0c_buffers]
//   A copy to L1 is issued l1_buffers - 1 chunks before its use, also across tiles. With unit_flag M and FIX
//   need no flag: the Cube starts a tile while FIX still drains the one before from the same place.
// Few rows   Then B is read once, and HBM bounds the kernel: a chunk of B in L1 is more than MTE2 has under
//            way. With b_past_l2 B leaves L2 out.
// Limits     AIC only. tile_* multiples of 16; unit_flag needs whole fractals (m, n, blocks multiples of 16),
//            because M fills whole fractals and FIX has to drain as much. The planner refuses the rest.
#include "families.h"
#include "matmul_kernel.h"

namespace fa {

template <typename T, typename Out>
__aicore__ inline void matmul(const MatmulOperands& gm) {
    const auto data = load_tiling<MatmulTilingData>(gm.tiling);
    MatmulKernel<T, Out> kernel(data, gm);
    kernel.start_b();
    kernel.run();
}

}  // namespace fa

#undef FA_MATMUL
#define FA_MATMUL(name, T, Out) FA_ENTRY(MATMUL, name, fa::matmul<T, Out>)
#include "variants.def"
