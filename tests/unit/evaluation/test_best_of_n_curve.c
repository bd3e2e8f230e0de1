/* The unbiased best-of-n curve and the KL bound: known values, enumeration of all subsets, closed forms, chance. */
#include "checks.h"

static void curve_of(const double *proxy, const double *gold, int64_t prompts, int64_t samples, rlhf_estimate *curve)
{
    CHECK(rlhf_evaluate_best_of_n(proxy, gold, prompts, samples, curve));
    for (int64_t n = 0; n < samples; n++)
        assert_int_equal(curve[n].count, prompts);
}

static void known_values_come_out(void **state)
{
    const double proxy[3] = {10, 30, 20}, gold[3] = {0, 2, 1};
    const double one_right[4] = {0, 0, 1, 0}, none_right[4] = {0}, all_right[4] = {1, 1, 1, 1};
    rlhf_estimate curve[4];

    curve_of(proxy, gold, 1, 3, curve);
    assert_near(curve[0].mean, 1, 1e-15);
    assert_near(curve[1].mean, 5.0 / 3, 1e-15);
    assert_near(curve[2].mean, 2, 1e-15);
    assert_true(isnan(curve[0].standard_error)); /* one prompt has no error bar */
    /* pass@k is the same estimate where the score is right or wrong. */
    curve_of(one_right, one_right, 1, 4, curve);
    assert_near(curve[1].mean, 0.5, 1e-15);
    assert_near(curve[3].mean, 1, 1e-15);
    curve_of(none_right, none_right, 1, 4, curve);
    assert_near(curve[1].mean, 0, 0);
    curve_of(all_right, all_right, 1, 4, curve);
    assert_near(curve[1].mean, 1, 1e-15);
}

/* Mean over all subsets of size n of the gold score of their best, ties within the subset averaged. */
static double enumerate(const double *proxy, const double *gold, int samples, int n)
{
    double sum = 0;
    int subsets = 0;

    for (unsigned set = 0; set < 1u << samples; set++) {
        double best = -INFINITY, share = 0;
        int tied = 0;

        if (__builtin_popcount(set) != n)
            continue;
        for (int i = 0; i < samples; i++) {
            if (!(set >> i & 1))
                continue;
            if (proxy[i] > best) {
                best = proxy[i];
                share = gold[i];
                tied = 1;
            } else if (proxy[i] == best) {
                share += gold[i];
                tied++;
            }
        }
        sum += share / tied;
        subsets++;
    }
    return sum / subsets;
}

static void all_subsets_agree(void **state)
{
    enum { SAMPLES = 9, TRIALS = 40 };
    double proxy[TRIALS][SAMPLES], gold[TRIALS][SAMPLES];
    rlhf_estimate curve[SAMPLES];

    for (uint32_t trial = 0; trial < TRIALS; trial++) {
        for (uint32_t i = 0; i < SAMPLES; i++) {
            proxy[trial][i] = floor(number(trial, i) * (1 + trial % 9)); /* from all tied to few ties */
            gold[trial][i] = number(trial, 100 + i) - 0.5;
        }
        curve_of(proxy[trial], gold[trial], 1, SAMPLES, curve);
        for (int n = 1; n <= SAMPLES; n++)
            assert_near(curve[n - 1].mean, enumerate(proxy[trial], gold[trial], SAMPLES, n), 1e-14);
    }
    /* Several prompts: the mean of their curves, with its error. */
    curve_of(&proxy[0][0], &gold[0][0], TRIALS, SAMPLES, curve);
    for (int n = 1; n <= SAMPLES; n++) {
        double mean = 0, squares = 0;
        for (int trial = 0; trial < TRIALS; trial++)
            mean += enumerate(proxy[trial], gold[trial], SAMPLES, n) / TRIALS;
        for (int trial = 0; trial < TRIALS; trial++)
            squares += pow(enumerate(proxy[trial], gold[trial], SAMPLES, n) - mean, 2);
        assert_near(curve[n - 1].mean, mean, 1e-14);
        assert_near(curve[n - 1].standard_error, sqrt(squares / (TRIALS - 1) / TRIALS), 1e-14);
    }
}

/* The largest of n ranks drawn from 1..N is n (N+1) / (n+1) on average; 600 points need more than one piece. */
static void long_curves_have_their_closed_form(void **state)
{
    enum { SAMPLES = 600 };
    static double rank[SAMPLES];
    static rlhf_estimate curve[SAMPLES];

    for (int i = 0; i < SAMPLES; i++)
        rank[i] = 1 + (i * 7) % SAMPLES; /* 7 and 600 have no common factor */
    curve_of(rank, rank, 1, SAMPLES, curve);
    for (int n = 1; n <= SAMPLES; n++)
        assert_near(curve[n - 1].mean, n * (SAMPLES + 1.0) / (n + 1), 1e-9);
}

/* Uniform scores: the best of n has mean n/(n+1). The estimate must meet it within its own error bars. */
static void the_estimate_is_unbiased(void **state)
{
    enum { PROMPTS = 3000, SAMPLES = 6 };
    static double score[PROMPTS * SAMPLES];
    rlhf_estimate curve[SAMPLES];

    for (uint32_t i = 0; i < PROMPTS * SAMPLES; i++)
        score[i] = number(1, i);
    curve_of(score, score, PROMPTS, SAMPLES, curve);
    for (int n = 1; n <= SAMPLES; n++) {
        assert_near(curve[n - 1].mean, n / (n + 1.0), 3.5 * curve[n - 1].standard_error);
        assert_true(curve[n - 1].standard_error < 0.01);
    }
}

static void bad_arguments_are_refused(void **state)
{
    double proxy[2] = {1, 2}, gold[2] = {1, 2};
    rlhf_estimate curve[2];

    assert_int_equal(rlhf_evaluate_best_of_n(NULL, gold, 1, 2, curve), RLHF_E_INVAL);
    assert_int_equal(rlhf_evaluate_best_of_n(proxy, NULL, 1, 2, curve), RLHF_E_INVAL);
    assert_int_equal(rlhf_evaluate_best_of_n(proxy, gold, 1, 2, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_evaluate_best_of_n(proxy, gold, 0, 2, curve), RLHF_E_INVAL);
    assert_int_equal(rlhf_evaluate_best_of_n(proxy, gold, 1, 0, curve), RLHF_E_INVAL);
    assert_int_equal(rlhf_evaluate_best_of_n(proxy, gold, INT64_MAX / 2, 4, curve), RLHF_E_INVAL);
    proxy[1] = NAN;
    assert_int_equal(rlhf_evaluate_best_of_n(proxy, gold, 1, 2, curve), RLHF_E_INVAL);
    proxy[1] = -INFINITY; /* can be ranked */
    curve_of(proxy, gold, 1, 2, curve);
    assert_near(curve[1].mean, 1, 1e-15);
    gold[0] = INFINITY;
    assert_int_equal(rlhf_evaluate_best_of_n(proxy, gold, 1, 2, curve), RLHF_E_INVAL);
}

/* KL of best-of-n to its sampler on an enumerable set: p_n(i) = F(i)^n - F(i-1)^n for outcomes sorted by score. */
static double exact_kl(const double *p, int outcomes, int n)
{
    double before = 0, kl = 0;

    for (int i = 0; i < outcomes; i++) {
        double behind = before + p[i], chosen = pow(behind, n) - pow(before, n);
        if (chosen > 0)
            kl += chosen * log(chosen / p[i]);
        before = behind;
    }
    return kl;
}

static void the_bound_holds(void **state)
{
    const double coin[2] = {0.5, 0.5}, four[4] = {0.25, 0.25, 0.25, 0.25}, certain[1] = {1};

    assert_near(rlhf_evaluate_best_of_n_kl(1), 0, 0);
    assert_near(rlhf_evaluate_best_of_n_kl(2), 0.1931471806, 1e-10);
    assert_near(rlhf_evaluate_best_of_n_kl(4), 0.6362943611, 1e-10);
    assert_near(rlhf_evaluate_best_of_n_kl(16), 1.8350887222, 1e-10);
    assert_near(rlhf_evaluate_best_of_n_kl(256), 4.549, 1e-3);
    assert_true(isnan(rlhf_evaluate_best_of_n_kl(0)) && isnan(rlhf_evaluate_best_of_n_kl(-3)));
    assert_near(exact_kl(coin, 2, 2), 0.1308120359, 1e-10);
    assert_near(exact_kl(four, 4, 4), 0.5903101627, 1e-10);
    for (int n = 1; n < 40; n++) {
        assert_true(exact_kl(coin, 2, n) <= rlhf_evaluate_best_of_n_kl(n) + 1e-15);
        assert_true(exact_kl(four, 4, n) <= rlhf_evaluate_best_of_n_kl(n) + 1e-15);
        assert_near(exact_kl(certain, 1, n), 0, 0); /* below the bound: it is no identity */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values_come_out),
        cmocka_unit_test(all_subsets_agree),
        cmocka_unit_test(long_curves_have_their_closed_form),
        cmocka_unit_test(the_estimate_is_unbiased),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(the_bound_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
