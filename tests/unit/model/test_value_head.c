/* A value head on a policy's trunk: it changes no bit of the policy, both heads go through the trunk together, and who
 * owns what. Slopes of the joint loss stand in test_gradients.c. */
#include "models.h"
#include "pace.h"

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

static float *floats(int64_t count)
{
    float *out = calloc((size_t)count + 1, sizeof *out);

    assert_non_null(out);
    return out;
}

/* Scoring and training of one batch with everything that comes out. */
struct outcome {
    int64_t count, weights;
    float *log_prob, *entropy, *gradient;
    char hash[65];
};

static void look(rlhf_policy *policy, const rlhf_batch *batch, const struct rows *rows, struct outcome *out)
{
    rlhf_context *context = policy->model->context;
    float *d_log_prob, *d_entropy;

    out->count = responses(rows);
    out->weights = rlhfi_model_own_weights(policy->model);
    out->log_prob = floats(out->count);
    out->entropy = floats(out->count);
    out->gradient = floats(out->weights);
    d_log_prob = floats(out->count);
    d_entropy = floats(out->count);
    for (int64_t i = 0; i < out->count; i++) {
        d_log_prob[i] = (float)coefficient(5, i, 0);
        d_entropy[i] = (float)coefficient(5, i, 1);
    }
    check_ok(context, rlhf_policy_log_probs(policy, batch, 0.9, out->log_prob, out->entropy), "log_probs");
    zero_gradient(policy->model);
    check_ok(context, rlhf_policy_backward(policy, batch, 0.9, d_log_prob, d_entropy), "backward");
    memcpy(out->gradient, policy->model->gradient, (size_t)out->weights * sizeof(float));
    check_ok(context, rlhf_policy_hash(policy, out->hash), "hash");
    free(d_log_prob);
    free(d_entropy);
}

static void outcome_free(struct outcome *outcome)
{
    free(outcome->log_prob);
    free(outcome->entropy);
    free(outcome->gradient);
}

/* The head stands behind everything, so nothing of the policy moves: not a bit of a score, a gradient, a hash. */
static void test_the_policy_stays_what_it_is(void **state)
{
    rlhf_context *context = make_context(2, UINT32_MAX, 1);

    (void)state;
    for (size_t c = 0; c < CONFIGS; c += (size_t)pace(3)) {
        rlhf_policy *policy = make_policy(context, configs[c].json);
        struct rows *rows = random_rows(policy->model, 30, 2, 30, 52);
        rlhf_batch *batch = make_batch(context, rows);
        rlhf_parameter_view view = {.struct_size = sizeof view};
        int64_t parameters = rlhf_policy_parameter_count(policy);
        rlhf_value_model *value;
        struct outcome before, after;
        look(policy, batch, rows, &before);
        check_ok(context, rlhf_value_model_on_policy(&value, policy), "value");
        assert_int_equal(policy->model->weights->count, before.weights + policy->model->architecture.width);
        assert_int_equal(rlhf_policy_parameter_count(policy), parameters + 1);
        check_ok(context, rlhf_policy_parameter(policy, parameters, &view), "parameter");
        assert_string_equal(view.name, "v_head.summary.weight");
        assert_int_equal(view.elements, policy->model->architecture.width);
        for (int64_t i = 0; i < view.elements; i++)
            assert_true(view.data[i] == 0.0f && view.gradient[i] == 0.0f);
        /* gathered gradients came along */
        assert_memory_equal(policy->model->gradient, before.gradient, (size_t)before.weights * sizeof(float));
        add_value_head(policy->model, 9);
        look(policy, batch, rows, &after);
        assert_memory_equal(before.log_prob, after.log_prob, (size_t)before.count * sizeof(float));
        assert_memory_equal(before.entropy, after.entropy, (size_t)before.count * sizeof(float));
        assert_memory_equal(before.gradient, after.gradient, (size_t)before.weights * sizeof(float));
        assert_string_equal(before.hash, after.hash);
        outcome_free(&before);
        outcome_free(&after);
        rlhf_value_model_release(&value);
        rlhf_policy_release(&policy);
        rlhf_batch_release(&batch);
        free(rows);
    }
    rlhf_context_release(&context);
}

/* One pass gives the bits of two, on every machine; one way back gives their sum. */
static void test_joint_is_both(void **state)
{
    static const struct { int32_t threads; uint32_t mask; int32_t blis; } machines[] = {
        {1, UINT32_MAX, 1}, {2, UINT32_MAX, 0}, {2, 0, 0}, {1, RLHF_CPU_AVX2, 1},
    };

    (void)state;
    for (size_t c = 0; c < CONFIGS; c += (size_t)pace(3)) {
        float *recorded = NULL;
        for (size_t m = 0; m < sizeof machines / sizeof machines[0]; m += (size_t)pace(7)) {
            rlhf_context *context = make_context(machines[m].threads, machines[m].mask, machines[m].blis);
            rlhf_policy *policy = make_policy(context, configs[c].json);
            struct rows *rows = random_rows(policy->model, 40, 2, 30, 52);
            rlhf_batch *batch = make_batch(context, rows);
            int64_t count = responses(rows), all;
            float *p = floats(count), *h = floats(count), *v = floats(count), *one = floats(count), *joint;
            float *d_log_prob = floats(count), *d_entropy = floats(count), *d_value = floats(count);
            double worst = 0.0, largest = 0.0;
            rlhf_value_model *value;
            check_ok(context, rlhf_value_model_on_policy(&value, policy), "value");
            add_value_head(policy->model, 9);
            all = policy->model->weights->count;
            joint = floats(all);
            check_ok(context, rlhf_value_model_joint(value, batch, 0.9, p, h, v), "joint");
            check_ok(context, rlhf_value_model_values(value, batch, one), "values");
            assert_memory_equal(v, one, (size_t)count * sizeof(float));
            assert_true(fabsf(v[0]) > 1e-3f);
            check_ok(context, rlhf_policy_log_probs(policy, batch, 0.9, one, NULL), "log_probs");
            assert_memory_equal(p, one, (size_t)count * sizeof(float));
            check_ok(context, rlhf_policy_log_probs(policy, batch, 0.9, p, one), "entropies");
            assert_memory_equal(h, one, (size_t)count * sizeof(float));
            for (int64_t i = 0; i < count; i++) {
                d_log_prob[i] = (float)coefficient(5, i, 0);
                d_entropy[i] = (float)coefficient(5, i, 1);
                d_value[i] = (float)coefficient(5, i, 3);
            }
            zero_gradient(policy->model);
            check_ok(context, rlhf_value_model_joint_backward(value, batch, 0.9, d_log_prob, d_entropy, d_value),
                     "joint");
            memcpy(joint, policy->model->gradient, (size_t)all * sizeof(float));
            zero_gradient(policy->model);
            check_ok(context, rlhf_policy_backward(policy, batch, 0.9, d_log_prob, d_entropy), "policy");
            check_ok(context, rlhf_value_model_backward(value, batch, d_value), "value");
            for (int64_t i = 0; i < all; i++) {
                worst = fmax(worst, fabs((double)joint[i] - (double)policy->model->gradient[i]));
                largest = fmax(largest, fabs((double)joint[i]));
            }
            assert_true(worst <= 1e-6 * largest);
            if (recorded == NULL) {
                recorded = floats(all);
                memcpy(recorded, joint, (size_t)all * sizeof(float));
            }
            assert_memory_equal(recorded, joint, (size_t)all * sizeof(float));
            free(p);
            free(h);
            free(v);
            free(one);
            free(joint);
            free(d_log_prob);
            free(d_entropy);
            free(d_value);
            free(rows);
            rlhf_batch_release(&batch);
            rlhf_value_model_release(&value);
            rlhf_policy_release(&policy);
            rlhf_context_release(&context);
        }
        free(recorded);
    }
}

/* The head leaves with the value model's files, never with the policy's. */
static void test_files(void **state)
{
    rlhf_context *context = make_context(2, UINT32_MAX, 1);
    char directory[64], path[96], hash[65], other[65];

    (void)state;
    make_directory(directory);
    for (size_t c = 0; c < CONFIGS; c += (size_t)pace(3)) {
        rlhf_policy *policy = make_policy(context, configs[c].json), *read;
        struct rows *rows = random_rows(policy->model, 6, 2, 30, 52);
        rlhf_batch *batch = make_batch(context, rows);
        int64_t count = responses(rows);
        float *value = floats(count), *again = floats(count);
        rlhf_value_model *on, *alone;
        check_ok(context, rlhf_value_model_on_policy(&on, policy), "value");
        add_value_head(policy->model, 9);
        check_ok(context, rlhf_value_model_values(on, batch, value), "values");
        snprintf(path, sizeof path, "%s/policy%zu", directory, c);
        check_ok(context, rlhf_policy_save(policy, path), "save");
        check_ok(context, rlhf_policy_load(&read, context, path, NULL), "load");
        assert_null(rlhfi_value_head_weight(read->model));
        check_ok(context, rlhf_policy_hash(policy, hash), "hash");
        check_ok(context, rlhf_policy_hash(read, other), "hash");
        assert_string_equal(hash, other);
        snprintf(path, sizeof path, "%s/value%zu", directory, c);
        check_ok(context, rlhf_value_model_save(on, path), "save");
        check_ok(context, rlhf_value_model_load(&alone, context, path, NULL), "load");
        check_ok(context, rlhf_value_model_values(alone, batch, again), "values");
        assert_memory_equal(value, again, (size_t)count * sizeof(float));
        check_ok(context, rlhf_value_model_hash(on, hash), "hash");
        check_ok(context, rlhf_value_model_hash(alone, other), "hash");
        assert_string_equal(hash, other);
        assert_int_equal(rlhf_value_model_joint(alone, batch, 1, value, NULL, again), RLHF_E_UNSUPPORTED);
        assert_int_equal(rlhf_value_model_joint_backward(alone, batch, 1, value, NULL, again), RLHF_E_UNSUPPORTED);
        free(value);
        free(again);
        free(rows);
        rlhf_batch_release(&batch);
        rlhf_value_model_release(&on);
        rlhf_value_model_release(&alone);
        rlhf_policy_release(&policy);
        rlhf_policy_release(&read);
    }
    check_ok(context, rlhfi_remove_tree(context, directory), "remove");
    rlhf_context_release(&context);
}

/* Handles are one trunk; clones and references are others; whoever stays keeps what it needs. */
static void test_owners(void **state)
{
    rlhf_context *context = make_context(2, UINT32_MAX, 1);
    rlhf_policy *policy = make_policy(context, llama_config), *clone;
    struct rows *rows = random_rows(policy->model, 6, 2, 30, 52);
    rlhf_batch *batch = make_batch(context, rows);
    int64_t count = responses(rows);
    float *value = floats(count), *again = floats(count), *log_prob = floats(count), *frozen = floats(count);
    rlhf_reference *reference, *early;
    rlhf_value_model *on, *second, *copied;

    (void)state;
    check_ok(context, rlhf_reference_freeze(&early, policy), "freeze");
    check_ok(context, rlhf_policy_log_probs(policy, batch, 1, log_prob, NULL), "log_probs");
    check_ok(context, rlhf_value_model_on_policy(&on, policy), "value");
    check_ok(context, rlhf_value_model_values(on, batch, value), "values");
    for (int64_t i = 0; i < count; i++)
        assert_true(value[i] == 0.0f);
    add_value_head(policy->model, 9);
    check_ok(context, rlhf_value_model_values(on, batch, value), "values");
    check_ok(context, rlhf_value_model_on_policy(&second, policy), "one more handle");
    assert_ptr_equal(on->model, second->model);
    check_ok(context, rlhf_value_model_values(second, batch, again), "values");
    assert_memory_equal(value, again, (size_t)count * sizeof(float));

    /* A clone has a head of its own from then on; so has what is made from the policy. */
    check_ok(context, rlhf_reference_freeze(&reference, policy), "freeze");
    check_ok(context, rlhf_policy_clone(&clone, policy), "clone");
    assert_ptr_equal(clone->model->weights, policy->model->weights);
    check_ok(context, rlhf_value_model_from_policy(&copied, policy), "copy");
    assert_ptr_not_equal(copied->model, policy->model);
    rlhf_value_model_release(&copied);
    check_ok(context, rlhfi_model_writable(policy->model), "writable");
    policy->model->weights->data[5] += 1.0f;
    rlhfi_value_head_weight(policy->model)[0] += 1.0f;
    check_ok(context, rlhf_value_model_values(on, batch, again), "values");
    assert_memory_not_equal(value, again, (size_t)count * sizeof(float));
    check_ok(context, rlhf_reference_log_probs(reference, batch, 1, frozen), "reference");
    assert_memory_equal(log_prob, frozen, (size_t)count * sizeof(float));
    check_ok(context, rlhf_reference_log_probs(early, batch, 1, frozen), "reference");
    assert_memory_equal(log_prob, frozen, (size_t)count * sizeof(float));
    rlhf_value_model_release(&second);
    check_ok(context, rlhf_value_model_on_policy(&second, clone), "the clone's");
    check_ok(context, rlhf_value_model_values(second, batch, again), "values");
    assert_memory_equal(value, again, (size_t)count * sizeof(float));

    rlhf_policy_release(&policy);
    check_ok(context, rlhf_value_model_joint(on, batch, 1, log_prob, NULL, value), "behind the policy's end");
    assert_int_equal(rlhf_value_model_on_policy(&copied, NULL), RLHF_E_INVAL);
    assert_null(copied);
    rlhf_value_model_release(&on);
    rlhf_value_model_release(&second);
    rlhf_policy_release(&clone);
    rlhf_reference_release(&reference);
    rlhf_reference_release(&early);
    rlhf_batch_release(&batch);
    free(value);
    free(again);
    free(log_prob);
    free(frozen);
    free(rows);
    rlhf_context_release(&context);
}

static rlhf_status call_back(void *user_data, const rlhfi_train_arrays *arrays)
{
    rlhf_policy *policy = user_data;
    rlhf_value_model *value;

    (void)arrays;
    return rlhf_value_model_on_policy(&value, policy);
}

static void test_refusals(void **state)
{
    rlhf_context *context = make_context(1, UINT32_MAX, 1);
    rlhf_policy *policy = make_policy(context, llama_config);
    struct rows *rows = random_rows(policy->model, 3, 2, 9, 52);
    rlhf_batch *batch = make_batch(context, rows);
    float *d = floats(responses(rows)), *zero = floats(responses(rows));
    rlhf_value_model *value;

    (void)state;
    assert_int_equal(rlhfi_model_train(policy->model, &rows->view, 1.0f, false, false, false, call_back, policy),
                     RLHF_E_BUSY);
    assert_null(rlhfi_value_head_weight(policy->model));
    check_ok(context, rlhf_value_model_on_policy(&value, policy), "value");
    d[0] = NAN;
    assert_int_equal(rlhf_value_model_joint_backward(value, batch, 1, zero, NULL, d), RLHF_E_NONFINITE);
    assert_int_equal(rlhf_value_model_joint_backward(value, batch, 0, zero, NULL, zero), RLHF_E_RANGE);
    assert_int_equal(rlhf_value_model_joint(value, batch, 1, zero, NULL, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_value_model_joint(NULL, batch, 1, zero, NULL, zero), RLHF_E_INVAL);
    free(d);
    free(zero);
    free(rows);
    rlhf_batch_release(&batch);
    rlhf_value_model_release(&value);
    rlhf_policy_release(&policy);
    rlhf_context_release(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_policy_stays_what_it_is),
        cmocka_unit_test(test_joint_is_both),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_owners),
        cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
