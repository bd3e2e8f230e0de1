/* Models that compute in bf16, and models whose weights are nothing else. */
#include "models.h"
#include "pace.h"

enum { MOST_RESPONSES = 512 };

static rlhfi_model *converted(const rlhfi_model *model, const rlhf_model_options *options)
{
    char directory[64];
    rlhfi_model *other;

    make_directory(directory);
    check_ok(model->context, rlhfi_model_save(model, directory), "save");
    check_ok(model->context, rlhfi_model_load(&other, model->context, directory, model->head, options), "load");
    check_ok(model->context, rlhfi_remove_tree(model->context, directory), "remove");
    return other;
}

/* Weights of bf16 and float weights of the same values compute the same bits, forward and backward, in every role. */
static void check_equal(const char *json, enum rlhfi_head_kind head)
{
    const rlhf_model_options narrow = model_formats(RLHF_BFLOAT16, RLHF_BFLOAT16);
    const rlhf_model_options wide = model_formats(RLHF_BFLOAT16, RLHF_FLOAT32);
    rlhf_context *context = make_context(2, UINT32_MAX, 0);
    rlhfi_model *model[2] = {make_model_as(context, json, head, 31, &narrow)};
    struct rows *rows = random_rows(model[0], 6, 2, 20, 32);
    float out[2][MOST_RESPONSES];

    model[1] = converted(model[0], &wide);
    assert_null(model[0]->weights->data);
    assert_non_null(model[1]->weights->data);
    for (int i = 0; i < 2; i++) {
        struct linear_loss l = {.seed = 5};
        if (head == RLHFI_HEAD_TOKENS) {
            check_ok(context, rlhfi_model_train(model[i], &rows->view, 0.8f, true, true, false, linear_loss, &l), "go");
            rlhfi_token_stats stats = {.log_prob = out[i]};
            check_ok(context, rlhfi_model_log_probs(model[i], &rows->view, 0.8f, &stats), "score");
        } else {
            check_ok(context, rlhfi_model_train_scalars(model[i], &rows->view, true, linear_scalar_loss, &l), "go");
            check_ok(context, rlhfi_model_scalars(model[i], &rows->view, true, out[i]), "score");
        }
    }
    assert_memory_equal(out[0], out[1], (size_t)responses(rows) * sizeof(float));
    assert_memory_equal(model[0]->gradient, model[1]->gradient, (size_t)model[0]->weights->count * sizeof(float));
    free(rows);
    rlhfi_model_release(&model[0]);
    rlhfi_model_release(&model[1]);
    rlhf_context_release(&context);
}

static void test_weights_alone_do_not_matter(void **state)
{
    (void)state;
    for (size_t c = 0; c < CONFIGS; c += (size_t)pace(3)) {
        check_equal(configs[c].json, RLHFI_HEAD_TOKENS);
        check_equal(configs[c].json, RLHFI_HEAD_SCALAR);
    }
}

/* Log-probabilities and gradients of float within what 8 bits of mantissa allow; and not the same, which would mean
 * that the option does nothing. */
static void check_near_float(const char *json)
{
    const rlhf_model_options rounded = model_formats(RLHF_BFLOAT16, RLHF_FLOAT32);
    rlhf_context *context = make_context(2, UINT32_MAX, 0);
    rlhfi_model *exact = make_model(context, json, RLHFI_HEAD_TOKENS, 41);
    rlhfi_model *model = make_model_as(context, json, RLHFI_HEAD_TOKENS, 41, &rounded);
    struct rows *rows = random_rows(exact, 6, 2, 20, 42);
    struct linear_loss want = {.seed = 5}, got = {.seed = 5};
    double dot = 0.0, one = 0.0, other = 0.0;

    check_ok(context, rlhfi_model_train(exact, &rows->view, 0.8f, true, true, false, linear_loss, &want), "float");
    check_ok(context, rlhfi_model_train(model, &rows->view, 0.8f, true, true, false, linear_loss, &got), "bf16");
    assert_true(got.loss != want.loss);
    assert_true(fabs(got.loss - want.loss) < 0.05 * sqrt((double)responses(rows)));
    for (int64_t i = 0; i < exact->weights->count; i++) {
        dot += (double)exact->gradient[i] * (double)model->gradient[i];
        one += (double)exact->gradient[i] * (double)exact->gradient[i];
        other += (double)model->gradient[i] * (double)model->gradient[i];
    }
    if (!(dot / sqrt(one * other) > 0.997) || !(fabs(sqrt(other / one) - 1.0) < 0.03))
        fail_msg("cosine %.6f, lengths %.6g and %.6g", dot / sqrt(one * other), sqrt(one), sqrt(other));
    free(rows);
    rlhfi_model_release(&exact);
    rlhfi_model_release(&model);
    rlhf_context_release(&context);
}

static void test_near_float(void **state)
{
    (void)state;
    for (size_t c = 0; c < CONFIGS; c += (size_t)pace(3))
        check_near_float(configs[c].json);
}

/* Written as BF16 and read again to the same bits; config.json says so. */
static void test_files(void **state)
{
    const rlhf_model_options narrow = model_formats(RLHF_BFLOAT16, RLHF_BFLOAT16);
    rlhf_context *context = make_context(1, UINT32_MAX, 0);
    rlhfi_model *model = make_model_as(context, llama_config, RLHFI_HEAD_TOKENS, 51, &narrow), *again, *wide;
    char hex[65], other[65], directory[64], *text, *path;
    rlhfi_safetensors *file;
    size_t bytes;

    (void)state;
    check_ok(context, rlhfi_model_hash(model, hex), "hash");
    again = converted(model, &narrow);
    check_ok(context, rlhfi_model_hash(again, other), "hash");
    assert_string_equal(hex, other);
    rlhfi_model_release(&again);
    /* Through float and back. */
    wide = converted(model, NULL);
    check_ok(context, rlhfi_model_hash(wide, other), "hash");
    assert_string_not_equal(hex, other);
    again = converted(wide, &narrow);
    check_ok(context, rlhfi_model_hash(again, other), "hash");
    assert_string_equal(hex, other);

    make_directory(directory);
    check_ok(context, rlhfi_model_save(model, directory), "save");
    check_ok(context, rlhfi_safetensors_open(&file, context, directory), "open");
    for (size_t i = 0; i < rlhfi_safetensors_count(file); i++)
        assert_int_equal(rlhfi_safetensors_info(file, i)->dtype, RLHFI_BF16);
    rlhfi_safetensors_close(&file);
    path = rlhfi_path_join(context, directory, "config.json");
    check_ok(context, rlhfi_file_load(context, path, 1 << 16, &text, &bytes), "config");
    assert_non_null(strstr(text, "\"dtype\": \"bfloat16\""));
    rlhfi_free(context, text);
    rlhfi_free(context, path);
    check_ok(context, rlhfi_remove_tree(context, directory), "remove");
    rlhfi_model_release(&again);
    rlhfi_model_release(&wide);
    rlhfi_model_release(&model);
    rlhf_context_release(&context);
}

/* A float that rounds to infinity, and infinity itself, are refused by name. */
static void test_too_large(void **state)
{
    const rlhf_model_options narrow = model_formats(RLHF_BFLOAT16, RLHF_BFLOAT16);
    static const float bad[] = {3.4e38f, INFINITY, NAN};
    rlhf_context *context = make_context(1, UINT32_MAX, 0);
    rlhfi_model *model = make_model(context, llama_config, RLHFI_HEAD_TOKENS, 61), *none;
    char directory[64], error[512];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        model->weights->data[model->parameters[2].offset + 1] = bad[i];
        make_directory(directory);
        check_ok(context, rlhfi_model_save(model, directory), "save");
        assert_int_equal(rlhfi_model_load(&none, context, directory, RLHFI_HEAD_TOKENS, &narrow), RLHF_E_NONFINITE);
        rlhf_context_error(context, error, sizeof error);
        assert_non_null(strstr(error, model->parameters[2].name));
        assert_null(none);
        check_ok(context, rlhfi_remove_tree(context, directory), "remove");
    }
    rlhfi_model_release(&model);
    rlhf_context_release(&context);
}

/* Shared until one side writes; heads and copies inherit the formats; there are no floats to look at. */
static void test_roles(void **state)
{
    const rlhf_model_options narrow = model_formats(RLHF_BFLOAT16, RLHF_BFLOAT16);
    rlhf_parameter_view view = {.struct_size = sizeof view};
    rlhf_context *context = make_context(1, UINT32_MAX, 0);
    rlhf_policy *policy, *clone;
    rlhf_reward_model *reward;
    rlhf_value_model *value;
    const uint16_t *half;

    (void)state;
    check_ok(context, rlhf_policy_create(&policy, context, llama_config, strlen(llama_config), 71, &narrow), "create");
    half = policy->model->weights->half;
    check_ok(context, rlhf_policy_clone(&clone, policy), "clone");
    assert_ptr_equal(clone->model->weights->half, half);
    check_ok(context, rlhfi_model_writable(clone->model), "writable");
    assert_ptr_not_equal(clone->model->weights->half, half);
    assert_memory_equal(clone->model->weights->half, half, (size_t)clone->model->weights->count * sizeof *half);
    check_ok(context, rlhf_reward_model_from_policy(&reward, policy, 1), "reward");
    check_ok(context, rlhf_value_model_from_policy(&value, policy), "value");
    assert_non_null(reward->model->weights->half);
    assert_non_null(value->model->weights->half);
    assert_int_equal(value->model->options.compute_format, RLHF_BFLOAT16);
    assert_int_equal(rlhf_policy_parameter(policy, 0, &view), RLHF_E_UNSUPPORTED);
    rlhf_value_model_release(&value);
    rlhf_reward_model_release(&reward);
    rlhf_policy_release(&clone);
    rlhf_policy_release(&policy);
    rlhf_context_release(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights_alone_do_not_matter), cmocka_unit_test(test_near_float),
        cmocka_unit_test(test_files),                       cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_roles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
