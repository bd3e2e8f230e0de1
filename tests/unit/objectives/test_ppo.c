/* Clipped policy and value losses: algorithms.md 18.8. */
#include "helper.h"

static const int64_t one_token[] = {0, 1}, ragged[] = {0, 2, 2, 5};

static rlhf_policy_loss_output policy(rlhf_objective *objective, int64_t rows, const int64_t *offset,
                                      const double *log_prob, const double *old, const double *advantage,
                                      const double *entropy, double *slope, double *entropy_slope)
{
    rlhf_policy_loss_input in = SIZED(rlhf_policy_loss_input, .rows = rows, .offset = offset, .log_prob = log_prob,
                                      .log_prob_old = old, .advantage = advantage, .entropy = entropy,
                                      .denominator = (double)offset[rows], .denominator_rows = (double)rows);
    rlhf_policy_loss_output out = SIZED(rlhf_policy_loss_output, .d_log_prob = slope, .d_entropy = entropy_slope);

    assert_ok(rlhf_objective_policy_loss(objective, &in, &out));
    return out;
}

/* Loss and slope of one token with the given ratio. */
static double one(rlhf_objective *objective, double advantage, double ratio, double *slope, double *clipped)
{
    double log_prob = log(ratio), old = 0;
    rlhf_policy_loss_output out = policy(objective, 1, one_token, &log_prob, &old, &advantage, NULL, slope, NULL);

    *clipped = out.clipped;
    return out.loss;
}

static void the_clip_has_four_corners(void **state)
{
    rlhf_objective *objective = made("ppo", NULL);
    double slope, clipped;

    assert_close(one(objective, 1, 1.5, &slope, &clipped), -1.2);
    assert_true(slope == 0 && clipped == 1);
    assert_close(one(objective, -1, 1.5, &slope, &clipped), 1.5);
    assert_close(slope, 1.5);
    assert_true(clipped == 0);
    assert_close(one(objective, 1, 0.5, &slope, &clipped), -0.5);
    assert_close(slope, -0.5);
    assert_true(clipped == 0);
    assert_close(one(objective, -1, 0.5, &slope, &clipped), 0.8);
    assert_true(slope == 0 && clipped == 1);
    rlhf_objective_release(&objective);
}

static void before_the_first_update_it_is_the_policy_gradient(void **state)
{
    rlhf_objective *objective = made("ppo", NULL);
    const double log_prob[] = {-0.3, -1.7, -0.01, -5, -2.2};
    double advantage[] = {1, -2, 0.5, 3, -0.25}, slope[5];
    rlhf_policy_loss_output out = policy(objective, 3, ragged, log_prob, log_prob, advantage, NULL, slope, NULL);

    assert_close(out.loss, -rlhfi_mean(advantage, 5));
    for (int i = 0; i < 5; i++)
        assert_close(slope[i], -advantage[i] / 5);
    rlhfi_whiten(advantage, 5, true, false);
    out = policy(objective, 3, ragged, log_prob, log_prob, advantage, NULL, slope, NULL);
    assert_true(fabs(out.loss) < 1e-15); /* whitened: the loss is 0, the gradient is not */
    assert_true(slope[0] != 0 && out.clipped == 0);
    rlhf_objective_release(&objective);
}

static void dual_clip_bounds_bad_tokens(void **state)
{
    rlhf_objective *objective = made("ppo", "dual_clip", 3.0, NULL);
    double slope, clipped;

    assert_close(one(objective, -1, 10, &slope, &clipped), 3);
    assert_true(slope == 0);
    assert_close(one(objective, -1, 2, &slope, &clipped), 2);
    assert_close(slope, 2);
    assert_close(one(objective, -2, 10, &slope, &clipped), 6);
    assert_close(one(objective, -2, 2, &slope, &clipped), 4);
    assert_close(slope, 4);
    assert_close(one(objective, 1, 0.5, &slope, &clipped), -0.5); /* good tokens as before */
    assert_close(slope, -0.5);
    rlhf_objective_release(&objective);
}

static void a_huge_ratio_stays_a_number(void **state)
{
    rlhf_objective *objective = made("ppo", NULL);
    const double high = 0, low = -1000, bad = -1, good = 1;
    double slope;
    rlhf_policy_loss_output out = policy(objective, 1, one_token, &high, &low, &bad, NULL, &slope, NULL);

    assert_close(out.loss, exp(20));
    assert_true(slope == 0); /* the log-ratio was cut, so nothing flows */
    out = policy(objective, 1, one_token, &high, &low, &good, NULL, &slope, NULL);
    assert_close(out.loss, -1.2);
    out = policy(objective, 1, one_token, &low, &high, &good, NULL, &slope, NULL);
    assert_within(out.loss, -exp(-20), 1e-12);
    assert_true(slope == 0);
    rlhf_objective_release(&objective);
}

static void entropy_is_rewarded(void **state)
{
    rlhf_objective *objective = made("ppo", "entropy_coef", 0.1, NULL);
    const double log_prob[5] = {0}, advantage[5] = {0}, entropy[] = {1, 2, 3, 4, 5};
    double slope[5], entropy_slope[5];

    assert_close(policy(objective, 3, ragged, log_prob, log_prob, advantage, entropy, slope, entropy_slope).loss, -0.3);
    assert_all(entropy_slope, -0.02, -0.02, -0.02, -0.02, -0.02);
    rlhf_objective_release(&objective);
}

static double value(rlhf_objective *objective, double now, double old, double target, double *slope, double *clipped)
{
    rlhf_value_loss_input in = SIZED(rlhf_value_loss_input, .count = 1, .value = &now, .value_old = &old,
                                     .value_target = &target, .denominator = 1);
    rlhf_value_loss_output out = SIZED(rlhf_value_loss_output, .d_value = slope);

    assert_ok(rlhf_objective_value_loss(objective, &in, &out));
    *clipped = out.clipped;
    return out.loss;
}

static void value_loss(void **state)
{
    rlhf_objective *objective = made("ppo", "vf_coef", 1.0, NULL);
    double slope, clipped;

    assert_close(value(objective, 1, 0, 2, &slope, &clipped), 1.62);
    assert_true(slope == 0 && clipped == 1);
    assert_close(value(objective, 1, 0, 0, &slope, &clipped), 0.5);
    assert_close(slope, 1);
    assert_true(clipped == 0);
    assert_true(value(objective, 0.1, 0, 0.1, &slope, &clipped) == 0 && slope == 0 && clipped == 0);
    assert_ok(rlhf_objective_set(objective, "vf_coef", 0.1));
    assert_close(value(objective, 1, 0, 0, &slope, &clipped), 0.05);
    assert_close(slope, 0.1);
    assert_ok(rlhf_objective_set(objective, "cliprange_value", 0)); /* off */
    assert_close(value(objective, 1, 0, 2, &slope, &clipped), 0.05);
    assert_close(slope, -0.1);
    assert_true(clipped == 0);
    rlhf_objective_release(&objective);
}

static void each_loss_has_its_own_denominator(void **state)
{
    rlhf_objective *objective = made("ppo", NULL);
    double x[1] = {0.5}, slope[1];
    rlhf_policy_loss_input in = SIZED(rlhf_policy_loss_input, .rows = 1, .offset = one_token, .log_prob = x,
                                      .log_prob_old = x, .advantage = x, .denominator_rows = 1);
    rlhf_policy_loss_output out = SIZED(rlhf_policy_loss_output, .d_log_prob = slope);

    assert_refused(rlhf_objective_policy_loss(objective, &in, &out), RLHF_E_INVAL, "denominator is 0");
    in.denominator = 4;
    in.denominator_rows = 0;
    assert_ok(rlhf_objective_policy_loss(objective, &in, &out));
    assert_close(out.loss, -0.125);
    rlhf_objective_release(&objective);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_clip_has_four_corners),
        TEST(before_the_first_update_it_is_the_policy_gradient),
        TEST(dual_clip_bounds_bad_tokens),
        TEST(a_huge_ratio_stays_a_number),
        TEST(entropy_is_rewarded),
        TEST(value_loss),
        TEST(each_loss_has_its_own_denominator),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
