/* Every function of the room with every allocation failing in turn: NOMEM, and nothing left behind. (What jansson and
 * libyaml allocate inside is theirs.) */
#include "support.h"

#include "rlhf_config.h"

static rlhf_status parses_json(rlhf_context *context, void *argument)
{
    static const char text[] = "{\"a\": [1, NaN, \"\\u0000x\"], \"b\": 123456789012345678901, \"c\": {\"d\": 1.5}}";
    static const char *const without[] = {"a", NULL};
    rlhfi_json *root;
    char *one = NULL, *two = NULL, *three = NULL;
    rlhf_status status;

    (void)argument;
    RLHFI_TRY(rlhfi_json_parse(&root, context, text, sizeof text - 1, "t.json"));
    status = rlhfi_json_dump_others(context, root, without, &one);
    if (status == RLHF_OK && (two = rlhfi_json_dump(context, root, 2)) == NULL)
        status = RLHF_E_NOMEM;
    if (status == RLHF_OK && (three = rlhfi_json_dump_changed(context, root, rlhfi_json_get(root, "c"), 0)) == NULL)
        status = RLHF_E_NOMEM;
    rlhfi_free(context, one);
    rlhfi_free(context, two);
    rlhfi_free(context, three);
    rlhfi_json_release(&root);
    return status;
}

static rlhf_status loads_json(rlhf_context *context, void *argument)
{
    rlhfi_json *root;
    rlhf_status status = rlhfi_json_load(&root, context, argument, 1 << 20);

    rlhfi_json_release(&root);
    return status;
}

static void json_survives(void **state)
{
    (void)state;
    write_file(scratch_path("a.json"), "[NaN]", 5);
    try_all_failures(parses_json, NULL);
    try_all_failures(loads_json, (void *)(uintptr_t)scratch_path("a.json"));
}

#if RLHFI_HAVE_YAML
static rlhf_status parses_yaml(rlhf_context *context, void *argument)
{
    rlhfi_yaml *root;
    char text[2048], *end = text;
    rlhf_status status;

    (void)argument;
    for (int i = 0; i < 40; i++) /* the table of keys grows */
        end += sprintf(end, "key%d: [1, 'two', {three: %0*d}]\n", i, i, i);
    status = rlhfi_yaml_parse(&root, context, text, (size_t)(end - text), "r.yaml");
    rlhfi_yaml_release(context, &root);
    return status;
}

static rlhf_status loads_yaml(rlhf_context *context, void *argument)
{
    rlhfi_yaml *root;
    rlhf_status status = rlhfi_yaml_load(&root, context, argument);

    rlhfi_yaml_release(context, &root);
    return status;
}
#endif

static void yaml_survives(void **state)
{
    (void)state;
#if RLHFI_HAVE_YAML
    write_file(scratch_path("a.yaml"), "a: 1\n", 5);
    try_all_failures(parses_yaml, NULL);
    try_all_failures(loads_yaml, (void *)(uintptr_t)scratch_path("a.yaml"));
#else
    print_message("skipped: built without libyaml\n");
    skip();
#endif
}

static const float values[4] = {1, 2, 3, 4};
static const rlhfi_tensor_source sources[] = {{"w", RLHFI_F32, 2, {2, 2}, values},
                                              {"b\n", RLHFI_F16, 1, {2}, values},
                                              {"c", RLHFI_BF16, 1, {2}, values}};

static rlhf_status writes_one(rlhf_context *context, void *argument)
{
    return rlhfi_safetensors_write(context, argument, sources, 3, NULL);
}

static rlhf_status writes_directory(rlhf_context *context, void *argument)
{
    return rlhfi_safetensors_write_directory(context, argument, sources, 3, 8);
}

static rlhf_status opens(rlhf_context *context, void *argument)
{
    rlhfi_safetensors *file;
    float out[4];
    rlhf_status status = rlhfi_safetensors_open(&file, context, argument);

    for (size_t i = 0; i < 3 && status == RLHF_OK; i++)
        status = rlhfi_safetensors_read_float(file, rlhfi_safetensors_info(file, i), out);
    rlhfi_safetensors_close(&file);
    return status;
}

static void safetensors_survives(void **state)
{
    char path[512];

    (void)state;
    snprintf(path, sizeof path, "%s", scratch_path("one.safetensors"));
    try_all_failures(writes_one, path);
    try_all_failures(opens, path);
    snprintf(path, sizeof path, "%s", scratch_path("shards"));
    try_all_failures(writes_directory, path);
    try_all_failures(opens, path);
}

static rlhf_status loads_config(rlhf_context *context, void *argument)
{
    rlhfi_hf_config config, copy = {0};
    char *text = NULL;
    rlhf_status status = rlhfi_hf_config_load(&config, context, argument);

    if (status == RLHF_OK)
        status = rlhfi_hf_config_copy(context, &copy, &config);
    if (status == RLHF_OK)
        status = rlhfi_hf_config_text(context, &copy, "LlamaForSequenceClassification", true, "float32", &text);
    rlhfi_free(context, text);
    text = NULL;
    if (status == RLHF_OK) {
        rlhfi_free(context, copy.json);
        copy.json = NULL;
        status = rlhfi_hf_config_text(context, &copy, "LlamaForCausalLM", false, "float32", &text);
    }
    rlhfi_free(context, text);
    rlhfi_hf_config_free(context, &config);
    rlhfi_hf_config_free(context, &copy);
    return status;
}

static void hf_config_survives(void **state)
{
    static const char config[] =
        "{\"model_type\":\"llama\",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
        "\"high_freq_factor\":4,\"original_max_position_embeddings\":32},\"eos_token_id\":[1,2],\"x\":NaN}";
    char path[512];

    (void)state;
    write_file(scratch_path("config.json"), config, sizeof config - 1);
    write_file(scratch_path("generation_config.json"), "{\"eos_token_id\":7}", 18);
    snprintf(path, sizeof path, "%s", scratch_directory());
    try_all_failures(loads_config, path);
}

static int teardown(void **state)
{
    remove_scratch();
    return group_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_survives),
        cmocka_unit_test(yaml_survives),
        cmocka_unit_test(safetensors_survives),
        cmocka_unit_test(hf_config_survives),
    };

    scratch_in_memory = true;
    return cmocka_run_group_tests_name("formats_memory", tests, group_setup, teardown);
}
