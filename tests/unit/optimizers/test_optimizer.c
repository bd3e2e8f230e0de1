/* AdamW, clipping and the step as a whole, on a tiny policy whose gradients the test writes itself. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "optimizers/optimizers.h"

static const char config[] =
    "{\"model_type\": \"gpt2\", \"vocab_size\": 31, \"n_positions\": 16, \"n_embd\": 16, \"n_layer\": 2, "
    "\"n_head\": 2, \"initializer_range\": 0.4}";

static rlhf_context *context;
static rlhf_policy *policy;
static rlhfi_model *model;
static int64_t live_blocks, calls, fail_at;

static void *counted_alloc(void *user_data, size_t size, size_t alignment)
{
    if (fail_at > 0 && ++calls >= fail_at)
        return NULL;
    live_blocks++;
    return aligned_alloc(alignment, size);
}

static void counted_free(void *user_data, void *pointer, size_t size)
{
    live_blocks--;
    free(pointer);
}

static int open_with(int32_t threads)
{
    rlhf_context_options options;

    rlhf_context_options_init(&options, sizeof options);
    options.threads = threads;
    options.allocator = (rlhf_allocator){counted_alloc, counted_free, NULL};
    live_blocks = calls = fail_at = 0;
    if (rlhf_context_create(&context, &options) != RLHF_OK ||
        rlhf_policy_create(&policy, context, config, sizeof config - 1, 5, NULL) != RLHF_OK)
        return 1;
    model = policy->model;
    return 0;
}

static int open_policy(void **state)
{
    return open_with(1);
}

static int close_policy(void **state)
{
    rlhf_policy_release(&policy);
    rlhf_context_release(&context);
    return live_blocks != 0;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, open_policy, close_policy)
#define assert_ok(call) assert_int_equal(call, RLHF_OK)
#define assert_close(got, wanted, tolerance)                                                                           \
    assert_true(fabs((double)(got) - (double)(wanted)) <= (tolerance)*fabs((double)(wanted)))

static rlhf_optimizer_options plain_options(double learning_rate)
{
    rlhf_optimizer_options options;

    rlhf_optimizer_options_init(&options, sizeof options);
    options.schedule = RLHF_SCHEDULE_CONSTANT;
    options.learning_rate = learning_rate;
    options.max_grad_norm = 0;
    return options;
}

static rlhf_optimizer *made(const rlhf_optimizer_options *options)
{
    rlhf_optimizer *optimizer = NULL;

    assert_ok(rlhf_optimizer_create_policy(&optimizer, policy, options));
    return optimizer;
}

/* Gradients that differ in every element and step, of a size that float32 likes. */
static void fill_gradient(rlhfi_model *of, uint32_t step, float scale)
{
    assert_ok(rlhfi_model_need_gradient(of));
    rlhfi_normal_fill(3, RLHFI_RANDOM_USER, step, scale, of->gradient, (size_t)of->weights->count);
}

static float *copy(const float *x)
{
    size_t bytes = (size_t)model->weights->count * sizeof *x;

    return memcpy(malloc(bytes), x, bytes);
}

#define assert_same(a, b) assert_memory_equal(a, b, (size_t)model->weights->count * sizeof(float))

static double norm_of(const float *x)
{
    double sum = 0;

    for (int64_t i = 0; i < model->weights->count; i++)
        sum += (double)x[i] * x[i];
    return sqrt(sum);
}

/* ---- the update rule --------------------------------------------------------------------------------------------- */

static void the_first_step_has_torchs_epsilon(void **state)
{
    rlhf_optimizer_options options = plain_options(0.5);
    rlhf_optimizer *optimizer = made(&options);

    assert_ok(rlhfi_model_writable(model));
    assert_ok(rlhfi_model_need_gradient(model));
    for (int64_t i = 0; i < model->weights->count; i++) {
        model->weights->data[i] = 0;
        model->gradient[i] = i % 3 == 0 ? 1e-9f : i % 3 == 1 ? 2 : -300;
    }
    assert_ok(rlhf_optimizer_step(optimizer, NULL, NULL));
    for (int64_t i = 0; i < model->weights->count; i++)
        assert_close(model->weights->data[i], i % 3 == 0 ? -0.5 / 11 : i % 3 == 1 ? -0.5 : 0.5, 2e-6);
    rlhf_optimizer_release(&optimizer);
}

static void several_steps_follow_the_formula(void **state)
{
    rlhf_optimizer_options options = plain_options(0.01);
    rlhf_optimizer *optimizer;
    int64_t count = model->weights->count;
    double *p = malloc((size_t)count * sizeof *p), *m = calloc((size_t)count, sizeof *m);
    double *v = calloc((size_t)count, sizeof *v), worst = 0;

    options.weight_decay = 0.1;
    options.beta2 = 0.99;
    optimizer = made(&options);
    for (int64_t i = 0; i < count; i++)
        p[i] = model->weights->data[i];
    for (uint32_t t = 1; t <= 5; t++) {
        fill_gradient(model, t, 1);
        for (int64_t k = 0; k < model->parameter_count; k++) {
            const rlhfi_parameter *parameter = &model->parameters[k];
            for (int64_t i = parameter->offset; i < parameter->offset + parameter->elements; i++) {
                double g = model->gradient[i];
                if (parameter->rank >= 2)
                    p[i] -= 0.01 * 0.1 * p[i];
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.99 * v[i] + 0.01 * g * g;
                p[i] -= 0.01 * (m[i] / (1 - pow(0.9, t))) / (sqrt(v[i] / (1 - pow(0.99, t))) + 1e-8);
            }
        }
        assert_ok(rlhf_optimizer_step(optimizer, NULL, NULL));
        assert_int_equal(rlhf_optimizer_steps(optimizer), t);
    }
    for (int64_t i = 0; i < count; i++) {
        worst = fmax(worst, fabs(model->weights->data[i] - p[i]));
        assert_true(model->gradient[i] == 0); /* each step leaves the gradient empty */
    }
    assert_true(worst < 1e-6); /* float32 rounding of numbers around 1, ten times */
    rlhf_optimizer_release(&optimizer);
    free(p);
    free(m);
    free(v);
}

static void only_matrices_decay(void **state)
{
    rlhf_optimizer_options options = plain_options(0.5);
    float *before = copy(model->weights->data);
    rlhf_optimizer *optimizer;
    int decayed = 0, kept = 0;

    options.weight_decay = 0.25;
    optimizer = made(&options);
    assert_ok(rlhf_optimizer_step(optimizer, NULL, NULL)); /* no backward pass: all gradients are 0 */
    for (int64_t k = 0; k < model->parameter_count; k++) {
        const rlhfi_parameter *parameter = &model->parameters[k];
        for (int64_t i = parameter->offset; i < parameter->offset + parameter->elements; i++)
            assert_true(model->weights->data[i] == (parameter->rank >= 2 ? before[i] - 0.125f * before[i] : before[i]));
        decayed += parameter->rank >= 2;
        kept += parameter->rank < 2;
    }
    assert_true(decayed > 5 && kept > 5);
    free(before);
    rlhf_optimizer_release(&optimizer);
}

static void a_rate_of_zero_changes_no_bit(void **state)
{
    rlhf_optimizer_options options = plain_options(0);
    rlhf_optimizer *optimizer;
    float *before;

    /* Without zeros: valgrind's fused multiply-subtract gives them the other sign, processors do not. */
    for (int64_t i = 0; i < model->weights->count; i++)
        if (model->weights->data[i] == 0)
            model->weights->data[i] = 0.5f;
    before = copy(model->weights->data);
    options.weight_decay = 0.1;
    optimizer = made(&options);
    for (uint32_t t = 0; t < 3; t++) {
        fill_gradient(model, t, 1);
        assert_ok(rlhf_optimizer_step(optimizer, NULL, NULL));
    }
    assert_same(model->weights->data, before);
    free(before);
    rlhf_optimizer_release(&optimizer);
}

/* ---- clipping ---------------------------------------------------------------------------------------------------- */

static void a_long_gradient_is_scaled_to_the_limit(void **state)
{
    const double lengths[] = {5, 1.25};

    for (int k = 0; k < 2; k++) {
        rlhf_optimizer_options options = plain_options(1e-3);
        rlhf_optimizer *optimizer;
        double norm, expected;
        float *scaled;
        options.max_grad_norm = 1;
        optimizer = made(&options);
        fill_gradient(model, 1, 1);
        expected = norm_of(model->gradient);
        for (int64_t i = 0; i < model->weights->count; i++)
            model->gradient[i] = (float)(model->gradient[i] * lengths[k] / expected);
        scaled = copy(model->gradient);
        expected = norm_of(scaled);
        assert_close(expected, lengths[k], 1e-6);
        assert_ok(rlhf_optimizer_step(optimizer, &norm, NULL));
        assert_close(norm, expected, 1e-14); /* told before clipping */
        for (int64_t i = 0; i < model->weights->count; i++) {
            double moment = 0.1 * scaled[i] / lengths[k];
            assert_true(fabs(rlhfi_optimizer_first_moment(optimizer)[i] - moment) <= 2e-6 * fabs(moment) + 1e-12);
        }
        free(scaled);
        rlhf_optimizer_release(&optimizer);
    }
}

static void a_short_gradient_keeps_its_bits(void **state)
{
    float *weights[2], *start = copy(model->weights->data);

    for (int i = 0; i < 2; i++) {
        rlhf_optimizer_options options = plain_options(0.01);
        rlhf_optimizer *optimizer;
        options.max_grad_norm = i == 0 ? 0 : 1000;
        optimizer = made(&options);
        memcpy(model->weights->data, start, (size_t)model->weights->count * sizeof *start);
        fill_gradient(model, 2, 1);
        assert_ok(rlhf_optimizer_step(optimizer, NULL, NULL));
        weights[i] = copy(model->weights->data);
        rlhf_optimizer_release(&optimizer);
    }
    assert_same(weights[0], weights[1]);
    assert_memory_not_equal(weights[0], start, (size_t)model->weights->count * sizeof *start);
    free(weights[0]);
    free(weights[1]);
    free(start);
}

/* ---- the step ---------------------------------------------------------------------------------------------------- */

static void a_gradient_that_is_not_finite_changes_nothing(void **state)
{
    rlhf_optimizer_options options = plain_options(0.1);
    rlhf_optimizer *optimizer = made(&options);
    const rlhfi_parameter *bad = &model->parameters[model->parameter_count / 2];
    char error[512];
    double norm = 7;

    fill_gradient(model, 1, 1);
    assert_ok(rlhf_optimizer_step(optimizer, NULL, NULL));
    fill_gradient(model, 2, 1);
    for (int kind = 0; kind < 3; kind++) {
        float *weights, *first, *second, *gradient, kept = model->gradient[bad->offset + 1];
        uint64_t version = model->version;
        model->gradient[bad->offset + 1] = kind == 0 ? NAN : kind == 1 ? INFINITY : -INFINITY;
        /* A later one is bad as well: the first is named. */
        model->gradient[model->weights->count - 1] = NAN;
        weights = copy(model->weights->data);
        first = copy(rlhfi_optimizer_first_moment(optimizer));
        second = copy(rlhfi_optimizer_second_moment(optimizer));
        gradient = copy(model->gradient);
        assert_int_equal(rlhf_optimizer_step(optimizer, &norm, NULL), RLHF_E_NONFINITE);
        rlhf_context_error(context, error, sizeof error);
        assert_non_null(strstr(error, bad->name));
        assert_same(weights, model->weights->data);
        assert_same(first, rlhfi_optimizer_first_moment(optimizer));
        assert_same(second, rlhfi_optimizer_second_moment(optimizer));
        assert_same(gradient, model->gradient);
        assert_true(model->version == version && norm == 0);
        assert_int_equal(rlhf_optimizer_steps(optimizer), 1);
        model->gradient[bad->offset + 1] = kept;
        free(weights);
        free(first);
        free(second);
        free(gradient);
    }
    model->gradient[model->weights->count - 1] = 0;
    assert_ok(rlhf_optimizer_step(optimizer, NULL, NULL)); /* usable afterwards */
    rlhf_optimizer_release(&optimizer);
}

static void weights_that_others_share_are_copied(void **state)
{
    rlhf_optimizer_options options = plain_options(0.1);
    rlhf_optimizer *optimizer = made(&options);
    rlhf_policy *clone;
    float *before = copy(model->weights->data);
    rlhf_status status;

    assert_ok(rlhf_policy_clone(&clone, policy));
    assert_true(clone->model->weights == model->weights);
    fill_gradient(model, 1, 1);
    for (fail_at = 1;; fail_at++) { /* a copy that cannot be had: nothing happens */
        calls = 0;
        status = rlhf_optimizer_step(optimizer, NULL, NULL);
        if (status == RLHF_OK)
            break;
        assert_int_equal(status, RLHF_E_NOMEM);
        assert_same(before, model->weights->data);
        assert_int_equal(rlhf_optimizer_steps(optimizer), 0);
    }
    assert_true(fail_at > 1);
    fail_at = 0;
    assert_same(before, clone->model->weights->data);
    assert_memory_not_equal(before, model->weights->data, 64);
    free(before);
    rlhf_policy_release(&clone);
    rlhf_optimizer_release(&optimizer);
}

static void the_schedule_advances_with_the_steps(void **state)
{
    rlhf_optimizer_options options = plain_options(0.1);
    rlhf_optimizer *optimizer;
    const double expected[] = {0, 0.05, 0.1, 0.05, 0};
    double rate;

    options.schedule = RLHF_SCHEDULE_LINEAR;
    options.warmup_steps = 2;
    options.total_steps = 4;
    optimizer = made(&options);
    for (int t = 0; t < 5; t++) {
        assert_ok(rlhf_optimizer_step(optimizer, NULL, &rate));
        assert_true(fabs(rate - expected[t]) < 1e-16);
    }
    rlhf_optimizer_release(&optimizer);
}

static void zero_empties_the_gradient(void **state)
{
    rlhf_optimizer_options options = plain_options(0.1);
    rlhf_optimizer *optimizer = made(&options);

    assert_ok(rlhf_optimizer_zero(optimizer)); /* there is none yet */
    fill_gradient(model, 1, 1);
    assert_ok(rlhf_optimizer_zero(optimizer));
    assert_true(norm_of(model->gradient) == 0);
    assert_int_equal(rlhf_optimizer_steps(optimizer), 0);
    rlhf_optimizer_release(&optimizer);
}

static void two_models_are_clipped_together(void **state)
{
    rlhf_optimizer_options options = plain_options(0.01), other_options = plain_options(0.5);
    rlhf_optimizer *first, *second = NULL;
    rlhf_value_model *critic;
    rlhfi_model *value;
    double norm, rate, squares;
    float *gradient, *critic_gradient;

    options.max_grad_norm = 1;
    assert_ok(rlhf_value_model_from_policy(&critic, policy));
    value = critic->model;
    first = made(&options);
    assert_ok(rlhf_optimizer_create_value_model(&second, critic, &other_options));
    fill_gradient(model, 1, 0.01f);
    fill_gradient(value, 2, 1);
    gradient = copy(model->gradient);
    critic_gradient = malloc((size_t)value->weights->count * sizeof(float));
    memcpy(critic_gradient, value->gradient, (size_t)value->weights->count * sizeof(float));
    squares = norm_of(gradient) * norm_of(gradient);
    for (int64_t i = 0; i < value->weights->count; i++)
        squares += (double)critic_gradient[i] * critic_gradient[i];

    assert_ok(rlhf_optimizer_step_joint(first, second, &norm, &rate));
    assert_close(norm, sqrt(squares), 1e-13);
    assert_true(rate == 0.01);
    for (int64_t i = 0; i < model->weights->count; i++)
        assert_true(fabs(rlhfi_optimizer_first_moment(first)[i] - 0.1 * gradient[i] / norm) < 1e-9);
    for (int64_t i = 0; i < value->weights->count; i++)
        assert_true(fabs(rlhfi_optimizer_first_moment(second)[i] - 0.1 * critic_gradient[i] / norm) < 1e-7);
    assert_int_equal(rlhf_optimizer_steps(first), 1);
    assert_int_equal(rlhf_optimizer_steps(second), 1);
    assert_int_equal(rlhf_optimizer_step_joint(first, first, NULL, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_optimizer_step_joint(first, NULL, NULL, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_optimizer_step_joint(NULL, second, NULL, NULL), RLHF_E_INVAL);

    fill_gradient(model, 3, 1); /* a bad number in the second: the first does not move either */
    fill_gradient(value, 4, 1);
    value->gradient[3] = NAN;
    memcpy(gradient, model->weights->data, (size_t)model->weights->count * sizeof(float));
    assert_int_equal(rlhfi_optimizer_step_joint(first, second, NULL, NULL), RLHF_E_NONFINITE);
    assert_same(gradient, model->weights->data);
    assert_int_equal(rlhf_optimizer_steps(first), 1);
    free(gradient);
    free(critic_gradient);
    rlhf_optimizer_release(&first);
    rlhf_optimizer_release(&second);
    rlhf_value_model_release(&critic);
}

/* ---- exactness --------------------------------------------------------------------------------------------------- */

static float *after_four_steps(bool resume)
{
    rlhf_optimizer_options options = plain_options(0.01);
    rlhf_optimizer *optimizer;
    float *weights;

    options.max_grad_norm = 1;
    options.weight_decay = 0.1;
    options.schedule = RLHF_SCHEDULE_COSINE;
    options.total_steps = 9;
    optimizer = made(&options);
    for (uint32_t t = 0; t < 4; t++) {
        if (resume && t == 2) {
            rlhf_optimizer *next = made(&options);
            size_t bytes = (size_t)model->weights->count * sizeof(float);
            assert_ptr_equal(rlhfi_optimizer_model(next), model);
            memcpy(rlhfi_optimizer_first_moment(next), rlhfi_optimizer_first_moment(optimizer), bytes);
            memcpy(rlhfi_optimizer_second_moment(next), rlhfi_optimizer_second_moment(optimizer), bytes);
            rlhfi_optimizer_set_step_count(next, rlhfi_optimizer_step_count(optimizer));
            rlhf_optimizer_release(&optimizer);
            optimizer = next;
        }
        fill_gradient(model, t, 1);
        assert_ok(rlhf_optimizer_step(optimizer, NULL, NULL));
    }
    weights = copy(model->weights->data);
    rlhf_optimizer_release(&optimizer);
    return weights;
}

static void threads_and_resuming_change_no_bit(void **state)
{
    float *reference = after_four_steps(false);

    for (int32_t threads = 1; threads <= 4; threads *= 2) {
        float *again;
        assert_int_equal(close_policy(NULL), 0);
        assert_int_equal(open_with(threads), 0);
        again = after_four_steps(threads != 2);
        assert_same(reference, again);
        free(again);
    }
    free(reference);
}

/* ---- arguments --------------------------------------------------------------------------------------------------- */

static void defaults_and_bounds(void **state)
{
    rlhf_optimizer_options options;
    rlhf_optimizer *optimizer = (rlhf_optimizer *)1;
    struct {
        rlhf_optimizer_options options;
        double later;
    } longer;
    char error[512];

    rlhf_optimizer_options_init(&options, sizeof options);
    assert_int_equal(options.struct_size, sizeof options);
    assert_int_equal(options.schedule, RLHF_SCHEDULE_LINEAR);
    assert_true(options.learning_rate == 2e-5 && options.beta1 == 0.9 && options.beta2 == 0.999);
    assert_true(options.epsilon == 1e-8 && options.weight_decay == 0 && options.max_grad_norm == 1);
    assert_true(options.warmup_steps == 0 && options.total_steps == 0 && options.min_lr_rate == 0);
    rlhf_optimizer_options_init(NULL, sizeof options);

    struct {
        const char *name;
        double *field, bad;
    } fields[] = {
        {"learning_rate", &options.learning_rate, -1},
        {"learning_rate", &options.learning_rate, NAN},
        {"learning_rate", &options.learning_rate, INFINITY},
        {"beta1", &options.beta1, 1},
        {"beta2", &options.beta2, -0.1},
        {"epsilon", &options.epsilon, 0},
        {"weight_decay", &options.weight_decay, -1},
        {"max_grad_norm", &options.max_grad_norm, -1},
        {"min_lr_rate", &options.min_lr_rate, 1.5},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        double kept = *fields[i].field;
        *fields[i].field = fields[i].bad;
        assert_int_equal(rlhf_optimizer_create_policy(&optimizer, policy, &options), RLHF_E_RANGE);
        assert_null(optimizer);
        rlhf_context_error(context, error, sizeof error);
        assert_non_null(strstr(error, fields[i].name));
        *fields[i].field = kept;
    }
    options.schedule = 3;
    assert_int_equal(rlhf_optimizer_create_policy(&optimizer, policy, &options), RLHF_E_RANGE);
    options.schedule = RLHF_SCHEDULE_LINEAR;
    options.warmup_steps = 5;
    options.total_steps = 4;
    assert_int_equal(rlhf_optimizer_create_policy(&optimizer, policy, &options), RLHF_E_RANGE);
    options.struct_size = 8;
    assert_int_equal(rlhf_optimizer_create_policy(&optimizer, policy, &options), RLHF_E_INVAL);
    rlhf_optimizer_options_init(&longer.options, sizeof longer);
    assert_ok(rlhf_optimizer_create_policy(&optimizer, policy, &longer.options));
    rlhf_optimizer_release(&optimizer);
    longer.later = 1;
    assert_int_equal(rlhf_optimizer_create_policy(&optimizer, policy, &longer.options), RLHF_E_UNSUPPORTED);
}

static void null_arguments(void **state)
{
    rlhf_optimizer *optimizer = (rlhf_optimizer *)1;

    assert_int_equal(rlhf_optimizer_create_policy(&optimizer, NULL, NULL), RLHF_E_INVAL);
    assert_null(optimizer);
    assert_int_equal(rlhf_optimizer_create_policy(NULL, policy, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_optimizer_create_reward_model(&optimizer, NULL, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_optimizer_create_value_model(&optimizer, NULL, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_optimizer_step(NULL, NULL, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_optimizer_zero(NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_optimizer_steps(NULL), 0);
    rlhf_optimizer_release(&optimizer);
    rlhf_optimizer_release(NULL);
    assert_ok(rlhf_optimizer_create_policy(&optimizer, policy, NULL)); /* defaults */
    rlhf_optimizer_release(&optimizer);
    assert_null(optimizer);
}

static void memory_may_run_out_and_owners_may_go_first(void **state)
{
    rlhf_optimizer_options options = plain_options(0.1);
    rlhf_optimizer *optimizer;
    rlhf_status status;
    int64_t live = live_blocks;

    for (fail_at = 1;; fail_at++) {
        calls = 0;
        status = rlhf_optimizer_create_policy(&optimizer, policy, &options);
        if (status == RLHF_OK)
            break;
        assert_int_equal(status, RLHF_E_NOMEM);
        assert_null(optimizer);
        assert_int_equal(live_blocks, live);
    }
    assert_int_equal(fail_at, 4);
    fail_at = 0;
    rlhf_policy_release(&policy);
    rlhf_context_release(&context);
    assert_ok(rlhf_optimizer_step(optimizer, NULL, NULL));
    rlhf_optimizer_release(&optimizer);
    assert_int_equal(live_blocks, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_step_has_torchs_epsilon),
        TEST(several_steps_follow_the_formula),
        TEST(only_matrices_decay),
        TEST(a_rate_of_zero_changes_no_bit),
        TEST(a_long_gradient_is_scaled_to_the_limit),
        TEST(a_short_gradient_keeps_its_bits),
        TEST(a_gradient_that_is_not_finite_changes_nothing),
        TEST(weights_that_others_share_are_copied),
        TEST(the_schedule_advances_with_the_steps),
        TEST(zero_empties_the_gradient),
        TEST(two_models_are_clipped_together),
        TEST(threads_and_resuming_change_no_bit),
        TEST(defaults_and_bounds),
        TEST(null_arguments),
        TEST(memory_may_run_out_and_owners_may_go_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
