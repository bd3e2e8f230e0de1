/* Calibration of preference probabilities: the oracles of the reference, then the fitted scale. */
#include "checks.h"

enum { MOST = 256 };

/* Pairs with differences h (rejected scores are arbitrary). */
static rlhf_calibration measure(const double *h, int64_t pairs)
{
    double chosen[MOST], rejected[MOST];
    rlhf_calibration out = {.struct_size = sizeof out};

    for (int64_t i = 0; i < pairs; i++) {
        rejected[i] = (double)(i % 3) * 0.25;
        chosen[i] = rejected[i] + h[i];
    }
    CHECK(rlhf_evaluate_calibration(chosen, rejected, pairs, &out));
    assert_int_equal(out.bins, RLHF_CALIBRATION_BINS);
    assert_int_equal(out.struct_size, sizeof out);
    return out;
}

static double error_of(double a, double b, double c, double d)
{
    const double h[4] = {a, b, c, d};

    return measure(h, 4).expected_calibration_error;
}

static void expected_calibration_error_is_that_of_the_reference(void **state)
{
    assert_near(error_of(0, 0, 0, 0), 0, 1e-15);
    assert_near(error_of(1e-9, 1e-9, -1e-9, -1e-9), 0, 1e-9);
    assert_near(error_of(1e-9, 1e-9, 1e-9, 1e-9), 0.5, 1e-9);
    assert_near(error_of(20, 20, -20, -20), 0.5, 1e-8);
    assert_near(error_of(20, 20, 20, 20), 0, 1e-8);
}

static void likelihood_brier_and_accuracy(void **state)
{
    const double right[1] = {2}, wrong[1] = {-2}, far[1] = {-1000}, mixed[4] = {2, 0, -1, 3};
    rlhf_calibration out = measure(right, 1);
    double probability = 1 / (1 + exp(-2.0));

    assert_near(out.negative_log_likelihood, 0.1269280110, 1e-10);
    assert_near(out.brier, (1 - probability) * (1 - probability), 1e-15);
    assert_near(out.accuracy, 1, 0);
    assert_true(isnan(out.accuracy_standard_error));
    out = measure(wrong, 1);
    assert_near(out.negative_log_likelihood, 2.1269280110, 1e-10);
    assert_near(out.brier, probability * probability, 1e-15);
    assert_near(measure(far, 1).negative_log_likelihood, 1000, 1e-12);
    out = measure(mixed, 4); /* correct: 1, 1/2, 0, 1 */
    assert_near(out.accuracy, 0.625, 0);
    assert_near(out.accuracy_standard_error, sqrt(0.6875 / 3 / 4), 1e-15);
    assert_near(measure((const double[]){0}, 1).negative_log_likelihood, log(2), 1e-15);
}

static void bins_cover_a_half_to_one(void **state)
{
    /* confidences 0.5, 0.62 (bin 2), 0.62 wrong, 0.97 (bin 9), and the last edge */
    const double h[5] = {0, log(0.62 / 0.38), -log(0.62 / 0.38), log(0.97 / 0.03), 500};
    rlhf_calibration out = measure(h, 5);
    int64_t pairs = 0;

    for (int bin = 0; bin < RLHF_CALIBRATION_BINS; bin++) {
        pairs += out.pairs[bin];
        assert_int_equal(isnan(out.confidence[bin]), out.pairs[bin] == 0);
        assert_int_equal(isnan(out.correct[bin]), out.pairs[bin] == 0);
    }
    assert_int_equal(pairs, 5);
    assert_int_equal(out.pairs[0], 1);
    assert_int_equal(out.pairs[2], 2);
    assert_int_equal(out.pairs[9], 2);
    assert_near(out.correct[0], 0.5, 0);
    assert_near(out.correct[2], 0.5, 0);
    assert_near(out.confidence[2], 0.62, 1e-14);
    assert_near(out.confidence[9], 0.985, 1e-14);
    assert_near(out.expected_calibration_error, (0 + 2 * 0.12 + 2 * 0.015) / 5, 1e-14);
}

static void the_scale_fits(void **state)
{
    /* Three of four right at |h| = 1: the best scale is log 3, and then confidence is 3/4. */
    const double simple[4] = {1, 1, -1, 1};
    rlhf_calibration out = measure(simple, 4);
    double h[MOST], scaled[MOST], slope = 0, steepness = 0;

    assert_near(out.temperature, log(3), 1e-12);
    assert_near(out.calibrated_error, 0, 1e-12);
    assert_true(out.expected_calibration_error > 0.01);

    /* Any data: there the slope of the likelihood vanishes, and another unit of scores changes the scale only. */
    for (uint32_t i = 0; i < MOST; i++) {
        h[i] = 6 * number(3, i) - 2;
        scaled[i] = 1e-7 * h[i];
    }
    out = measure(h, MOST);
    for (int i = 0; i < MOST; i++) {
        slope -= h[i] / (1 + exp(out.temperature * h[i]));
        steepness += fabs(h[i]);
    }
    assert_true(fabs(slope) < 1e-12 * steepness);
    assert_near(measure(scaled, MOST).temperature / (1e7 * out.temperature), 1, 1e-7);
    assert_near(measure(scaled, MOST).calibrated_error, out.calibrated_error, 1e-8);
}

static void scales_without_a_minimum_are_bounded(void **state)
{
    const double separable[3] = {1, 2, 0.5}, reversed[3] = {-1, -2, 0.5}, ties[2] = {0, 0}, balanced[2] = {1, -1};
    rlhf_calibration out = measure(separable, 3);

    assert_true(out.temperature > 20 && isfinite(out.temperature));
    assert_near(out.calibrated_error, 0, 1e-9);
    assert_near(measure(reversed, 3).temperature, 0, 0);
    assert_near(measure(balanced, 2).temperature, 0, 0);
    assert_near(measure(ties, 2).temperature, 1, 0);
}

static void bad_arguments_are_refused(void **state)
{
    double chosen[2] = {1, 2}, rejected[2] = {0, 0};
    rlhf_calibration out = {.struct_size = sizeof out};

    assert_int_equal(rlhf_evaluate_calibration(NULL, rejected, 2, &out), RLHF_E_INVAL);
    assert_int_equal(rlhf_evaluate_calibration(chosen, NULL, 2, &out), RLHF_E_INVAL);
    assert_int_equal(rlhf_evaluate_calibration(chosen, rejected, 2, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_evaluate_calibration(chosen, rejected, 0, &out), RLHF_E_INVAL);
    chosen[1] = NAN;
    assert_int_equal(rlhf_evaluate_calibration(chosen, rejected, 2, &out), RLHF_E_NONFINITE);
    chosen[1] = INFINITY;
    assert_int_equal(rlhf_evaluate_calibration(chosen, rejected, 2, &out), RLHF_E_NONFINITE);
    chosen[1] = 2;
    out.struct_size = 8;
    assert_int_equal(rlhf_evaluate_calibration(chosen, rejected, 2, &out), RLHF_E_INVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expected_calibration_error_is_that_of_the_reference),
        cmocka_unit_test(likelihood_brier_and_accuracy),
        cmocka_unit_test(bins_cover_a_half_to_one),
        cmocka_unit_test(the_scale_fits),
        cmocka_unit_test(scales_without_a_minimum_are_bounded),
        cmocka_unit_test(bad_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
