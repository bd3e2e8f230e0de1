/* What fuzz targets share: a context that counts its memory, and a way to say that a promise was broken. */
#ifndef RLHF_TESTS_FUZZ_H
#define RLHF_TESTS_FUZZ_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A broken promise ends the program, as a fuzzer wants it. */
#define PROMISE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, #condition);                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static size_t fuzz_live, fuzz_peak; /* bytes that the context holds, and the most it ever held for one input */

static void *fuzz_alloc(void *user_data, size_t size, size_t alignment)
{
    void *pointer;

    (void)user_data;
    if (posix_memalign(&pointer, alignment, size) != 0)
        return NULL;
    fuzz_live += size;
    if (fuzz_live > fuzz_peak)
        fuzz_peak = fuzz_live;
    return pointer;
}

static void fuzz_free(void *user_data, void *pointer, size_t size)
{
    (void)user_data;
    fuzz_live -= size;
    free(pointer);
}

/* One context for all inputs. */
static rlhf_context *fuzz_context(void)
{
    static rlhf_context *context;
    rlhf_context_options options;

    if (context == NULL) {
        rlhf_context_options_init(&options, sizeof options);
        options.threads = 1;
        options.allocator = (rlhf_allocator){fuzz_alloc, fuzz_free, NULL};
        PROMISE(rlhf_context_create(&context, &options) == RLHF_OK);
    }
    return context;
}

/* A failure says why, in one line. */
static inline void fuzz_check_failure(rlhf_context *context)
{
    char text[512];

    PROMISE(rlhf_context_error(context, text, sizeof text) > 1);
    PROMISE(strchr(text, '\n') == NULL);
}

#endif
