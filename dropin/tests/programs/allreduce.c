/* AllReduce over 8 ranks, a thread and a device each. */
#include <pthread.h>

#include "check.h"

enum { RANKS = 8, COUNT = 1000, BYTES = COUNT * 4 };

static HcclRootInfo root;

static void* rank_thread(void* number) {
    int rank = *(int*)number;
    OK(aclrtSetDevice(rank));
    aclrtStream stream;
    OK(aclrtCreateStream(&stream));
    HcclComm comm;
    OK(HcclCommInitRootInfo(RANKS, &root, (uint32_t)rank, &comm));
    float* host;
    void *send, *recv;
    OK(aclrtMallocHost((void**)&host, BYTES));
    OK(aclrtMalloc(&send, BYTES, ACL_MEM_MALLOC_HUGE_FIRST));
    OK(aclrtMalloc(&recv, BYTES, ACL_MEM_MALLOC_HUGE_FIRST));
    for (int i = 0; i < COUNT; i++) {
        host[i] = (float)(i * (rank + 1));
    }
    OK(aclrtMemcpyAsync(send, BYTES, host, BYTES, ACL_MEMCPY_HOST_TO_DEVICE, stream));
    OK(HcclAllReduce(send, recv, COUNT, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, comm, stream));
    OK(aclrtMemcpyAsync(host, BYTES, recv, BYTES, ACL_MEMCPY_DEVICE_TO_HOST, stream));
    OK(aclrtSynchronizeStream(stream));
    for (int i = 0; i < COUNT; i++) {
        /* 1 + ... + 8 = 36; every sum is an integer below 2^24. */
        REQUIRE(host[i] == (float)(36 * i));
    }
    OK(HcclCommDestroy(comm));
    OK(aclrtFree(send));
    OK(aclrtFree(recv));
    OK(aclrtFreeHost(host));
    OK(aclrtDestroyStream(stream));
    OK(aclrtResetDevice(rank));
    return NULL;
}

int main(void) {
    OK(aclInit(NULL));
    uint32_t count = 0;
    OK(aclrtGetDeviceCount(&count));
    REQUIRE(count == RANKS);
    OK(aclrtSetDevice(0));
    OK(HcclGetRootInfo(&root));
    pthread_t threads[RANKS];
    int numbers[RANKS];
    for (int rank = 0; rank < RANKS; rank++) {
        numbers[rank] = rank;
        REQUIRE(pthread_create(&threads[rank], NULL, rank_thread, &numbers[rank]) == 0);
    }
    for (int rank = 0; rank < RANKS; rank++) {
        REQUIRE(pthread_join(threads[rank], NULL) == 0);
    }
    OK(aclrtResetDevice(0));
    OK(aclFinalize());
    return 0;
}
