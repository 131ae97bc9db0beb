// SPDX-License-Identifier: MIT OR Apache-2.0
// A libascendcl.so without a device: every call is written to a file with its arguments and its code. Signatures are those
// of docs/acl-runtime.md 1.3; kernels do not run, but fa_self_test leaves what its definition says.
//
// Variables: RECORD_LOG     the file, appended to
//            RECORD_FAIL    "K:CODE" the K-th call fails; "K+:CODE" all calls from the K-th on fail;
//                           "NAME:CODE" every call of NAME fails
//            RECORD_ABORT   a function whose first call ends the process, RECORD_FREEZE one whose call never returns
//            RECORD_STUB    set: every call returns 100039
//            RECORD_SOC     name of the SoC, Ascend910B2 if unset
//            RECORD_DEVICES number of devices, 1 if unset
//            RECORD_KERNEL  "wrong": fa_self_test leaves other numbers; "hang": no launch ever ends
// With -DWITHOUT_LATER the functions that CANN 8.1 lacks are absent.
//
// Calls between record_other(1) and record_other(0) are marked as those of another library, and never fail.
//
// Handles are named by kind and number, memory by its allocation. A line that starts with MISUSE says that a call used a
// handle that is dead, of another context, or in a wrong order.
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct Object {
    const char *kind;
    int number;
    int is_alive;
    struct Object *owner;  // context of a stream, event, image; image of a function
    uint8_t *memory;
    size_t size;
    int is_hung;
    char name[64];
    struct Object *next;
} Object;

enum { SUCCESS = 0, INVALID_PARAM = 100000, STUB = 100039, CONTEXT_NULL = 107002, NOT_SUPPORTED = 207000, TIMEOUT = 507046 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static Object *objects;
static Object *primary[8];
static int uses[8];
static int calls;
static _Thread_local Object *current;
static _Thread_local int is_other;
static _Thread_local char pending[160], given[160];

static FILE *log_file(void) {
    static FILE *file;
    const char *path = getenv("RECORD_LOG");
    if (file == NULL) file = path == NULL ? stderr : fopen(path, "a");
    return file;
}

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(log_file(), format, args);
    va_end(args);
    fflush(log_file());
}

static Object *create(const char *kind, Object *owner) {
    Object *o = calloc(1, sizeof *o);
    o->kind = kind;
    o->number = 1;
    for (Object *i = objects; i != NULL; i = i->next) o->number += strcmp(i->kind, kind) == 0;
    o->is_alive = 1;
    o->owner = owner;
    o->next = objects;
    objects = o;
    return o;
}

static void misuse(const char *call, const char *what) { say("MISUSE %s: %s\n", call, what); }

// A live handle of that kind.
static Object *use(const char *call, void *handle, const char *kind) {
    for (Object *i = objects; i != NULL; i = i->next) {
        if (i != handle || strcmp(i->kind, kind) != 0) continue;
        if (!i->is_alive) misuse(call, "a handle that was destroyed");
        if (i->owner != NULL && strcmp(i->owner->kind, "context") == 0 && i->owner != current) {
            misuse(call, "a handle of another context than the current one");
        }
        return i;
    }
    misuse(call, kind);
    return NULL;
}

// The allocation that holds an address.
static Object *holder(const void *address) {
    const uint8_t *at = address;
    for (Object *i = objects; i != NULL; i = i->next) {
        if (i->memory != NULL && i->is_alive && at >= i->memory && at < i->memory + i->size) return i;
    }
    return NULL;
}

// Text of a value: memory by allocation, anything else as a number.
static const char *text(const void *value) {
    static char buffer[8][48];
    static int turn;
    char *out = buffer[turn = (turn + 1) % 8];
    const Object *o = holder(value);
    if (o == NULL) {
        snprintf(out, sizeof buffer[0], "%#zx", (size_t)value);
    } else {
        const size_t offset = (size_t)((const uint8_t *)value - o->memory);
        snprintf(out, sizeof buffer[0], offset == 0 ? "%s%d" : "%s%d+%zu", o->kind, o->number, offset);
    }
    return out;
}

// Host memory of the caller has no name.
static const char *host_or(const void *value) { return holder(value) == NULL ? "host" : text(value); }

static int is_named_by(const char *variable, const char *name) {
    const char *value = getenv(variable);
    return value != NULL && strcmp(value, name) == 0;
}

// The code that the call has to return instead of doing its work.
static int forced(const char *name) {
    if (is_named_by("RECORD_ABORT", name)) abort();
    while (is_named_by("RECORD_FREEZE", name)) pause();
    if (getenv("RECORD_STUB") != NULL) return STUB;
    if (is_other) return SUCCESS;
    ++calls;
    const char *fail = getenv("RECORD_FAIL");
    const char *colon = fail == NULL ? NULL : strchr(fail, ':');
    if (colon == NULL) return SUCCESS;
    char *end = NULL;
    const long k = strtol(fail, &end, 10);
    const int hit = end == fail ? strlen(name) == (size_t)(colon - fail) && strncmp(name, fail, strlen(name)) == 0
                                : *end == '+' ? calls >= k : calls == k;
    if (!hit) return SUCCESS;
    snprintf(pending, sizeof pending, "EZ9999: the recorder lets %s fail", name);
    return atoi(colon + 1);
}

// The frame of a recorded call: `return` out of WORK is not allowed.
#define CALL(NAME, WORK, ...)                    \
    do {                                         \
        pthread_mutex_lock(&mutex);              \
        int code = forced(#NAME);                \
        say("%s" #NAME "(", is_other ? "other: " : ""); \
        say("" __VA_ARGS__);                     \
        say(")");                                \
        const char *out = "";                    \
        int out_number = 0;                      \
        if (code == SUCCESS) WORK                \
        if (code != SUCCESS) say(" = %d", code); \
        else if (out_number != 0) say(" -> %s%d", out, out_number); \
        say("\n");                               \
        pthread_mutex_unlock(&mutex);            \
        return code;                             \
    } while (0)

#define CREATED(object, handle) (*(handle) = (object), out = (object)->kind, out_number = (object)->number)
static const char *named(const void *handle) {
    static char buffer[4][24];
    static int turn;
    if (handle == NULL) return "null";
    for (Object *i = objects; i != NULL; i = i->next) {
        if (i != handle) continue;
        char *at = buffer[turn = (turn + 1) % 4];
        snprintf(at, sizeof buffer[0], "%s%d", i->kind, i->number);
        return at;
    }
    return "unknown";
}

static void destroy(const char *call, void *handle, const char *kind) {
    Object *o = use(call, handle, kind);
    if (o != NULL) o->is_alive = 0;
}

// Null is the default stream.
static Object *stream_of(const char *call, void *handle) { return handle == NULL ? NULL : use(call, handle, "stream"); }

static void drain(const char *call, void *handle) {
    const Object *stream = stream_of(call, handle);
    if (stream == NULL || !stream->is_hung) return;
    say("\nMISUSE %s: waits for ever\n", call);
    for (;;) pause();
}

void record_other(int begins) { is_other = begins; }

int aclInit(const char *path) { CALL(aclInit, {}, "%s", path == NULL ? "null" : path); }

const char *aclGetRecentErrMsg(void) {
    if (pending[0] == 0) return NULL;
    strcpy(given, pending);
    pending[0] = 0;
    return given;
}

int aclrtGetVersion(int *major, int *minor, int *patch) {
    CALL(aclrtGetVersion, { *major = 1; *minor = 13; *patch = 0; }, "");
}

#ifndef WITHOUT_LATER
int aclsysGetVersionStr(char *package, char *version) {
    CALL(aclsysGetVersionStr, {
        if (strcmp(package, "firmware") == 0) code = INVALID_PARAM;
        else strcpy(version, strcmp(package, "driver") == 0 ? "25.0.rc1" : "9.1.0");
    }, "%s", package);
}
#endif

int aclrtGetDeviceCount(uint32_t *count) {
    const char *n = getenv("RECORD_DEVICES");
    CALL(aclrtGetDeviceCount, { *count = n == NULL ? 1 : (uint32_t)atoi(n); }, "");
}

int aclrtSetDevice(int device) {
    CALL(aclrtSetDevice, {
        const char *n = getenv("RECORD_DEVICES");
        if (device < 0 || device >= (n == NULL ? 1 : atoi(n))) {
            code = 107001;
        } else {
            if (uses[device]++ == 0) primary[device] = create("context", NULL);
            current = primary[device];
            out = current->kind;
            out_number = current->number;
        }
    }, "%d", device);
}

int aclrtResetDevice(int device) {
    CALL(aclrtResetDevice, {
        if (uses[device] == 0) misuse("aclrtResetDevice", "a device that is not set");
        else if (--uses[device] == 0) primary[device]->is_alive = 0;
    }, "%d", device);
}

int aclrtGetDevice(int *device) { CALL(aclrtGetDevice, { *device = 0; }, ""); }

const char *aclrtGetSocName(void) {
    pthread_mutex_lock(&mutex);
    const int code = forced("aclrtGetSocName");
    say("aclrtGetSocName()%s\n", code == SUCCESS ? "" : " = null");
    pthread_mutex_unlock(&mutex);
    const char *name = getenv("RECORD_SOC");
    return code != SUCCESS ? NULL : name == NULL ? "Ascend910B2" : name;
}

int aclrtSynchronizeDevice(void) { CALL(aclrtSynchronizeDevice, {}, ""); }

int aclrtCreateContext(void **context, int device) {
    CALL(aclrtCreateContext, { current = create("context", NULL); CREATED(current, context); }, "%d", device);
}

int aclrtDestroyContext(void *context) {
    CALL(aclrtDestroyContext, { destroy("aclrtDestroyContext", context, "context"); }, "%s", named(context));
}

int aclrtSetCurrentContext(void *context) {
    CALL(aclrtSetCurrentContext, { current = use("aclrtSetCurrentContext", context, "context"); }, "%s",
         named(context));
}

int aclrtGetCurrentContext(void **context) {
    CALL(aclrtGetCurrentContext, {
        if (current == NULL || !current->is_alive) code = CONTEXT_NULL;
        else CREATED(current, context);
    }, "");
}

int aclrtCreateStream(void **stream) {
    CALL(aclrtCreateStream, { Object *o = create("stream", current); CREATED(o, stream); }, "");
}

int aclrtDestroyStream(void *stream) {
    CALL(aclrtDestroyStream, {
        drain("aclrtDestroyStream", stream);
        destroy("aclrtDestroyStream", stream, "stream");
    }, "%s", named(stream));
}

int aclrtDestroyStreamForce(void *stream) {
    CALL(aclrtDestroyStreamForce, { destroy("aclrtDestroyStreamForce", stream, "stream"); }, "%s", named(stream));
}

int aclrtSynchronizeStream(void *stream) {
    CALL(aclrtSynchronizeStream, { drain("aclrtSynchronizeStream", stream); }, "%s", named(stream));
}

int aclrtSynchronizeStreamWithTimeout(void *stream, int ms) {
    CALL(aclrtSynchronizeStreamWithTimeout, {
        const Object *o = stream_of("aclrtSynchronizeStreamWithTimeout", stream);
        if (ms < 0) drain("aclrtSynchronizeStreamWithTimeout", stream);
        else if (o != NULL && o->is_hung) code = TIMEOUT;
    }, "%s, %d", named(stream), ms);
}

int aclrtStreamQuery(void *stream, uint32_t *status) {
    CALL(aclrtStreamQuery, {
        stream_of("aclrtStreamQuery", stream);
        *status = 0;
    }, "%s", named(stream));
}

int aclrtStreamWaitEvent(void *stream, void *event) {
    CALL(aclrtStreamWaitEvent, {
        stream_of("aclrtStreamWaitEvent", stream);
        use("aclrtStreamWaitEvent", event, "event");
    }, "%s, %s", named(stream), named(event));
}

int aclrtCreateEvent(void **event) {
    CALL(aclrtCreateEvent, { Object *o = create("event", current); CREATED(o, event); }, "");
}

int aclrtCreateEventExWithFlag(void **event, uint32_t flag) {
    CALL(aclrtCreateEventExWithFlag, { Object *o = create("event", current); CREATED(o, event); }, "%#x", flag);
}

int aclrtDestroyEvent(void *event) {
    CALL(aclrtDestroyEvent, { destroy("aclrtDestroyEvent", event, "event"); }, "%s", named(event));
}

int aclrtRecordEvent(void *event, void *stream) {
    CALL(aclrtRecordEvent, {
        use("aclrtRecordEvent", event, "event");
        stream_of("aclrtRecordEvent", stream);
    }, "%s, %s", named(event), named(stream));
}

int aclrtQueryEventStatus(void *event, uint32_t *status) {
    CALL(aclrtQueryEventStatus, { use("aclrtQueryEventStatus", event, "event"); *status = 1; }, "%s", named(event));
}

int aclrtSynchronizeEvent(void *event) {
    CALL(aclrtSynchronizeEvent, { use("aclrtSynchronizeEvent", event, "event"); }, "%s", named(event));
}

int aclrtEventElapsedTime(float *ms, void *start, void *end) {
    CALL(aclrtEventElapsedTime, { *ms = 1.5f; }, "%s, %s", named(start), named(end));
}

static Object *allocate(const char *kind, size_t size) {
    Object *o = create(kind, NULL);
    o->memory = calloc(1, size);
    o->size = size;
    return o;
}

static int release(const char *call, void *address, const char *kind) {
    Object *o = holder(address);
    if (o == NULL || o->memory != address || strcmp(o->kind, kind) != 0) {
        misuse(call, "no live allocation");
        return INVALID_PARAM;
    }
    o->is_alive = 0;
    free(o->memory);
    return SUCCESS;
}

int aclrtMalloc(void **address, size_t size, uint32_t policy) {
    CALL(aclrtMalloc, {
        if (size == 0) code = INVALID_PARAM;
        else {
            Object *o = allocate("memory", size);
            CREATED(o, address);
            *address = o->memory;
        }
    }, "%zu, %u", size, policy);
}

int aclrtFree(void *address) {
    CALL(aclrtFree, { code = release("aclrtFree", address, "memory"); }, "%s", text(address));
}

int aclrtMallocHost(void **address, size_t size) {
    CALL(aclrtMallocHost, {
        Object *o = allocate("pinned", size);
        CREATED(o, address);
        *address = o->memory;
    }, "%zu", size);
}

int aclrtFreeHost(void *address) {
    CALL(aclrtFreeHost, { code = release("aclrtFreeHost", address, "pinned"); }, "%s", text(address));
}

static void need(const char *call, const void *address, size_t size) {
    const Object *o = holder(address);
    if (o != NULL && (size_t)((const uint8_t *)address - o->memory) + size > o->size) misuse(call, "out of bounds");
}

int aclrtMemcpy(void *dst, size_t room, const void *src, size_t count, uint32_t kind) {
    CALL(aclrtMemcpy, {
        need("aclrtMemcpy", dst, room);
        need("aclrtMemcpy", src, count);
        memcpy(dst, src, count);
    }, "%s, %zu, %s, %zu, %u", host_or(dst), room, host_or(src), count, kind);
}

int aclrtMemcpyAsync(void *dst, size_t room, const void *src, size_t count, uint32_t kind, void *stream) {
    CALL(aclrtMemcpyAsync, {
        need("aclrtMemcpyAsync", dst, room);
        need("aclrtMemcpyAsync", src, count);
        stream_of("aclrtMemcpyAsync", stream);
        memcpy(dst, src, count);
    }, "%s, %zu, %s, %zu, %u, %s", host_or(dst), room, host_or(src), count, kind, named(stream));
}

int aclrtMemset(void *address, size_t room, int value, size_t count) {
    CALL(aclrtMemset, {
        need("aclrtMemset", address, room);
        memset(address, value, count);
    }, "%s, %zu, %d, %zu", text(address), room, value, count);
}

int aclrtMemsetAsync(void *address, size_t room, int value, size_t count, void *stream) {
    CALL(aclrtMemsetAsync, {
        need("aclrtMemsetAsync", address, room);
        stream_of("aclrtMemsetAsync", stream);
        memset(address, value, count);
    }, "%s, %zu, %d, %zu, %s", text(address), room, value, count, named(stream));
}

int aclrtGetMemInfo(uint32_t attribute, size_t *free_bytes, size_t *total_bytes) {
    CALL(aclrtGetMemInfo, { *free_bytes = 3; *total_bytes = 4; }, "%u", attribute);
}

typedef struct { uint32_t kind, value[4]; } LoadOption;
typedef struct { LoadOption *options; size_t count; } LoadOptions;

static void say_options(const LoadOptions *options) {
    for (size_t i = 0; options != NULL && i < options->count; ++i) {
        say(" {%u = %#x}", options->options[i].kind, options->options[i].value[0]);
    }
}

#ifndef WITHOUT_LATER
int aclrtBinaryLoadFromData(const void *data, size_t size, const LoadOptions *options, void **image) {
    CALL(aclrtBinaryLoadFromData, {
        Object *o = create("image", current);
        CREATED(o, image);
        if (data == NULL) misuse("aclrtBinaryLoadFromData", "no data");
        say_options(options);
    }, "%zu bytes", size);
}
#endif

int aclrtBinaryLoadFromFile(const char *path, LoadOptions *options, void **image) {
    struct stat file = {0};
    const int is_there = stat(path, &file) == 0;
    const char *end = strrchr(path, '.');
    CALL(aclrtBinaryLoadFromFile, {
        if (path[0] != '/' || !is_there) misuse("aclrtBinaryLoadFromFile", "an absolute path of a file wanted");
        Object *o = create("image", current);
        CREATED(o, image);
        say_options(options);
    }, "*%s, mode %o, %zu bytes", end == NULL ? path : end, (unsigned)file.st_mode & 0777, (size_t)file.st_size);
}

int aclrtBinaryUnLoad(void *image) {
    CALL(aclrtBinaryUnLoad, { destroy("aclrtBinaryUnLoad", image, "image"); }, "%s", named(image));
}

int aclrtBinaryGetFunction(void *image, const char *name, void **function) {
    CALL(aclrtBinaryGetFunction, {
        Object *o = create("function", use("aclrtBinaryGetFunction", image, "image"));
        snprintf(o->name, sizeof o->name, "%s", name);
        CREATED(o, function);
    }, "%s, %s", named(image), name);
}

// This thread's argument list.
typedef struct { size_t size; uint64_t value; uint8_t data[1024]; int is_place_holder; } Param;
typedef struct { Param params[128]; int count, is_filled, is_final; } Args;
static _Thread_local Args list;

static Object *live_function(const char *call, void *handle) {
    Object *o = use(call, handle, "function");
    if (o != NULL && !o->owner->is_alive) misuse(call, "a function of an unloaded image");
    return o;
}

int aclrtKernelArgsInit(void *function, void **args) {
    CALL(aclrtKernelArgsInit, {
        live_function("aclrtKernelArgsInit", function);
        memset(&list, 0, sizeof list);
        *args = &list;
    }, "%s", named(function));
}

int aclrtKernelArgsAppend(void *args, void *param, size_t size, void **handle) {
    CALL(aclrtKernelArgsAppend, {
        if (args != &list || list.is_filled || list.is_final) misuse("aclrtKernelArgsAppend", "order");
        Param *p = &list.params[list.count++];
        p->size = size;
        memcpy(&p->value, param, size < 8 ? size : 8);
        *handle = p;
    }, "%zu bytes", size);
}

int aclrtKernelArgsAppendPlaceHolder(void *args, void **handle) {
    CALL(aclrtKernelArgsAppendPlaceHolder, {
        if (args != &list || list.is_filled || list.is_final) misuse("aclrtKernelArgsAppendPlaceHolder", "order");
        list.params[list.count].is_place_holder = 1;
        *handle = &list.params[list.count++];
    }, "");
}

int aclrtKernelArgsGetPlaceHolderBuffer(void *args, void *handle, size_t size, void **buffer) {
    CALL(aclrtKernelArgsGetPlaceHolderBuffer, {
        Param *p = handle;
        if (args != &list || !p->is_place_holder || size > sizeof p->data) {
            misuse("aclrtKernelArgsGetPlaceHolderBuffer", "no place holder");
        }
        list.is_filled = 1;
        p->size = size;
        *buffer = p->data;
    }, "%zu bytes", size);
}

int aclrtKernelArgsFinalize(void *args) {
    CALL(aclrtKernelArgsFinalize, {
        if (args != &list) misuse("aclrtKernelArgsFinalize", "another thread's list");
        list.is_final = 1;
    }, "");
}

static void say_args(void) {
    for (int i = 0; i < list.count; ++i) {
        const Param *p = &list.params[i];
        say("%s", i == 0 ? "" : ", ");
        if (p->is_place_holder) say("(%zu bytes)", p->size);
        else say("%s", text((const void *)(uintptr_t)p->value));
    }
}

// What ascendc/kernels/self_test.cpp defines.
static void self_test(uint32_t blocks) {
    float *out = (float *)(uintptr_t)list.params[0].value;
    float magic = 0;
    memcpy(&magic, list.params[2].data, sizeof magic);
    const char *kernel = getenv("RECORD_KERNEL");
    if (kernel != NULL && strcmp(kernel, "wrong") == 0) magic += 1;
    for (uint32_t i = 0; i < blocks * 256; ++i) {
        const uint32_t b = i / 256 % 8, r = i % 256 / 16, c = i % 16;
        out[i] = magic + (float)(16 * (b + 1 + (r >= 8)) * (b + 1 + (c >= 8)));
    }
}

typedef struct { uint32_t id, value[4]; } Attribute;
typedef struct { Attribute *attributes; size_t count; } Configuration;

int aclrtLaunchKernelWithConfig(void *function, uint32_t blocks, void *stream, Configuration *cfg, void *args,
                                void *reserve) {
    const char *kernel = getenv("RECORD_KERNEL");
    CALL(aclrtLaunchKernelWithConfig, {
        const Object *f = live_function("aclrtLaunchKernelWithConfig", function);
        Object *s = stream_of("aclrtLaunchKernelWithConfig", stream);
        if (args != &list || !list.is_final || reserve != NULL) misuse("aclrtLaunchKernelWithConfig", "arguments");
        say(" [");
        say_args();
        say("]");
        if (kernel != NULL && strcmp(kernel, "hang") == 0 && s != NULL) s->is_hung = 1;
        if (f != NULL && strcmp(f->name, "fa_self_test") == 0) self_test(blocks);
    }, "%s, %u blocks, %s, %zu attributes: %u = %u", named(function), blocks, named(stream), cfg->count,
         cfg->attributes[0].id, cfg->attributes[0].value[0]);
}
