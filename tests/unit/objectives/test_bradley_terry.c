/* The reward model's loss: algorithms.md 18.3. */
#include "helper.h"

static double run(rlhf_objective *objective, int64_t pairs, const double *chosen, const double *rejected,
                  const double *margin, double *d_chosen, double *d_rejected)
{
    rlhf_pair_loss_input in = SIZED(rlhf_pair_loss_input, .pairs = pairs, .chosen = chosen, .rejected = rejected,
                                    .margin = margin, .denominator = (double)pairs);
    rlhf_pair_loss_output out = SIZED(rlhf_pair_loss_output, .d_chosen = d_chosen, .d_rejected = d_rejected);

    assert_ok(rlhf_objective_pair_loss(objective, &in, &out));
    return out.loss;
}

static double one(rlhf_objective *objective, double difference, double *d_chosen, double *d_rejected)
{
    const double zero = 0;

    return run(objective, 1, &difference, &zero, NULL, d_chosen, d_rejected);
}

static void known_losses(void **state)
{
    rlhf_objective *objective = made("bradley_terry", NULL);
    double up, down;

    assert_close(one(objective, 0, &up, &down), LN2);
    assert_close(up, -0.5);
    assert_close(down, 0.5);
    assert_printed(one(objective, 2, &up, &down), 0.1269280110);
    assert_printed(up, -0.1192029220);
    assert_printed(one(objective, -2, &up, &down), 2.1269280110);
    assert_printed(up, -0.8807970780);
    assert_true(one(objective, -1000, &up, &down) == 1000);
    assert_true(up == -1 && down == 1);
    assert_true(one(objective, 1000, &up, &down) == 0);
    assert_true(up == 0 && down == 0);
    rlhf_objective_release(&objective);
}

static void a_margin_shifts_the_difference(void **state)
{
    rlhf_objective *objective = made("bradley_terry", NULL);
    const double chosen[] = {1.5, 3}, rejected[] = {0.5, 0}, margin[] = {1, 5};
    double up[2], down[2];

    assert_close(run(objective, 2, chosen, rejected, margin, up, down), (LN2 + rlhfi_softplus(2)) / 2);
    assert_close(up[0], -0.25);
    assert_close(down[1], 0.88079707797788243 / 2);
    rlhf_objective_release(&objective);
}

static void only_differences_count(void **state)
{
    rlhf_objective *objective = made("bradley_terry", NULL);
    const double chosen[] = {0.25, -1.5, 2}, rejected[] = {1, -2, -0.5};
    double moved[3], moved_too[3], up[3], down[3], up_moved[3], down_moved[3];

    for (int i = 0; i < 3; i++) {
        moved[i] = chosen[i] + 64;
        moved_too[i] = rejected[i] + 64;
    }
    assert_close(run(objective, 3, chosen, rejected, NULL, up, down),
                 run(objective, 3, moved, moved_too, NULL, up_moved, down_moved));
    for (int i = 0; i < 3; i++) {
        assert_true(up[i] + down[i] == 0);
        assert_close(up_moved[i], up[i]);
    }
    rlhf_objective_release(&objective);
}

static void centering_pulls_the_sum_to_zero(void **state)
{
    rlhf_objective *objective = made("bradley_terry", "center_rewards_coefficient", 0.01, NULL);
    const double same = 1, other = -1;
    double up, down;

    assert_close(run(objective, 1, &same, &same, NULL, &up, &down), LN2 + 0.04);
    assert_close(up, -0.5 + 0.04);
    assert_close(down, 0.5 + 0.04);
    assert_close(run(objective, 1, &same, &other, NULL, &up, &down), rlhfi_softplus(-2));
    assert_true(up + down == 0);
    rlhf_objective_release(&objective);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(known_losses),
        TEST(a_margin_shifts_the_difference),
        TEST(only_differences_count),
        TEST(centering_pulls_the_sum_to_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
