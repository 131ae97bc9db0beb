// fault: Deadlock
// type: AIV_ONLY
// blocks: 49
// SyncAll over 49 blocks on 48 vector cores: the last block starts when another ends.
#include "kernel_operator.h"

using namespace AscendC;

extern "C" __global__ __aicore__ void sync_all_too_many_blocks(GM_ADDR, GM_ADDR, GM_ADDR) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    SyncAll();
}
