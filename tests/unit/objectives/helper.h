/* Shared by the tests of this room: a counting context, objectives by name with keys, and comparison of numbers. */
#ifndef OBJECTIVES_TEST_HELPER_H
#define OBJECTIVES_TEST_HELPER_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "objectives/objectives.h"

#define LN2 0.69314718055994530942

static rlhf_context *context;
static int64_t live_blocks, calls, fail_at; /* fail_at: this call of the allocator and all later ones return NULL */

static inline void *counted_alloc(void *user_data, size_t size, size_t alignment)
{
    void *pointer;

    if (fail_at > 0 && ++calls >= fail_at)
        return NULL;
    pointer = aligned_alloc(alignment, size);
    if (pointer != NULL)
        live_blocks++;
    return pointer;
}

static inline void counted_free(void *user_data, void *pointer, size_t size)
{
    live_blocks--;
    free(pointer);
}

static inline int open_context(void **state)
{
    rlhf_context_options options;

    rlhf_context_options_init(&options, sizeof options);
    options.threads = 1;
    options.allocator = (rlhf_allocator){counted_alloc, counted_free, NULL};
    live_blocks = calls = fail_at = 0;
    return rlhf_context_create(&context, &options) != RLHF_OK;
}

/* Fails the test that leaves memory behind. */
static inline int close_context(void **state)
{
    rlhf_context_release(&context);
    return live_blocks != 0;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, open_context, close_context)

static inline const char *error_text(void)
{
    return context->error;
}

/* Equal to 1e-12 of the larger, with a floor for numbers that should be 0. */
static inline bool close_to(double got, double wanted, double tolerance)
{
    return fabs(got - wanted) <= tolerance * fmax(1e-3, fabs(wanted)) || got == wanted;
}

#define assert_within(got, wanted, tolerance)                                                                          \
    do {                                                                                                               \
        double got_ = (got), wanted_ = (wanted);                                                                       \
        if (!close_to(got_, wanted_, tolerance)) {                                                                     \
            print_error("%s is %.17g, not %.17g\n", #got, got_, wanted_);                                              \
            fail();                                                                                                    \
        }                                                                                                              \
    } while (0)
#define assert_close(got, wanted) assert_within(got, wanted, 1e-12)
/* For numbers that a page prints with ten decimals. */
#define assert_printed(got, wanted) assert_true(fabs((got) - (wanted)) < 6e-11)
#define assert_all(got, ...)                                                                                           \
    do {                                                                                                               \
        const double wanted_all_[] = {__VA_ARGS__};                                                                    \
        for (size_t i_ = 0; i_ < sizeof wanted_all_ / sizeof wanted_all_[0]; i_++)                                     \
            assert_within((got)[i_], wanted_all_[i_], 1e-12);                                                          \
    } while (0)

#define assert_ok(call) assert_int_equal(call, RLHF_OK)
#define assert_refused(call, status, text)                                                                             \
    do {                                                                                                               \
        assert_int_equal(call, status);                                                                                \
        if (strstr(error_text(), text) == NULL) {                                                                      \
            print_error("\"%s\" does not say \"%s\"\n", error_text(), text);                                           \
            fail();                                                                                                    \
        }                                                                                                              \
    } while (0)

/* The built-in of that name with keys set: made("gae", "lam", 1.0, NULL). */
static inline rlhf_objective *made(const char *name, ...)
{
    rlhf_objective *objective = NULL;
    va_list keys;

    assert_ok(rlhf_objective_builtin(&objective, context, name));
    va_start(keys, name);
    for (const char *key = va_arg(keys, const char *); key != NULL; key = va_arg(keys, const char *))
        assert_ok(rlhf_objective_set(objective, key, va_arg(keys, double)));
    va_end(keys);
    return objective;
}

static inline double key(const rlhf_objective *objective, const char *name)
{
    double value = NAN;

    assert_ok(rlhf_objective_get(objective, name, &value));
    return value;
}

#define SIZED(type, ...) (type){.struct_size = sizeof(type), __VA_ARGS__}

#endif
