/* Where the fixtures of the text and data tests lie, and how to read them. */
#ifndef RLHF_TESTS_TEXT_FIXTURES_H
#define RLHF_TESTS_TEXT_FIXTURES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <zlib.h>

#include "formats/formats.h"

static inline const char *fixture_root(const char *variable, const char *below, char out[4096])
{
    const char *given = getenv(variable), *source = getenv("RLHF_SOURCE_ROOT");
    if (given)
        snprintf(out, 4096, "%s", given);
    else
        snprintf(out, 4096, "%s/../%s", source ? source : ".", below);
    return out;
}

/* Path below $RLHF_GOLDEN (default ../shared/golden beside the sources). */
static inline const char *golden_path(const char *name, char out[4096])
{
    char root[4096];
    if (snprintf(out, 4096, "%s/%s", fixture_root("RLHF_GOLDEN", "shared/golden", root), name) >= 4096)
        fail();
    return out;
}

/* Path below $RLHF_SHARED (default ../shared beside the sources). */
static inline const char *shared_path(const char *name, char out[4096])
{
    char root[4096];
    if (snprintf(out, 4096, "%s/%s", fixture_root("RLHF_SHARED", "shared", root), name) >= 4096)
        fail();
    return out;
}

/* The whole file, unzipped if it is zipped, with a NUL behind it; NULL if it isn't there. */
static inline char *load_text(const char *path, size_t *bytes)
{
    gzFile file = gzopen(path, "rb");
    if (!file)
        return NULL;
    size_t capacity = 1 << 16, size = 0;
    char *text = malloc(capacity);
    for (;;) {
        if (capacity - size < 2)
            text = realloc(text, capacity *= 2);
        if (!text)
            fail_msg("out of memory");
        int got = gzread(file, text + size, (unsigned)(capacity - size - 1));
        if (got < 0)
            fail_msg("%s: cannot be read", path);
        if (got == 0)
            break;
        size += (size_t)got;
    }
    gzclose(file);
    text[size] = '\0';
    *bytes = size;
    return text;
}

#define SKIP(...)                                                                                                      \
    do {                                                                                                               \
        print_message("skipped: " __VA_ARGS__);                                                                        \
        print_message("\n");                                                                                           \
        skip();                                                                                                        \
    } while (0)

static inline char *need_text(const char *path, size_t *bytes)
{
    char *text = load_text(path, bytes);
    if (!text)
        SKIP("%s is not there", path);
    return text;
}

static inline void check_ok(rlhf_context *context, rlhf_status status, const char *what)
{
    char error[512];
    if (status == RLHF_OK)
        return;
    rlhf_context_error(context, error, sizeof error);
    fail_msg("%s: %s: %s", what, rlhf_status_name(status), error);
}

/* The next line of *text, which is moved behind it; false at the end. */
static inline bool next_line(char **text, const char *end, char **line, size_t *bytes)
{
    if (*text >= end)
        return false;
    char *newline = memchr(*text, '\n', (size_t)(end - *text));
    *line = *text;
    *bytes = (size_t)((newline ? newline : end) - *text);
    *text = newline ? newline + 1 : (char *)end;
    return true;
}

#endif
