/* Shared by the tests of this room: contexts whose allocator counts, and fails when it is told to. */
#ifndef CORE_TEST_HELPER_H
#define CORE_TEST_HELPER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/core.h"

/* What rlhfi_compute_attach does in these programs; NULL = nothing. */
extern rlhf_status (*attach_hook)(rlhf_context *context);

struct counter {
    int64_t calls;   /* successful and failed */
    int64_t live;    /* blocks */
    int64_t bytes;   /* in live blocks */
    int64_t fail_at; /* this call returns NULL and all later ones too; 0 = none */
};

static inline void *counter_alloc(void *user_data, size_t size, size_t alignment)
{
    struct counter *counter = user_data;
    void *pointer;

    assert_int_equal(alignment, 64);
    assert_int_equal(size % alignment, 0);
    counter->calls++;
    if (counter->fail_at > 0 && counter->calls >= counter->fail_at)
        return NULL;
    pointer = aligned_alloc(alignment, size);
    assert_non_null(pointer);
    memset(pointer, 0xA5, size); /* nobody may rely on zeros */
    counter->live++;
    counter->bytes += (int64_t)size;
    return pointer;
}

static inline void counter_free(void *user_data, void *pointer, size_t size)
{
    struct counter *counter = user_data;

    assert_non_null(pointer);
    counter->live--;
    counter->bytes -= (int64_t)size;
    memset(pointer, 0x5A, size);
    free(pointer);
}

static inline rlhf_status counted_context(rlhf_context **out, struct counter *counter, int32_t threads)
{
    rlhf_context_options options;

    rlhf_context_options_init(&options, sizeof options);
    options.threads = threads;
    options.allocator = (rlhf_allocator){counter_alloc, counter_free, counter};
    return rlhf_context_create(out, &options);
}

static inline const char *error_of(const rlhf_context *context)
{
    return context->error;
}

/* Runs work(context) with its first, second, ... allocation failing until none fails any more: each failure must come
 * out as NOMEM and leave nothing behind. Returns how many allocations could fail. */
static inline int64_t fail_each(rlhf_status (*work)(rlhf_context *context))
{
    struct counter counter = {0};
    rlhf_context *context;
    int64_t failures = 0;
    rlhf_status status;

    assert_int_equal(counted_context(&context, &counter, 1), RLHF_OK);
    do {
        int64_t live = counter.live;
        assert_int_equal(rlhfi_enter(context), RLHF_OK);
        counter.calls = 0;
        counter.fail_at = ++failures;
        status = work(context);
        if (status != RLHF_OK) {
            assert_int_equal(status, RLHF_E_NOMEM);
            assert_string_equal(error_of(context), "out of memory");
        }
        assert_int_equal(counter.live, live);
    } while (status != RLHF_OK);
    counter.fail_at = 0;
    rlhf_context_release(&context);
    assert_int_equal(counter.live, 0);
    assert_int_equal(counter.bytes, 0);
    return failures - 1;
}

#endif
