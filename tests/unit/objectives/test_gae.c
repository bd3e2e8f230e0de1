/* Generalised advantage estimation: algorithms.md 18.6. */
#include "helper.h"

static void run(rlhf_objective *objective, int64_t rows, const int64_t *offset, const double *reward,
                const double *value, double *advantage, double *target)
{
    rlhf_advantage_input in = SIZED(rlhf_advantage_input, .samples_per_prompt = 1, .rows = rows, .offset = offset,
                                    .reward = reward, .value = value);
    rlhf_advantage_output out = SIZED(rlhf_advantage_output, .advantage = advantage, .value_target = target);

    assert_ok(rlhf_objective_advantage(objective, &in, &out));
}

static const int64_t one_row[] = {0, 3};

static void known_values_for_each_lambda(void **state)
{
    const double reward[] = {0, 0, 1}, value[] = {0.5, 0.6, 0.7}, lam[] = {1, 0, 0.95};
    const double advantages[3][3] = {{0.5, 0.4, 0.3}, {0.1, 0.1, 0.3}, {0.46575, 0.385, 0.3}};
    const double targets[3][3] = {{1, 1, 1}, {0.6, 0.7, 1}, {0.96575, 0.985, 1}};
    rlhf_objective *objective = made("gae", "whiten", 0.0, NULL);
    double advantage[3], target[3];

    assert_true(key(objective, "gamma") == 1 && key(objective, "lam") == 0.95);
    for (int i = 0; i < 3; i++) {
        assert_ok(rlhf_objective_set(objective, "lam", lam[i]));
        run(objective, 1, one_row, reward, value, advantage, target);
        for (int t = 0; t < 3; t++) {
            assert_close(advantage[t], advantages[i][t]);
            assert_close(target[t], targets[i][t]);
        }
    }
    rlhf_objective_release(&objective);
}

static void gamma_discounts(void **state)
{
    rlhf_objective *objective = made("gae", "whiten", 0.0, "gamma", 0.9, "lam", 0.5, NULL);
    const double reward[] = {1, 0, 2}, value[] = {0.5, 0.5, 0.5};
    double advantage[3], target[3];

    run(objective, 1, one_row, reward, value, advantage, target);
    assert_all(advantage, 1.23125, 0.625, 1.5);
    assert_all(target, 1.73125, 1.125, 2);
    rlhf_objective_release(&objective);
}

static void without_values_it_is_the_reward_to_go(void **state)
{
    rlhf_objective *objective = made("gae", "whiten", 0.0, "lam", 1.0, NULL);
    const double reward[] = {1, -2, 4}, nothing[3] = {0};
    double advantage[3];

    run(objective, 1, one_row, reward, nothing, advantage, NULL);
    assert_all(advantage, 3, 2, 4);
    run(objective, 1, one_row, nothing, nothing, advantage, NULL);
    assert_all(advantage, 0, 0, 0);
    rlhf_objective_release(&objective);
}

static void rows_do_not_touch_each_other(void **state)
{
    rlhf_objective *objective = made("gae", "whiten", 0.0, NULL);
    const int64_t offset[] = {0, 1, 1, 4, 6};
    const double reward[] = {9, 0, 0, 1, 5, 5}, value[] = {1, 0.5, 0.6, 0.7, 8, 8};
    double advantage[6], target[6];

    run(objective, 4, offset, reward, value, advantage, target);
    assert_all(advantage, 8, 0.46575, 0.385, 0.3, 5 + 0 + 0.95 * -3, -3);
    rlhf_objective_release(&objective);
}

static void whitening_is_over_all_tokens_and_leaves_the_returns(void **state)
{
    rlhf_objective *plain = made("gae", "whiten", 0.0, NULL), *white = made("gae", NULL);
    rlhf_objective *population = made("gae", "whiten_population", 1.0, NULL);
    const int64_t offset[] = {0, 3, 5};
    const double reward[] = {0, 0, 1, 2, -1}, value[] = {0.5, 0.6, 0.7, 0, 0.25};
    double first[5], second[5], third[5], target[5], target_white[5];

    run(plain, 2, offset, reward, value, first, target);
    run(white, 2, offset, reward, value, second, target_white);
    run(population, 2, offset, reward, value, third, NULL);
    assert_memory_equal(target, target_white, sizeof target);
    assert_close(rlhfi_mean(second, 5), 0);
    assert_within(rlhfi_variance(second, 5, false), 1, 1e-7);
    assert_within(rlhfi_variance(third, 5, true), 1, 1e-7);
    rlhfi_whiten(first, 5, true, false);
    assert_all(second, first[0], first[1], first[2], first[3], first[4]);
    rlhf_objective_release(&plain);
    rlhf_objective_release(&white);
    rlhf_objective_release(&population);
}

static void it_needs_values(void **state)
{
    rlhf_objective *objective = made("gae", NULL);
    double numbers[3] = {0}, advantage[3];
    rlhf_advantage_input in = SIZED(rlhf_advantage_input, .rows = 1, .offset = one_row, .reward = numbers);
    rlhf_advantage_output out = SIZED(rlhf_advantage_output, .advantage = advantage);

    assert_refused(rlhf_objective_advantage(objective, &in, &out), RLHF_E_INVAL, "needs a value model");
    in.samples_per_prompt = 2;
    assert_refused(rlhf_objective_advantage(objective, &in, &out), RLHF_E_INVAL, "whole groups");
    rlhf_objective_release(&objective);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(known_values_for_each_lambda),
        TEST(gamma_discounts),
        TEST(without_values_it_is_the_reward_to_go),
        TEST(rows_do_not_touch_each_other),
        TEST(whitening_is_over_all_tokens_and_leaves_the_returns),
        TEST(it_needs_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
