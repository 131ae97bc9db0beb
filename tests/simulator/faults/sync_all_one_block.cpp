// fault: Deadlock
// type: AIV_ONLY
// blocks: 2
// Only block 0 comes to SyncAll.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void sync_all_one_block(GM_ADDR, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    if (GetBlockIdx() == 0) SyncAll();
}
