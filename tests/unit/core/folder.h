/* A fresh directory for each test of files, removed afterwards. */
#ifndef CORE_TEST_FOLDER_H
#define CORE_TEST_FOLDER_H

#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static rlhf_context *context;
static struct counter counter;
static char folder[64];

static inline int folder_make(void **state)
{
    const char *parent = getenv("TMPDIR");

    snprintf(folder, sizeof folder, "%s/rlhf-core-XXXXXX", parent != NULL && strlen(parent) < 40 ? parent : "/tmp");
    memset(&counter, 0, sizeof counter);
    return mkdtemp(folder) == NULL || counted_context(&context, &counter, 1) != RLHF_OK;
}

static inline int folder_drop(void **state)
{
    rlhf_status status = rlhfi_remove_tree(context, folder);

    rlhf_context_release(&context);
    return status != RLHF_OK || counter.live != 0;
}

/* The path of name in the folder; one of four rotating buffers. */
static inline const char *in(const char *name)
{
    static char paths[4][512];
    static int turn;

    turn = (turn + 1) % 4;
    snprintf(paths[turn], sizeof paths[turn], "%s/%s", folder, name);
    return paths[turn];
}

static inline void put_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static inline void assert_file(const char *path, const char *text)
{
    static char content[1 << 16];
    FILE *file = fopen(path, "rb");
    size_t got;

    assert_non_null(file);
    got = fread(content, 1, sizeof content - 1, file);
    fclose(file);
    content[got] = '\0';
    assert_string_equal(content, text);
}

static inline size_t entries(const char *path)
{
    char **names;
    size_t count;

    assert_int_equal(rlhfi_list_directory(context, path, &names, &count), RLHF_OK);
    rlhfi_free(context, names);
    return count;
}

static inline void assert_error(const char *part)
{
    if (strstr(error_of(context), part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error_of(context), part);
}

#endif
