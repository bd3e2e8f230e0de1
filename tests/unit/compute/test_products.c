/* Dense products: against a double reference, the specified chain, and the same bits from every path. */
#include "unit/compute/support.h"
#include "pace.h"

/* The specification, written once more: fmaf chains of 256 k, added in order. */
static float chain(int64_t k, const float *a, int64_t step_a, const float *b, int64_t step_b, const float *start,
                   const float *bias)
{
    float total = start != NULL ? *start : 0.0f;

    for (int64_t p0 = 0; p0 < k; p0 += 256) {
        float sum = 0.0f;
        for (int64_t p = p0; p < k && p < p0 + 256; p++)
            sum = fmaf(a[p * step_a], b[p * step_b], sum);
        total = p0 == 0 && start == NULL ? sum : total + sum;
    }
    return bias != NULL ? total + *bias : total;
}

static void check_shape(int64_t m, int64_t n, int64_t k, int transpose_a, int transpose_b, int accumulate,
                        int with_bias, int64_t pad)
{
    int64_t lda = (transpose_a ? m : k) + pad, ldb = (transpose_b ? k : n) + pad, ldc = n + pad;
    /* the last row has no padding behind it, so that the guard page is at its end */
    int64_t a_count = ((transpose_a ? k : m) - 1) * lda + (transpose_a ? m : k);
    int64_t b_count = ((transpose_b ? n : k) - 1) * ldb + (transpose_b ? k : n);
    int64_t c_count = (m - 1) * ldc + n;
    float *a = random_array(a_count, -1, 1), *b = random_array(b_count, -1, 1);
    float *bias = with_bias ? random_array(n, -1, 1) : NULL, *start = random_array(c_count, -1, 1);
    float *want = copy_array(start, c_count);

    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            want[i * ldc + j] = chain(k, transpose_a ? a + i : a + i * lda, transpose_a ? lda : 1,
                                      transpose_b ? b + j * ldb : b + j, transpose_b ? 1 : ldb,
                                      accumulate ? &start[i * ldc + j] : NULL, bias != NULL ? &bias[j] : NULL);
    for (int v = 0; v < VARIANTS; v++) {
        float *c = copy_array(start, c_count);
        if (!accumulate) /* what stands in C must not matter */
            for (int64_t i = 0; i < m; i++)
                for (int64_t j = 0; j < n; j++)
                    c[i * ldc + j] = NAN;
        assert_int_equal(rlhfi_product(contexts[v], transpose_a, transpose_b, m, n, k, a, lda, b, ldb, bias, accumulate,
                                       c, ldc),
                         RLHF_OK);
        char what[160];
        snprintf(what, sizeof what, "product %lldx%lldx%lld %c%c accumulate %d bias %d", (long long)m, (long long)n,
                 (long long)k, transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', accumulate, with_bias);
        assert_same_bits(what, v, c, want, c_count);
    }
    release_guarded();
}

static void test_edges(void **state)
{
    static const int64_t sizes[] = {1, 2, 3, 12, 15, 16, 17, 31, 33, 65};
    static const int64_t depths[] = {1, 7, 16, 255, 256, 257, 300, 513};

    (void)state;
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i += (unsigned)pace(2))
        for (unsigned j = 0; j < sizeof sizes / sizeof sizes[0]; j++) {
            int64_t k = depths[random_bits() % (sizeof depths / sizeof depths[0])];
            unsigned flags = random_bits() >> 8;
            for (unsigned t = 0; t < 4; t++)
                check_shape(sizes[i], sizes[j], k, t & 1, t >> 1, flags >> t & 1, !(flags >> t & 1) && flags >> 7 & 1,
                            flags >> 8 & 3);
        }
}

static void test_every_width(void **state)
{
    (void)state;
    for (int64_t n = 1; n <= 70; n++)
        check_shape(1 + n % 14, n, 19, n & 1, n >> 1 & 1, n >> 2 & 1, 0, n % 3);
    for (int64_t n = 100; n <= 140; n += 5) /* wide tiles of one to three rows */
        for (int64_t m = 1; m <= 3; m++)
            check_shape(m, n, 40, 0, 1, 0, 1, 0);
}

/* Few rows read weights where they stand: every number of rows, whole and cut panels, k that is no multiple of 16. */
static void test_few_rows(void **state)
{
    (void)state;
    for (int64_t m = 1; m <= 64; m += m < 26 ? 1 : 19)
        check_shape(m, 70, m % 5 == 0 ? 530 : 528, 0, 1, m % 3 == 0, m % 3 == 1, m % 4);
    check_shape(9, 1100, 64, 0, 1, 0, 1, 0);
    check_shape(2, 640, 272, 0, 1, 1, 0, 1);
}

static void test_training_shapes(void **state)
{
    (void)state;
    check_shape(300, 172, 64, 0, 1, 0, 0, 0);
    check_shape(300, 64, 172, 0, 0, 0, 0, 0);
    check_shape(64, 172, 600, 1, 0, 1, 0, 0);
    check_shape(200, 576, 300, 0, 1, 0, 1, 0);
    check_shape(192, 200, 520, 1, 0, 1, 0, 0);
}

/* Large enough for BLIS; often enough that own loops and BLIS both have their turn, with every kind of argument. */
static void test_large_products(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i += (int)pace(3))
        check_shape(260 + 3 * i, 515 + i, 513, i >> 1 & 1, i >> 2 & 1, i == 3 || i == 6, i == 1 || i == 5, i % 3);
}

/* Deeper and wider than the pack buffer: portions must not show. */
static void test_portions(void **state)
{
    (void)state;
    check_shape(3, 40, 20000, 0, 1, 0, 1, 0);
    check_shape(20, 170, 17000, 1, 0, 1, 0, 0);
}

static void test_empty(void **state)
{
    float c[4] = {1, 2, 3, 4}, bias[2] = {5, 6};

    (void)state;
    for (int v = 0; v < VARIANTS; v++) {
        assert_int_equal(rlhfi_product(contexts[v], 0, 0, 0, 2, 3, NULL, 3, NULL, 2, NULL, 0, c, 2), RLHF_OK);
        assert_true(c[0] == 1.0f);
        assert_int_equal(rlhfi_product(contexts[v], 0, 0, 2, 2, 0, NULL, 0, NULL, 2, NULL, 1, c, 2), RLHF_OK);
        assert_true(c[3] == 4.0f);
    }
    assert_int_equal(rlhfi_product(contexts[0], 0, 0, 2, 2, 0, NULL, 0, NULL, 2, bias, 0, c, 2), RLHF_OK);
    assert_true(c[0] == 5.0f && c[3] == 6.0f);
}

/* A row's bits do not depend on the rows beside it, and panels give the bits of the product. */
static void test_panels_and_row_independence(void **state)
{
    static const int64_t shapes[][2] = {{1, 1}, {64, 64}, {172, 64}, {33, 300}, {320, 576}, {512, 172}, {130, 257}};
    static const int64_t rows[] = {1, 2, 3, 4, 8, 12, 13, 32, 64};
    enum { MOST = 64 };

    (void)state;
    for (unsigned s = 0; s < sizeof shapes / sizeof shapes[0]; s += (unsigned)pace(3)) {
        int64_t n = shapes[s][0], k = shapes[s][1];
        float *a = random_array(MOST * k, -1, 1), *weight = random_array(n * k, -1, 1), *bias = random_array(n, -1, 1);
        float *want = guarded(MOST * n);
        int transposed = s % 2 == 0;
        assert_int_equal(
            rlhfi_product(contexts[0], 0, transposed, MOST, n, k, a, k, weight, transposed ? k : n, bias, 0, want, n),
            RLHF_OK);
        for (int v = 0; v < VARIANTS; v++) {
            rlhfi_panels *panels;
            assert_int_equal(
                rlhfi_panels_create(&panels, contexts[v], transposed, n, k, weight, transposed ? k : n), RLHF_OK);
            for (unsigned r = 0; r < sizeof rows / sizeof rows[0]; r++) {
                int64_t first = random_bits() % (MOST - rows[r] + 1);
                float *c = guarded(rows[r] * n);
                assert_int_equal(
                    rlhfi_product_panels(contexts[v], rows[r], a + first * k, k, panels, bias, c, n), RLHF_OK);
                assert_same_bits("panels", v, c, want + first * n, rows[r] * n);
                memset(c, 0xff, (size_t)(rows[r] * n) * sizeof(float));
                assert_int_equal(rlhfi_product(contexts[v], 0, transposed, rows[r], n, k, a + first * k, k, weight,
                                               transposed ? k : n, bias, 0, c, n),
                                 RLHF_OK);
                assert_same_bits("rows alone", v, c, want + first * n, rows[r] * n);
            }
            for (int64_t i = 0; i < n * k; i++)
                weight[i] = -weight[i];
            rlhfi_panels_repack(panels, rlhfi_floats(weight), transposed ? k : n);
            float *c = guarded(n), *plain = guarded(n);
            assert_int_equal(rlhfi_product_panels(contexts[v], 1, a, k, panels, NULL, c, n), RLHF_OK);
            assert_int_equal(
                rlhfi_product(contexts[v], 0, transposed, 1, n, k, a, k, weight, transposed ? k : n, NULL, 0, plain, n),
                RLHF_OK);
            assert_same_bits("repacked", v, c, plain, n);
            for (int64_t i = 0; i < n * k; i++)
                weight[i] = -weight[i];
            rlhfi_panels_release(&panels);
            assert_null(panels);
        }
        release_guarded();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_every_width),
        cmocka_unit_test(test_few_rows),
        cmocka_unit_test(test_training_shapes),
        cmocka_unit_test(test_large_products),
        cmocka_unit_test(test_portions),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_panels_and_row_independence),
    };

    return cmocka_run_group_tests(tests, make_contexts, release_contexts);
}
