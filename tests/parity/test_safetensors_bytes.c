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
    if (access(golden_path("models", path), R_OK) != 0)
        SKIP("%s is not there", path);
    found = check_folder(golden_path("", path));
    print_message("%zu files are the same\n", found);
    assert_true(found > 0);
}

/* The order in which transformers walks a Qwen2 model. */
static const char *const layer_parts[] = {
    "self_attn.q_proj.weight", "self_attn.q_proj.bias",  "self_attn.k_proj.weight", "self_attn.k_proj.bias",
    "self_attn.v_proj.weight", "self_attn.v_proj.bias",  "self_attn.o_proj.weight", "mlp.gate_proj.weight",
    "mlp.up_proj.weight",      "mlp.down_proj.weight",   "input_layernorm.weight",  "post_attention_layernorm.weight",
};
enum { PARTS = sizeof layer_parts / sizeof layer_parts[0] };

static void cuts_the_same_shards(void **state)
{
    static const char *const files[] = {"model-00001-of-00004.safetensors", "model-00002-of-00004.safetensors",
                                        "model-00003-of-00004.safetensors", "model-00004-of-00004.safetensors",
                                        "model.safetensors.index.json"};
    rlhfi_tensor_source ordered[64];
    struct copy copy;
    char path[4096], name[128];
    size_t count = 0;

    (void)state;
    if (access(golden_path("models/qwen2_sharded", path), R_OK) != 0)
        SKIP("%s is not there", path);
    load(&copy, path);
    assert_int_equal(copy.count, 3 * PARTS + 3);
    for (size_t i = 0; i < copy.count; i++) {
        if (i == 0)
            snprintf(name, sizeof name, "model.embed_tokens.weight");
        else if (i < copy.count - 2)
            snprintf(name, sizeof name, "model.layers.%zu.%s", (i - 1) / PARTS, layer_parts[(i - 1) % PARTS]);
        else
            snprintf(name, sizeof name, i == copy.count - 2 ? "model.norm.weight" : "lm_head.weight");
        for (size_t j = 0; j < copy.count; j++)
            if (strcmp(copy.tensors[j].name, name) == 0)
                ordered[count++] = copy.tensors[j];
    }
    assert_int_equal(count, copy.count);
    assert_success(group_context,
                   rlhfi_safetensors_write_directory(group_context, scratch_path("shards"), ordered, count, 120000));
    unload(&copy);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(name, sizeof name, "models/qwen2_sharded/%s", files[i]);
        golden_path(name, path);
        snprintf(name, sizeof name, "shards/%s", files[i]);
        assert_same_file(scratch_path(name), path);
    }
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
