/* Wrong on purpose: the program says that its buffer has 64 bytes, and it has 32. */
#include "check.h"

int main(void) {
    OK(aclInit(NULL));
    OK(aclrtSetDevice(0));
    void* device;
    OK(aclrtMalloc(&device, 64, ACL_MEM_MALLOC_HUGE_FIRST));
    OK(aclrtMemset(device, 64, 1, 64));
    char* host = malloc(32);
    OK(aclrtMemcpy(host, 64, device, 64, ACL_MEMCPY_DEVICE_TO_HOST));
    REQUIRE(host[0] == 1);
    free(host);
    return 0;
}
