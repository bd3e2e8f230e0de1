/* The four roles through their public functions. */
#include "models.h"

static rlhf_batch *make_batch(rlhf_context *context, const struct rows *rows)
{
    rlhf_batch *batch;

    check_ok(context,
             rlhf_batch_create(&batch, context, rows->view.rows, rows->offset, rows->token, rows->prompt_length),
             "batch");
    return batch;
}

static rlhf_policy *make_policy(rlhf_context *context, const char *json)
{
    rlhf_policy *policy;

    check_ok(context, rlhf_policy_create(&policy, context, json, strlen(json), 51, NULL), "policy");
    return policy;
}

static void change(rlhfi_model *model)
{
    check_ok(model->context, rlhfi_model_writable(model), "writable");
    model->weights->data[3] += 0.5f;
}

/* A frozen reference is what the policy was, bit for bit, whatever the policy becomes. */
static void test_reference(void **state)
{
    rlhf_context *context = make_context(2, UINT32_MAX, 1);

    (void)state;
    for (size_t c = 0; c < CONFIGS; c++) {
        rlhf_policy *policy = make_policy(context, configs[c].json), *clone;
        rlhf_reference *reference;
        struct rows *rows = random_rows(policy->model, 6, 2, 30, 52);
        rlhf_batch *batch = make_batch(context, rows);
        size_t bytes = (size_t)responses(rows) * sizeof(float);
        float *before = malloc(bytes), *entropy = malloc(bytes), *after = malloc(bytes);
        char hash[65], other[65];
        check_ok(context, rlhf_policy_log_probs(policy, batch, 0.9, before, entropy), "policy");
        check_ok(context, rlhf_reference_freeze(&reference, policy), "freeze");
        check_ok(context, rlhf_policy_clone(&clone, policy), "clone");
        check_ok(context, rlhf_policy_hash(policy, hash), "hash");
        change(policy->model);
        check_ok(context, rlhf_reference_log_probs(reference, batch, 0.9, after), "reference");
        assert_memory_equal(before, after, bytes);
        check_ok(context, rlhf_reference_hash(reference, other), "hash");
        assert_string_equal(hash, other);
        check_ok(context, rlhf_policy_hash(policy, other), "hash");
        assert_string_not_equal(hash, other);
        check_ok(context, rlhf_policy_log_probs(policy, batch, 0.9, after, NULL), "policy");
        assert_memory_not_equal(before, after, bytes);
        change(clone->model); /* the other way round: the reference does not move with a clone either */
        check_ok(context, rlhf_reference_log_probs(reference, batch, 0.9, after), "reference");
        assert_memory_equal(before, after, bytes);
        for (int64_t i = 0; i < responses(rows); i++)
            assert_true(before[i] <= 0.0f && entropy[i] >= -1e-6f && entropy[i] < 5.0f);
        /* Children keep what they need. */
        rlhf_policy_release(&policy);
        check_ok(context, rlhf_reference_log_probs(reference, batch, 0.9, after), "reference");
        rlhf_reference_release(&reference);
        rlhf_policy_release(&clone);
        rlhf_batch_release(&batch);
        free(rows);
        free(before);
        free(entropy);
        free(after);
    }
    rlhf_context_release(&context);
}

/* Public gradients are those of the inner function, and add up. */
static void test_policy_backward(void **state)
{
    rlhf_context *context = make_context(2, UINT32_MAX, 1);
    rlhf_policy *policy = make_policy(context, llama_config);
    struct rows *rows = random_rows(policy->model, 5, 3, 20, 53);
    rlhf_batch *batch = make_batch(context, rows);
    int64_t count = responses(rows), all = policy->model->weights->count;
    float *d_log_prob = malloc((size_t)count * sizeof(float)), *d_entropy = malloc((size_t)count * sizeof(float));
    float *once = malloc((size_t)all * sizeof(float));
    struct linear_loss l = {.seed = 5};
    rlhf_parameter_view view = {.struct_size = sizeof view};

    (void)state;
    check_ok(context, rlhf_policy_parameter(policy, 0, &view), "parameter");
    assert_null(view.gradient);
    for (int64_t i = 0; i < count; i++) {
        d_log_prob[i] = (float)coefficient(5, i, 0);
        d_entropy[i] = (float)coefficient(5, i, 1);
    }
    check_ok(context, rlhf_policy_backward(policy, batch, 1.0 / 0.8, d_log_prob, d_entropy), "backward");
    memcpy(once, policy->model->gradient, (size_t)all * sizeof(float));
    zero_gradient(policy->model);
    check_ok(
        context,
        rlhfi_model_train(policy->model, &rows->view, (float)(1.0 / (1.0 / 0.8)), true, false, false, linear_loss, &l),
        "train");
    assert_memory_equal(once, policy->model->gradient, (size_t)all * sizeof(float));
    check_ok(context, rlhf_policy_backward(policy, batch, 1.0 / 0.8, d_log_prob, d_entropy), "backward");
    for (int64_t i = 0; i < all; i++)
        assert_true(fabsf(policy->model->gradient[i] - 2.0f * once[i]) <= 2e-6f + 2e-6f * fabsf(once[i]));
    d_log_prob[1] = INFINITY;
    assert_int_equal(rlhf_policy_backward(policy, batch, 1.0, d_log_prob, NULL), RLHF_E_NONFINITE);
    free(once);
    free(d_log_prob);
    free(d_entropy);
    free(rows);
    rlhf_batch_release(&batch);
    rlhf_policy_release(&policy);
    rlhf_context_release(&context);
}

static void test_policy_views(void **state)
{
    rlhf_context *context = make_context(1, UINT32_MAX, 1);
    rlhf_policy *policy = make_policy(context, gpt2_config);
    rlhf_parameter_view view = {.struct_size = sizeof view};
    char text[256], hash[65];
    int64_t sum = 0;
    size_t needed;

    (void)state;
    assert_int_equal(rlhf_policy_vocabulary(policy), 61);
    assert_int_equal(rlhf_policy_positions(policy), 48);
    assert_int_equal(rlhf_policy_parameter_count(policy), 2 + 2 * 12 + 2);
    for (int64_t i = 0; i < rlhf_policy_parameter_count(policy); i++) {
        check_ok(context, rlhf_policy_parameter(policy, i, &view), "parameter");
        assert_int_equal(view.elements, view.rank == 2 ? view.shape[0] * view.shape[1] : view.shape[0]);
        sum += view.elements;
    }
    /* formats.md 3.6: V d + P d + L (12 d^2 + 13 d) + 2 d */
    assert_int_equal(sum, 61 * 24 + 48 * 24 + 2 * (12 * 24 * 24 + 13 * 24) + 2 * 24);
    assert_string_equal(view.name, "transformer.ln_f.bias");
    assert_int_equal(rlhf_policy_parameter(policy, 28, &view), RLHF_E_RANGE);
    assert_int_equal(rlhf_policy_parameter(policy, -1, &view), RLHF_E_RANGE);
    view.struct_size = 8;
    assert_int_equal(rlhf_policy_parameter(policy, 0, &view), RLHF_E_INVAL);
    needed = rlhf_policy_describe(policy, text, sizeof text);
    assert_int_equal(needed, strlen(text) + 1);
    assert_string_equal(text, "gpt2: 2 layers, width 24, 3 heads, vocabulary 61, 48 positions, tied head, "
                              "17112 parameters");
    assert_int_equal(rlhf_policy_describe(policy, text, 5), needed);
    assert_string_equal(text, "gpt2");
    assert_int_equal(rlhf_policy_hash(NULL, hash), RLHF_E_INVAL);
    assert_int_equal(rlhf_policy_hash(policy, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_policy_vocabulary(NULL), 0);
    assert_int_equal(rlhf_policy_describe(NULL, text, 5), 0);
    rlhf_policy_release(&policy);
    rlhf_policy_release(&policy);
    rlhf_policy_release(NULL);
    rlhf_context_release(&context);
}

static void test_temperatures(void **state)
{
    static const double bad[] = {0.0, -1.0, NAN, INFINITY, 1e-320};
    rlhf_context *context = make_context(1, UINT32_MAX, 1);
    rlhf_policy *policy = make_policy(context, gpt2_config);
    struct rows *rows = random_rows(policy->model, 2, 3, 5, 54);
    rlhf_batch *batch = make_batch(context, rows);
    float log_prob[16];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(rlhf_policy_log_probs(policy, batch, bad[i], log_prob, NULL), RLHF_E_RANGE);
    assert_int_equal(rlhf_policy_log_probs(policy, batch, 1.0, NULL, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_policy_log_probs(policy, NULL, 1.0, log_prob, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_policy_log_probs(NULL, batch, 1.0, log_prob, NULL), RLHF_E_INVAL);
    free(rows);
    rlhf_batch_release(&batch);
    rlhf_policy_release(&policy);
    rlhf_context_release(&context);
}

/* Scores and values: gain * raw + bias, handed on to value models, kept in directories. */
static void test_scalar_roles(void **state)
{
    rlhf_context *context = make_context(2, UINT32_MAX, 1);
    rlhf_policy *policy = make_policy(context, llama_biased_config);
    struct rows *rows = random_rows(policy->model, 7, 3, 20, 55);
    rlhf_batch *batch = make_batch(context, rows);
    int64_t count = responses(rows), all;
    size_t bytes = (size_t)count * sizeof(float);
    float raw[7], score[7], *value = malloc(bytes), *plain = malloc(bytes), *d = malloc(bytes), *gradient;
    rlhf_reward_model *reward, *loaded;
    rlhf_value_model *critic, *fresh, *again;
    double gain, bias, square = 0.0;
    char directory[64], hash[65], other[65], text[256];
    const rlhfi_parameter *head;

    (void)state;
    check_ok(context, rlhf_reward_model_from_policy(&reward, policy, 3), "reward");
    all = reward->model->weights->count;
    head = &reward->model->parameters[reward->model->parameter_count - 1];
    for (int64_t j = 0; j < head->elements; j++)
        square += pow(reward->model->weights->data[head->offset + j], 2.0);
    assert_true(square > 0.3 && square < 2.5); /* 32 draws of variance 1/33 */
    assert_true(rlhf_reward_model_describe(reward, text, sizeof text) > 0);
    assert_non_null(strstr(text, "scalar head"));

    check_ok(context, rlhf_reward_model_score(reward, batch, raw), "score");
    check_ok(context, rlhf_reward_model_set_normalisation(reward, 2.5, -0.75), "normalisation");
    assert_int_equal(rlhf_reward_model_set_normalisation(reward, 0.0, 1.0), RLHF_E_INVAL);
    assert_int_equal(rlhf_reward_model_set_normalisation(reward, NAN, 1.0), RLHF_E_INVAL);
    assert_int_equal(rlhf_reward_model_set_normalisation(reward, 1.0, INFINITY), RLHF_E_INVAL);
    check_ok(context, rlhf_reward_model_normalisation(reward, &gain, &bias), "normalisation");
    assert_true(gain == 2.5 && bias == -0.75);
    check_ok(context, rlhf_reward_model_score(reward, batch, score), "score");
    for (int r = 0; r < 7; r++)
        assert_true(score[r] == (float)(2.5 * (double)raw[r] - 0.75));

    make_directory(directory);
    check_ok(context, rlhf_reward_model_save(reward, directory), "save");
    check_ok(context, rlhf_reward_model_load(&loaded, context, directory, NULL), "load");
    check_ok(context, rlhf_reward_model_normalisation(loaded, &gain, &bias), "normalisation");
    assert_true(gain == 2.5 && bias == -0.75);
    check_ok(context, rlhf_reward_model_hash(reward, hash), "hash");
    check_ok(context, rlhf_reward_model_hash(loaded, other), "hash");
    assert_string_equal(hash, other);
    check_ok(context, rlhf_value_model_load(&again, context, directory, NULL), "value model");

    /* The critic starts from the reward model: the value read at the last token but one of a row is the score of the
     * row without its last token. */
    check_ok(context, rlhf_value_model_from_reward_model(&critic, reward), "critic");
    check_ok(context, rlhf_value_model_values(critic, batch, value), "values");
    check_ok(context, rlhf_value_model_values(again, batch, plain), "values");
    assert_memory_equal(value, plain, (size_t)count * sizeof(float));
    for (int64_t r = 0; r < 7; r++) {
        struct rows *one = malloc(sizeof *one);
        rlhf_batch *single;
        rows_begin(one);
        rows_add(one, rows->token + rows->offset[r], rows->offset[r + 1] - rows->offset[r] - 1, 1);
        single = make_batch(context, one);
        check_ok(context, rlhf_reward_model_score(reward, single, score), "score");
        assert_true(score[0] == value[rows->response_offset[r + 1] - 1]);
        rlhf_batch_release(&single);
        free(one);
    }

    /* d raw = gain * d value. */
    for (int64_t i = 0; i < count; i++)
        d[i] = (float)coefficient(6, i, 0);
    check_ok(context, rlhf_value_model_backward(critic, batch, d), "backward");
    gradient = malloc((size_t)all * sizeof(float));
    memcpy(gradient, critic->model->gradient, (size_t)all * sizeof(float));
    for (int64_t i = 0; i < count; i++)
        d[i] = (float)(2.5 * (double)d[i]);
    critic->model->score_gain = 1.0;
    zero_gradient(critic->model);
    check_ok(context, rlhf_value_model_backward(critic, batch, d), "backward");
    assert_memory_equal(gradient, critic->model->gradient, (size_t)all * sizeof(float));
    /* A reward model's gradient is with respect to the raw score. */
    check_ok(context, rlhf_reward_model_backward(reward, batch, d), "backward");
    change(critic->model);
    check_ok(context, rlhf_reward_model_hash(reward, other), "hash");
    assert_string_equal(hash, other);

    check_ok(context, rlhf_value_model_from_policy(&fresh, policy), "fresh");
    check_ok(context, rlhf_value_model_values(fresh, batch, value), "values");
    for (int64_t i = 0; i < count; i++)
        assert_true(value[i] == 0.0f);
    check_ok(context, rlhf_value_model_save(critic, directory), "save");
    check_ok(context, rlhf_value_model_hash(critic, hash), "hash");
    rlhf_value_model_release(&again);
    check_ok(context, rlhf_value_model_load(&again, context, directory, NULL), "load");
    check_ok(context, rlhf_value_model_hash(again, other), "hash");
    assert_string_equal(hash, other);

    check_ok(context, rlhfi_remove_tree(context, directory), "clean up");
    rlhf_policy_release(&policy);
    rlhf_reward_model_release(&reward);
    rlhf_reward_model_release(&loaded);
    rlhf_value_model_release(&critic);
    rlhf_value_model_release(&fresh);
    rlhf_value_model_release(&again);
    rlhf_batch_release(&batch);
    free(gradient);
    free(rows);
    free(value);
    free(plain);
    free(d);
    rlhf_context_release(&context);
}

static void test_refusals(void **state)
{
    static const int32_t token[] = {1, 2, 3};
    rlhf_context *context = make_context(1, UINT32_MAX, 1);
    rlhf_policy *policy = make_policy(context, gpt2_config), *none = (rlhf_policy *)1;
    rlhf_reward_model *reward;
    rlhf_value_model *critic;
    struct rows *rows = malloc(sizeof *rows);
    rlhf_batch *batch;
    float out[8];

    (void)state;
    check_ok(context, rlhf_reward_model_from_policy(&reward, policy, 3), "reward");
    check_ok(context, rlhf_value_model_from_policy(&critic, policy), "critic");
    rows_begin(rows);
    rows_add(rows, token, 3, 0);
    batch = make_batch(context, rows);
    assert_int_equal(rlhf_policy_log_probs(policy, batch, 1.0, out, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_value_model_values(critic, batch, out), RLHF_E_INVAL);
    check_ok(context, rlhf_reward_model_score(reward, batch, out), "a score needs no prompt");
    rlhf_batch_release(&batch);
    rows_add(rows, token, 0, 0);
    batch = make_batch(context, rows);
    assert_int_equal(rlhf_reward_model_score(reward, batch, out), RLHF_E_RANGE);
    rlhf_batch_release(&batch);
    assert_int_equal(rlhf_policy_load(&none, context, "/nonexistent", NULL), RLHF_E_IO);
    assert_null(none);
    assert_int_equal(rlhf_policy_load(&none, NULL, "/nonexistent", NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_policy_load(NULL, context, "/nonexistent", NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_policy_load(&none, context, NULL, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_policy_clone(&none, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_policy_create(&none, context, "{", 1, 0, NULL), RLHF_E_FORMAT);
    assert_int_equal(rlhf_policy_create(&none, context, "{\"model_type\": \"rwkv\"}", 22, 0, NULL), RLHF_E_UNSUPPORTED);
    free(rows);
    rlhf_policy_release(&policy);
    rlhf_reward_model_release(&reward);
    rlhf_value_model_release(&critic);
    rlhf_context_release(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference),    cmocka_unit_test(test_policy_backward),
        cmocka_unit_test(test_policy_views), cmocka_unit_test(test_temperatures),
        cmocka_unit_test(test_scalar_roles), cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
