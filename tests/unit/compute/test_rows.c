/* Passes over rows and elements: a double reference with a bound, and the same bits from every kernel and thread
 * count. */
#include "unit/compute/support.h"

static const int64_t widths[] = {1, 4, 8, 15, 16, 17, 31, 33, 64, 100, 172, 255, 256, 257, 300, 576};
enum { WIDTHS = sizeof widths / sizeof widths[0] };
/* few rows, and enough for several row blocks and threads */
static const int64_t heights[] = {1, 3, 300, 700};
enum { HEIGHTS = sizeof heights / sizeof heights[0] };

static void check_norm(int64_t rows, int64_t d, int layer)
{
    const int64_t count = rows * d;
    const float eps = 1e-5f;
    float *x = random_array(count, -2, 3), *weight = random_array(d, -1, 2), *bias = random_array(d, -1, 1);
    float *dy = random_array(count, -1, 1), *dx0 = random_array(count, -1, 1), *sum0 = random_array(2 * d, -1, 1);
    double *want_y = doubles(count), *want_dx = doubles(count), *want_dw = doubles(d), *want_db = doubles(d);
    float *first[6] = {0};

    for (int64_t j = 0; j < d; j++) {
        want_dw[j] = (double)sum0[j];
        want_db[j] = (double)sum0[d + j];
    }
    for (int64_t r = 0; r < rows; r++) {
        const float *row = x + r * d, *g = dy + r * d;
        double mean = 0, square = 0, plain = 0, weighted = 0;
        for (int64_t j = 0; layer && j < d; j++)
            mean += (double)row[j] / (double)d;
        for (int64_t j = 0; j < d; j++)
            square += ((double)row[j] - mean) * ((double)row[j] - mean) / (double)d;
        double scale = 1 / sqrt(square + (double)eps);
        for (int64_t j = 0; j < d; j++) {
            double normal = ((double)row[j] - mean) * scale, h = (double)g[j] * (double)weight[j];
            want_y[r * d + j] = normal * (double)weight[j] + (layer ? (double)bias[j] : 0);
            plain += layer ? h / (double)d : 0;
            weighted += h * normal / (double)d;
            want_dw[j] += (double)g[j] * normal;
            want_db[j] += (double)g[j];
        }
        for (int64_t j = 0; j < d; j++) {
            double normal = ((double)row[j] - mean) * scale, h = (double)g[j] * (double)weight[j];
            want_dx[r * d + j] = (double)dx0[r * d + j] + scale * (h - plain - normal * weighted);
        }
    }
    for (int v = 0; v < VARIANTS; v++) {
        float *y = guarded(count), *mean = guarded(rows), *rstd = guarded(rows), *dx = copy_array(dx0, count);
        float *dw = copy_array(sum0, d), *db = copy_array(sum0 + d, d);
        memset(mean, 0, (size_t)rows * sizeof(float));
        if (layer) {
            rlhfi_layer_norm(contexts[v], rows, d, x, weight, bias, eps, y, mean, rstd);
            assert_int_equal(
                rlhfi_layer_norm_backward(contexts[v], rows, d, x, weight, mean, rstd, dy, dx, dw, db), RLHF_OK);
        } else {
            rlhfi_rms_norm(contexts[v], rows, d, x, weight, eps, y, rstd);
            assert_int_equal(rlhfi_rms_norm_backward(contexts[v], rows, d, x, weight, rstd, dy, dx, dw), RLHF_OK);
            assert_int_equal(rlhfi_bias_gradient(contexts[v], rows, d, dy, d, db), RLHF_OK);
        }
        float *got[] = {y, mean, rstd, dx, dw, db};
        const int64_t sizes[] = {count, rows, rows, count, d, d};
        if (v == 0) {
            double size = sqrt((double)rows);
            assert_near("norm", y, want_y, count, d == 1 && layer ? 1e-2 : 3e-5);
            /* one feature: x^ is 0 or +-1 and the gradient is what rounding leaves of 0 */
            assert_near("norm dx", dx, want_dx, count, d <= 4 ? 3e-2 : 1e-4);
            assert_near("norm dweight", dw, want_dw, d, 1e-5 * size + (d == 1 ? 1e-1 : 0));
            assert_near("norm dbias", db, want_db, d, 1e-5 * size);
            memcpy(first, got, sizeof first);
        }
        for (int i = 0; i < 6; i++)
            assert_same_bits(layer ? "layer norm" : "rms norm", v, got[i], first[i], sizes[i]);
    }
    /* a row alone gives the same bits */
    float *y = guarded(d), *rstd = guarded(1);
    int64_t r = random_bits() % rows;
    if (layer)
        rlhfi_layer_norm(contexts[VARIANTS - 1], 1, d, x + r * d, weight, bias, eps, y, NULL, rstd);
    else
        rlhfi_rms_norm(contexts[VARIANTS - 1], 1, d, x + r * d, weight, eps, y, rstd);
    assert_same_bits("row alone", VARIANTS - 1, y, first[0] + r * d, d);
    release_guarded();
}

static void test_norms(void **state)
{
    (void)state;
    for (int i = 0; i < WIDTHS; i++)
        for (int j = 0; j < HEIGHTS; j++)
            for (int layer = 0; layer < 2; layer++)
                check_norm(heights[j], widths[i], layer);
}

static double activation(int kind, double x)
{
    switch (kind) {
    case RLHFI_SILU: return x / (1 + exp(-x));
    case RLHFI_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case RLHFI_GELU_ERF: return 0.5 * x * (1 + erf(x / sqrt(2)));
    default: return x > 0 ? x : 0;
    }
}

static double slope(int kind, double x)
{
    double step = 1e-5;
    if (kind == RLHFI_RELU)
        return x > 0;
    return (activation(kind, x + step) - activation(kind, x - step)) / (2 * step);
}

static void check_activation(int kind, int64_t rows, int64_t n, int gated)
{
    const int64_t ld = 2 * n + 3, count = (rows - 1) * ld + 2 * n;
    float *x = random_array(count, -6, 6), *dy0 = random_array(rows * n, -1, 1);
    const float *u = gated ? x + n : NULL; /* fused projection: gate and partner side by side */
    double *want = doubles(rows * n), *want_dx = doubles(rows * n), *want_du = doubles(rows * n);
    float *first[3] = {0};

    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < n; j++) {
            double a = (double)x[r * ld + j], partner = gated ? (double)x[r * ld + n + j] : 1;
            want[r * n + j] = activation(kind, a) * partner;
            want_dx[r * n + j] = (double)dy0[r * n + j] * slope(kind, a) * partner;
            want_du[r * n + j] = gated ? (double)dy0[r * n + j] * activation(kind, a) : 0;
        }
    for (int v = 0; v < VARIANTS; v++) {
        float *y = guarded(rows * n), *dx = copy_array(dy0, rows * n), *du = guarded(rows * n);
        rlhfi_activate(contexts[v], kind, rows, n, x, ld, u, ld, y, n);
        rlhfi_activate_backward(contexts[v], kind, rows, n, x, ld, u, ld, dx, n, dx, n, gated ? du : NULL, n);
        float *got[] = {y, dx, du};
        if (v == 0) {
            assert_near("activation", y, want, rows * n, 1e-6);
            assert_near("activation dx", dx, want_dx, rows * n, 1e-6);
            if (gated)
                assert_near("activation du", du, want_du, rows * n, 1e-6);
            memcpy(first, got, sizeof first);
        }
        for (int i = 0; i < 2 + gated; i++)
            assert_same_bits("activation", v, got[i], first[i], rows * n);
    }
    release_guarded();
}

static void test_activations(void **state)
{
    (void)state;
    for (int kind = RLHFI_SILU; kind <= RLHFI_RELU; kind++)
        for (int i = 0; i < WIDTHS; i++)
            for (int gated = 0; gated < 2; gated++)
                check_activation(kind, 1 + 150 * (i % 2), widths[i], gated);
}

/* formats.md 3.3 */
static void test_activation_vectors(void **state)
{
    static const float x[6] = {-3, -1, -0.5f, 0.5f, 1, 3};
    static const double want[3][6] = {
        {-0.1422776, -0.2689414, -0.1887703, 0.3112297, 0.7310586, 2.8577224},
        {-0.0036374, -0.1588080, -0.1542860, 0.3457140, 0.8411920, 2.9963626},
        {-0.0040497, -0.1586553, -0.1542688, 0.3457312, 0.8413447, 2.9959503},
    };
    float y[6];

    (void)state;
    for (int kind = RLHFI_SILU; kind <= RLHFI_GELU_ERF; kind++) {
        rlhfi_activate(contexts[VARIANTS - 1], kind, 1, 6, x, 6, NULL, 0, y, 6);
        assert_near("activation vector", y, want[kind - 1], 6, 1e-6);
    }
}

static void test_rotary(void **state)
{
    static const int64_t head_dims[] = {2, 8, 30, 32, 64, 80};
    enum { POSITIONS = 70, HEADS = 3 };

    (void)state;
    for (unsigned i = 0; i < sizeof head_dims / sizeof head_dims[0]; i++) {
        const int64_t n = head_dims[i], half = n / 2, rows = 50, ld = HEADS * n + 5,
                      count = (rows - 1) * ld + HEADS * n;
        float *frequency = guarded(half), *x = random_array(count, -1, 1), *first = NULL;
        int32_t *position = guarded_bytes((size_t)rows * sizeof *position);
        double *want = doubles(count);
        for (int64_t p = 0; p < half; p++)
            frequency[p] = powf(10000.0f, -(float)(2 * p) / (float)n);
        for (int64_t r = 0; r < rows; r++)
            position[r] = (int32_t)(random_bits() % POSITIONS);
        for (int64_t c = 0; c < count; c++)
            want[c] = (double)x[c];
        for (int64_t r = 0; r < rows; r++)
            for (int64_t h = 0; h < HEADS; h++)
                for (int64_t p = 0; p < half; p++) {
                    double angle = (double)((float)position[r] * frequency[p]);
                    double a = (double)x[r * ld + h * n + p], b = (double)x[r * ld + h * n + half + p];
                    want[r * ld + h * n + p] = a * cos(angle) - b * sin(angle);
                    want[r * ld + h * n + half + p] = b * cos(angle) + a * sin(angle);
                }
        for (int v = 0; v < VARIANTS; v++) {
            float *cosine = guarded(POSITIONS * half), *sine = guarded(POSITIONS * half), *y = copy_array(x, count);
            rlhfi_rotary_table(contexts[v], POSITIONS, n, frequency, cosine, sine);
            rlhfi_rotate(contexts[v], rows, HEADS, n, position, cosine, sine, 1, y, ld);
            if (v == 0) {
                first = y;
                assert_near("rotary", y, want, count, 3e-7);
            }
            assert_same_bits("rotary", v, y, first, count);
            y = copy_array(y, count);
            rlhfi_rotate(contexts[v], rows, HEADS, n, position, cosine, sine, -1, y, ld);
            for (int64_t c = 0; c < count; c++)
                assert_true(fabsf(y[c] - x[c]) < 1e-6f);
        }
        release_guarded();
    }
}

static void test_tables(void **state)
{
    (void)state;
    for (int i = 0; i < WIDTHS; i++) {
        const int64_t d = widths[i], rows = 300, entries = 20;
        float *table = random_array(entries * d, -1, 1), *dy = random_array(rows * d, -1, 1);
        int32_t *id = guarded_bytes((size_t)rows * sizeof *id);
        float *want = copy_array(table, entries * d);
        for (int64_t r = 0; r < rows; r++)
            id[r] = (int32_t)(random_bits() % entries);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t j = 0; j < d; j++)
                want[id[r] * d + j] += dy[r * d + j];
        for (int v = 0; v < VARIANTS; v++) {
            float *sum = copy_array(table, entries * d), *y = guarded(rows * d);
            rlhfi_scatter_add(contexts[v], rows, d, id, dy, sum);
            assert_same_bits("scatter", v, sum, want, entries * d);
            rlhfi_gather(contexts[v], rows, d, table, id, 0, y);
            for (int64_t r = 0; r < rows; r++)
                assert_same_bits("gather", v, y + r * d, table + id[r] * d, d);
            rlhfi_gather(contexts[v], rows, d, table, id, 1, y);
            for (int64_t c = 0; c < rows * d; c++)
                assert_true(y[c] == 2 * table[id[c / d] * d + c % d]);
        }
        release_guarded();
    }
}

static void test_elements(void **state)
{
    static const int64_t counts[] = {1, 15, 17, 300, 4095, 4097, 200001};

    (void)state;
    for (unsigned i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        const int64_t n = counts[i];
        float *x = random_array(n, -1, 1), *y0 = random_array(n, -1, 1);
        double squares = 0, first_squares = 0;
        for (int64_t j = 0; j < n; j++)
            squares += (double)x[j] * (double)x[j];
        for (int v = 0; v < VARIANTS; v++) {
            float *y = copy_array(y0, n);
            rlhfi_add_to(contexts[v], y, x, n);
            rlhfi_scale(contexts[v], y, 0.3f, n);
            for (int64_t j = 0; j < n; j++)
                assert_true(y[j] == (y0[j] + x[j]) * 0.3f);
            rlhfi_copy(contexts[v], y, x, n);
            assert_memory_equal(x, y, (size_t)n * sizeof(float));
            double got = rlhfi_sum_of_squares(contexts[v], x, n);
            if (v == 0)
                first_squares = got;
            assert_memory_equal(&got, &first_squares, sizeof got);
            assert_true(fabs(got - squares) <= 1e-12 * squares);
            assert_true(rlhfi_all_finite(contexts[v], y, n));
            static const float bad[] = {NAN, INFINITY, -INFINITY};
            for (int b = 0; b < 3; b++) {
                int64_t at = b == 0 ? n - 1 : (int64_t)(random_bits() % n);
                float kept = y[at];
                y[at] = bad[b];
                assert_false(rlhfi_all_finite(contexts[v], y, n));
                y[at] = kept;
            }
            rlhfi_zero(contexts[v], y, n);
            for (int64_t j = 0; j < n; j++)
                assert_true(y[j] == 0.0f);
        }
        release_guarded();
    }
}

static void test_adamw(void **state)
{
    enum { COUNT = 70001, STEPS = 3 };
    float *p0 = random_array(COUNT, -1, 1), *first[3] = {0};
    float *gradient[STEPS];
    double *p = doubles(COUNT), *m = doubles(COUNT), *v2 = doubles(COUNT);
    const double rate = 1e-2, decay = 0.1, beta1 = 0.9, beta2 = 0.999, scale = 0.5;

    (void)state;
    for (int t = 0; t < STEPS; t++)
        gradient[t] = random_array(COUNT, -1, 1);
    for (int64_t i = 0; i < COUNT; i++) {
        p[i] = (double)p0[i];
        for (int t = 0; t < STEPS; t++) {
            double g = (double)gradient[t][i] * scale;
            p[i] *= 1 - rate * decay;
            m[i] = beta1 * m[i] + (1 - beta1) * g;
            v2[i] = beta2 * v2[i] + (1 - beta2) * g * g;
            p[i] -= rate * (m[i] / (1 - pow(beta1, t + 1))) / (sqrt(v2[i] / (1 - pow(beta2, t + 1))) + 1e-8);
        }
    }
    for (int v = 0; v < VARIANTS; v++) {
        float *parameter = copy_array(p0, COUNT), *one = guarded(COUNT), *two = guarded(COUNT);
        memset(one, 0, COUNT * sizeof(float));
        memset(two, 0, COUNT * sizeof(float));
        for (int t = 0; t < STEPS; t++) {
            rlhfi_adamw step = {.learning_rate = (float)rate, .beta1 = (float)beta1, .beta2 = (float)beta2,
                                .epsilon = 1e-8f, .weight_decay = (float)decay, .gradient_scale = (float)scale,
                                .one_minus_beta1 = (float)(1 - beta1), .one_minus_beta2 = (float)(1 - beta2),
                                .inverse_bias1 = (float)(1 / (1 - pow(beta1, t + 1))),
                                .inverse_sqrt_bias2 = (float)(1 / sqrt(1 - pow(beta2, t + 1)))};
            rlhfi_adamw_update(contexts[v], &step, COUNT, parameter, gradient[t], one, two);
        }
        float *got[] = {parameter, one, two};
        if (v == 0) {
            memcpy(first, got, sizeof first);
            assert_near("adamw", parameter, p, COUNT, 1e-6);
        }
        for (int i = 0; i < 3; i++)
            assert_same_bits("adamw", v, got[i], first[i], COUNT);
    }
    release_guarded();
}

static void test_describe(void **state)
{
    char text[200], expected[200];

    (void)state;
    for (int v = 0; v < VARIANTS; v++) {
        size_t size = rlhfi_compute_describe(contexts[v], text, sizeof text);
        assert_int_equal(size, strlen(text) + 1);
        assert_int_equal(rlhfi_compute_describe(contexts[v], expected, 7), size);
        assert_int_equal(strlen(expected), 6);
        assert_memory_equal(expected, text, 6);
    }
    assert_non_null(strstr(contexts[0]->compute_text, "scalar"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norms),  cmocka_unit_test(test_activations), cmocka_unit_test(test_activation_vectors),
        cmocka_unit_test(test_rotary), cmocka_unit_test(test_tables),      cmocka_unit_test(test_elements),
        cmocka_unit_test(test_adamw),  cmocka_unit_test(test_describe),
    };

    return cmocka_run_group_tests(tests, make_contexts, release_contexts);
}
