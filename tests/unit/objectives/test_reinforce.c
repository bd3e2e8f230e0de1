/* REINFORCE and its baselines: algorithms.md 7, 18.9. */
#include "helper.h"

static void advantages(rlhf_objective *objective, int64_t rows, int32_t samples, const int64_t *offset,
                       const double *reward, double *advantage)
{
    rlhf_advantage_input in = SIZED(rlhf_advantage_input, .samples_per_prompt = samples, .rows = rows,
                                    .offset = offset, .reward = reward);
    rlhf_advantage_output out = SIZED(rlhf_advantage_output, .advantage = advantage);

    assert_ok(rlhf_objective_advantage(objective, &in, &out));
}

static const int64_t singles[] = {0, 1, 2, 3, 4, 5, 6}, ragged[] = {0, 2, 2, 5};

static void no_baseline_is_the_reward_to_go(void **state)
{
    rlhf_objective *objective = made("reinforce", "baseline", 0.0, NULL);
    const double reward[] = {1, 2, 0.5, -1, 4};
    double advantage[5], target[5];
    rlhf_advantage_input in = SIZED(rlhf_advantage_input, .rows = 3, .offset = ragged, .reward = reward);
    rlhf_advantage_output out = SIZED(rlhf_advantage_output, .advantage = advantage, .value_target = target);

    assert_ok(rlhf_objective_advantage(objective, &in, &out));
    assert_all(advantage, 3, 2, 3.5, 3, 4);
    assert_all(target, 3, 2, 3.5, 3, 4); /* what a value model would learn */
    assert_ok(rlhf_objective_set(objective, "reward_to_go", 0));
    advantages(objective, 3, 1, ragged, reward, advantage);
    assert_all(advantage, 3, 3, 3.5, 3.5, 3.5);
    rlhf_objective_release(&objective);
}

static void the_moving_average_moves_after_its_use(void **state)
{
    rlhf_objective *objective = made("reinforce", "baseline_momentum", 0.75, NULL);
    const double first[] = {1, 3}, second[] = {6, 6};
    double advantage[2];

    advantages(objective, 2, 1, singles, first, advantage);
    assert_all(advantage, -1, 1); /* the first batch is its own baseline */
    assert_close(key(objective, "baseline_value"), 2);
    advantages(objective, 2, 1, singles, second, advantage);
    assert_all(advantage, 4, 4);
    assert_close(key(objective, "baseline_value"), 3);
    advantages(objective, 2, 1, singles, first, advantage);
    assert_all(advantage, -2, 0);
    rlhf_objective_release(&objective);
}

static void the_batch_mean_ignores_rows_without_tokens(void **state)
{
    rlhf_objective *objective = made("reinforce", "baseline", 2.0, NULL);
    const double reward[] = {1, 2, 0.5, -1, 2};
    double advantage[5];

    advantages(objective, 3, 1, ragged, reward, advantage);
    assert_all(advantage, 3 - 2.25, 2 - 2.25, 1.5 - 2.25, 1 - 2.25, 2 - 2.25);
    rlhf_objective_release(&objective);
}

static void leave_one_out_compares_with_the_other_samples(void **state)
{
    rlhf_objective *objective = made("reinforce", "baseline", 3.0, NULL);
    const double pair[] = {3, 1, 5, 5}, triple[] = {1, 2, 6, 101, 102, 106};
    double advantage[6];
    rlhf_advantage_input in = SIZED(rlhf_advantage_input, .samples_per_prompt = 1, .rows = 2, .offset = singles,
                                    .reward = pair);
    rlhf_advantage_output out = SIZED(rlhf_advantage_output, .advantage = advantage);

    advantages(objective, 4, 2, singles, pair, advantage);
    assert_all(advantage, 2, -2, 0, 0);
    advantages(objective, 6, 3, singles, triple, advantage);
    assert_all(advantage, -3, -1.5, 4.5, -3, -1.5, 4.5); /* a constant changes nothing */
    assert_refused(rlhf_objective_advantage(objective, &in, &out), RLHF_E_INVAL, "2 or more samples");
    in.samples_per_prompt = 4;
    assert_refused(rlhf_objective_advantage(objective, &in, &out), RLHF_E_INVAL, "whole groups");
    rlhf_objective_release(&objective);
}

static void the_running_mean_counts_all_history(void **state)
{
    rlhf_objective *objective = made("reinforce", "baseline", 4.0, NULL);
    const double first[] = {1, 3}, second[] = {8, 8, 8, 8, 8, 8};
    double advantage[6];

    advantages(objective, 2, 1, singles, first, advantage);
    assert_all(advantage, -1, 1);
    advantages(objective, 6, 1, singles, second, advantage);
    assert_all(advantage, 6, 6);
    assert_close(key(objective, "baseline_value"), (1 + 3 + 6 * 8) / 8.0);
    rlhf_objective_release(&objective);
}

static void the_baseline_is_resumed(void **state)
{
    static const double kinds[] = {1, 4};
    const double batches[][2] = {{1, 3}, {-0.3, 0.7}, {5, 0.1}};
    unsigned char buffer[64];
    double whole[2], resumed[2];
    size_t bytes;

    for (int k = 0; k < 2; k++) {
        rlhf_objective *first = made("reinforce", "baseline", kinds[k], NULL);
        rlhf_objective *second = made("reinforce", "baseline", kinds[k], NULL);
        advantages(first, 2, 1, singles, batches[0], whole);
        advantages(first, 2, 1, singles, batches[1], whole);
        assert_ok(rlhfi_objective_save(first, buffer, sizeof buffer, &bytes));
        assert_ok(rlhfi_objective_load(second, buffer, bytes));
        for (int i = 0; i < 3; i++) {
            advantages(first, 2, 1, singles, batches[2], whole);
            advantages(second, 2, 1, singles, batches[2], resumed);
            assert_memory_equal(whole, resumed, sizeof whole);
        }
        buffer[16 + 15] |= 0x80; /* a negative number of responses seen */
        assert_refused(rlhfi_objective_load(second, buffer, bytes), RLHF_E_FORMAT, "negative");
        rlhf_objective_release(&first);
        rlhf_objective_release(&second);
    }
}

static void whitening_is_over_tokens(void **state)
{
    rlhf_objective *objective = made("reinforce", "baseline", 0.0, "whiten", 1.0, NULL);
    const double reward[] = {1, 2, 0.5, -1, 4};
    double advantage[5], expected[] = {3, 2, 3.5, 3, 4};

    advantages(objective, 3, 1, ragged, reward, advantage);
    rlhfi_whiten(expected, 5, true, true);
    assert_all(advantage, expected[0], expected[1], expected[2], expected[3], expected[4]);
    rlhf_objective_release(&objective);
}

static void the_loss_sums_over_a_response_and_averages_over_rows(void **state)
{
    rlhf_objective *objective = made("reinforce", "entropy_coef", 0.5, NULL);
    const double log_prob[] = {-1, -2, -3, -4, -5}, advantage[] = {1, 1, -2, -2, -2}, entropy[] = {1, 1, 1, 1, 1};
    double slope[5], entropy_slope[5];
    rlhf_policy_loss_input in = SIZED(rlhf_policy_loss_input, .rows = 3, .offset = ragged, .log_prob = log_prob,
                                      .log_prob_old = log_prob, .advantage = advantage, .entropy = entropy,
                                      .denominator_rows = 4);
    rlhf_policy_loss_output out = SIZED(rlhf_policy_loss_output, .d_log_prob = slope, .d_entropy = entropy_slope);

    assert_ok(rlhf_objective_policy_loss(objective, &in, &out));
    assert_close(out.loss, -(1 * -3 + -2 * -12) / 4.0 - 0.5 * 5 / 4);
    assert_all(slope, -0.25, -0.25, 0.5, 0.5, 0.5);
    assert_all(entropy_slope, -0.125, -0.125, -0.125, -0.125, -0.125);
    in.denominator_rows = 0;
    assert_refused(rlhf_objective_policy_loss(objective, &in, &out), RLHF_E_INVAL, "denominator_rows is 0");
    rlhf_objective_release(&objective);
}

/* Two arms, p = (1/2, 1/2), reward (1, 0): the expectation over what is sampled is the gradient (1/4, -1/4) of E[r],
 * whatever the constant baseline. The expectation is taken by enumeration. */
static void a_constant_baseline_leaves_the_expectation(void **state)
{
    rlhf_objective *objective = made("reinforce", NULL);
    const double p[] = {0.5, 0.5}, log_prob[] = {log(0.5), log(0.5)};

    for (double baseline = -3; baseline <= 3; baseline += 1.5) {
        double gradient[2] = {0}, advantage[] = {1 - baseline, -baseline}, slope[2];
        rlhf_policy_loss_input in = SIZED(rlhf_policy_loss_input, .rows = 2, .offset = singles, .log_prob = log_prob,
                                          .log_prob_old = log_prob, .advantage = advantage, .denominator_rows = 1);
        rlhf_policy_loss_output out = SIZED(rlhf_policy_loss_output, .d_log_prob = slope);
        assert_ok(rlhf_objective_policy_loss(objective, &in, &out));
        for (int arm = 0; arm < 2; arm++)
            for (int z = 0; z < 2; z++)
                gradient[z] -= p[arm] * slope[arm] * ((arm == z) - p[z]); /* minus: the loss is minimised */
        assert_all(gradient, 0.25, -0.25);
    }
    rlhf_objective_release(&objective);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_baseline_is_the_reward_to_go),
        TEST(the_moving_average_moves_after_its_use),
        TEST(the_batch_mean_ignores_rows_without_tokens),
        TEST(leave_one_out_compares_with_the_other_samples),
        TEST(the_running_mean_counts_all_history),
        TEST(the_baseline_is_resumed),
        TEST(whitening_is_over_tokens),
        TEST(the_loss_sums_over_a_response_and_averages_over_rows),
        TEST(a_constant_baseline_leaves_the_expectation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
