/* What the tests of this room share: a context whose memory is counted and can be made to fail, and files. */
#ifndef FORMATS_SUPPORT_H
#define FORMATS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/formats.h"

/* ---- memory ------------------------------------------------------------------------------------------------------ */

struct counted {
    size_t live, live_bytes, peak_bytes;
    size_t calls;   /* allocations so far */
    size_t fail_at; /* the allocation with this number (from 1) fails; 0 = none */
};

static void *counted_alloc(void *user_data, size_t size, size_t alignment)
{
    struct counted *memory = user_data;
    void *pointer;

    if (++memory->calls == memory->fail_at || posix_memalign(&pointer, alignment, size) != 0)
        return NULL;
    memory->live++;
    memory->live_bytes += size;
    if (memory->live_bytes > memory->peak_bytes)
        memory->peak_bytes = memory->live_bytes;
    return pointer;
}

static void counted_free(void *user_data, void *pointer, size_t size)
{
    struct counted *memory = user_data;

    memory->live--;
    memory->live_bytes -= size;
    free(pointer);
}

static rlhf_context *make_context(struct counted *memory)
{
    rlhf_context_options options;
    rlhf_context *context = NULL;

    memset(memory, 0, sizeof *memory);
    rlhf_context_options_init(&options, sizeof options);
    options.threads = 1;
    options.allocator = (rlhf_allocator){counted_alloc, counted_free, memory};
    assert_int_equal(rlhf_context_create(&context, &options), RLHF_OK);
    return context;
}

/* Releases the context and proves that nothing is left. */
static inline void end_context(rlhf_context *context, struct counted *memory)
{
    rlhf_context_release(&context);
    assert_int_equal(memory->live, 0);
    assert_int_equal(memory->live_bytes, 0);
}

/* A context for a whole test group. */
static struct counted group_memory;
static rlhf_context *group_context;

static inline int group_setup(void **state)
{
    (void)state;
    group_context = make_context(&group_memory);
    return 0;
}

static inline int group_teardown(void **state)
{
    (void)state;
    end_context(group_context, &group_memory);
    return 0;
}

/* Memory of the test itself. */
static inline void *need(size_t bytes)
{
    void *pointer = malloc(bytes > 0 ? bytes : 1);

    if (pointer == NULL) {
        print_error("out of memory\n");
        exit(1);
    }
    return pointer;
}

/* ---- errors ------------------------------------------------------------------------------------------------------ */

static inline const char *error_of(rlhf_context *context)
{
    static char text[512];

    rlhf_context_error(context, text, sizeof text);
    return text;
}

/* The call failed as it should, and its text says what it should. */
static inline void check_failure(rlhf_context *context, rlhf_status got, rlhf_status wanted, const char *words,
                                 const char *file, int line)
{
    const char *text = error_of(context);

    if (got != wanted || strstr(text, words) == NULL || strchr(text, '\n') != NULL)
        print_error("%s:%d: got %s \"%s\", wanted %s \"%s\"\n", file, line, rlhf_status_name(got), text,
                    rlhf_status_name(wanted), words);
    _assert_true(got == wanted && strstr(text, words) != NULL && strchr(text, '\n') == NULL, words, file, line);
}
#define assert_failure(context, got, wanted, words) check_failure(context, got, wanted, words, __FILE__, __LINE__)

static inline void check_success(rlhf_context *context, rlhf_status got, const char *file, int line)
{
    if (got != RLHF_OK)
        print_error("%s:%d: got %s \"%s\"\n", file, line, rlhf_status_name(got), error_of(context));
    _assert_true(got == RLHF_OK, "RLHF_OK", file, line);
}
#define assert_success(context, got) check_success(context, got, __FILE__, __LINE__)

/* Tries a function with the first allocation failing, then the second, and so on until it gets through: each time it
 * must say NOMEM and leave nothing behind. */
static inline void try_all_failures(rlhf_status (*function)(rlhf_context *context, void *argument), void *argument)
{
    struct counted memory;
    rlhf_context *context = make_context(&memory);
    rlhf_status status = RLHF_E_NOMEM;

    for (size_t n = 1; status != RLHF_OK; n++) {
        size_t live = memory.live;
        memory.calls = 0;
        memory.fail_at = n;
        status = function(context, argument);
        if (memory.calls < n)
            assert_success(context, status);
        else
            assert_failure(context, status, RLHF_E_NOMEM, "out of memory");
        assert_int_equal(memory.live, live);
        assert_true(n < 10000);
    }
    memory.fail_at = 0;
    end_context(context, &memory);
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

/* One directory per process, removed by remove_scratch. A test that syncs many files may ask for one in memory. */
static char scratch[256];
static bool scratch_in_memory;

static inline const char *scratch_directory(void)
{
    const char *base = getenv("TMPDIR");

    if (scratch[0] == '\0') {
        if (base == NULL || base[0] == '\0')
            base = scratch_in_memory && access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
        snprintf(scratch, sizeof scratch, "%s/rlhf-test-XXXXXX", base);
        assert_non_null(mkdtemp(scratch));
    }
    return scratch;
}

static inline const char *scratch_path(const char *name)
{
    static char paths[4][512];
    static int next;
    char *path = paths[next++ & 3];

    snprintf(path, sizeof paths[0], "%s/%s", scratch_directory(), name);
    return path;
}

static inline void remove_scratch(void)
{
    if (scratch[0] != '\0')
        assert_int_equal(rlhfi_remove_tree(group_context, scratch), RLHF_OK);
    scratch[0] = '\0';
}

static inline void write_file(const char *path, const void *bytes, size_t count)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
}

/* All bytes and a NUL; free it. */
static inline char *read_file(const char *path, size_t *count)
{
    FILE *file = fopen(path, "rb");
    char *bytes;
    long size;

    if (file == NULL)
        print_error("%s: cannot be opened\n", path);
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    size = ftell(file);
    rewind(file);
    bytes = need((size_t)size + 1);
    assert_int_equal(fread(bytes, 1, (size_t)size, file), (size_t)size);
    fclose(file);
    bytes[size] = '\0';
    *count = (size_t)size;
    return bytes;
}

#endif
