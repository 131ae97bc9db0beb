// SPDX-License-Identifier: MIT OR Apache-2.0
// Images, functions, argument lists and launches. Part of recorder.c, whose variables it uses.
#pragma once
#include "objects.h"

typedef struct {
    uint32_t kind, value[4];
} LoadOption;
typedef struct {
    LoadOption* options;
    size_t count;
} LoadOptions;

static void say_options(const LoadOptions* options) {
    for (size_t i = 0; options != NULL && i < options->count; ++i) {
        say(" {%u = %#x}", options->options[i].kind, options->options[i].value[0]);
    }
}

#ifndef WITHOUT_LATER
int aclrtBinaryLoadFromData(const void* data, size_t size, const LoadOptions* options, void** image) {
    CALL(
        aclrtBinaryLoadFromData,
        {
            Object* o = create("image", current);
            CREATED(o, image);
            if (data == NULL) misuse("aclrtBinaryLoadFromData", "no data");
            say_options(options);
        },
        "%zu bytes", size);
}
#endif

int aclrtBinaryLoadFromFile(const char* path, LoadOptions* options, void** image) {
    struct stat file = {0};
    const int is_there = stat(path, &file) == 0;
    const char* end = strrchr(path, '.');
    CALL(
        aclrtBinaryLoadFromFile,
        {
            if (path[0] != '/' || !is_there)
                misuse("aclrtBinaryLoadFromFile", "an absolute path of a file wanted");
            Object* o = create("image", current);
            CREATED(o, image);
            say_options(options);
        },
        "*%s, mode %o, %zu bytes", end == NULL ? path : end, (unsigned)file.st_mode & 0777,
        (size_t)file.st_size);
}

int aclrtBinaryUnLoad(void* image) {
    CALL(aclrtBinaryUnLoad, { destroy("aclrtBinaryUnLoad", image, "image"); }, "%s", named(image));
}

int aclrtBinaryGetFunction(void* image, const char* name, void** function) {
    CALL(
        aclrtBinaryGetFunction,
        {
            Object* o = create("function", use("aclrtBinaryGetFunction", image, "image"));
            snprintf(o->name, sizeof o->name, "%s", name);
            CREATED(o, function);
        },
        "%s, %s", named(image), name);
}

// This thread's argument list.
typedef struct {
    size_t size;
    uint64_t value;
    uint8_t data[1024];
    int is_place_holder;
} Param;
typedef struct {
    Param params[128];
    int count, is_filled, is_final;
} Args;
static _Thread_local Args list;

static Object* live_function(const char* call, void* handle) {
    Object* o = use(call, handle, "function");
    if (o != NULL && !o->owner->is_alive) misuse(call, "a function of an unloaded image");
    return o;
}

int aclrtKernelArgsInit(void* function, void** args) {
    CALL(
        aclrtKernelArgsInit,
        {
            live_function("aclrtKernelArgsInit", function);
            memset(&list, 0, sizeof list);
            *args = &list;
        },
        "%s", named(function));
}

int aclrtKernelArgsAppend(void* args, void* param, size_t size, void** handle) {
    CALL(
        aclrtKernelArgsAppend,
        {
            if (args != &list || list.is_filled || list.is_final) misuse("aclrtKernelArgsAppend", "order");
            Param* p = &list.params[list.count++];
            p->size = size;
            memcpy(&p->value, param, size < 8 ? size : 8);
            *handle = p;
        },
        "%zu bytes", size);
}

int aclrtKernelArgsAppendPlaceHolder(void* args, void** handle) {
    CALL(
        aclrtKernelArgsAppendPlaceHolder,
        {
            if (args != &list || list.is_filled || list.is_final)
                misuse("aclrtKernelArgsAppendPlaceHolder", "order");
            list.params[list.count].is_place_holder = 1;
            *handle = &list.params[list.count++];
        },
        "");
}

int aclrtKernelArgsGetPlaceHolderBuffer(void* args, void* handle, size_t size, void** buffer) {
    CALL(
        aclrtKernelArgsGetPlaceHolderBuffer,
        {
            Param* p = handle;
            if (args != &list || !p->is_place_holder || size > sizeof p->data) {
                misuse("aclrtKernelArgsGetPlaceHolderBuffer", "no place holder");
            }
            list.is_filled = 1;
            p->size = size;
            *buffer = p->data;
        },
        "%zu bytes", size);
}

int aclrtKernelArgsFinalize(void* args) {
    CALL(
        aclrtKernelArgsFinalize,
        {
            if (args != &list) misuse("aclrtKernelArgsFinalize", "another thread's list");
            list.is_final = 1;
        },
        "");
}

static void say_args(void) {
    for (int i = 0; i < list.count; ++i) {
        const Param* p = &list.params[i];
        say("%s", i == 0 ? "" : ", ");
        if (p->is_place_holder)
            say("(%zu bytes)", p->size);
        else
            say("%s", text((const void*)(uintptr_t)p->value));
    }
}

// What ascendc/kernels/self_test.cpp defines.
static void self_test(uint32_t blocks) {
    float* out = (float*)(uintptr_t)list.params[0].value;
    float magic = 0;
    uint32_t distance = 0;
    memcpy(&magic, list.params[2].data, sizeof magic);
    memcpy(&distance, list.params[2].data + sizeof magic, sizeof distance);
    const char* kernel = getenv("RECORD_KERNEL");
    if (kernel != NULL && strcmp(kernel, "wrong") == 0) magic += 1;
    // As when no core waits for another one: what the partner brings is still 0.
    const int is_alone = kernel != NULL && strcmp(kernel, "no meeting") == 0 && distance > 0;
    for (uint32_t i = 0; i < blocks * 256; ++i) {
        const uint32_t b = i / 256 % 8, p = (i / 256 + distance) % blocks % 8, r = i % 256 / 16, c = i % 16;
        out[i] = magic + (is_alone ? 0.0f : (float)(16 * (b + 1 + (r >= 8)) * (p + 1 + (c >= 8))));
    }
}

typedef struct {
    uint32_t id, value[4];
} Attribute;
typedef struct {
    Attribute* attributes;
    size_t count;
} Configuration;

int aclrtLaunchKernelWithConfig(void* function, uint32_t blocks, void* stream, Configuration* cfg, void* args,
                                void* reserve) {
    const char* kernel = getenv("RECORD_KERNEL");
    CALL(
        aclrtLaunchKernelWithConfig,
        {
            const Object* f = live_function("aclrtLaunchKernelWithConfig", function);
            Object* s = stream_of("aclrtLaunchKernelWithConfig", stream);
            if (args != &list || !list.is_final || reserve != NULL)
                misuse("aclrtLaunchKernelWithConfig", "arguments");
            say(" [");
            say_args();
            say("]");
            if (kernel != NULL && strcmp(kernel, "hang") == 0 && s != NULL) s->is_hung = 1;
            if (f != NULL && strcmp(f->name, "fa_self_test") == 0) self_test(blocks);
        },
        "%s, %u blocks, %s, %zu attributes: %u = %u", named(function), blocks, named(stream), cfg->count,
        cfg->attributes[0].id, cfg->attributes[0].value[0]);
}
