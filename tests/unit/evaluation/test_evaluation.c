/* Means, win rates and KL to the reference. */
#include "checks.h"

static void means_leave_out_what_is_not_a_number(void **state)
{
    const double four[4] = {1, 2, 3, 4}, holes[6] = {NAN, 1, 2, NAN, 3, 4}, large[3] = {1e9 + 1, 1e9 + 2, 1e9 + 3};
    rlhf_estimate out;

    CHECK(rlhf_evaluate_mean(four, 4, &out));
    assert_near(out.mean, 2.5, 0);
    assert_near(out.standard_error, sqrt(5.0 / 3 / 4), 1e-15);
    assert_int_equal(out.count, 4);
    CHECK(rlhf_evaluate_mean(holes, 6, &out));
    assert_near(out.mean, 2.5, 0);
    assert_near(out.standard_error, sqrt(5.0 / 3 / 4), 1e-15);
    assert_int_equal(out.count, 4);
    CHECK(rlhf_evaluate_mean(large, 3, &out)); /* no cancellation */
    assert_near(out.standard_error, sqrt(1.0 / 3), 1e-9);
    CHECK(rlhf_evaluate_mean(four, 1, &out));
    assert_true(out.mean == 1 && isnan(out.standard_error) && out.count == 1);
    CHECK(rlhf_evaluate_mean(holes, 1, &out));
    assert_true(isnan(out.mean) && isnan(out.standard_error) && out.count == 0);
    CHECK(rlhf_evaluate_mean(four, 0, &out));
    assert_int_equal(out.count, 0);
    assert_int_equal(rlhf_evaluate_mean(NULL, 4, &out), RLHF_E_INVAL);
    assert_int_equal(rlhf_evaluate_mean(four, -1, &out), RLHF_E_INVAL);
    assert_int_equal(rlhf_evaluate_mean(four, 4, NULL), RLHF_E_INVAL);
}

static void win_rates_have_the_binomial_error(void **state)
{
    enum { COUNT = 400 };
    double a[COUNT], b[COUNT];
    rlhf_estimate out, again, other;

    for (uint32_t i = 0; i < COUNT; i++) {
        a[i] = number(10, i) + 0.2;
        b[i] = number(11, i);
    }
    CHECK(rlhf_evaluate_win_rate(a, b, COUNT, 5, &out));
    assert_true(out.mean > 0.6 && out.mean < 0.8);
    assert_int_equal(out.count, COUNT);
    /* 1000 resamplings know the error to 1 / sqrt(2000). */
    assert_near(out.standard_error / sqrt(out.mean * (1 - out.mean) / COUNT), 1, 0.08);
    CHECK(rlhf_evaluate_win_rate(a, b, COUNT, 5, &again));
    assert_memory_equal(&out, &again, sizeof out);
    CHECK(rlhf_evaluate_win_rate(a, b, COUNT, 6, &other));
    assert_true(other.mean == out.mean && other.standard_error != out.standard_error);
    CHECK(rlhf_evaluate_win_rate(b, a, COUNT, 5, &other));
    assert_near(other.mean, 1 - out.mean, 1e-12);
}

static void ties_count_half_and_holes_do_not_count(void **state)
{
    const double a[6] = {1, 2, 3, NAN, 5, INFINITY}, b[6] = {1, 1, 4, 0, NAN, 0}, one[1] = {1};
    rlhf_estimate out;

    CHECK(rlhf_evaluate_win_rate(a, b, 6, 1, &out)); /* 1/2, 1, 0, 1 */
    assert_near(out.mean, 0.625, 1e-15);
    assert_int_equal(out.count, 4);
    assert_true(out.standard_error > 0.1 && out.standard_error < 0.4);
    CHECK(rlhf_evaluate_win_rate(one, one, 1, 1, &out));
    assert_true(out.mean == 0.5 && isnan(out.standard_error));
    CHECK(rlhf_evaluate_win_rate(one, one, 0, 1, &out));
    assert_true(isnan(out.mean) && out.count == 0);
    assert_int_equal(rlhf_evaluate_win_rate(NULL, b, 6, 1, &out), RLHF_E_INVAL);
    assert_int_equal(rlhf_evaluate_win_rate(a, NULL, 6, 1, &out), RLHF_E_INVAL);
    assert_int_equal(rlhf_evaluate_win_rate(a, b, 6, 1, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_evaluate_win_rate(a, b, -1, 1, &out), RLHF_E_INVAL);
}

/* ---- KL ---------------------------------------------------------------------------------------------------------- */

static const char config[] = "{\"model_type\":\"gpt2\",\"vocab_size\":23,\"n_positions\":24,\"n_embd\":16,"
                             "\"n_layer\":1,\"n_head\":2,\"initializer_range\":0.3,\"eos_token_id\":3}";

struct counter {
    int64_t calls, live, fail_at; /* this call and all later ones return NULL; 0 = none */
};

static void *counter_alloc(void *user_data, size_t size, size_t alignment)
{
    struct counter *counter = user_data;

    if (++counter->calls >= counter->fail_at && counter->fail_at > 0)
        return NULL;
    counter->live++;
    return aligned_alloc(alignment, size);
}

static void counter_free(void *user_data, void *pointer, size_t size)
{
    ((struct counter *)user_data)->live--;
    free(pointer);
}

struct run {
    struct counter counter;
    rlhf_context *context;
    rlhf_policy *policy, *other;
    rlhf_rollout *rollout;
    rlhf_rollout_view view;
};

static void run_make(struct run *run, double temperature)
{
    const int64_t offset[4] = {0, 1, 3, 6};
    const int32_t tokens[6] = {1, 2, 4, 5, 6, 7}, length[3] = {1, 2, 3};
    rlhf_context_options context_options;
    rlhf_rollout_options options;
    rlhf_batch *prompts;

    rlhf_context_options_init(&context_options, sizeof context_options);
    context_options.threads = 1;
    context_options.allocator = (rlhf_allocator){counter_alloc, counter_free, &run->counter};
    CHECK(rlhf_context_create(&run->context, &context_options));
    CHECK(rlhf_policy_create(&run->policy, run->context, config, strlen(config), 1, NULL));
    CHECK(rlhf_policy_create(&run->other, run->context, config, strlen(config), 2, NULL));
    CHECK(rlhf_batch_create(&prompts, run->context, 3, offset, tokens, length));
    rlhf_rollout_options_init(&options, sizeof options);
    options.max_new_tokens = 12;
    options.samples_per_prompt = 4;
    options.temperature = temperature;
    CHECK(rlhf_rollout_run(&run->rollout, run->policy, prompts, &options, NULL, NULL));
    run->view.struct_size = sizeof run->view;
    CHECK(rlhf_rollout_get(run->rollout, &run->view));
    rlhf_batch_release(&prompts);
}

static void run_end(struct run *run)
{
    rlhf_rollout_release(&run->rollout);
    rlhf_policy_release(&run->policy);
    rlhf_policy_release(&run->other);
    rlhf_context_release(&run->context);
    assert_int_equal(run->counter.live, 0);
}

static void kl_to_itself_is_exactly_zero(void **state)
{
    for (int k = 0; k < 2; k++) {
        double temperature = k == 0 ? 1 : 0.6;
        rlhf_reference *reference;
        struct run run = {0};

        run_make(&run, temperature);
        CHECK(rlhf_reference_freeze(&reference, run.policy));
        for (int32_t estimator = 1; estimator <= 3; estimator++) {
            rlhf_estimate out;
            CHECK(rlhf_evaluate_kl(run.rollout, reference, temperature, estimator, &out));
            assert_true(out.mean == 0 && out.standard_error == 0);
            assert_int_equal(out.count, 12);
        }
        rlhf_reference_release(&reference);
        run_end(&run);
    }
}

static void kl_is_the_mean_over_sequences(void **state)
{
    rlhf_reference *reference;
    struct run run = {0};
    float log_prob_ref[12 * 12];
    rlhf_batch *batch;
    rlhf_estimate out;

    run_make(&run, 1);
    CHECK(rlhf_reference_freeze(&reference, run.other));
    CHECK(rlhf_rollout_batch(run.rollout, &batch));
    CHECK(rlhf_reference_log_probs(reference, batch, 1, log_prob_ref));
    for (int32_t estimator = 1; estimator <= 3; estimator++) {
        double sum[12] = {0}, mean = 0, squares = 0;

        for (int row = 0; row < 12; row++) {
            for (int64_t t = run.view.response_offset[row]; t < run.view.response_offset[row + 1]; t++) {
                double d = (double)run.view.log_prob[t] - (double)log_prob_ref[t];
                sum[row] += estimator == 1 ? d : estimator == 2 ? d * d / 2 : exp(-d) - 1 + d;
            }
            mean += sum[row] / 12;
        }
        for (int row = 0; row < 12; row++)
            squares += (sum[row] - mean) * (sum[row] - mean);
        CHECK(rlhf_evaluate_kl(run.rollout, reference, 1, estimator, &out));
        assert_near(out.mean, mean, 1e-10 * (1 + fabs(mean)));
        assert_near(out.standard_error, sqrt(squares / 11 / 12), 1e-10 * (1 + fabs(mean)));
        assert_true(estimator == 1 || out.mean > 0);
    }
    assert_int_equal(rlhf_evaluate_kl(run.rollout, reference, 1, 0, &out), RLHF_E_INVAL);
    assert_int_equal(rlhf_evaluate_kl(run.rollout, reference, 1, 4, &out), RLHF_E_INVAL);
    assert_int_equal(rlhf_evaluate_kl(run.rollout, reference, 0, 1, &out), RLHF_E_RANGE);
    assert_true(isnan(out.mean));
    assert_int_equal(rlhf_evaluate_kl(NULL, reference, 1, 1, &out), RLHF_E_INVAL);
    assert_int_equal(rlhf_evaluate_kl(run.rollout, NULL, 1, 1, &out), RLHF_E_INVAL);
    assert_int_equal(rlhf_evaluate_kl(run.rollout, reference, 1, 1, NULL), RLHF_E_INVAL);
    rlhf_batch_release(&batch);
    rlhf_reference_release(&reference);
    run_end(&run);
}

static void kl_survives_every_failing_allocation(void **state)
{
    rlhf_reference *reference;
    struct run run = {0};
    rlhf_estimate expected, out;
    rlhf_status status;
    int64_t failed = 0;

    run_make(&run, 1);
    CHECK(rlhf_reference_freeze(&reference, run.other));
    CHECK(rlhf_evaluate_kl(run.rollout, reference, 1, 1, &expected));
    do {
        int64_t live = run.counter.live;

        run.counter.fail_at = run.counter.calls + 1 + failed++;
        status = rlhf_evaluate_kl(run.rollout, reference, 1, 1, &out);
        run.counter.fail_at = 0;
        assert_int_equal(run.counter.live, live);
        if (status != RLHF_OK) {
            assert_int_equal(status, RLHF_E_NOMEM);
            assert_true(isnan(out.mean));
        }
    } while (status != RLHF_OK);
    assert_true(failed > 3 && out.mean == expected.mean);
    rlhf_reference_release(&reference);
    run_end(&run);
}

/* Exact KL of one-token responses by enumeration: the mean of k1 and of k3 must meet it within their error bars. */
static void estimators_meet_the_exact_kl(void **state)
{
    enum { SAMPLES = 4000, VOCABULARY = 23 };
    const int64_t offset[2] = {0, 2};
    const int32_t tokens[2] = {1, 2}, length[1] = {2};
    int64_t all_offset[VOCABULARY + 1];
    int32_t all_tokens[3 * VOCABULARY], all_length[VOCABULARY];
    float p[VOCABULARY], q[VOCABULARY];
    rlhf_rollout_options options;
    rlhf_batch *prompts, *every;
    rlhf_reference *reference;
    rlhf_rollout *rollout;
    rlhf_estimate out;
    struct run run = {0};
    double kl = 0;

    run_make(&run, 1);
    CHECK(rlhf_reference_freeze(&reference, run.other));
    for (int32_t v = 0; v < VOCABULARY; v++) {
        all_offset[v] = 3 * v;
        all_tokens[3 * v] = 1;
        all_tokens[3 * v + 1] = 2;
        all_tokens[3 * v + 2] = v;
        all_length[v] = 2;
    }
    all_offset[VOCABULARY] = 3 * VOCABULARY;
    CHECK(rlhf_batch_create(&every, run.context, VOCABULARY, all_offset, all_tokens, all_length));
    CHECK(rlhf_policy_log_probs(run.policy, every, 1, p, NULL));
    CHECK(rlhf_reference_log_probs(reference, every, 1, q));
    for (int v = 0; v < VOCABULARY; v++)
        kl += exp((double)p[v]) * ((double)p[v] - (double)q[v]);
    assert_true(kl > 0.01);

    CHECK(rlhf_batch_create(&prompts, run.context, 1, offset, tokens, length));
    rlhf_rollout_options_init(&options, sizeof options);
    options.max_new_tokens = 1;
    options.samples_per_prompt = SAMPLES;
    CHECK(rlhf_rollout_run(&rollout, run.policy, prompts, &options, NULL, NULL));
    CHECK(rlhf_evaluate_kl(rollout, reference, 1, 1, &out));
    assert_near(out.mean, kl, 3.5 * out.standard_error);
    CHECK(rlhf_evaluate_kl(rollout, reference, 1, 3, &out));
    assert_near(out.mean, kl, 3.5 * out.standard_error);
    rlhf_rollout_release(&rollout);
    rlhf_batch_release(&prompts);
    rlhf_batch_release(&every);
    rlhf_reference_release(&reference);
    run_end(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(means_leave_out_what_is_not_a_number),
        cmocka_unit_test(win_rates_have_the_binomial_error),
        cmocka_unit_test(ties_count_half_and_holes_do_not_count),
        cmocka_unit_test(kl_to_itself_is_exactly_zero),
        cmocka_unit_test(kl_is_the_mean_over_sequences),
        cmocka_unit_test(kl_survives_every_failing_allocation),
        cmocka_unit_test(estimators_meet_the_exact_kl),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
