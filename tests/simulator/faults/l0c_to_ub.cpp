// fault: NoSuchPath
// type: AIC_ONLY
// blocks: 1
// A copy from L0C to UB: results of the Cube leave through GM or L1.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void l0c_to_ub(GM_ADDR, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
    LocalTensor<float> c_l0(TPosition::CO1, 0, 256);
    LocalTensor<half> x(TPosition::VECIN, 0, 256);
    DataCopy(x, c_l0, DataCopyCO12DstParams(16, 16, 16, 16, F322F16, 0, false, false));
}
