/* Checkpoints that other programs wrote, well or badly. */
#include "models.h"

static char directory[64];

static int setup(void **state)
{
    (void)state;
    make_directory(directory);
    return 0;
}

static int teardown(void **state)
{
    rlhf_context *context = make_context(1, 0, 0);

    (void)state;
    check_ok(context, rlhfi_remove_tree(context, directory), "clean up");
    rlhf_context_release(&context);
    return 0;
}

static void write_config(rlhf_context *context, const char *json)
{
    char path[128];

    snprintf(path, sizeof path, "%s/config.json", directory);
    check_ok(context, rlhfi_file_save(context, path, json, strlen(json)), "config.json");
}

/* The tensors of a model, to be spoiled and written. */
struct checkpoint {
    rlhfi_tensor_source tensor[64];
    char name[64][96];
    size_t count;
};

static void take(struct checkpoint *checkpoint, const rlhfi_model *model)
{
    checkpoint->count = 0;
    for (int64_t i = 0; i < model->parameter_count; i++) {
        const rlhfi_parameter *p = &model->parameters[i];
        size_t n = checkpoint->count++;
        strcpy(checkpoint->name[n], p->name);
        checkpoint->tensor[n] = (rlhfi_tensor_source){.name = checkpoint->name[n],
                                                      .dtype = RLHFI_F32,
                                                      .rank = p->rank,
                                                      .shape = {p->shape[0], p->shape[1]},
                                                      .data = model->weights->data + p->offset};
    }
}

static rlhfi_tensor_source *find(struct checkpoint *checkpoint, const char *name)
{
    for (size_t i = 0; i < checkpoint->count; i++)
        if (strcmp(checkpoint->tensor[i].name, name) == 0)
            return &checkpoint->tensor[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

static void rename_tensor(struct checkpoint *checkpoint, const char *from, const char *to)
{
    rlhfi_tensor_source *tensor = find(checkpoint, from);

    strcpy(checkpoint->name[tensor - checkpoint->tensor], to);
    tensor->name = checkpoint->name[tensor - checkpoint->tensor];
}

static void write_tensors(rlhf_context *context, const struct checkpoint *checkpoint)
{
    check_ok(context, rlhfi_safetensors_write_directory(context, directory, checkpoint->tensor, checkpoint->count, 0),
             "model.safetensors");
}

static void check_refused(rlhf_context *context, enum rlhfi_head_kind head, rlhf_status expected,
                          const char *const *words)
{
    rlhfi_model *model = (rlhfi_model *)1;
    char error[512];
    rlhf_status status = rlhfi_model_load(&model, context, directory, head, NULL);

    rlhf_context_error(context, error, sizeof error);
    if (status != expected)
        fail_msg("%s instead of %s (%s)", rlhf_status_name(status), rlhf_status_name(expected), error);
    assert_null(model);
    for (size_t i = 0; words[i] != NULL; i++)
        if (strstr(error, words[i]) == NULL)
            fail_msg("the message \"%s\" does not say \"%s\"", error, words[i]);
}

#define REFUSED(context, head, status, ...)                                                                            \
    check_refused(context, head, status, (const char *const[]){__VA_ARGS__, NULL})

static void check_equal(rlhf_context *context, const rlhfi_model *expected, enum rlhfi_head_kind head)
{
    rlhfi_model *model;
    char a[65], b[65];

    check_ok(context, rlhfi_model_load(&model, context, directory, head, NULL), "load");
    check_ok(context, rlhfi_model_hash(expected, a), "hash");
    check_ok(context, rlhfi_model_hash(model, b), "hash");
    assert_string_equal(a, b);
    rlhfi_model_release(&model);
}

/* ---- what must load --------------------------------------------------------------------------------------------- */

static void test_save_and_load(void **state)
{
    rlhf_context *context = make_context(2, UINT32_MAX, 1);

    (void)state;
    for (size_t c = 0; c < CONFIGS; c++)
        for (int head = RLHFI_HEAD_TOKENS; head <= RLHFI_HEAD_SCALAR; head++) {
            rlhfi_model *model = make_model(context, configs[c].json, (enum rlhfi_head_kind)head, 31), *again;
            model->score_gain = head == RLHFI_HEAD_SCALAR ? 0.125 : 1.0;
            model->score_bias = head == RLHFI_HEAD_SCALAR ? -1.0 / 3.0 : 0.0;
            check_ok(context, rlhfi_model_save(model, directory), "save");
            check_equal(context, model, (enum rlhfi_head_kind)head);
            check_ok(context, rlhfi_model_load(&again, context, directory, (enum rlhfi_head_kind)head, NULL), "load");
            assert_true(again->score_gain == model->score_gain && again->score_bias == model->score_bias);
            assert_true(again->architecture.norm_eps == model->architecture.norm_eps);
            assert_int_equal(again->architecture.inner, model->architecture.inner);
            assert_int_equal(again->architecture.tied_head, model->architecture.tied_head);
            /* And once more, without what was set. */
            again->score_gain = 1.0;
            again->score_bias = 0.0;
            check_ok(context, rlhfi_model_save(again, directory), "save");
            rlhfi_model_release(&again);
            check_ok(context, rlhfi_model_load(&again, context, directory, (enum rlhfi_head_kind)head, NULL), "load");
            assert_true(again->score_gain == 1.0 && again->score_bias == 0.0);
            rlhfi_model_release(&again);
            rlhfi_model_release(&model);
        }
    rlhf_context_release(&context);
}

/* The file of the gpt2 hub repository: no prefix, buffers nobody needs, a stored head that equals the embedding. */
static void test_bare_names_and_buffers(void **state)
{
    rlhf_context *context = make_context(2, UINT32_MAX, 1);
    rlhfi_model *model = make_model(context, gpt2_config, RLHFI_HEAD_TOKENS, 32);
    struct checkpoint checkpoint;
    float buffer[48 * 48] = {0};

    (void)state;
    write_config(context, gpt2_config);
    take(&checkpoint, model);
    for (size_t i = 0; i < checkpoint.count; i++)
        checkpoint.tensor[i].name += strlen("transformer.");
    for (int layer = 0; layer < 2; layer++) {
        char *name = checkpoint.name[checkpoint.count];
        sprintf(name, "h.%d.attn.bias", layer);
        checkpoint.tensor[checkpoint.count++] =
            (rlhfi_tensor_source){.name = name, .dtype = RLHFI_F32, .rank = 4, .shape = {1, 1, 48, 48}, .data = buffer};
        name = checkpoint.name[checkpoint.count];
        sprintf(name, "h.%d.attn.masked_bias", layer);
        checkpoint.tensor[checkpoint.count++] = (rlhfi_tensor_source){.name = name, .dtype = RLHFI_F32, .data = buffer};
    }
    checkpoint.tensor[checkpoint.count] = checkpoint.tensor[0];
    checkpoint.tensor[checkpoint.count++].name = "lm_head.weight";
    write_tensors(context, &checkpoint);
    check_equal(context, model, RLHFI_HEAD_TOKENS);
    rlhfi_model_release(&model);
    rlhf_context_release(&context);
}

static int warnings;

static void count_warnings(void *user_data, int32_t level, const char *line)
{
    (void)user_data;
    if (level == RLHF_LOG_WARNING && strstr(line, "lm_head.weight") != NULL)
        warnings++;
}

/* config.json says untied, but there is no head: the embedding serves, with a warning, and stays tied when saved. */
static void test_head_left_out(void **state)
{
    rlhf_context_options options;
    rlhf_context *context;
    rlhfi_model *model, *tied, *again;
    struct checkpoint checkpoint;

    (void)state;
    rlhf_context_options_init(&options, sizeof options);
    options.log = count_warnings;
    assert_int_equal(rlhf_context_create(&context, &options), RLHF_OK);
    model = make_model(context, llama_config, RLHFI_HEAD_TOKENS, 33);
    write_config(context, llama_config);
    take(&checkpoint, model);
    checkpoint.count--;
    write_tensors(context, &checkpoint);
    check_ok(context, rlhfi_model_load(&tied, context, directory, RLHFI_HEAD_TOKENS, NULL), "load");
    assert_int_equal(warnings, 1);
    assert_true(tied->architecture.tied_head);
    assert_ptr_equal(rlhfi_head_weight(tied).weight.f32, tied->weights->data);
    check_ok(context, rlhfi_model_save(tied, directory), "save");
    check_ok(context, rlhfi_model_load(&again, context, directory, RLHFI_HEAD_TOKENS, NULL), "load again");
    assert_int_equal(warnings, 1); /* now config.json says so */
    assert_true(again->architecture.tied_head);
    rlhfi_model_release(&model);
    rlhfi_model_release(&tied);
    rlhfi_model_release(&again);
    rlhf_context_release(&context);
}

/* ---- what must not ---------------------------------------------------------------------------------------------- */

static void test_missing_unexpected_and_misshapen(void **state)
{
    rlhf_context *context = make_context(2, UINT32_MAX, 1);
    rlhfi_model *model = make_model(context, llama_config, RLHFI_HEAD_TOKENS, 34);
    struct checkpoint checkpoint;
    rlhfi_tensor_source *tensor;

    (void)state;
    write_config(context, llama_config);
    take(&checkpoint, model);
    rename_tensor(&checkpoint, "model.layers.1.mlp.up_proj.weight", "model.layers.1.mlp.upp_proj.weight");
    tensor = find(&checkpoint, "model.layers.0.self_attn.k_proj.weight");
    tensor->shape[0] = 10;
    tensor->shape[1] = 48;
    tensor = find(&checkpoint, "model.norm.weight");
    tensor->rank = 2;
    tensor->shape[1] = 1;
    write_tensors(context, &checkpoint);
    REFUSED(context, RLHFI_HEAD_TOKENS, RLHF_E_FORMAT, directory, "missing model.layers.1.mlp.up_proj.weight",
            "unexpected model.layers.1.mlp.upp_proj.weight",
            "model.layers.0.self_attn.k_proj.weight is [10,48], not [20,24]", "model.norm.weight is [24,1], not [24]");

    /* A config of another size than the weights. */
    take(&checkpoint, model);
    write_tensors(context, &checkpoint);
    write_config(context, "{\"model_type\": \"llama\", \"vocab_size\": 67, \"hidden_size\": 24, "
                          "\"intermediate_size\": 36, \"num_hidden_layers\": 1, "
                          "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 10}");
    REFUSED(context, RLHFI_HEAD_TOKENS, RLHF_E_FORMAT, "unexpected model.layers.1.");
    write_config(context, "{\"model_type\": \"llama\", \"vocab_size\": 67, \"hidden_size\": 24, "
                          "\"intermediate_size\": 36, \"num_hidden_layers\": 4096, "
                          "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 10}");
    REFUSED(context, RLHFI_HEAD_TOKENS, RLHF_E_FORMAT, "missing model.layers.2.");
    /* Gigabytes that the weights do not have must not be asked for. */
    write_config(context, "{\"model_type\": \"llama\", \"vocab_size\": 200000, \"hidden_size\": 200000, "
                          "\"intermediate_size\": 200000, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, "
                          "\"head_dim\": 10}");
    REFUSED(context, RLHFI_HEAD_TOKENS, RLHF_E_FORMAT, "embed_tokens.weight is [67,24]");
    rlhfi_model_release(&model);
    rlhf_context_release(&context);
}

static void test_heads(void **state)
{
    rlhf_context *context = make_context(2, UINT32_MAX, 1);
    rlhfi_model *policy = make_model(context, llama_config, RLHFI_HEAD_TOKENS, 35), *reward;

    (void)state;
    check_ok(context, rlhfi_model_with_scalar_head(&reward, policy, 1.0f, 1), "reward");
    check_ok(context, rlhfi_model_save(policy, directory), "save");
    REFUSED(context, RLHFI_HEAD_SCALAR, RLHF_E_FORMAT, "missing score.weight");
    check_ok(context, rlhfi_model_save(reward, directory), "save");
    REFUSED(context, RLHFI_HEAD_TOKENS, RLHF_E_FORMAT, "missing lm_head.weight", "unexpected score.weight");
    rlhfi_model_release(&policy);
    rlhfi_model_release(&reward);
    rlhf_context_release(&context);
}

static void test_non_finite(void **state)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    rlhf_context *context = make_context(2, UINT32_MAX, 1);

    (void)state;
    for (size_t b = 0; b < 3; b++) {
        rlhfi_model *model = make_model(context, gpt2_config, RLHFI_HEAD_TOKENS, 36);
        const rlhfi_parameter *parameter = &model->parameters[5 + b];
        struct checkpoint checkpoint;
        write_config(context, gpt2_config);
        take(&checkpoint, model);
        model->weights->data[parameter->offset + parameter->elements - 1] = bad[b];
        write_tensors(context, &checkpoint);
        REFUSED(context, RLHFI_HEAD_TOKENS, RLHF_E_NONFINITE, parameter->name, directory);
        rlhfi_model_release(&model);
    }
    rlhf_context_release(&context);
}

static void test_bad_settings(void **state)
{
    rlhf_context *context = make_context(2, UINT32_MAX, 1);
    rlhfi_model *reward = make_model(context, llama_config, RLHFI_HEAD_SCALAR, 37), *model;
    static const char odd[] = "{\"model_type\": \"llama\", \"vocab_size\": 5, \"hidden_size\": 9, "
                              "\"intermediate_size\": 3, \"num_hidden_layers\": 1, \"num_attention_heads\": 3, "
                              "\"head_dim\": 3}";
    static const char range[] = "{\"model_type\": \"gpt2\", \"vocab_size\": 5, \"n_embd\": 4, \"n_layer\": 1, "
                                "\"n_head\": 2, \"initializer_range\": -1}";
    char error[512], text[8192];

    (void)state;
    assert_int_equal(rlhfi_model_create(&model, context, odd, strlen(odd), RLHFI_HEAD_TOKENS, 1, NULL), RLHF_E_FORMAT);
    rlhf_context_error(context, error, sizeof error);
    if (strstr(error, "head_dim") == NULL && strstr(error, "even") == NULL)
        fail_msg("\"%s\" does not name the odd width of a head", error);
    assert_int_equal(rlhfi_model_create(&model, context, range, strlen(range), RLHFI_HEAD_TOKENS, 1, NULL),
                     RLHF_E_FORMAT);
    assert_null(model);
    check_ok(context, rlhfi_model_save(reward, directory), "save");
    snprintf(text, sizeof text, "{\"rlhf_score_gain\": 0, %s", reward->config.json + 1);
    write_config(context, text);
    REFUSED(context, RLHFI_HEAD_SCALAR, RLHF_E_FORMAT, "rlhf_score_gain");
    /* An empty directory, and none. */
    check_ok(context, rlhfi_remove_tree(context, directory), "remove");
    REFUSED(context, RLHFI_HEAD_TOKENS, RLHF_E_IO, directory);
    check_ok(context, rlhfi_make_directory(context, directory), "make");
    write_config(context, llama_config);
    REFUSED(context, RLHFI_HEAD_TOKENS, RLHF_E_IO, directory);
    rlhfi_model_release(&reward);
    rlhf_context_release(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_save_and_load, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bare_names_and_buffers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_head_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_missing_unexpected_and_misshapen, setup, teardown),
        cmocka_unit_test_setup_teardown(test_heads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_non_finite, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_settings, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
