/* Wrong on purpose: reads the target of an asynchronous copy and waits for the stream afterwards. */
#include "check.h"

int main(void) {
    OK(aclInit(NULL));
    OK(aclrtSetDevice(0));
    aclrtStream stream;
    OK(aclrtCreateStream(&stream));
    void* device;
    int* host;
    OK(aclrtMalloc(&device, 64, ACL_MEM_MALLOC_HUGE_FIRST));
    OK(aclrtMallocHost((void**)&host, 64));
    OK(aclrtMemset(device, 64, 1, 64));
    OK(aclrtMemcpyAsync(host, 64, device, 64, ACL_MEMCPY_DEVICE_TO_HOST, stream));
    int early = *host;
    OK(aclrtSynchronizeStream(stream));
    REQUIRE(early == 0 || early == 0x01010101);
    return 0;
}
