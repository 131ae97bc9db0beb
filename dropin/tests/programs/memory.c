/* Copies in one and two dimensions, between host and device and on the device. */
#include <string.h>

#include "check.h"

enum { ROWS = 5, WIDTH = 12, PITCH = 32, BYTES = ROWS * PITCH };

int main(void) {
    OK(aclInit(NULL));
    OK(aclrtSetDevice(0));
    unsigned char *host = NULL, *back = NULL;
    void *a = NULL, *b = NULL;
    OK(aclrtMallocHost((void**)&host, BYTES));
    OK(aclrtMallocHost((void**)&back, BYTES));
    OK(aclrtMalloc(&a, BYTES, ACL_MEM_MALLOC_HUGE_FIRST));
    OK(aclrtMalloc(&b, BYTES, ACL_MEM_MALLOC_NORMAL_ONLY));
    for (int i = 0; i < BYTES; i++) {
        host[i] = (unsigned char)(i * 7 + 1);
    }

    OK(aclrtMemcpy(a, BYTES, host, BYTES, ACL_MEMCPY_HOST_TO_DEVICE));
    OK(aclrtMemcpy(b, BYTES, a, BYTES, ACL_MEMCPY_DEVICE_TO_DEVICE));
    OK(aclrtMemcpy(back, BYTES, b, BYTES, ACL_MEMCPY_DEVICE_TO_HOST));
    REQUIRE(memcmp(host, back, BYTES) == 0);

    /* Rows of WIDTH bytes, PITCH apart on the host, packed on the device. */
    OK(aclrtMemset(b, BYTES, 0xee, BYTES));
    OK(aclrtMemcpy2d(b, WIDTH, host, PITCH, WIDTH, ROWS, ACL_MEMCPY_HOST_TO_DEVICE));
    OK(aclrtMemcpy(back, BYTES, b, BYTES, ACL_MEMCPY_DEVICE_TO_HOST));
    for (int row = 0; row < ROWS; row++) {
        REQUIRE(memcmp(back + row * WIDTH, host + row * PITCH, WIDTH) == 0);
    }
    for (int i = ROWS * WIDTH; i < BYTES; i++) {
        REQUIRE(back[i] == 0xee);
    }
    EXPECT(ACL_ERROR_RT_PARAM_INVALID,
           aclrtMemcpy2d(b, WIDTH - 1, host, PITCH, WIDTH, ROWS, ACL_MEMCPY_HOST_TO_DEVICE));

    OK(aclrtFree(a));
    OK(aclrtFree(b));
    OK(aclrtFreeHost(host));
    OK(aclrtFreeHost(back));
    OK(aclrtResetDevice(0));
    OK(aclFinalize());
    return 0;
}
