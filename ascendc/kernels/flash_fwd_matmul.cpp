// SPDX-License-Identifier: MIT OR Apache-2.0
// Attention forward and a matrix product that reads its output: attention and projection of some rows, in one launch.
//
// Maths      that of flash_fwd.cpp and then that of matmul.cpp, bit for bit. A lies in o, where it may have rows that an
//            earlier launch has made. Operands, o and C are of one type.
// Tiling     each part has the tiling data of its own kernel. A group takes part in the attention if its number is below
//            the attention's num_cores, and the same for the product; the launch has the larger number of groups.
// Buffers    those of the two kernels, one after the other: the product's objects come when the attention's are gone,
//            and their memory (fa/memory.h) starts with a barrier of all pipes.
// Pipeline   that of the two kernels, and between them (ids behind those of flash_fwd_workspace.h)
//            AIV MTE3 --kOutputReady--> AIC: both AIVs of the group have stored their rows of o
//            AIC FIX  --kAllOutputsReady, mode 0--> all AICs: every group has done so
//            A tile of the product reads heads of any group. Tiling data of the product and the first pieces of B, which
//            no group writes, are read before, while the vector cores finish.
// Limits     those of the two kernels; for the mode 0 flag all groups of a launch run at the same time.
#include "flash_fwd_cube.h"
#include "flash_fwd_vector.h"
#include "matmul_kernel.h"
#include "fa/entry.h"

namespace fa {

constexpr uint16_t kOutputReady = 3;
constexpr uint16_t kAllOutputsReady = 4;

__aicore__ inline void await_all_outputs() {
    AscendC::CrossCoreWaitFlag<kCrossCoreMode>(kOutputReady);
    AscendC::CrossCoreSetFlag<kAllCoresMode, PIPE_FIX>(kAllOutputsReady);
    AscendC::CrossCoreWaitFlag<kAllCoresMode>(kAllOutputsReady);
}

template <typename T>
__aicore__ inline void multiply_output(GM_ADDR a, GM_ADDR b, GM_ADDR c, GM_ADDR matmul_tiling) {
    const auto data = load_tiling<MatmulTilingData>(matmul_tiling);
    if (block_index() >= data.num_cores) {
        await_all_outputs();
        return;
    }
    MatmulKernel<T, T> product(data, a, b, c);
    product.start_b();
    await_all_outputs();
    product.run();
}

template <typename T, typename S>
__aicore__ inline void flash_fwd_matmul(GM_ADDR q, GM_ADDR k, GM_ADDR v, GM_ADDR mask, GM_ADDR o, GM_ADDR lse,
                                        GM_ADDR workspace, GM_ADDR a, GM_ADDR b, GM_ADDR c, GM_ADDR tiling,
                                        GM_ADDR matmul_tiling) {
    const auto data = load_tiling<FlashFwdTilingData>(tiling);
    if ASCEND_IS_AIC {
        if (block_index() < data.num_cores) {
            FlashFwdCube<T, S> cube(data, q, k, v, workspace);
            cube.run();
        }
        multiply_output<T>(a, b, c, matmul_tiling);
    }
    if ASCEND_IS_AIV {
        if (block_index() / 2 < data.num_cores) {
            FlashFwdVector<T, S> vector(data, mask, o, lse, workspace);
            vector.run();
        }
        AscendC::CrossCoreSetFlag<kCrossCoreMode, PIPE_MTE3>(kOutputReady);
    }
}

}  // namespace fa

#include "families.h"
#undef FA_FLASH_FWD_MATMUL
#define FA_FLASH_FWD_MATMUL(name, T, S)                                                                            \
    extern "C" FA_TYPE_MIX_AIC_1_2 __global__ __aicore__ void name(                                                \
        GM_ADDR q, GM_ADDR k, GM_ADDR v, GM_ADDR mask, GM_ADDR o, GM_ADDR lse, GM_ADDR workspace, GM_ADDR a,       \
        GM_ADDR b, GM_ADDR c, GM_ADDR tiling, GM_ADDR matmul_tiling) {                                             \
        KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);                                                         \
        fa::flash_fwd_matmul<T, S>(q, k, v, mask, o, lse, workspace, a, b, c, tiling, matmul_tiling);              \
    }
#include "variants.def"
