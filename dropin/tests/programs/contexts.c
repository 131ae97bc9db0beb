/* Contexts belong to threads; streams and events belong to contexts. */
#include <pthread.h>

#include "check.h"

static aclrtContext explicit_context;

static void* other_thread(void* unused) {
    (void)unused;
    aclrtContext context = NULL;
    aclrtStream stream = NULL;
    EXPECT(ACL_ERROR_RT_CONTEXT_NULL, aclrtGetCurrentContext(&context));
    EXPECT(ACL_ERROR_RT_CONTEXT_NULL, aclrtCreateStream(&stream));
    OK(aclrtSetCurrentContext(explicit_context));
    OK(aclrtCreateStream(&stream));
    OK(aclrtDestroyStream(stream));
    return NULL;
}

int main(void) {
    OK(aclInit(NULL));
    OK(aclrtSetDevice(0));
    aclrtContext first = NULL, current = NULL;
    OK(aclrtGetCurrentContext(&first));
    OK(aclrtCreateContext(&explicit_context, 0));
    OK(aclrtGetCurrentContext(&current));
    REQUIRE(current == explicit_context && current != first);

    aclrtStream stream = NULL;
    OK(aclrtCreateStream(&stream));
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, other_thread, NULL) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);

    OK(aclrtSetCurrentContext(first));
    EXPECT(107003, aclrtSynchronizeStream(stream));
    EXPECT(107017, aclrtSetCurrentContext(NULL));
    OK(aclrtSetCurrentContext(explicit_context));
    OK(aclrtDestroyStream(stream));
    OK(aclrtDestroyContext(explicit_context));
    EXPECT(ACL_ERROR_RT_CONTEXT_NULL, aclrtSynchronizeDevice());
    OK(aclrtResetDevice(0));
    OK(aclFinalize());
    return 0;
}
