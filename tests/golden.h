/* Fixtures that other programs made: where they lie, and what a test says when they don't. Header only. */
#ifndef RLHF_TESTS_GOLDEN_H
#define RLHF_TESTS_GOLDEN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* Path below $VARIABLE, or below ../BELOW beside the sources. */
static inline const char *fixture_path(const char *variable, const char *below, const char *name, char out[4096])
{
    const char *given = getenv(variable), *source = getenv("RLHF_SOURCE_ROOT");
    int length = given != NULL ? snprintf(out, 4096, "%s/%s", given, name)
                               : snprintf(out, 4096, "%s/../%s/%s", source != NULL ? source : ".", below, name);

    if (length < 0 || length >= 4096)
        fail_msg("path too long");
    return out;
}

static inline const char *golden_path(const char *name, char out[4096])
{
    return fixture_path("RLHF_GOLDEN", "shared/golden", name, out);
}

static inline const char *shared_path(const char *name, char out[4096])
{
    return fixture_path("RLHF_SHARED", "shared", name, out);
}

/* Leaves the test, visibly: skip with a reason. */
#define SKIP(...)                                                                                                      \
    do {                                                                                                               \
        print_message("skipped: " __VA_ARGS__);                                                                        \
        print_message("\n");                                                                                           \
        skip();                                                                                                        \
    } while (0)

#endif
