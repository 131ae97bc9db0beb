/* Error handling: codes, texts, who owns them, and a function that is known and not simulated. */
#include <string.h>

#include "check.h"

int main(void) {
    OK(aclInit(NULL));
    EXPECT(100002, aclInit(NULL));
    REQUIRE(strstr(aclGetRecentErrMsg(), "aclInit was called before"));
    REQUIRE(aclGetRecentErrMsg() == NULL);

    void* device = NULL;
    EXPECT(ACL_ERROR_RT_CONTEXT_NULL, aclrtMalloc(&device, 64, ACL_MEM_MALLOC_HUGE_FIRST));
    EXPECT(107001, aclrtSetDevice(99));
    OK(aclrtSetDevice(0));
    int32_t current = -1;
    OK(aclrtGetDevice(&current));
    REQUIRE(current == 0);

    aclrtRunMode mode = ACL_DEVICE;
    OK(aclrtGetRunMode(&mode));
    REQUIRE(mode == ACL_HOST);
    REQUIRE(strncmp(aclrtGetSocName(), "Ascend910B", 10) == 0);

    /* More than the buffer holds, a pointer that is none of the device's, a second free. */
    char host[64];
    memset(host, 7, sizeof host);
    OK(aclrtMalloc(&device, 64, ACL_MEM_MALLOC_HUGE_FIRST));
    EXPECT(ACL_ERROR_RT_PARAM_INVALID, aclrtMemcpy(device, 32, host, 64, ACL_MEMCPY_HOST_TO_DEVICE));
    EXPECT(ACL_ERROR_RT_PARAM_INVALID, aclrtMemcpy(host, 64, host, 64, ACL_MEMCPY_HOST_TO_DEVICE));
    OK(aclrtFree(device));
    EXPECT(ACL_ERROR_RT_PARAM_INVALID, aclrtFree(device));
    while (aclGetRecentErrMsg() != NULL) {
    }

    EXPECT(ACL_ERROR_RT_FEATURE_NOT_SUPPORT, aclrtSetDeviceSatMode(0));
    REQUIRE(strstr(aclGetRecentErrMsg(), "aclrtSetDeviceSatMode: the simulator does not have this function"));

    REQUIRE(aclDataTypeSize(ACL_FLOAT) == 4 && aclDataTypeSize(ACL_FLOAT16) == 2);
    REQUIRE(aclFloatToFloat16(1.625f) == 0x3e80 && aclFloat16ToFloat(0x3e80) == 1.625f);

    OK(aclrtResetDeviceForce(0));
    OK(aclFinalize());
    return 0;
}
