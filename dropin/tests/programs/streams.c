/* Streams are queues: a host function holds one back until the program lets go, and what is behind it waits.
   Events order two of them; a callback runs in a thread of the program. */
#include <pthread.h>
#include <string.h>

#include "check.h"

enum { COUNT = 4096, BYTES = COUNT * 4 };

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static int order[2];
static int num_calls;
static int is_over;
static pthread_mutex_t over_lock = PTHREAD_MUTEX_INITIALIZER;

static void wait_at_gate(void* unused) {
    (void)unused;
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
}

static void note(void* number) { order[num_calls++] = *(int*)number; }

static void* report_thread(void* unused) {
    (void)unused;
    for (;;) {
        (void)aclrtProcessReport(20);
        pthread_mutex_lock(&over_lock);
        int stop = is_over;
        pthread_mutex_unlock(&over_lock);
        if (stop) {
            return NULL;
        }
    }
}

int main(void) {
    OK(aclInit(NULL));
    OK(aclrtSetDevice(0));
    aclrtStream first, second;
    aclrtEvent event, start;
    OK(aclrtCreateStream(&first));
    OK(aclrtCreateStream(&second));
    OK(aclrtCreateEvent(&event));
    OK(aclrtCreateEvent(&start));
    int *host, *back;
    void* device;
    OK(aclrtMallocHost((void**)&host, BYTES));
    OK(aclrtMallocHost((void**)&back, BYTES));
    OK(aclrtMalloc(&device, BYTES, ACL_MEM_MALLOC_HUGE_FIRST));
    for (int i = 0; i < COUNT; i++) {
        host[i] = i ^ 0x5a5a;
    }
    OK(aclrtMemset(device, BYTES, 0, BYTES));

    pthread_t reporter;
    REQUIRE(pthread_create(&reporter, NULL, report_thread, NULL) == 0);
    OK(aclrtSubscribeReport((uint64_t)reporter, first));

    /* The gate is shut: nothing behind the callback may happen. */
    int one = 1, two = 2;
    pthread_mutex_lock(&gate);
    OK(aclrtRecordEvent(start, first));
    OK(aclrtLaunchCallback(wait_at_gate, NULL, ACL_CALLBACK_BLOCK, first));
    OK(aclrtLaunchCallback(note, &one, ACL_CALLBACK_BLOCK, first));
    OK(aclrtMemcpyAsync(device, BYTES, host, BYTES, ACL_MEMCPY_HOST_TO_DEVICE, first));
    OK(aclrtLaunchCallback(note, &two, ACL_CALLBACK_BLOCK, first));
    OK(aclrtRecordEvent(event, first));
    OK(aclrtStreamWaitEvent(second, event));
    OK(aclrtMemcpyAsync(back, BYTES, device, BYTES, ACL_MEMCPY_DEVICE_TO_HOST, second));

    aclrtStreamStatus busy;
    OK(aclrtStreamQuery(second, &busy));
    REQUIRE(busy == ACL_STREAM_STATUS_NOT_READY);
    aclrtEventRecordedStatus status;
    OK(aclrtQueryEventStatus(event, &status));
    REQUIRE(status == ACL_EVENT_RECORDED_STATUS_NOT_READY);
    EXPECT(507046, aclrtSynchronizeStreamWithTimeout(second, 30));
    int probe = -1;
    OK(aclrtMemcpy(&probe, 4, device, 4, ACL_MEMCPY_DEVICE_TO_HOST));
    REQUIRE(probe == 0);
    pthread_mutex_unlock(&gate);

    OK(aclrtSynchronizeStream(second));
    REQUIRE(memcmp(host, back, BYTES) == 0);
    OK(aclrtSynchronizeEvent(event));
    OK(aclrtSynchronizeStream(first));
    REQUIRE(num_calls == 2 && order[0] == 1 && order[1] == 2);
    float ms = -1.0f;
    OK(aclrtEventElapsedTime(&ms, start, event));
    REQUIRE(ms > 0.0f);

    pthread_mutex_lock(&over_lock);
    is_over = 1;
    pthread_mutex_unlock(&over_lock);
    REQUIRE(pthread_join(reporter, NULL) == 0);
    OK(aclrtUnSubscribeReport((uint64_t)reporter, first));
    OK(aclrtDestroyEvent(start));
    OK(aclrtDestroyEvent(event));
    OK(aclrtDestroyStream(first));
    OK(aclrtDestroyStream(second));
    OK(aclrtFree(device));
    OK(aclrtFreeHost(host));
    OK(aclrtFreeHost(back));
    OK(aclrtResetDevice(0));
    OK(aclFinalize());
    return 0;
}
