/* Reward per token and the adaptive controller: algorithms.md 18.8. */
#include "helper.h"

static void run(rlhf_objective *objective, int64_t rows, const int64_t *offset, const double *score,
                const double *log_prob, const double *log_prob_ref, const int32_t *terminated, double *reward)
{
    rlhf_reward_input in = SIZED(rlhf_reward_input, .rows = rows, .offset = offset, .score = score,
                                 .log_prob = log_prob, .log_prob_ref = log_prob_ref, .terminated = terminated);
    rlhf_reward_output out = SIZED(rlhf_reward_output, .reward = reward);

    assert_ok(rlhf_objective_reward(objective, &in, &out));
}

static const int64_t offset[] = {0, 2, 2, 3};
static const double score[] = {1, 100, -2}, log_prob[] = {-1, -2, -3}, log_prob_ref[] = {-1.2, -2.3, -3};
static const int32_t ended[] = {1, 1, 1}, cut[] = {1, 0, 0};

static void penalty_on_every_token_and_score_on_the_last(void **state)
{
    rlhf_objective *objective = made("kl_reward", "kl_coef", 0.1, NULL);
    double reward[3];

    run(objective, 3, offset, score, log_prob, log_prob_ref, ended, reward);
    assert_all(reward, -0.02, 0.97, -2);
    assert_close(reward[0] + reward[1], 1 - 0.1 * 0.5);
    run(objective, 3, offset, score, log_prob, log_prob, ended, reward); /* policy = reference */
    assert_all(reward, 0, 1, -2);
    rlhf_objective_release(&objective);
}

static void estimators(void **state)
{
    rlhf_objective *second = made("kl_reward", "kl_coef", 0.1, "kl_estimator", 2.0, NULL);
    rlhf_objective *third = made("kl_reward", "kl_coef", 0.1, "kl_estimator", 3.0, NULL);
    double reward[3];

    run(second, 3, offset, score, log_prob, log_prob_ref, ended, reward);
    assert_all(reward, -0.1 * 0.02, 1 - 0.1 * 0.045, -2);
    run(third, 3, offset, score, log_prob, log_prob_ref, ended, reward);
    assert_all(reward, -0.1 * (exp(-0.2) - 1 + 0.2), 1 - 0.1 * (exp(-0.3) - 1 + 0.3), -2);
    rlhf_objective_release(&second);
    rlhf_objective_release(&third);
}

static void a_missing_end_costs_and_scores_are_clipped(void **state)
{
    rlhf_objective *objective = made("kl_reward", "kl_coef", 0.0, NULL);
    double reward[3];

    assert_true(isnan(key(objective, "missing_eos_penalty"))); /* off */
    run(objective, 3, offset, score, log_prob, NULL, cut, reward);
    assert_all(reward, 0, 1, -2);
    assert_ok(rlhf_objective_set(objective, "missing_eos_penalty", 0.5));
    run(objective, 3, offset, score, log_prob, NULL, cut, reward);
    assert_all(reward, 0, 1, -2.5);
    assert_ok(rlhf_objective_set(objective, "reward_clip", 0.75));
    run(objective, 3, offset, score, log_prob, NULL, cut, reward);
    assert_all(reward, 0, 0.75, -1.25); /* clipped first, so that the penalty shows */
    assert_ok(rlhf_objective_set(objective, "missing_eos_penalty", NAN));
    run(objective, 3, offset, score, log_prob, NULL, cut, reward);
    assert_all(reward, 0, 0.75, -0.75);
    rlhf_objective_release(&objective);
}

static void the_reference_is_needed_only_for_the_penalty(void **state)
{
    rlhf_objective *objective = made("kl_reward", NULL);
    double reward[3], with[3];
    rlhf_reward_input in = SIZED(rlhf_reward_input, .rows = 3, .offset = offset, .score = score, .log_prob = log_prob,
                                 .terminated = ended);
    rlhf_reward_output out = SIZED(rlhf_reward_output, .reward = reward);

    assert_refused(rlhf_objective_reward(objective, &in, &out), RLHF_E_INVAL, "log_prob_ref is NULL");
    assert_ok(rlhf_objective_set(objective, "kl_coef", 0));
    run(objective, 3, offset, score, log_prob, NULL, ended, reward);
    run(objective, 3, offset, score, log_prob, log_prob_ref, ended, with);
    assert_memory_equal(reward, with, sizeof with);
    rlhf_objective_release(&objective);
}

static void whitening_keeps_the_mean(void **state)
{
    rlhf_objective *objective = made("kl_reward", "kl_coef", 0.1, "whiten_rewards", 1.0, NULL);
    double reward[3], plain[] = {-0.02, 0.97, -2};

    run(objective, 3, offset, score, log_prob, log_prob_ref, ended, reward);
    rlhfi_whiten(plain, 3, false, false);
    assert_all(reward, plain[0], plain[1], plain[2]);
    assert_close(rlhfi_mean(reward, 3), (-0.02 + 0.97 - 2) / 3);
    rlhf_objective_release(&objective);
}

static void the_controller_moves_the_coefficient(void **state)
{
    static const double seen[] = {12, 6.6, 6, 3}, then[] = {0.201024, 0.200512, 0.2, 0.198976};
    rlhf_objective *objective = made("kl_reward", "adaptive_kl", 1.0, NULL);

    assert_true(key(objective, "target_kl") == 6 && key(objective, "horizon") == 10000);
    for (int i = 0; i < 4; i++) {
        assert_ok(rlhf_objective_set(objective, "kl_coef", 0.2));
        assert_ok(rlhf_objective_observe_kl(objective, seen[i], 256));
        assert_close(key(objective, "kl_coef"), then[i]);
    }
    assert_int_equal(rlhf_objective_observe_kl(objective, NAN, 256), RLHF_E_NONFINITE);
    assert_int_equal(rlhf_objective_observe_kl(objective, 1, -1), RLHF_E_INVAL);
    assert_int_equal(rlhf_objective_observe_kl(NULL, 1, 1), RLHF_E_INVAL);
    assert_close(key(objective, "kl_coef"), then[3]);

    for (int i = 0; i < 2000; i++) /* far too little KL, for ever: it stops above 0 */
        assert_ok(rlhf_objective_observe_kl(objective, -50, 100000));
    assert_true(key(objective, "kl_coef") == 1e-6);
    for (int i = 0; i < 2000; i++)
        assert_ok(rlhf_objective_observe_kl(objective, 1e9, 100000));
    assert_true(key(objective, "kl_coef") == 1e3);

    assert_ok(rlhf_objective_set(objective, "kl_coef", 0)); /* off is off */
    assert_ok(rlhf_objective_observe_kl(objective, 12, 256));
    assert_true(key(objective, "kl_coef") == 0);
    assert_ok(rlhf_objective_set(objective, "kl_coef", 0.2));
    assert_ok(rlhf_objective_set(objective, "adaptive_kl", 0));
    assert_ok(rlhf_objective_observe_kl(objective, 12, 256));
    assert_true(key(objective, "kl_coef") == 0.2);
    rlhf_objective_release(&objective);
}

static void the_coefficient_is_resumed(void **state)
{
    rlhf_objective *first = made("kl_reward", "adaptive_kl", 1.0, "kl_coef", 0.2, NULL);
    rlhf_objective *second = made("kl_reward", "adaptive_kl", 1.0, "kl_coef", 0.2, NULL);
    rlhf_objective *fixed = made("kl_reward", "kl_coef", 0.3, NULL);
    unsigned char buffer[64];
    size_t bytes;

    assert_ok(rlhfi_objective_observe_kl(first, 7.3, 100));
    assert_ok(rlhfi_objective_save(first, buffer, sizeof buffer, &bytes));
    assert_ok(rlhfi_objective_load(second, buffer, bytes));
    assert_true(key(second, "kl_coef") == key(first, "kl_coef"));
    assert_ok(rlhfi_objective_observe_kl(first, 5, 100));
    assert_ok(rlhfi_objective_observe_kl(second, 5, 100));
    assert_true(key(second, "kl_coef") == key(first, "kl_coef"));
    assert_ok(rlhfi_objective_load(fixed, buffer, bytes));
    assert_true(key(fixed, "kl_coef") == 0.3); /* no controller: a setting */
    rlhf_objective_release(&first);
    rlhf_objective_release(&second);
    rlhf_objective_release(&fixed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(penalty_on_every_token_and_score_on_the_last),
        TEST(estimators),
        TEST(a_missing_end_costs_and_scores_are_clipped),
        TEST(the_reference_is_needed_only_for_the_penalty),
        TEST(whitening_keeps_the_mean),
        TEST(the_controller_moves_the_coefficient),
        TEST(the_coefficient_is_resumed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
