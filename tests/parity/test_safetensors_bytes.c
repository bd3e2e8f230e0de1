/* Every safetensors file of the fixtures, read and written again, is the same file: our writer makes the reference
 * writer's bytes. And a sharded checkpoint comes out with the same cuts and the same index. */
#include "golden.h"
#include "unit/formats/support.h"

struct copy {
    rlhfi_safetensors *file;
    rlhfi_tensor_source *tensors; /* in the order of their names */
    unsigned char **data;
    size_t count;
};

static void load(struct copy *copy, const char *path)
{
    assert_success(group_context, rlhfi_safetensors_open(&copy->file, group_context, path));
    copy->count = rlhfi_safetensors_count(copy->file);
    copy->tensors = calloc(copy->count + 1, sizeof *copy->tensors);
    copy->data = calloc(copy->count + 1, sizeof *copy->data);
    assert_true(copy->tensors != NULL && copy->data != NULL);
    for (size_t i = 0; i < copy->count; i++) {
        const rlhfi_tensor_info *info = rlhfi_safetensors_info(copy->file, i);
        copy->data[i] = need(info->bytes + 1);
        assert_success(group_context, rlhfi_safetensors_read_raw(copy->file, info, copy->data[i]));
        copy->tensors[i] = (rlhfi_tensor_source){.name = info->name, .dtype = info->dtype, .rank = info->rank,
                                                 .data = copy->data[i]};
        memcpy(copy->tensors[i].shape, info->shape, sizeof info->shape);
    }
}

static void unload(struct copy *copy)
{
    for (size_t i = 0; i < copy->count; i++)
        free(copy->data[i]);
    free(copy->data);
    free(copy->tensors);
    rlhfi_safetensors_close(&copy->file);
}

static void assert_same_file(const char *got, const char *wanted)
{
    size_t got_size, wanted_size;
    char *got_bytes = read_file(got, &got_size), *wanted_bytes = read_file(wanted, &wanted_size);

    if (got_size != wanted_size || memcmp(got_bytes, wanted_bytes, got_size) != 0)
        print_error("%s: other bytes (%zu, %zu)\n", wanted, got_size, wanted_size);
    assert_int_equal(got_size, wanted_size);
    assert_memory_equal(got_bytes, wanted_bytes, got_size);
    free(got_bytes);
    free(wanted_bytes);
}

static void check_file(const char *path)
{
    static const char *const none[] = {NULL};
    struct copy copy;
    const char *format;

    load(&copy, path);
    format = rlhfi_safetensors_metadata(copy.file, "format");
    assert_true(format == NULL || strcmp(format, "pt") == 0);
    assert_success(group_context, rlhfi_safetensors_write(group_context, scratch_path("again.safetensors"),
                                                          copy.tensors, copy.count, format == NULL ? none : NULL));
    unload(&copy);
    assert_same_file(scratch_path("again.safetensors"), path);
}

/* Finds the fixtures wherever they lie; returns how many. */
static size_t check_folder(const char *folder)
{
    static const char ending[] = ".safetensors";
    char **names;
    size_t count, found = 0;

    assert_success(group_context, rlhfi_list_directory(group_context, folder, &names, &count));
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(names[i]);
        char *path = rlhfi_path_join(group_context, folder, names[i]);
        assert_non_null(path);
        if (rlhfi_path_is_directory(path)) {
            found += check_folder(path);
        } else if (length > strlen(ending) && strcmp(names[i] + length - strlen(ending), ending) == 0) {
            check_file(path);
            found++;
        }
        rlhfi_free(group_context, path);
    }
    rlhfi_free(group_context, names);
    return found;
}

static void writes_the_same_bytes(void **state)
{
    char path[4096];
    size_t found;

    (void)state;
    if (access(golden_path("", path), R_OK) != 0)
        SKIP("%s is not there", path);
    found = check_folder(path);
    if (found == 0)
        SKIP("%s has no safetensors files", path);
    print_message("%zu files are the same\n", found);
}

/* ---- shards ------------------------------------------------------------------------------------------------------ */

struct placed {
    const rlhfi_tensor_source *tensor;
    const char *shard;
    uint64_t bytes;
};

/* By shard, in a shard the largest first. The reference cuts where the next tensor would pass its limit; the order
 * inside a shard doesn't show in the files, and with the largest shard as the limit the largest tensor of the next one
 * doesn't fit either. */
static int in_order(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;
    int order = strcmp(x->shard, y->shard);

    return order != 0 ? order : x->bytes > y->bytes ? -1 : x->bytes < y->bytes;
}

static void check_shards(const char *folder)
{
    char *index_path = rlhfi_path_join(group_context, folder, "model.safetensors.index.json"), **names;
    rlhfi_tensor_source *ordered;
    struct placed *placed;
    struct copy copy;
    rlhfi_json *index;
    uint64_t filled = 0, limit = 0;
    size_t count, shards = 0;

    assert_success(group_context, rlhfi_json_load(&index, group_context, index_path, 1 << 24));
    load(&copy, folder);
    assert_int_equal(rlhfi_json_size(rlhfi_json_get(index, "weight_map")), copy.count);
    placed = calloc(copy.count + 1, sizeof *placed);
    ordered = calloc(copy.count + 1, sizeof *ordered);
    assert_true(placed != NULL && ordered != NULL);
    for (size_t i = 0; i < copy.count; i++) {
        const rlhfi_json *shard = rlhfi_json_get(rlhfi_json_get(index, "weight_map"), copy.tensors[i].name);
        placed[i] = (struct placed){&copy.tensors[i], rlhfi_json_text(shard, NULL),
                                    rlhfi_safetensors_info(copy.file, i)->bytes};
        assert_non_null(placed[i].shard);
    }
    qsort(placed, copy.count, sizeof *placed, in_order);
    for (size_t i = 0; i < copy.count; i++) {
        ordered[i] = *placed[i].tensor;
        filled = i > 0 && strcmp(placed[i].shard, placed[i - 1].shard) == 0 ? filled + placed[i].bytes
                                                                           : placed[i].bytes;
        limit = filled > limit ? filled : limit;
    }
    assert_success(group_context, rlhfi_safetensors_write_directory(group_context, scratch_path("shards"), ordered,
                                                                    copy.count, limit));
    unload(&copy);
    assert_success(group_context, rlhfi_list_directory(group_context, folder, &names, &count));
    for (size_t i = 0; i < count; i++) {
        char below[160], wanted[8192];
        if (strncmp(names[i], "model", 5) != 0 || strstr(names[i], ".safetensors") == NULL)
            continue;
        snprintf(below, sizeof below, "shards/%.120s", names[i]);
        snprintf(wanted, sizeof wanted, "%.7000s/%.400s", folder, names[i]);
        assert_same_file(scratch_path(below), wanted);
        shards++;
    }
    assert_true(shards > 1);
    assert_success(group_context, rlhfi_remove_tree(group_context, scratch_path("shards")));
    rlhfi_free(group_context, names);
    rlhfi_free(group_context, index_path);
    rlhfi_json_release(&index);
    free(placed);
    free(ordered);
}

static void cuts_the_same_shards(void **state)
{
    char root[4096], path[8192], **names;
    size_t count = 0, found = 0;

    (void)state;
    if (access(golden_path("models", root), R_OK) != 0)
        SKIP("%s is not there", root);
    assert_success(group_context, rlhfi_list_directory(group_context, root, &names, &count));
    for (size_t i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/%.300s/model.safetensors.index.json", root, names[i]);
        if (access(path, R_OK) != 0)
            continue;
        snprintf(path, sizeof path, "%s/%.300s", root, names[i]);
        check_shards(path);
        found++;
    }
    rlhfi_free(group_context, names);
    if (found == 0)
        SKIP("%s has no checkpoint in shards", root);
    print_message("%zu checkpoints have the same shards\n", found);
}

static int teardown(void **state)
{
    remove_scratch();
    return group_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_the_same_bytes),
        cmocka_unit_test(cuts_the_same_shards),
    };

    scratch_in_memory = true;
    return cmocka_run_group_tests_name("safetensors_bytes", tests, group_setup, teardown);
}
