// SPDX-License-Identifier: MIT OR Apache-2.0
// What the recorder knows of handles and memory, and the frame of a recorded call.
#pragma once
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct Object {
    const char* kind;
    int number;
    int is_alive;
    struct Object* owner;  // context of a stream, event, image; image of a function
    uint8_t* memory;
    size_t size;
    int is_hung;
    char name[64];
    struct Object* next;
} Object;

enum { SUCCESS = 0, INVALID_PARAM = 100000, STUB = 100039, CONTEXT_NULL = 107002, TIMEOUT = 507046 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static Object* objects;
static Object* primary[8];
static int uses[8];
static int calls;
static _Thread_local Object* current;
static _Thread_local int is_other;
static _Thread_local char pending[160], given[160];

static FILE* log_file(void) {
    static FILE* file;
    const char* path = getenv("RECORD_LOG");
    if (file == NULL) file = path == NULL ? stderr : fopen(path, "a");
    return file;
}

__attribute__((format(printf, 1, 2))) static void say(const char* format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(log_file(), format, args);
    va_end(args);
    fflush(log_file());
}

static Object* create(const char* kind, Object* owner) {
    Object* o = calloc(1, sizeof *o);
    o->kind = kind;
    o->number = 1;
    for (Object* i = objects; i != NULL; i = i->next) o->number += strcmp(i->kind, kind) == 0;
    o->is_alive = 1;
    o->owner = owner;
    o->next = objects;
    objects = o;
    return o;
}

static void misuse(const char* call, const char* what) { say("MISUSE %s: %s\n", call, what); }

// A live handle of that kind.
static Object* use(const char* call, void* handle, const char* kind) {
    for (Object* i = objects; i != NULL; i = i->next) {
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
static Object* holder(const void* address) {
    const uint8_t* at = address;
    for (Object* i = objects; i != NULL; i = i->next) {
        if (i->memory != NULL && i->is_alive && at >= i->memory && at < i->memory + i->size) return i;
    }
    return NULL;
}

// Text of a value: memory by allocation, anything else as a number.
static const char* text(const void* value) {
    static char buffer[8][48];
    static int turn;
    char* out = buffer[turn = (turn + 1) % 8];
    const Object* o = holder(value);
    if (o == NULL) {
        snprintf(out, sizeof buffer[0], "%#zx", (size_t)value);
    } else {
        const size_t offset = (size_t)((const uint8_t*)value - o->memory);
        snprintf(out, sizeof buffer[0], offset == 0 ? "%s%d" : "%s%d+%zu", o->kind, o->number, offset);
    }
    return out;
}

// Host memory of the caller has no name.
static const char* host_or(const void* value) { return holder(value) == NULL ? "host" : text(value); }

static int is_named_by(const char* variable, const char* name) {
    const char* value = getenv(variable);
    return value != NULL && strcmp(value, name) == 0;
}

// The code that the call has to return instead of doing its work.
static int forced(const char* name) {
    if (is_named_by("RECORD_ABORT", name)) abort();
    while (is_named_by("RECORD_FREEZE", name)) pause();
    if (getenv("RECORD_STUB") != NULL) return STUB;
    if (is_other) return SUCCESS;
    ++calls;
    const char* fail = getenv("RECORD_FAIL");
    const char* colon = fail == NULL ? NULL : strchr(fail, ':');
    if (colon == NULL) return SUCCESS;
    char* end = NULL;
    const long k = strtol(fail, &end, 10);
    const int hit = end == fail
                        ? strlen(name) == (size_t)(colon - fail) && strncmp(name, fail, strlen(name)) == 0
                    : *end == '+' ? calls >= k
                                  : calls == k;
    if (!hit) return SUCCESS;
    snprintf(pending, sizeof pending, "EZ9999: the recorder lets %s fail", name);
    return atoi(colon + 1);
}

// The frame of a recorded call: `return` out of WORK is not allowed.
#define CALL(NAME, WORK, ...)                             \
    do {                                                  \
        pthread_mutex_lock(&mutex);                       \
        int code = forced(#NAME);                         \
        say("%s" #NAME "(", is_other ? "other: " : "");   \
        say("" __VA_ARGS__);                              \
        say(")");                                         \
        const char* out = "";                             \
        int out_number = 0;                               \
        if (code == SUCCESS)                              \
            WORK if (code != SUCCESS) say(" = %d", code); \
        else if (out_number != 0)                         \
            say(" -> %s%d", out, out_number);             \
        say("\n");                                        \
        pthread_mutex_unlock(&mutex);                     \
        return code;                                      \
    } while (0)

#define CREATED(object, handle) (*(handle) = (object), out = (object)->kind, out_number = (object)->number)
static const char* named(const void* handle) {
    static char buffer[4][24];
    static int turn;
    if (handle == NULL) return "null";
    for (Object* i = objects; i != NULL; i = i->next) {
        if (i != handle) continue;
        char* at = buffer[turn = (turn + 1) % 4];
        snprintf(at, sizeof buffer[0], "%s%d", i->kind, i->number);
        return at;
    }
    return "unknown";
}

static void destroy(const char* call, void* handle, const char* kind) {
    Object* o = use(call, handle, kind);
    if (o != NULL) o->is_alive = 0;
}

// Null is the default stream.
static Object* stream_of(const char* call, void* handle) {
    return handle == NULL ? NULL : use(call, handle, "stream");
}

static void drain(const char* call, void* handle) {
    const Object* stream = stream_of(call, handle);
    if (stream == NULL || !stream->is_hung) return;
    say("\nMISUSE %s: waits for ever\n", call);
    for (;;) pause();
}
