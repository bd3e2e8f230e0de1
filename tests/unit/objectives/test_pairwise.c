/* Pairwise contrastive policy gradients: algorithms.md 10, 18.10. */
#include "helper.h"

enum { LINEAR, REGULARISED, LOGISTIC_SOFT, CLIPPED_LINEAR, FIXED_TARGET };

/* One or two pairs of one-token responses unless the test says otherwise. */
static const int64_t singles[] = {0, 1, 2, 3, 4};

static void advantages(rlhf_objective *objective, int64_t rows, const int64_t *offset, const double *reward,
                       double *advantage)
{
    rlhf_advantage_input in = SIZED(rlhf_advantage_input, .samples_per_prompt = 2, .rows = rows, .offset = offset,
                                    .reward = reward);
    rlhf_advantage_output out = SIZED(rlhf_advantage_output, .advantage = advantage);

    assert_ok(rlhf_objective_advantage(objective, &in, &out));
}

static double loss(rlhf_objective *objective, int64_t rows, const int64_t *offset, const double *log_prob,
                   const double *old, const double *ref, const double *reward, const double *score, double *slope)
{
    double advantage[16];
    rlhf_policy_loss_input in = SIZED(rlhf_policy_loss_input, .samples_per_prompt = 2, .rows = rows, .offset = offset,
                                      .log_prob = log_prob, .log_prob_old = old, .log_prob_ref = ref,
                                      .advantage = advantage, .score = score, .denominator_rows = (double)rows);
    rlhf_policy_loss_output out = SIZED(rlhf_policy_loss_output, .d_log_prob = slope);

    advantages(objective, rows, offset, reward, advantage);
    assert_ok(rlhf_objective_policy_loss(objective, &in, &out));
    return out.loss;
}

static void linear_equals_leave_one_out_of_two(void **state)
{
    rlhf_objective *linear = made("pairwise", NULL), *rloo = made("reinforce", "baseline", 3.0, NULL);
    const int64_t offset[] = {0, 2, 3, 4, 7};
    const double reward[] = {-0.25, 1.25, 0, 3, 0, 0, 5};
    const double log_prob[] = {-1, -0.5, -2, -0.25, -1, -3, -0.125};
    double slope[7], other[7], advantage[7], first;
    rlhf_advantage_input in = SIZED(rlhf_advantage_input, .samples_per_prompt = 2, .rows = 4, .offset = offset,
                                    .reward = (const double[]){0, 1, 0, 3, 0, 0, 5});
    rlhf_advantage_output out = SIZED(rlhf_advantage_output, .advantage = advantage);
    rlhf_policy_loss_input policy = SIZED(rlhf_policy_loss_input, .samples_per_prompt = 2, .rows = 4, .offset = offset,
                                          .log_prob = log_prob, .log_prob_old = log_prob, .advantage = advantage,
                                          .denominator_rows = 4);
    rlhf_policy_loss_output made_out = SIZED(rlhf_policy_loss_output, .d_log_prob = other);

    first = loss(linear, 4, offset, log_prob, log_prob, NULL, reward, NULL, slope);
    assert_ok(rlhf_objective_advantage(rloo, &in, &out));
    assert_ok(rlhf_objective_policy_loss(rloo, &policy, &made_out));
    assert_close(first, made_out.loss);
    for (int i = 0; i < 7; i++)
        assert_close(slope[i], other[i]);
    /* By hand: pairs (1, 0) and (3, 5); half the difference times the difference of the log-probabilities. */
    assert_close(first, (-0.5 * (-1.5 - -2) + 1 * (-0.25 - -4.125)) / 2);
    assert_close(slope[0], -0.5 / 2);
    assert_close(slope[6], -1.0 / 2);
    rlhf_objective_release(&linear);
    rlhf_objective_release(&rloo);
}

static void equal_rewards(void **state)
{
    const double log_prob[] = {-1, -4}, ref[] = {-2, -2}, reward[] = {3, 3};
    double slope[2];

    for (int form = 0; form <= FIXED_TARGET; form++) {
        rlhf_objective *objective = made("pairwise", "form", (double)form, "beta", 0.5, NULL);
        loss(objective, 2, singles, log_prob, log_prob, ref, reward, reward, slope);
        if (form == LINEAR || form == CLIPPED_LINEAR)
            assert_all(slope, 0, 0);
        else
            assert_true(slope[0] > 0 && slope[1] == -slope[0]); /* D = 3 is pulled back to 0 */
        loss(objective, 2, singles, ref, ref, ref, reward, reward, slope);
        assert_all(slope, 0, 0);
        rlhf_objective_release(&objective);
    }
}

static void the_regularised_minimum_is_the_optimum(void **state)
{
    rlhf_objective *objective = made("pairwise", "form", 1.0, "beta", 0.5, NULL);
    const double score[] = {2, 1}, ref[] = {-1, -1}, best[] = {-0.5, -2.5}; /* D = 2 = (r0-r1)/beta */
    double slope[2];

    assert_close(loss(objective, 2, singles, best, best, ref, score, score, slope), 0);
    assert_all(slope, 0, 0);
    assert_close(loss(objective, 2, singles, ref, ref, ref, score, score, slope), 1); /* D = 0: 2 off, 0.5 beta 2^2 */
    assert_all(slope, -1, 1);
    rlhf_objective_release(&objective);
}

static void order_and_constants_do_not_matter(void **state)
{
    const double log_prob[] = {-1, -2.5}, old[] = {-1.1, -2.25}, ref[] = {-2, -1.5}, reward[] = {0.75, -0.5};
    const double log_prob_swapped[] = {-2.5, -1}, old_swapped[] = {-2.25, -1.1}, ref_swapped[] = {-1.5, -2};
    const double reward_swapped[] = {-0.5, 0.75}, moved[] = {8.75, 7.5};
    double slope[2], swapped[2], constant[2];

    for (int form = 0; form <= FIXED_TARGET; form++) {
        rlhf_objective *objective = made("pairwise", "form", (double)form, NULL);
        double first = loss(objective, 2, singles, log_prob, old, ref, reward, reward, slope);
        assert_close(first, loss(objective, 2, singles, log_prob_swapped, old_swapped, ref_swapped, reward_swapped,
                                 reward_swapped, swapped));
        assert_close(first, loss(objective, 2, singles, log_prob, old, ref, moved, moved, constant));
        assert_close(slope[0], swapped[1]);
        assert_close(slope[1], swapped[0]);
        assert_close(slope[0], constant[0]);
        assert_close(slope[1], constant[1]);
        rlhf_objective_release(&objective);
    }
}

static void the_soft_label_is_a_cross_entropy(void **state)
{
    rlhf_objective *objective = made("pairwise", "form", 2.0, "beta", 0.5, "soft_label_temperature", 2.0, NULL);
    const double log_prob[] = {-1, -2}, ref[] = {-2, -2}, score[] = {3, 1};
    double q = 1 / (1 + exp(-1)), s = 1 / (1 + exp(-0.5)), slope[2];

    assert_close(loss(objective, 2, singles, log_prob, log_prob, ref, score, score, slope),
                 -q * log(s) - (1 - q) * log(1 - s));
    assert_all(slope, -0.5 * (q - s), 0.5 * (q - s));
    rlhf_objective_release(&objective);
}

static void the_clip_is_on_the_ratio_of_a_response(void **state)
{
    rlhf_objective *objective = made("pairwise", "form", 3.0, NULL);
    const int64_t offset[] = {0, 2, 4};
    const double old[] = {-1, -1, -1, -1}, reward[] = {0, 1, 0, -1}; /* A = 1 */
    double log_prob[] = {-0.75, -0.75, -1, -1}, slope[4], advantage[] = {1, 1, -1, -1};
    rlhf_policy_loss_input in = SIZED(rlhf_policy_loss_input, .samples_per_prompt = 2, .rows = 2, .offset = offset,
                                      .log_prob = log_prob, .log_prob_old = old, .advantage = advantage,
                                      .denominator_rows = 2);
    rlhf_policy_loss_output out = SIZED(rlhf_policy_loss_output, .d_log_prob = slope);

    /* Ratio e^0.5 of the better one: beyond 1.2. */
    assert_close(loss(objective, 2, offset, log_prob, old, NULL, reward, NULL, slope), -1.2 + 1);
    assert_all(slope, 0, 0, 1, 1);
    assert_ok(rlhf_objective_policy_loss(objective, &in, &out));
    assert_true(out.clipped == 2);
    log_prob[0] = log_prob[1] = -1.25; /* and e^-0.5: not clipped */
    assert_close(loss(objective, 2, offset, log_prob, old, NULL, reward, NULL, slope), -exp(-0.5) + 1);
    assert_all(slope, -exp(-0.5), -exp(-0.5), 1, 1);
    /* Before the first update it has the linear form's gradient. */
    assert_close(loss(objective, 2, offset, old, old, NULL, reward, NULL, slope), 0);
    assert_all(slope, -1, -1, 1, 1);
    rlhf_objective_release(&objective);
}

static void the_fixed_target_asks_only_which_is_better(void **state)
{
    rlhf_objective *objective = made("pairwise", "form", 4.0, "beta", 0.25, NULL);
    const double log_prob[] = {-1, -2.5, -3, -1}, ref[] = {-1.5, -2, -2, -2}; /* D = 1 and -2; targets 2 and -2 */
    const double score[] = {5, 4, -1, -0.75}, further[] = {50, -4, -1, 9}, equal[] = {3, 3, 3, 3};
    double slope[4], other[4];

    assert_close(loss(objective, 4, singles, log_prob, log_prob, ref, score, score, slope), 1.0 / 2);
    assert_all(slope, -1, 1, 0, 0);
    assert_close(loss(objective, 4, singles, log_prob, log_prob, ref, further, further, other), 1.0 / 2);
    assert_memory_equal(slope, other, sizeof slope);
    assert_close(loss(objective, 4, singles, log_prob, log_prob, ref, equal, equal, slope), (1 + 4.0) / 2);
    assert_all(slope, 1, -1, -2, 2); /* back to the reference */
    assert_refused(rlhf_objective_set(objective, "form", 5), RLHF_E_RANGE, "form");
    rlhf_objective_release(&objective);
}

static void what_is_no_pair_is_refused(void **state)
{
    rlhf_objective *objective = made("pairwise", "form", 1.0, NULL);
    double x[4] = {0}, slope[4];
    rlhf_advantage_input in = SIZED(rlhf_advantage_input, .samples_per_prompt = 3, .rows = 3, .offset = singles,
                                    .reward = x);
    rlhf_advantage_output out = SIZED(rlhf_advantage_output, .advantage = slope);
    rlhf_policy_loss_input policy = SIZED(rlhf_policy_loss_input, .samples_per_prompt = 2, .rows = 3, .offset = singles,
                                          .log_prob = x, .log_prob_old = x, .log_prob_ref = x, .advantage = x,
                                          .score = x, .denominator_rows = 4);
    rlhf_policy_loss_output policy_out = SIZED(rlhf_policy_loss_output, .d_log_prob = slope);

    assert_refused(rlhf_objective_advantage(objective, &in, &out), RLHF_E_INVAL, "even");
    in.samples_per_prompt = 1;
    assert_refused(rlhf_objective_advantage(objective, &in, &out), RLHF_E_INVAL, "even");
    assert_refused(rlhf_objective_policy_loss(objective, &policy, &policy_out), RLHF_E_INVAL, "whole groups");
    policy.rows = 4;
    assert_ok(rlhf_objective_policy_loss(objective, &policy, &policy_out));
    policy.score = NULL;
    assert_refused(rlhf_objective_policy_loss(objective, &policy, &policy_out), RLHF_E_INVAL, "score is NULL");
    policy.score = x;
    policy.log_prob_ref = NULL;
    assert_refused(rlhf_objective_policy_loss(objective, &policy, &policy_out), RLHF_E_INVAL, "log_prob_ref is NULL");
    policy.log_prob_ref = x;
    policy.denominator_rows = 0;
    assert_refused(rlhf_objective_policy_loss(objective, &policy, &policy_out), RLHF_E_INVAL, "denominator_rows is 0");
    rlhf_objective_release(&objective);
}

/* All ordered pairs of a policy over four answers, each with its probability: the mean gradient of the linear form is
 * -grad E[r], that of the regularised form is -2 grad J with J = E[r] - beta KL(pi to ref). */
static void the_expectation_over_pairs_is_the_policy_gradient(void **state)
{
    enum { ANSWERS = 4 };
    const double p[ANSWERS] = {0.1, 0.2, 0.3, 0.4}, ref[ANSWERS] = {0.25, 0.4, 0.05, 0.3};
    const double r[ANSWERS] = {1, -0.5, 2, 0.25};
    const double beta = 0.3;
    double exact[2][ANSWERS] = {{0}};

    for (int y = 0; y < ANSWERS; y++) {
        for (int z = 0; z < ANSWERS; z++) { /* d p_y/d z = p_y (1[y=z] - p_z) */
            double dp = p[y] * ((y == z) - p[z]);
            exact[0][z] -= r[y] * dp;
            exact[1][z] -= 2 * (r[y] - beta * log(p[y] / ref[y])) * dp;
        }
    }
    for (int form = LINEAR; form <= REGULARISED; form++) {
        rlhf_objective *objective = made("pairwise", "form", (double)form, "beta", beta, NULL);
        double mean[ANSWERS] = {0};
        for (int a = 0; a < ANSWERS; a++) {
            for (int b = 0; b < ANSWERS; b++) {
                const double log_prob[] = {log(p[a]), log(p[b])}, log_ref[] = {log(ref[a]), log(ref[b])};
                const double reward[] = {r[a], r[b]};
                double slope[2];
                loss(objective, 2, singles, log_prob, log_prob, log_ref, reward, reward, slope);
                for (int z = 0; z < ANSWERS; z++)
                    mean[z] += p[a] * p[b] * (slope[0] * ((a == z) - p[z]) + slope[1] * ((b == z) - p[z]));
            }
        }
        for (int z = 0; z < ANSWERS; z++)
            assert_close(mean[z], exact[form][z]);
        rlhf_objective_release(&objective);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(linear_equals_leave_one_out_of_two),
        TEST(equal_rewards),
        TEST(the_regularised_minimum_is_the_optimum),
        TEST(order_and_constants_do_not_matter),
        TEST(the_soft_label_is_a_cross_entropy),
        TEST(the_clip_is_on_the_ratio_of_a_response),
        TEST(the_fixed_target_asks_only_which_is_better),
        TEST(what_is_no_pair_is_refused),
        TEST(the_expectation_over_pairs_is_the_policy_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
