/* The functions under the losses: stable forms, KL estimators, whitening: algorithms.md 18.1, 18.5, 18.7. */
#include "helper.h"

static void logistic_functions_do_not_overflow(void **state)
{
    assert_close(rlhfi_log_sigmoid(0), -LN2);
    assert_true(rlhfi_log_sigmoid(-1000) == -1000);
    assert_true(rlhfi_log_sigmoid(1000) == 0);
    assert_close(rlhfi_sigmoid(0), 0.5);
    assert_true(rlhfi_sigmoid(1000) == 1);
    assert_true(rlhfi_sigmoid(-1000) == 0);
    assert_close(rlhfi_sigmoid(2) + rlhfi_sigmoid(-2), 1);
    assert_close(rlhfi_softplus(-2), 0.12692801104297249644);
    assert_close(rlhfi_softplus(2), 2.12692801104297249644);
    assert_true(rlhfi_softplus(1000) == 1000);
    assert_true(rlhfi_softplus(-1000) == 0);
    for (double x = -30; x <= 30; x += 0.37) {
        assert_close(rlhfi_sigmoid(x), 1 / (1 + exp(-x)));
        assert_close(rlhfi_softplus(x) - rlhfi_softplus(-x), x);
    }
}

static void log1mexp_is_good_at_both_ends(void **state)
{
    assert_close(rlhfi_log1mexp(-1e-10), -23.025850929990456);
    assert_true(fabs(rlhfi_log1mexp(-50) / -1.9287498479639178e-22 - 1) < 1e-12);
    assert_close(rlhfi_log1mexp(-LN2), -LN2);
}

static void kl_estimators_have_the_known_means(void **state)
{
    const double pi[] = {0.5, 0.5}, q[] = {0.25, 0.75};
    double mean[4] = {0}, gradient[4] = {0};

    for (int i = 0; i < 2; i++) {
        double d = log(pi[i]) - log(q[i]);
        for (int k = 1; k <= 3; k++)
            mean[k] += pi[i] * rlhfi_kl_estimate(k, d);
        /* As a loss term, the gradient on the first logit: sum p k'(d) (1[i=0] - p0), k' by central difference. */
        for (int k = 1; k <= 3; k++)
            gradient[k] += pi[i] * (rlhfi_kl_estimate(k, d + 1e-5) - rlhfi_kl_estimate(k, d - 1e-5)) / 2e-5 *
                           ((i == 0) - pi[0]);
    }
    assert_printed(mean[1], 0.1438410362);
    assert_printed(mean[2], 0.1612137420);
    assert_printed(mean[3], 0.1438410362);
    assert_true(fabs(gradient[1]) < 1e-9);
    assert_true(fabs(gradient[2] - 0.2746530722) < 1e-9);
    assert_true(fabs(gradient[3] - 0.25) < 1e-9);
    assert_printed(rlhfi_kl_estimate(3, LN2), 0.1931471806);
    assert_printed(rlhfi_kl_estimate(3, log(0.5 / 0.75)), 0.0945348919);
    for (int k = 1; k <= 3; k++)
        assert_true(rlhfi_kl_estimate(k, 0) == 0);
}

static void k3_is_exact_near_zero_and_never_negative(void **state)
{
    assert_true(fabs(rlhfi_kl_estimate(3, 1e-4) / 4.999833337499917e-09 - 1) < 1e-14);
    assert_true(fabs(rlhfi_kl_estimate(3, -1e-4) / 5.000166670833417e-09 - 1) < 1e-14);
    /* Valgrind computes long doubles with 53 bits: no finer number to compare with there. */
    volatile long double finer = 1.0L + 0x1p-60L;
    bool extended = finer != 1.0L;
    for (double d = 1e-12; d < 3; d *= 1.07) {
        long double up = expm1l(d) - d, down = expm1l(-d) + d;
        assert_true(rlhfi_kl_estimate(3, d) > 0 && rlhfi_kl_estimate(3, -d) > 0);
        if (d > 1e-3 && extended) { /* below, long double cancels too */
            assert_true(fabsl(rlhfi_kl_estimate(3, d) / down - 1) < 2e-14);
            assert_true(fabsl(rlhfi_kl_estimate(3, -d) / up - 1) < 2e-14);
        }
    }
}

static void mean_and_variance(void **state)
{
    const double x[] = {1, 2, 3, 4};

    assert_close(rlhfi_mean(x, 4), 2.5);
    assert_close(rlhfi_variance(x, 4, true), 1.25);
    assert_close(rlhfi_variance(x, 4, false), 5.0 / 3);
    assert_true(rlhfi_mean(x, 0) == 0);
    assert_true(rlhfi_variance(x, 0, true) == 0 && rlhfi_variance(x, 0, false) == 0);
    assert_true(rlhfi_variance(x, 1, true) == 0 && rlhfi_variance(x, 1, false) == 0);
}

static void whitening(void **state)
{
    double population[] = {1, 2, 3, 4}, unbiased[] = {1, 2, 3, 4}, kept[] = {1, 2, 3, 4}, constant[] = {7, 7, 7};
    double moved[4], one = 5;

    rlhfi_whiten(population, 4, true, true);
    assert_printed(population[0], -1.3416407811); /* -1.5/sqrt(1.25 + 1e-8) */
    assert_printed(population[1], -0.4472135937);
    assert_close(population[2], -population[1]);
    assert_close(population[3], -population[0]);
    rlhfi_whiten(unbiased, 4, true, false);
    assert_close(unbiased[0], -1.5 / sqrt(5.0 / 3 + 1e-8));
    assert_close(unbiased[1], -0.5 / sqrt(5.0 / 3 + 1e-8));
    rlhfi_whiten(kept, 4, false, true);
    for (int i = 0; i < 4; i++)
        assert_close(kept[i], population[i] + 2.5);
    assert_true(fabs(kept[0] - 1.1583592135) < 1e-8);
    rlhfi_whiten(constant, 3, true, true);
    assert_all(constant, 0, 0, 0);
    rlhfi_whiten(&one, 1, true, false);
    assert_true(one == 0);
    rlhfi_whiten(&one, 0, true, false);
    for (int i = 0; i < 4; i++)
        moved[i] = 100 + 3 * (i + 1);
    rlhfi_whiten(moved, 4, true, true);
    for (int i = 0; i < 4; i++)
        assert_true(fabs(moved[i] - population[i]) < 1e-7); /* up to the 1e-8 under the root */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(logistic_functions_do_not_overflow),
        TEST(log1mexp_is_good_at_both_ends),
        TEST(kl_estimators_have_the_known_means),
        TEST(k3_is_exact_near_zero_and_never_negative),
        TEST(mean_and_variance),
        TEST(whitening),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
