// SPDX-License-Identifier: MIT OR Apache-2.0
// Attention forward and a matrix product that reads its output: attention and projection of some rows, in one
// launch.
//
// Maths      that of flash_fwd.cpp and then that of matmul.cpp, bit for bit. A lies in o, where it may have
//            rows that an earlier launch has made. Operands, o and C are of one type.
// Tiling     each part has the tiling data of its own kernel. A group takes part in the attention if its
//            number is below the attention's num_cores, and the same for the product; the launch has the
//            larger number of groups.
// Buffers    those of the two kernels, one after the other: the product's objects come when the attention's
//            are gone, and their memory (fa/memory.h) starts with a barrier of all pipes.
// Pipeline   that of the two kernels, and between them (ids behind those of flash_fwd_workspace.h)
//            AIV MTE3 --kOutputReady--> AIC: both AIVs of the group have stored their rows of o
//            AIC FIX  --kAllOutputsReady, mode 0--> all AICs: every group has done so
//            A tile of the product reads heads of any group. Tiling data of the product and the first pieces
//            of B, which no group writes, are read before, while the vector cores finish.
// Limits     those of the two kernels; for the mode 0 flag all groups of a launch run at the same time.
#include "families.h"
#include "flash_fwd_cube.h"
#include "flash_fwd_vector.h"
#include "matmul_kernel.h"

namespace fa {

constexpr uint16_t kOutputReady = 3;
constexpr uint16_t kAllOutputsReady = 4;

__aicore__ inline void await_all_outputs() {
    AscendC::CrossCoreWaitFlag<kCrossCoreMode>(kOutputReady);
    AscendC::CrossCoreSetFlag<kAllCoresMode, PIPE_FIX>(kAllOutputsReady);
    AscendC::CrossCoreWaitFlag<kAllCoresMode>(kAllOutputsReady);
}

template <typename T>
__aicore__ inline void multiply_output(const FlashFwdMatmulOperands& gm) {
    const auto data = load_tiling<MatmulTilingData>(gm.matmul_tiling);
    if (block_index() >= data.num_cores) {
        await_all_outputs();
        return;
    }
    MatmulKernel<T, T> product(data, gm);
    product.start_b();
    await_all_outputs();
    product.run();
}

template <typename T, typename S>
__aicore__ inline void flash_fwd_matmul(const FlashFwdMatmulOperands& gm) {
    const auto data = load_tiling<FlashFwdTilingData>(gm.tiling);
    if ASCEND_IS_AIC {
        if (block_index() < data.num_cores) {
            FlashFwdCube<T, S> cube(data, gm);
            cube.run();
        }
        multiply_output<T>(gm);
    }
    if ASCEND_IS_AIV {
        if (block_index() / 2 < data.num_cores) {
            FlashFwdVector<T, S> vector(data, gm);
            vector.run();
        }
        AscendC::CrossCoreSetFlag<kCrossCoreMode, PIPE_MTE3>(kOutputReady);
    }
}

}  // namespace fa

#undef FA_FLASH_FWD_MATMUL
#define FA_FLASH_FWD_MATMUL(name, T, S) FA_ENTRY(FLASH_FWD_MATMUL, name, fa::flash_fwd_matmul<T, S>)
#include "variants.def"
