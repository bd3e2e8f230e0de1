/* What the tests of this room share besides the text room's: files in a folder of their own, datasets from lines. */
#ifndef RLHF_TESTS_DATA_SUPPORT_H
#define RLHF_TESTS_DATA_SUPPORT_H

#include "unit/text/support.h"

#include <dirent.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "data/dataset.h"

static char folder[64]; /* made by make_folder */

static inline int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/rlhf_data_XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static inline int remove_folder(void **state)
{
    (void)state;
    char path[512];
    DIR *directory = opendir(folder);
    if (!directory)
        return -1;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.')
            unlink(path);
    }
    closedir(directory);
    return rmdir(folder);
}

static inline const char *in_folder(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static inline const char *write_bytes(const char *name, const void *bytes, size_t count)
{
    const char *path = in_folder(name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
    return path;
}

static inline const char *write_text(const char *name, const char *text)
{
    return write_bytes(name, text, strlen(text));
}

static inline size_t read_bytes(const char *name, char *out, size_t capacity)
{
    FILE *file = fopen(in_folder(name), "rb");
    assert_non_null(file);
    size_t got = fread(out, 1, capacity, file);
    fclose(file);
    return got;
}

static inline rlhf_dataset *load(rlhf_context *context, const char *path, int32_t bad_row, int32_t chat_template)
{
    rlhf_dataset *dataset;
    rlhf_dataset_options options;
    rlhf_dataset_options_init(&options, sizeof options);
    options.bad_row = bad_row;
    options.chat_template = chat_template;
    check_ok(context, rlhf_dataset_load(&dataset, context, path, &options));
    return dataset;
}

static inline rlhf_row get_row(const rlhf_dataset *dataset, uint64_t index)
{
    rlhf_row row = {.struct_size = sizeof row};
    assert_int_equal(rlhf_dataset_row(dataset, index, &row), RLHF_OK);
    return row;
}

static inline void check_text(const char *found, const char *expected)
{
    if (expected)
        assert_string_equal(found ? found : "(none)", expected);
    else
        assert_null(found);
}

#endif
