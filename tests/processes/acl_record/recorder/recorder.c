// SPDX-License-Identifier: MIT OR Apache-2.0
// A libascendcl.so without a device: every call is written to a file with its arguments and its code.
// Signatures are those of docs/acl-runtime.md 1.3; kernels do not run, but fa_self_test leaves what its
// definition says.
//
// Variables: RECORD_LOG     the file, appended to
//            RECORD_FAIL    "K:CODE" the K-th call fails; "K+:CODE" all calls from the K-th on fail;
//                           "NAME:CODE" every call of NAME fails
//            RECORD_ABORT   a function whose first call ends the process
//            RECORD_FREEZE  a function whose call never returns
//            RECORD_STUB    set: every call returns 100039
//            RECORD_SOC     name of the SoC, Ascend910B2 if unset
//            RECORD_DEVICES number of devices, 1 if unset
//            RECORD_KERNEL  "wrong": fa_self_test leaves other numbers; "hang": no launch ever ends
// With -DWITHOUT_LATER the functions that CANN 8.1 lacks are absent.
//
// Calls between record_other(1) and record_other(0) are marked as those of another library, and never fail.
//
// Handles are named by kind and number, memory by its allocation. A line that starts with MISUSE says that a
// call used a handle that is dead, of another context, or in a wrong order.
#include "kernels.h"
#include "objects.h"

void record_other(int begins) { is_other = begins; }

int aclInit(const char* path) { CALL(aclInit, {}, "%s", path == NULL ? "null" : path); }

const char* aclGetRecentErrMsg(void) {
    if (pending[0] == 0) return NULL;
    strcpy(given, pending);
    pending[0] = 0;
    return given;
}

int aclrtGetVersion(int* major, int* minor, int* patch) {
    CALL(
        aclrtGetVersion,
        {
            *major = 1;
            *minor = 13;
            *patch = 0;
        },
        "");
}

#ifndef WITHOUT_LATER
int aclsysGetVersionStr(char* package, char* version) {
    CALL(
        aclsysGetVersionStr,
        {
            if (strcmp(package, "firmware") == 0)
                code = INVALID_PARAM;
            else
                strcpy(version, strcmp(package, "driver") == 0 ? "25.0.rc1" : "9.1.0");
        },
        "%s", package);
}
#endif

int aclrtGetDeviceCount(uint32_t* count) {
    const char* n = getenv("RECORD_DEVICES");
    CALL(aclrtGetDeviceCount, { *count = n == NULL ? 1 : (uint32_t)atoi(n); }, "");
}

int aclrtSetDevice(int device) {
    CALL(
        aclrtSetDevice,
        {
            const char* n = getenv("RECORD_DEVICES");
            if (device < 0 || device >= (n == NULL ? 1 : atoi(n))) {
                code = 107001;
            } else {
                if (uses[device]++ == 0) primary[device] = create("context", NULL);
                current = primary[device];
                out = current->kind;
                out_number = current->number;
            }
        },
        "%d", device);
}

int aclrtResetDevice(int device) {
    CALL(
        aclrtResetDevice,
        {
            if (uses[device] == 0)
                misuse("aclrtResetDevice", "a device that is not set");
            else if (--uses[device] == 0)
                primary[device]->is_alive = 0;
        },
        "%d", device);
}

int aclrtGetDevice(int* device) {
    CALL(aclrtGetDevice, { *device = 0; }, "");
}

const char* aclrtGetSocName(void) {
    pthread_mutex_lock(&mutex);
    const int code = forced("aclrtGetSocName");
    say("aclrtGetSocName()%s\n", code == SUCCESS ? "" : " = null");
    pthread_mutex_unlock(&mutex);
    const char* name = getenv("RECORD_SOC");
    return code != SUCCESS ? NULL : name == NULL ? "Ascend910B2" : name;
}

int aclrtSynchronizeDevice(void) { CALL(aclrtSynchronizeDevice, {}, ""); }

int aclrtCreateContext(void** context, int device) {
    CALL(
        aclrtCreateContext,
        {
            current = create("context", NULL);
            CREATED(current, context);
        },
        "%d", device);
}

int aclrtDestroyContext(void* context) {
    CALL(aclrtDestroyContext, { destroy("aclrtDestroyContext", context, "context"); }, "%s", named(context));
}

int aclrtSetCurrentContext(void* context) {
    CALL(
        aclrtSetCurrentContext, { current = use("aclrtSetCurrentContext", context, "context"); }, "%s",
        named(context));
}

int aclrtGetCurrentContext(void** context) {
    CALL(
        aclrtGetCurrentContext,
        {
            if (current == NULL || !current->is_alive)
                code = CONTEXT_NULL;
            else
                CREATED(current, context);
        },
        "");
}

int aclrtCreateStream(void** stream) {
    CALL(
        aclrtCreateStream,
        {
            Object* o = create("stream", current);
            CREATED(o, stream);
        },
        "");
}

int aclrtDestroyStream(void* stream) {
    CALL(
        aclrtDestroyStream,
        {
            drain("aclrtDestroyStream", stream);
            destroy("aclrtDestroyStream", stream, "stream");
        },
        "%s", named(stream));
}

int aclrtDestroyStreamForce(void* stream) {
    CALL(
        aclrtDestroyStreamForce, { destroy("aclrtDestroyStreamForce", stream, "stream"); }, "%s",
        named(stream));
}

int aclrtSynchronizeStream(void* stream) {
    CALL(aclrtSynchronizeStream, { drain("aclrtSynchronizeStream", stream); }, "%s", named(stream));
}

int aclrtSynchronizeStreamWithTimeout(void* stream, int ms) {
    CALL(
        aclrtSynchronizeStreamWithTimeout,
        {
            const Object* o = stream_of("aclrtSynchronizeStreamWithTimeout", stream);
            if (ms < 0)
                drain("aclrtSynchronizeStreamWithTimeout", stream);
            else if (o != NULL && o->is_hung)
                code = TIMEOUT;
        },
        "%s, %d", named(stream), ms);
}

int aclrtStreamQuery(void* stream, uint32_t* status) {
    CALL(
        aclrtStreamQuery,
        {
            stream_of("aclrtStreamQuery", stream);
            *status = 0;
        },
        "%s", named(stream));
}

int aclrtStreamWaitEvent(void* stream, void* event) {
    CALL(
        aclrtStreamWaitEvent,
        {
            stream_of("aclrtStreamWaitEvent", stream);
            use("aclrtStreamWaitEvent", event, "event");
        },
        "%s, %s", named(stream), named(event));
}

int aclrtCreateEvent(void** event) {
    CALL(
        aclrtCreateEvent,
        {
            Object* o = create("event", current);
            CREATED(o, event);
        },
        "");
}

int aclrtCreateEventExWithFlag(void** event, uint32_t flag) {
    CALL(
        aclrtCreateEventExWithFlag,
        {
            Object* o = create("event", current);
            CREATED(o, event);
        },
        "%#x", flag);
}

int aclrtDestroyEvent(void* event) {
    CALL(aclrtDestroyEvent, { destroy("aclrtDestroyEvent", event, "event"); }, "%s", named(event));
}

int aclrtRecordEvent(void* event, void* stream) {
    CALL(
        aclrtRecordEvent,
        {
            use("aclrtRecordEvent", event, "event");
            stream_of("aclrtRecordEvent", stream);
        },
        "%s, %s", named(event), named(stream));
}

int aclrtQueryEventStatus(void* event, uint32_t* status) {
    CALL(
        aclrtQueryEventStatus,
        {
            use("aclrtQueryEventStatus", event, "event");
            *status = 1;
        },
        "%s", named(event));
}

int aclrtSynchronizeEvent(void* event) {
    CALL(aclrtSynchronizeEvent, { use("aclrtSynchronizeEvent", event, "event"); }, "%s", named(event));
}

int aclrtEventElapsedTime(float* ms, void* start, void* end) {
    CALL(aclrtEventElapsedTime, { *ms = 1.5f; }, "%s, %s", named(start), named(end));
}

static Object* allocate(const char* kind, size_t size) {
    Object* o = create(kind, NULL);
    // Addresses are multiples of 64 (docs/acl-runtime.md 1.6).
    const size_t whole = (size + 63) / 64 * 64;
    o->memory = aligned_alloc(64, whole);
    if (o->memory != NULL) memset(o->memory, 0, whole);
    o->size = size;
    return o;
}

static int release(const char* call, void* address, const char* kind) {
    Object* o = holder(address);
    if (o == NULL || o->memory != address || strcmp(o->kind, kind) != 0) {
        misuse(call, "no live allocation");
        return INVALID_PARAM;
    }
    o->is_alive = 0;
    free(o->memory);
    return SUCCESS;
}

int aclrtMalloc(void** address, size_t size, uint32_t policy) {
    CALL(
        aclrtMalloc,
        {
            if (size == 0)
                code = INVALID_PARAM;
            else {
                Object* o = allocate("memory", size);
                CREATED(o, address);
                *address = o->memory;
            }
        },
        "%zu, %u", size, policy);
}

int aclrtFree(void* address) {
    CALL(aclrtFree, { code = release("aclrtFree", address, "memory"); }, "%s", text(address));
}

int aclrtMallocHost(void** address, size_t size) {
    CALL(
        aclrtMallocHost,
        {
            Object* o = allocate("pinned", size);
            CREATED(o, address);
            *address = o->memory;
        },
        "%zu", size);
}

int aclrtFreeHost(void* address) {
    CALL(aclrtFreeHost, { code = release("aclrtFreeHost", address, "pinned"); }, "%s", text(address));
}

static void need(const char* call, const void* address, size_t size) {
    const Object* o = holder(address);
    if (o != NULL && (size_t)((const uint8_t*)address - o->memory) + size > o->size)
        misuse(call, "out of bounds");
}

int aclrtMemcpy(void* dst, size_t room, const void* src, size_t count, uint32_t kind) {
    CALL(
        aclrtMemcpy,
        {
            need("aclrtMemcpy", dst, room);
            need("aclrtMemcpy", src, count);
            memcpy(dst, src, count);
        },
        "%s, %zu, %s, %zu, %u", host_or(dst), room, host_or(src), count, kind);
}

int aclrtMemcpyAsync(void* dst, size_t room, const void* src, size_t count, uint32_t kind, void* stream) {
    CALL(
        aclrtMemcpyAsync,
        {
            need("aclrtMemcpyAsync", dst, room);
            need("aclrtMemcpyAsync", src, count);
            stream_of("aclrtMemcpyAsync", stream);
            memcpy(dst, src, count);
        },
        "%s, %zu, %s, %zu, %u, %s", host_or(dst), room, host_or(src), count, kind, named(stream));
}

int aclrtMemset(void* address, size_t room, int value, size_t count) {
    CALL(
        aclrtMemset,
        {
            need("aclrtMemset", address, room);
            memset(address, value, count);
        },
        "%s, %zu, %d, %zu", text(address), room, value, count);
}

int aclrtMemsetAsync(void* address, size_t room, int value, size_t count, void* stream) {
    CALL(
        aclrtMemsetAsync,
        {
            need("aclrtMemsetAsync", address, room);
            stream_of("aclrtMemsetAsync", stream);
            memset(address, value, count);
        },
        "%s, %zu, %d, %zu, %s", text(address), room, value, count, named(stream));
}

int aclrtGetMemInfo(uint32_t attribute, size_t* free_bytes, size_t* total_bytes) {
    CALL(
        aclrtGetMemInfo,
        {
            *free_bytes = 3;
            *total_bytes = 4;
        },
        "%u", attribute);
}
