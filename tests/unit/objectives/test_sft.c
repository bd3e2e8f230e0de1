/* Supervised fine-tuning: algorithms.md 18.2. */
#include "helper.h"

static double run(rlhf_objective *objective, int64_t rows, const int64_t *offset, const double *log_prob,
                  const double *mean, double denominator, double *d_log_prob, double *d_mean)
{
    rlhf_token_loss_input in = SIZED(rlhf_token_loss_input, .rows = rows, .offset = offset, .log_prob = log_prob,
                                     .mean_log_prob = mean, .denominator = denominator);
    rlhf_token_loss_output out = SIZED(rlhf_token_loss_output, .d_log_prob = d_log_prob, .d_mean_log_prob = d_mean);

    assert_ok(rlhf_objective_token_loss(objective, &in, &out));
    return out.loss;
}

static void uniform_predictions_cost_log_of_the_vocabulary(void **state)
{
    rlhf_objective *objective = made("sft", NULL);
    const int64_t offset[] = {0, 2, 2, 5}; /* one row without counted tokens */
    double log_prob[5], slope[5];

    for (int i = 0; i < 5; i++)
        log_prob[i] = log(0.25);
    assert_close(run(objective, 3, offset, log_prob, NULL, 5, slope, NULL), log(4));
    for (int i = 0; i < 5; i++) { /* through the softmax: (0.25-1)/N on the target, 0.25/N elsewhere */
        assert_close(slope[i] * (1 - 0.25), (0.25 - 1) / 5);
        assert_close(slope[i] * (0 - 0.25), 0.25 / 5);
    }
    rlhf_objective_release(&objective);
}

static void the_mean_is_over_tokens(void **state)
{
    rlhf_objective *objective = made("sft", NULL);
    const int64_t offset[] = {0, 1, 4};
    const double log_prob[] = {-1, 0, 0, 0};
    double slope[4];

    assert_close(run(objective, 2, offset, log_prob, NULL, 4, slope, NULL), 0.25);
    assert_all(slope, -0.25, -0.25, -0.25, -0.25);
    rlhf_objective_release(&objective);
}

static void micro_batches_add_up(void **state)
{
    rlhf_objective *objective = made("sft", "label_smoothing_factor", 0.1, NULL);
    const int64_t offset[] = {0, 1, 4, 4, 9, 11, 12, 18, 20};
    double log_prob[20], mean[20], whole_slope[20], whole_mean[20], slope[20], d_mean[20], whole, sum;

    for (int i = 0; i < 20; i++) {
        log_prob[i] = -0.1 * (i * 7 % 11) - 0.05;
        mean[i] = -2 - 0.1 * (i * 5 % 7);
    }
    whole = run(objective, 8, offset, log_prob, mean, 20, whole_slope, whole_mean);
    for (int64_t size = 1; size <= 4; size *= 2) {
        sum = 0;
        for (int64_t row = 0; row < 8; row += size) {
            int64_t moved[5];
            for (int64_t i = 0; i <= size; i++)
                moved[i] = offset[row + i] - offset[row];
            sum += run(objective, size, moved, log_prob + offset[row], mean + offset[row], 20, slope + offset[row],
                       d_mean + offset[row]);
        }
        assert_close(sum, whole);
        assert_memory_equal(slope, whole_slope, sizeof slope); /* gradients: the same bits */
        assert_memory_equal(d_mean, whole_mean, sizeof d_mean);
    }
    rlhf_objective_release(&objective);
}

static void label_smoothing_mixes_in_the_vocabulary(void **state)
{
    rlhf_objective *objective = made("sft", "label_smoothing_factor", 0.25, NULL), *none = made("sft", NULL);
    const int64_t offset[] = {0, 2};
    const double log_prob[] = {-1, -3}, mean[] = {-5, -7};
    double slope[2], d_mean[2], plain[2], untouched[2] = {5, 5};
    rlhf_token_loss_input in = SIZED(rlhf_token_loss_input, .rows = 1, .offset = offset, .log_prob = log_prob,
                                     .denominator = 2);
    rlhf_token_loss_output out = SIZED(rlhf_token_loss_output, .d_log_prob = slope, .d_mean_log_prob = d_mean);

    assert_close(run(objective, 1, offset, log_prob, mean, 2, slope, d_mean), 0.75 * 2 + 0.25 * 6);
    assert_all(slope, -0.375, -0.375);
    assert_all(d_mean, -0.125, -0.125);
    assert_close(run(none, 1, offset, log_prob, mean, 2, plain, untouched), 2);
    assert_all(untouched, 0, 0);
    assert_refused(rlhf_objective_token_loss(objective, &in, &out), RLHF_E_INVAL, "mean_log_prob is NULL");
    in.mean_log_prob = mean;
    out.d_mean_log_prob = NULL;
    assert_refused(rlhf_objective_token_loss(objective, &in, &out), RLHF_E_INVAL, "d_mean_log_prob is NULL");
    rlhf_objective_release(&objective);
    rlhf_objective_release(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(uniform_predictions_cost_log_of_the_vocabulary),
        TEST(the_mean_is_over_tokens),
        TEST(micro_batches_add_up),
        TEST(label_smoothing_mixes_in_the_vocabulary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
