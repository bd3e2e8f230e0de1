/* Elementary functions: error bounds against libm in higher precision, special values, same bits in every kernel. */
#include "unit/compute/support.h"
#include "compute/kernels.h"


static float scan_error(const char *name, float (*one)(float), double (*reference)(double), float low, float high,
                        double bound)
{
    double worst = 0.0;
    float at = 0.0f;

    for (int64_t i = 0; i < 400000; i++) {
        float x = random_float(low, high);
        double error = ulps(one(x), reference((double)x));
        if (error > worst) {
            worst = error;
            at = x;
        }
    }
    if (!(worst <= bound))
        fail_msg("%s: %.2f ulp at %a", name, worst, (double)at);
    return (float)worst;
}

static void test_float_errors(void **state)
{
    (void)state;
    scan_error("exp", rlhfi_expf, exp, -87.33f, 88.72f, 2.0);
    scan_error("exp", rlhfi_expf, exp, -1.0f, 1.0f, 2.0);
    scan_error("log", rlhfi_logf, log, 0.5f, 2.0f, 2.0);
    scan_error("log", rlhfi_logf, log, 0.99f, 1.01f, 2.0);
    scan_error("log", rlhfi_logf, log, 0.0f, 1e-38f, 2.0);
    scan_error("log", rlhfi_logf, log, 1.0f, 3e38f, 2.0);
    scan_error("tanh", rlhfi_tanhf, tanh, -1.0f, 1.0f, 2.0);
    scan_error("tanh", rlhfi_tanhf, tanh, -10.0f, 10.0f, 2.0);
    scan_error("tanh", rlhfi_tanhf, tanh, -1e-3f, 1e-3f, 2.0);
    scan_error("erf", rlhfi_erff, erf, -1.0f, 1.0f, 2.0);
    scan_error("erf", rlhfi_erff, erf, -5.0f, 5.0f, 2.0);
    scan_error("sin", rlhfi_sinf, sin, -10.0f, 10.0f, 1.0);
    scan_error("sin", rlhfi_sinf, sin, -1e5f, 1e5f, 1.0);
    scan_error("cos", rlhfi_cosf, cos, -10.0f, 10.0f, 1.0);
    scan_error("cos", rlhfi_cosf, cos, -1e5f, 1e5f, 1.0);
}

/* Floats next to multiples of pi/2, where the reduction cancels most. */
static void test_reduction(void **state)
{
    (void)state;
    for (int n = 1; n < 63662; n++) {
        float x = (float)(n * 1.57079632679489661923);
        for (int side = -1; side <= 1; side++) {
            float y = side == 0 ? x : nextafterf(x, side * INFINITY);
            assert_true(ulps(rlhfi_sinf(y), sin((double)y)) <= 1.0);
            assert_true(ulps(rlhfi_cosf(y), cos((double)y)) <= 1.0);
        }
    }
}

static void test_special_values(void **state)
{
    (void)state;
    assert_true(rlhfi_expf(0.0f) == 1.0f && rlhfi_expf(-0.0f) == 1.0f);
    assert_true(rlhfi_expf(-INFINITY) == 0.0f && rlhfi_expf(-87.4f) == 0.0f && rlhfi_expf(-1000.0f) == 0.0f);
    assert_true(rlhfi_expf(-0x1.5d589ep+6f) >= 0x1p-126f);
    assert_true(isinf(rlhfi_expf(89.0f)) && isinf(rlhfi_expf(INFINITY)) && isfinite(rlhfi_expf(0x1.62e42ep+6f)));
    assert_true(isnan(rlhfi_expf(NAN)));
    assert_true(rlhfi_logf(1.0f) == 0.0f && rlhfi_logf(0.0f) == -INFINITY && rlhfi_logf(-0.0f) == -INFINITY);
    assert_true(isnan(rlhfi_logf(-1.0f)) && isnan(rlhfi_logf(NAN)) && rlhfi_logf(INFINITY) == INFINITY);
    assert_true(rlhfi_tanhf(100.0f) == 1.0f && rlhfi_tanhf(-INFINITY) == -1.0f && isnan(rlhfi_tanhf(NAN)));
    assert_true(signbit(rlhfi_tanhf(-0.0f)) && signbit(rlhfi_erff(-0.0f)) && signbit(rlhfi_sinf(-0.0f)));
    assert_true(rlhfi_erff(6.0f) == 1.0f && rlhfi_erff(-INFINITY) == -1.0f && isnan(rlhfi_erff(NAN)));
    assert_true(rlhfi_sinf(0.0f) == 0.0f && rlhfi_cosf(0.0f) == 1.0f);
    assert_true(isnan(rlhfi_sinf(INFINITY)) && isnan(rlhfi_cosf(NAN)));

    assert_true(rlhfi_exp_double(0.0) == 1.0 && rlhfi_exp_double(-INFINITY) == 0.0 && isnan(rlhfi_exp_double(NAN)));
    assert_true(isinf(rlhfi_exp_double(709.79)) && isfinite(rlhfi_exp_double(709.78)));
    assert_true(rlhfi_exp_double(-746.0) == 0.0 && rlhfi_exp_double(-745.0) > 0.0);
    assert_true(rlhfi_log_double(1.0) == 0.0 && rlhfi_log_double(0.0) == -INFINITY && isnan(rlhfi_log_double(-1.0)));
    assert_true(rlhfi_log_double(INFINITY) == INFINITY);
    assert_true(rlhfi_log1p_double(-1.0) == -INFINITY && isnan(rlhfi_log1p_double(-1.5)));
    assert_true(signbit(rlhfi_log1p_double(-0.0)) && signbit(rlhfi_expm1_double(-0.0)));
    assert_true(rlhfi_expm1_double(-INFINITY) == -1.0 && isinf(rlhfi_expm1_double(INFINITY)));
}

static double ulps_double(double got, long double want)
{
    double near = (double)want;
    if (near == 0.0 || isinf(near))
        return got == near ? 0.0 : 1e9;
    long double unit = (long double)nextafter(fabs(near), INFINITY) - (long double)fabs(near);
    return (double)(fabsl((long double)got - want) / unit);
}

static void scan_double(const char *name, double (*one)(double), long double (*reference)(long double), double low,
                        double high)
{
    double worst = 0.0, at = 0.0;

    for (int i = 0; i < 400000; i++) {
        double x = low + (high - low) * ((double)random_bits() + (double)random_bits() * 0x1p-32) * 0x1p-32;
        double error = ulps_double(one(x), reference((long double)x));
        if (error > worst) {
            worst = error;
            at = x;
        }
    }
    if (!(worst <= 2.0))
        fail_msg("%s: %.2f ulp at %a", name, worst, at);
}

static void test_double_errors(void **state)
{
    (void)state;
    scan_double("exp", rlhfi_exp_double, expl, -1.0, 1.0);
    scan_double("exp", rlhfi_exp_double, expl, -745.0, 709.7);
    scan_double("log", rlhfi_log_double, logl, 0.5, 2.0);
    scan_double("log", rlhfi_log_double, logl, 0.999, 1.001);
    scan_double("log", rlhfi_log_double, logl, 0.0, 1e300);
    scan_double("log", rlhfi_log_double, logl, 0.0, 1e-307);
    scan_double("log1p", rlhfi_log1p_double, log1pl, -1.0, 1.0);
    scan_double("log1p", rlhfi_log1p_double, log1pl, -1e-5, 1e-5);
    scan_double("log1p", rlhfi_log1p_double, log1pl, 0.0, 1e6);
    scan_double("expm1", rlhfi_expm1_double, expm1l, -1.0, 1.0);
    scan_double("expm1", rlhfi_expm1_double, expm1l, -1e-5, 1e-5);
    scan_double("expm1", rlhfi_expm1_double, expm1l, -40.0, 100.0);
}

/* Every bit pattern class: the vector kernels agree with each other and with the one-number functions. */
static void test_kernels_agree(void **state)
{
    enum { COUNT = 65537 };
    static float x[COUNT], want[4][COUNT], got[COUNT];

    (void)state;
    for (int64_t i = 0; i < COUNT; i++) {
        uint32_t bits = random_bits();
        memcpy(&x[i], &bits, sizeof bits);
    }
    static const float special[] = {0.0f,       -0.0f,       1.0f,       -1.0f,     INFINITY,   -INFINITY,
                                    NAN,        0x1p-149f,   -0x1p-149f, 0x1p-126f, 88.722839f, 88.72284f,
                                    -87.33654f, -87.336548f, 0.625f,     0.921875f, 3.95f};
    memcpy(x, special, sizeof special);
    for (int64_t i = 100; i < COUNT / 2; i++)
        x[i] = random_float(-20.0f, 20.0f);
    for (int64_t i = 0; i < COUNT; i++) {
        want[0][i] = rlhfi_expf(x[i]);
        want[1][i] = rlhfi_logf(x[i]);
        want[2][i] = rlhfi_tanhf(x[i]);
        want[3][i] = rlhfi_erff(x[i]);
    }
    for (int v = 0; v < VARIANTS; v++) {
        const rlhfi_kernels *kernels = rlhfi_kernels_of(contexts[v]);
        kernels->exp(COUNT, x, got);
        assert_same_bits("exp", v, got, want[0], COUNT);
        kernels->log(COUNT, x, got);
        assert_same_bits("log", v, got, want[1], COUNT);
        kernels->tanh(COUNT, x, got);
        assert_same_bits("tanh", v, got, want[2], COUNT);
        kernels->erf(COUNT, x, got);
        assert_same_bits("erf", v, got, want[3], COUNT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_float_errors),   cmocka_unit_test(test_reduction),
        cmocka_unit_test(test_special_values), cmocka_unit_test(test_double_errors),
        cmocka_unit_test(test_kernels_agree),
    };

    return cmocka_run_group_tests(tests, make_contexts, release_contexts);
}
