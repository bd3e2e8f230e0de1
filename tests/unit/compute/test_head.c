/* The language-model head: against double, the same bits from every kernel, from logits, and for a row alone. */
#include "unit/compute/support.h"

struct outputs {
    float *log_prob, *entropy, *mean, *lse;
    int32_t *best;
};

static struct outputs make_outputs(int64_t rows)
{
    return (struct outputs){guarded(rows), guarded(rows), guarded(rows), guarded(rows),
                            guarded_bytes((size_t)rows * sizeof(int32_t))};
}

static rlhfi_head_result result_of(const struct outputs *o)
{
    return (rlhfi_head_result){o->log_prob, o->entropy, o->mean, o->best, o->lse};
}

static void assert_same_outputs(const char *what, int v, const struct outputs *got, int64_t at,
                                const struct outputs *want, int64_t from, int64_t rows)
{
    assert_same_bits(what, v, got->log_prob + at, want->log_prob + from, rows);
    assert_same_bits(what, v, got->entropy + at, want->entropy + from, rows);
    assert_same_bits(what, v, got->mean + at, want->mean + from, rows);
    assert_same_bits(what, v, got->lse + at, want->lse + from, rows);
    assert_memory_equal(got->best + at, want->best + from, (size_t)rows * sizeof(int32_t));
}

static void check_head(int64_t rows, int64_t d, int64_t vocabulary, float inverse_temperature, int indexed, float size)
{
    const int64_t hidden_rows = indexed ? rows + 5 : rows;
    float *hidden = random_array(hidden_rows * d, -size, size), *weight = random_array(vocabulary * d, -1, 1);
    float *logits = guarded(rows * vocabulary);
    int64_t *row = indexed ? guarded_bytes((size_t)rows * sizeof *row) : NULL;
    int32_t *target = guarded_bytes((size_t)rows * sizeof *target);
    float *d_log_prob = random_array(rows, -1, 1), *d_entropy = random_array(rows, -1, 1);
    float *d_mean = random_array(rows, -1, 1);
    double *dhidden = doubles(hidden_rows * d), *dweight = doubles(vocabulary * d), *z = doubles(vocabulary);
    double *want[4];
    struct outputs first = make_outputs(rows);
    float *first_dhidden = NULL, *first_dweight = NULL;

    for (int i = 0; i < 4; i++)
        want[i] = doubles(rows);
    for (int64_t i = 0; i < rows; i++) {
        if (indexed)
            row[i] = (i * 7 + 3) % hidden_rows;
        target[i] = (int32_t)(random_bits() % vocabulary);
        if (i % 5 == 4)
            d_log_prob[i] = d_entropy[i] = d_mean[i] = 0.0f; /* rows that may be skipped */
        const float *h = hidden + (indexed ? row[i] : i) * d;
        double most = -INFINITY, sum = 0, plain = 0, entropy = 0;
        float best = -INFINITY;
        assert_int_equal(rlhfi_product(contexts[0], 0, 1, 1, vocabulary, d, h, d, weight, d, NULL, 0,
                                       logits + i * vocabulary, vocabulary),
                         RLHF_OK);
        for (int64_t t = 0; t < vocabulary; t++) {
            z[t] = (double)logits[i * vocabulary + t] * (double)inverse_temperature;
            most = z[t] > most ? z[t] : most;
            plain += z[t];
            if (logits[i * vocabulary + t] > best)
                best = logits[i * vocabulary + t];
        }
        for (int64_t t = 0; t < vocabulary; t++)
            sum += exp(z[t] - most);
        double lse = most + log(sum);
        for (int64_t t = 0; t < vocabulary; t++)
            entropy -= exp(z[t] - lse) * (z[t] - lse);
        want[0][i] = z[target[i]] - lse;
        want[1][i] = entropy;
        want[2][i] = plain / (double)vocabulary - lse;
        want[3][i] = lse;
        for (int64_t t = 0; t < vocabulary; t++) {
            double p = exp(z[t] - lse);
            double dz = (double)d_log_prob[i] * ((t == target[i]) - p) -
                        (double)d_entropy[i] * p * (z[t] - lse + entropy) +
                        (double)d_mean[i] * (1.0 / (double)vocabulary - p);
            for (int64_t j = 0; j < d; j++) {
                dhidden[(indexed ? row[i] : i) * d + j] += dz * (double)inverse_temperature * (double)weight[t * d + j];
                dweight[t * d + j] += dz * (double)inverse_temperature * (double)h[j];
            }
        }
    }
    for (int v = 0; v < VARIANTS; v++) {
        struct outputs got = make_outputs(rows);
        rlhfi_head_result result = result_of(&got);
        float *dh = guarded(hidden_rows * d), *dw = guarded(vocabulary * d);
        memset(dh, 0, (size_t)(hidden_rows * d) * sizeof(float));
        memset(dw, 0, (size_t)(vocabulary * d) * sizeof(float));
        assert_int_equal(
            rlhfi_head(contexts[v], rows, d, vocabulary, hidden, row, rlhfi_float_head(weight), target,
                       inverse_temperature, &result),
            RLHF_OK);
        assert_int_equal(rlhfi_head_backward(contexts[v], rows, d, vocabulary, hidden, row, rlhfi_float_head(weight),
                                             target,
                                             inverse_temperature, &result, d_log_prob, d_entropy, d_mean, dh, dw),
                         RLHF_OK);
        if (v == 0) {
            double range = 3e-7 * (double)(1 + size);
            assert_near("log_prob", got.log_prob, want[0], rows, range);
            assert_near("entropy", got.entropy, want[1], rows, 2 * range);
            assert_near("mean_log_prob", got.mean, want[2], rows, range);
            assert_near("log_sum_exp", got.lse, want[3], rows, range);
            for (int64_t i = 0; i < rows; i++)
                for (int64_t t = 0; t < vocabulary; t++) /* the first of the highest */
                    assert_true(
                        logits[i * vocabulary + t] < logits[i * vocabulary + got.best[i]] ||
                        (logits[i * vocabulary + t] == logits[i * vocabulary + got.best[i]] && t >= got.best[i]));
            assert_near("dhidden", dh, dhidden, hidden_rows * d, 3e-5);
            assert_near("dweight", dw, dweight, vocabulary * d, 3e-5);
            first = got;
            first_dhidden = dh;
            first_dweight = dw;
        }
        assert_same_outputs("head", v, &got, 0, &first, 0, rows);
        assert_same_bits("dhidden", v, dh, first_dhidden, hidden_rows * d);
        assert_same_bits("dweight", v, dw, first_dweight, vocabulary * d);

        /* the sampler's way: logits first, one row or several */
        struct outputs again = make_outputs(rows);
        result = result_of(&again);
        rlhfi_head_from_logits(contexts[v], rows, vocabulary, logits, vocabulary, target, inverse_temperature, &result);
        assert_same_outputs("from logits", v, &again, 0, &first, 0, rows);
        int64_t i = random_bits() % rows, where = indexed ? row[i] : i;
        struct outputs alone = make_outputs(1);
        result = result_of(&alone);
        assert_int_equal(rlhfi_head(contexts[v], 1, d, vocabulary, hidden, &where, rlhfi_float_head(weight), target + i,
                                    inverse_temperature, &result),
                         RLHF_OK);
        assert_same_outputs("row alone", v, &alone, 0, &first, i, 1);

        float *p = guarded(vocabulary), lse = rlhfi_softmax_row(contexts[v], vocabulary, logits + i * vocabulary,
                                                                inverse_temperature, p);
        double sum = 0;
        assert_same_bits("softmax lse", v, &lse, first.lse + i, 1);
        for (int64_t t = 0; t < vocabulary; t++)
            sum += (double)p[t];
        assert_true(fabs(sum - 1) < 1e-6);
        assert_true(fabs((double)p[target[i]] - exp(want[0][i])) <= 2e-6 * exp(want[0][i]) + 1e-30);
    }
    release_guarded();
}

static void test_shapes(void **state)
{
    (void)state;
    check_head(1, 8, 1, 1.0f, 0, 1.0f);
    check_head(3, 8, 2, 1.0f, 0, 1.0f);
    check_head(50, 64, 512, 1.0f, 0, 1.0f);
    check_head(7, 33, 1023, 1.0f, 1, 2.0f);
    check_head(7, 17, 1025, 0.7f, 1, 2.0f);
    check_head(13, 16, 3000, 1.5f, 0, 4.0f);
    check_head(120, 8, 9000, 1.0f, 1, 3.0f);
}

/* More rows than one group and more than one chain of the weight's gradient. */
static void test_many_rows(void **state)
{
    (void)state;
    check_head(1200, 8, 70, 1.0f, 0, 1.0f);
    check_head(600, 8, 1100, 1.0f, 1, 1.0f);
}

/* Tokens that a filter has taken out, whole blocks of them, and a distribution on one token. */
static void test_filtered(void **state)
{
    enum { VOCABULARY = 3100 };
    static float z[VOCABULARY], p[VOCABULARY];
    float log_prob, entropy;
    int32_t best, target = 2500;
    rlhfi_head_result result = {&log_prob, &entropy, NULL, &best, NULL};

    (void)state;
    for (int v = 0; v < VARIANTS; v++) {
        for (int i = 0; i < VOCABULARY; i++)
            z[i] = -INFINITY;
        z[2500] = 3.0f;
        z[2501] = 3.0f;
        rlhfi_head_from_logits(contexts[v], 1, VOCABULARY, z, VOCABULARY, &target, 1.0f, &result);
        assert_true(fabs((double)log_prob + log(2)) < 1e-7 && fabs((double)entropy - log(2)) < 1e-7 && best == 2500);
        assert_true(fabs((double)rlhfi_softmax_row(contexts[v], VOCABULARY, z, 1.0f, p) - 3.0 - log(2)) < 1e-6);
        assert_true(p[0] == 0.0f && p[2500] == 0.5f);
        z[2501] = -INFINITY;
        rlhfi_head_from_logits(contexts[v], 1, VOCABULARY, z, VOCABULARY, &target, 1.0f, &result);
        assert_true(log_prob == 0.0f && entropy == 0.0f);
        z[7] = NAN;
        rlhfi_head_from_logits(contexts[v], 1, VOCABULARY, z, VOCABULARY, &target, 1.0f, &result);
        assert_true(isnan(log_prob));
    }
}

static void test_refuses_nonsense(void **state)
{
    float x[64] = {0}, log_prob;
    int32_t target = 8;
    rlhfi_head_result result = {&log_prob, NULL, NULL, NULL, NULL};

    (void)state;
    assert_int_equal(rlhfi_head(contexts[0], 1, 8, 8, x, NULL, rlhfi_float_head(x), &target, 1.0f, &result),
                     RLHF_E_INVAL);
    target = -1;
    assert_int_equal(rlhfi_head(contexts[0], 1, 8, 8, x, NULL, rlhfi_float_head(x), &target, 1.0f, &result),
                     RLHF_E_INVAL);
    target = 0;
    assert_int_equal(rlhfi_head(contexts[0], 1, 8, 8, x, NULL, rlhfi_float_head(x), &target, 0.0f, &result),
                     RLHF_E_INVAL);
    assert_int_equal(rlhfi_head(contexts[0], 1, 8, 8, x, NULL, rlhfi_float_head(x), NULL, 1.0f, &result), RLHF_E_INVAL);
    assert_int_equal(rlhfi_head_backward(contexts[0], 1, 8, 8, x, NULL, rlhfi_float_head(x), &target, 1.0f, &result,
                                         x, NULL, NULL, x, x),
                     RLHF_E_INVAL); /* no log_sum_exp */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_many_rows),
        cmocka_unit_test(test_filtered),
        cmocka_unit_test(test_refuses_nonsense),
    };

    return cmocka_run_group_tests(tests, make_contexts, release_contexts);
}
