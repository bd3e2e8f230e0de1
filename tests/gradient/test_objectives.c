/* Every built-in objective's gradients against central differences of its own loss: random ragged inputs, double, step
 * 1e-5, relative error below 1e-6 (algorithms.md 18). Inputs keep away from the corners of the clips. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "objectives/objectives.h"

enum { MOST = 256, ROWS = 8, DRAWS = 20 };

static rlhf_context *context;
static uint32_t draw; /* which random inputs */

static double uniform(uint32_t stream, int64_t i, double low, double high)
{
    return low + (high - low) * rlhfi_uniform(7, RLHFI_RANDOM_USER, draw, stream, (uint32_t)i);
}

/* A number in [low, high] that is at least 1e-3 away from the corners (a list ended by NAN). */
static double away_from(uint32_t stream, int64_t i, double low, double high, const double *corners)
{
    double x = uniform(stream, i, low, high);

    for (int c = 0; !isnan(corners[c]); c++)
        if (fabs(x - corners[c]) < 1e-3)
            x += 2e-3;
    return x;
}

static void check_ok(rlhf_status status)
{
    char error[512];

    if (status == RLHF_OK)
        return;
    rlhf_context_error(context, error, sizeof error);
    fail_msg("%s", error);
}

/* Perturbs each of x[0..count) and compares the change of loss(argument) with slope; those are what loss gave at x. */
static void compare(const char *what, double *x, int64_t count, const double *slope, double (*loss)(void *argument),
                    void *argument)
{
    const double step = 1e-5;
    double expected[MOST], largest = 0;

    assert_true(count <= MOST);
    for (int64_t i = 0; i < count; i++) {
        expected[i] = slope[i]; /* loss overwrites it */
        largest = fmax(largest, fabs(slope[i]));
    }
    for (int64_t i = 0; i < count; i++) {
        double kept = x[i], up, down, numeric;
        x[i] = kept + step;
        up = loss(argument);
        x[i] = kept - step;
        down = loss(argument);
        x[i] = kept;
        numeric = (up - down) / (2 * step);
        if (!(fabs(numeric - expected[i]) <= 1e-6 * fmax(fabs(expected[i]), 1e-3 * largest) + 1e-11))
            fail_msg("%s, draw %u: slope %lld is %.12g, differences say %.12g", what, draw, (long long)i, expected[i],
                     numeric);
    }
}

static rlhf_objective *made(const char *name)
{
    rlhf_objective *objective;

    check_ok(rlhf_objective_builtin(&objective, context, name));
    return objective;
}

/* ---- the losses -------------------------------------------------------------------------------------------------- */

struct policy {
    rlhf_objective *objective;
    rlhf_policy_loss_input in;
    rlhf_policy_loss_output out;
    int64_t offset[ROWS + 1];
    double log_prob[MOST], old[MOST], ref[MOST], advantage[MOST], entropy[MOST], score[ROWS];
    double slope[MOST], entropy_slope[MOST];
};

static double policy_loss(void *argument)
{
    struct policy *policy = argument;

    check_ok(rlhf_objective_policy_loss(policy->objective, &policy->in, &policy->out));
    return policy->out.loss;
}

/* Rows of 0 to 9 tokens; log-ratios to the old policy of up to `spread`, away from the corners. */
static void fill(struct policy *policy, rlhf_objective *objective, double spread, const double *corners)
{
    *policy = (struct policy){.objective = objective};
    for (int64_t row = 0; row < ROWS; row++) {
        policy->offset[row + 1] = policy->offset[row] + (int64_t)uniform(1, row, 0, 10);
        policy->score[row] = uniform(2, row, -2, 2);
    }
    for (int64_t i = 0; i < policy->offset[ROWS]; i++) {
        policy->old[i] = uniform(3, i, -4, -0.1);
        policy->log_prob[i] = policy->old[i] + away_from(4, i, -spread, spread, corners);
        policy->ref[i] = uniform(5, i, -4, -0.1);
        policy->advantage[i] = uniform(6, i, -2, 2);
        policy->entropy[i] = uniform(7, i, 0, 3);
    }
    policy->in = (rlhf_policy_loss_input){
        .struct_size = sizeof policy->in, .samples_per_prompt = 2, .rows = ROWS, .offset = policy->offset,
        .log_prob = policy->log_prob, .log_prob_old = policy->old, .log_prob_ref = policy->ref,
        .advantage = policy->advantage, .entropy = policy->entropy, .score = policy->score,
        .denominator = (double)policy->offset[ROWS] + 3, .denominator_rows = ROWS + 4};
    policy->out = (rlhf_policy_loss_output){.struct_size = sizeof policy->out, .d_log_prob = policy->slope,
                                            .d_entropy = policy->entropy_slope};
}

static void check_policy(struct policy *policy, const char *what)
{
    policy_loss(policy);
    compare(what, policy->log_prob, policy->offset[ROWS], policy->slope, policy_loss, policy);
    policy_loss(policy);
    compare(what, policy->entropy, policy->offset[ROWS], policy->entropy_slope, policy_loss, policy);
}

static void test_ppo(void **state)
{
    const double corners[] = {log(0.8), log(1.2), log(3), NAN};
    rlhf_objective *objective = made("ppo");
    struct policy policy;

    check_ok(rlhf_objective_set(objective, "entropy_coef", 0.03));
    for (draw = 0; draw < DRAWS; draw++) {
        check_ok(rlhf_objective_set(objective, "dual_clip", draw % 2 == 0 ? 0 : 3));
        fill(&policy, objective, 1.5, corners);
        check_policy(&policy, "ppo");
        assert_true(draw != 0 || policy.out.clipped > 0);
    }
    rlhf_objective_release(&objective);
}

static void test_reinforce(void **state)
{
    const double none[] = {NAN};
    rlhf_objective *objective = made("reinforce");
    struct policy policy;

    check_ok(rlhf_objective_set(objective, "entropy_coef", 0.03));
    for (draw = 0; draw < DRAWS; draw++) {
        fill(&policy, objective, 1.5, none);
        check_policy(&policy, "reinforce");
    }
    rlhf_objective_release(&objective);
}

/* Does a response's ratio stand at a corner of the clip, or beyond where the log-ratio is cut? */
static bool at_a_corner(const struct policy *policy)
{
    for (int64_t row = 0; row < ROWS; row++) {
        double sum = 0, ratio;
        for (int64_t i = policy->offset[row]; i < policy->offset[row + 1]; i++)
            sum += policy->log_prob[i] - policy->old[i];
        ratio = exp(sum);
        if (fabs(ratio - 0.8) < 1e-3 || fabs(ratio - 1.2) < 1e-3 || fabs(sum) > 19)
            return true;
    }
    return false;
}

static void test_pairwise(void **state)
{
    const double none[] = {NAN};
    rlhf_objective *objective = made("pairwise");
    struct policy policy;
    int clipped = 0, checked = 0;

    check_ok(rlhf_objective_set(objective, "soft_label_temperature", 0.7));
    for (int form = 0; form <= 4; form++) {
        check_ok(rlhf_objective_set(objective, "form", form));
        for (draw = 0; draw < DRAWS; draw++) {
            fill(&policy, objective, 0.3, none);
            for (int64_t row = 0; row < ROWS; row++) /* as the advantage function makes them: one per response */
                for (int64_t i = policy.offset[row]; i < policy.offset[row + 1]; i++)
                    policy.advantage[i] = (policy.score[row] - policy.score[row ^ 1]) / 2;
            if (at_a_corner(&policy))
                continue;
            check_policy(&policy, "pairwise");
            clipped += policy.out.clipped > 0;
            checked++;
        }
    }
    assert_true(checked > 4 * DRAWS && clipped > 0);
    rlhf_objective_release(&objective);
}

struct value {
    rlhf_objective *objective;
    rlhf_value_loss_input in;
    rlhf_value_loss_output out;
    double value[MOST], old[MOST], target[MOST], slope[MOST];
};

static double value_loss(void *argument)
{
    struct value *value = argument;

    check_ok(rlhf_objective_value_loss(value->objective, &value->in, &value->out));
    return value->out.loss;
}

static void test_value(void **state)
{
    const double corners[] = {-0.2, 0.2, NAN};
    rlhf_objective *objective = made("ppo");
    struct value value;
    double clipped = 0;

    for (draw = 0; draw < DRAWS; draw++) {
        check_ok(rlhf_objective_set(objective, "cliprange_value", draw % 4 == 0 ? 0 : 0.2));
        value = (struct value){.objective = objective};
        for (int64_t i = 0; i < 40; i++) {
            value.old[i] = uniform(11, i, -2, 2);
            value.value[i] = value.old[i] + away_from(12, i, -0.6, 0.6, corners);
            value.target[i] = uniform(13, i, -2, 2);
        }
        value.in = (rlhf_value_loss_input){.struct_size = sizeof value.in, .count = 40, .value = value.value,
                                           .value_old = value.old, .value_target = value.target, .denominator = 50};
        value.out = (rlhf_value_loss_output){.struct_size = sizeof value.out, .d_value = value.slope};
        value_loss(&value);
        clipped += value.out.clipped;
        compare("value", value.value, 40, value.slope, value_loss, &value);
    }
    assert_true(clipped > 0);
    rlhf_objective_release(&objective);
}

struct pairs {
    rlhf_objective *objective;
    rlhf_pair_loss_input in;
    rlhf_pair_loss_output out;
    double chosen[MOST], rejected[MOST], margin[MOST], up[MOST], down[MOST];
};

static double pair_loss(void *argument)
{
    struct pairs *pairs = argument;

    check_ok(rlhf_objective_pair_loss(pairs->objective, &pairs->in, &pairs->out));
    return pairs->out.loss;
}

static void test_bradley_terry(void **state)
{
    rlhf_objective *objective = made("bradley_terry");
    struct pairs pairs;

    for (draw = 0; draw < DRAWS; draw++) {
        check_ok(rlhf_objective_set(objective, "center_rewards_coefficient", draw % 2 == 0 ? 0 : 0.01));
        pairs = (struct pairs){.objective = objective};
        for (int64_t i = 0; i < 30; i++) {
            pairs.chosen[i] = uniform(21, i, -5, 5);
            pairs.rejected[i] = uniform(22, i, -5, 5);
            pairs.margin[i] = uniform(23, i, 0, 1);
        }
        pairs.in = (rlhf_pair_loss_input){.struct_size = sizeof pairs.in, .pairs = 30, .chosen = pairs.chosen,
                                          .rejected = pairs.rejected, .margin = draw % 3 == 0 ? NULL : pairs.margin,
                                          .denominator = 35};
        pairs.out = (rlhf_pair_loss_output){.struct_size = sizeof pairs.out, .d_chosen = pairs.up,
                                            .d_rejected = pairs.down};
        pair_loss(&pairs);
        compare("chosen", pairs.chosen, 30, pairs.up, pair_loss, &pairs);
        pair_loss(&pairs);
        compare("rejected", pairs.rejected, 30, pairs.down, pair_loss, &pairs);
    }
    rlhf_objective_release(&objective);
}

struct tokens {
    rlhf_objective *objective;
    rlhf_token_loss_input in;
    rlhf_token_loss_output out;
    int64_t offset[ROWS + 1];
    double log_prob[MOST], mean[MOST], slope[MOST], mean_slope[MOST];
};

static double token_loss(void *argument)
{
    struct tokens *tokens = argument;

    check_ok(rlhf_objective_token_loss(tokens->objective, &tokens->in, &tokens->out));
    return tokens->out.loss;
}

static void test_sft(void **state)
{
    rlhf_objective *objective = made("sft");
    struct tokens tokens;

    for (draw = 0; draw < DRAWS; draw++) {
        check_ok(rlhf_objective_set(objective, "label_smoothing_factor", draw % 2 == 0 ? 0 : 0.1));
        tokens = (struct tokens){.objective = objective};
        for (int64_t row = 0; row < ROWS; row++)
            tokens.offset[row + 1] = tokens.offset[row] + (int64_t)uniform(31, row, 0, 10);
        for (int64_t i = 0; i < tokens.offset[ROWS]; i++) {
            tokens.log_prob[i] = uniform(32, i, -6, -0.01);
            tokens.mean[i] = uniform(33, i, -6, -2);
        }
        tokens.in = (rlhf_token_loss_input){.struct_size = sizeof tokens.in, .rows = ROWS, .offset = tokens.offset,
                                            .log_prob = tokens.log_prob, .mean_log_prob = tokens.mean,
                                            .denominator = 64};
        tokens.out = (rlhf_token_loss_output){.struct_size = sizeof tokens.out, .d_log_prob = tokens.slope,
                                              .d_mean_log_prob = tokens.mean_slope};
        token_loss(&tokens);
        compare("log_prob", tokens.log_prob, tokens.offset[ROWS], tokens.slope, token_loss, &tokens);
        token_loss(&tokens);
        compare("mean_log_prob", tokens.mean, tokens.offset[ROWS], tokens.mean_slope, token_loss, &tokens);
    }
    rlhf_objective_release(&objective);
}

static int open_context(void **state)
{
    return rlhf_context_create(&context, NULL) != RLHF_OK;
}

static int close_context(void **state)
{
    rlhf_context_release(&context);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sft),       cmocka_unit_test(test_bradley_terry), cmocka_unit_test(test_value),
        cmocka_unit_test(test_reinforce), cmocka_unit_test(test_pairwise),      cmocka_unit_test(test_ppo),
    };
    return cmocka_run_group_tests(tests, open_context, close_context);
}
