/* How the programs check: a call or a condition that fails ends the program with what was wanted. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

#include "acl_decls.h"

/* The call returns `want`. */
#define EXPECT(want, call)                                                                                   \
    do {                                                                                                     \
        int got_ = (int)(call);                                                                              \
        if (got_ != (want)) {                                                                                \
            const char* text_ = aclGetRecentErrMsg();                                                        \
            fprintf(stderr, "%s:%d: %s = %d, wanted %d: %s\n", __FILE__, __LINE__, #call, got_, (int)(want), \
                    text_ ? text_ : "no text");                                                              \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

#define OK(call) EXPECT(0, call)

#define REQUIRE(condition)                                                          \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                \
        }                                                                           \
    } while (0)

#endif
