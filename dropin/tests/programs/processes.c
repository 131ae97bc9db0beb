/* AllReduce over 4 ranks, a process and a device each. The root info goes through pipes. */
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { RANKS = 4, COUNT = 1000, BYTES = COUNT * 4 };

static void run_rank(uint32_t rank, const HcclRootInfo* root) {
    aclrtStream stream;
    OK(aclrtCreateStream(&stream));
    HcclComm comm;
    OK(HcclCommInitRootInfo(RANKS, root, rank, &comm));
    float* host;
    void* memory;
    OK(aclrtMallocHost((void**)&host, BYTES));
    OK(aclrtMalloc(&memory, BYTES, ACL_MEM_MALLOC_HUGE_FIRST));
    for (int i = 0; i < COUNT; i++) {
        host[i] = (float)(i * (int)(rank + 1));
    }
    OK(aclrtMemcpyAsync(memory, BYTES, host, BYTES, ACL_MEMCPY_HOST_TO_DEVICE, stream));
    OK(HcclAllReduce(memory, memory, COUNT, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, comm, stream));
    OK(aclrtMemcpyAsync(host, BYTES, memory, BYTES, ACL_MEMCPY_DEVICE_TO_HOST, stream));
    OK(aclrtSynchronizeStream(stream));
    for (int i = 0; i < COUNT; i++) {
        /* 1 + ... + 4 = 10; every sum is an integer below 2^24. */
        REQUIRE(host[i] == (float)(10 * i));
    }
    OK(HcclCommDestroy(comm));
    OK(aclrtFree(memory));
    OK(aclrtFreeHost(host));
    OK(aclrtDestroyStream(stream));
}

static int child(uint32_t rank, int from) {
    HcclRootInfo root;
    size_t have = 0;
    while (have < sizeof root) {
        ssize_t got = read(from, (char*)&root + have, sizeof root - have);
        REQUIRE(got > 0);
        have += (size_t)got;
    }
    OK(aclInit(NULL));
    OK(aclrtSetDevice((int32_t)rank));
    run_rank(rank, &root);
    OK(aclrtResetDevice((int32_t)rank));
    OK(aclFinalize());
    return 0;
}

int main(void) {
    pid_t children[RANKS];
    int to[RANKS];
    for (uint32_t rank = 1; rank < RANKS; rank++) {
        int ends[2];
        REQUIRE(pipe(ends) == 0);
        children[rank] = fork();
        REQUIRE(children[rank] >= 0);
        if (children[rank] == 0) {
            close(ends[1]);
            return child(rank, ends[0]);
        }
        close(ends[0]);
        to[rank] = ends[1];
    }
    OK(aclInit(NULL));
    OK(aclrtSetDevice(0));
    HcclRootInfo root;
    OK(HcclGetRootInfo(&root));
    for (uint32_t rank = 1; rank < RANKS; rank++) {
        REQUIRE(write(to[rank], &root, sizeof root) == (ssize_t)sizeof root);
        close(to[rank]);
    }
    run_rank(0, &root);
    OK(aclrtResetDevice(0));
    OK(aclFinalize());
    for (uint32_t rank = 1; rank < RANKS; rank++) {
        int status;
        REQUIRE(waitpid(children[rank], &status, 0) == children[rank] && status == 0);
    }
    return 0;
}
