/* A kernel from an image file (first argument), launched through an argument list. */
#include <string.h>

#include "check.h"

enum { BYTES = 4096 };

int main(int argc, char** argv) {
    REQUIRE(argc == 2);
    OK(aclInit(NULL));
    OK(aclrtSetDevice(0));
    aclrtStream stream;
    OK(aclrtCreateStream(&stream));
    unsigned char *host, *back;
    void *src, *dst;
    OK(aclrtMallocHost((void**)&host, BYTES));
    OK(aclrtMallocHost((void**)&back, BYTES));
    OK(aclrtMalloc(&src, BYTES, ACL_MEM_MALLOC_HUGE_FIRST));
    OK(aclrtMalloc(&dst, BYTES, ACL_MEM_MALLOC_HUGE_FIRST));
    for (int i = 0; i < BYTES; i++) {
        host[i] = (unsigned char)(i * 13);
    }

    aclrtBinHandle binary;
    aclrtFuncHandle function;
    OK(aclrtBinaryLoadFromFile(argv[1], NULL, &binary));
    EXPECT(100029, aclrtBinaryGetFunction(binary, "no_such_kernel", &function));
    REQUIRE(strstr(aclGetRecentErrMsg(), "fa_copy"));
    OK(aclrtBinaryGetFunction(binary, "fa_copy", &function));

    aclrtArgsHandle args;
    aclrtParamHandle param;
    uint64_t bytes = BYTES;
    OK(aclrtKernelArgsInit(function, &args));
    OK(aclrtKernelArgsAppend(args, &dst, sizeof dst, &param));
    OK(aclrtKernelArgsAppend(args, &src, sizeof src, &param));
    OK(aclrtKernelArgsAppend(args, &bytes, sizeof bytes, &param));
    OK(aclrtKernelArgsFinalize(args));
    OK(aclrtMemcpyAsync(src, BYTES, host, BYTES, ACL_MEMCPY_HOST_TO_DEVICE, stream));
    OK(aclrtLaunchKernelWithConfig(function, 4, stream, NULL, args, NULL));
    OK(aclrtMemcpyAsync(back, BYTES, dst, BYTES, ACL_MEMCPY_DEVICE_TO_HOST, stream));
    OK(aclrtSynchronizeStream(stream));
    REQUIRE(memcmp(host, back, BYTES) == 0);

    OK(aclrtBinaryUnLoad(binary));
    OK(aclrtFree(src));
    OK(aclrtFree(dst));
    OK(aclrtFreeHost(host));
    OK(aclrtFreeHost(back));
    OK(aclrtDestroyStream(stream));
    OK(aclrtResetDevice(0));
    OK(aclFinalize());
    return 0;
}
