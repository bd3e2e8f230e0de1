/* Products of bf16: the specified chain over pairs, written once more, against every path and every edge. */
#include "unit/compute/support.h"
#include "pace.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* ---- the specification ------------------------------------------------------------------------------------------- */

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* x without what lies below the smallest normal number */
static float normal(float x) { return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x; }

/* To nearest, ties to even, by comparing distances in double instead of adding bits. */
static float to_bf16(float x)
{
    uint32_t bits = bits_of(x);
    float down, up;

    if (isnan(x))
        return float_of((bits | 0x400000u) & 0xffff0000u);
    x = normal(x);
    down = float_of(bits_of(x) & 0xffff0000u);
    if (isinf(x) || down == x)
        return x;
    up = float_of((bits_of(x) & 0xffff0000u) + 0x10000u); /* away from 0; beyond the largest number it is infinite */
    double limit = isinf(up) ? copysign(0x1p128, x) : (double)up, low = fabs((double)x - (double)down);
    double high = fabs(limit - (double)x);
    return low < high || (low == high && (bits_of(down) >> 16 & 1) == 0) ? down : up;
}

/* a*b + c, 0 where the sum rounded to 24 bits would be below 2^-126. Long double holds what comes near exactly. */
static float multiply_add(float a, float b, float c)
{
    float sum = fmaf(normal(a), normal(b), normal(c));

    if (fabsf(sum) == 0x1p-126f &&
        fabsl((long double)normal(a) * (long double)normal(b) + (long double)normal(c)) < 0x1p-126L - 0x1p-151L)
        return copysignf(0.0f, sum);
    return normal(sum);
}

static float chain(int64_t k, const float *a, int64_t step_a, const float *b, int64_t step_b, const float *start,
                   const float *bias)
{
    float total = start != NULL ? *start : 0.0f;

    for (int64_t p0 = 0; p0 < k; p0 += 256) {
        float sum = 0.0f;
        for (int64_t p = p0; p < k && p < p0 + 256; p += 2) {
            float odd_a = p + 1 < k ? to_bf16(a[(p + 1) * step_a]) : 0.0f;
            float odd_b = p + 1 < k ? to_bf16(b[(p + 1) * step_b]) : 0.0f;
            sum = multiply_add(odd_a, odd_b, sum);
            sum = multiply_add(to_bf16(a[p * step_a]), to_bf16(b[p * step_b]), sum);
        }
        total = p0 == 0 && start == NULL ? sum : normal(normal(total) + sum);
    }
    return bias != NULL ? normal(total + normal(*bias)) : total;
}

/* ---- arrays ------------------------------------------------------------------------------------------------------ */

/* Numbers whose products and sums lie on both sides of the smallest normal number, zeros of both signs, ties. */
static float edge_number(void)
{
    uint32_t bits = random_bits(), sign = bits & 0x80000000u, fraction = bits & 0x7fffffu;

    /* valgrind keeps subnormal numbers, whatever MXCSR says: there none come up */
    switch (pace(2) == 1 ? random_bits() % 8 : 7) {
    case 0: return float_of(sign);
    case 1: return float_of(sign | fraction);                                         /* subnormal */
    case 2: return float_of(sign | (60 + random_bits() % 8) << 23 | fraction);        /* products near 2^-126 */
    case 3: return float_of(sign | (1 + random_bits() % 3) << 23 | fraction);
    case 4: return float_of(sign | 127u << 23 | (fraction & 0x7f0000u) | 0x8000u);    /* a tie */
    case 5: return float_of(sign | 0x800000u | (fraction & 7));
    default: return float_of(sign | (125 + random_bits() % 4) << 23 | fraction);
    }
}

static float *edge_array(int64_t count)
{
    float *x = guarded(count);
    for (int64_t i = 0; i < count; i++)
        x[i] = edge_number();
    return x;
}

static uint16_t *halves_of(const float *x, int64_t count)
{
    uint16_t *halves = guarded_bytes((size_t)count * sizeof *halves);
    for (int64_t i = 0; i < count; i++)
        halves[i] = (uint16_t)(bits_of(to_bf16(x[i])) >> 16);
    return halves;
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static void check_shape(int64_t m, int64_t n, int64_t k, int transpose_a, int transpose_b, int accumulate,
                        int with_bias, int64_t pad, bool edges)
{
    int64_t lda = (transpose_a ? m : k) + pad, ldb = (transpose_b ? k : n) + pad, ldc = n + pad;
    int64_t a_count = ((transpose_a ? k : m) - 1) * lda + (transpose_a ? m : k);
    int64_t b_count = ((transpose_b ? n : k) - 1) * ldb + (transpose_b ? k : n);
    int64_t c_count = (m - 1) * ldc + n;
    float *a = edges ? edge_array(a_count) : random_array(a_count, -1, 1);
    float *b = edges ? edge_array(b_count) : random_array(b_count, -1, 1);
    float *bias = with_bias ? edge_array(n) : NULL, *start = edge_array(c_count), *want = copy_array(start, c_count);
    rlhfi_array sources[] = {rlhfi_floats(b), {NULL, halves_of(b, b_count)}};

    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            want[i * ldc + j] = chain(k, transpose_a ? a + i : a + i * lda, transpose_a ? lda : 1,
                                      transpose_b ? b + j * ldb : b + j, transpose_b ? 1 : ldb,
                                      accumulate ? &start[i * ldc + j] : NULL, bias != NULL ? &bias[j] : NULL);
    for (int v = 0; v < VARIANTS; v++)
        for (int s = 0; s < 2; s++) {
            float *c = copy_array(start, c_count);
            char what[160];
            assert_int_equal(rlhfi_product_bf16(contexts[v], transpose_a, transpose_b, m, n, k, a, lda, sources[s], ldb,
                                                bias, accumulate, c, ldc),
                             RLHF_OK);
            snprintf(what, sizeof what, "bf16 product %lldx%lldx%lld %c%c accumulate %d bias %d source %d",
                     (long long)m, (long long)n, (long long)k, transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N',
                     accumulate, with_bias, s);
            assert_same_bits(what, v, c, want, c_count);
        }
    release_guarded();
}

static void test_edges(void **state)
{
    static const int64_t sizes[] = {1, 2, 3, 9, 12, 15, 16, 17, 31, 33, 65};
    static const int64_t depths[] = {1, 2, 7, 16, 17, 254, 255, 256, 257, 258, 300, 511, 513};

    (void)state;
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i += (unsigned)pace(3))
        for (unsigned j = 0; j < sizeof sizes / sizeof sizes[0]; j++) {
            int64_t k = depths[random_bits() % (sizeof depths / sizeof depths[0])];
            unsigned flags = random_bits() >> 8;
            for (unsigned t = 0; t < 4; t++)
                check_shape(sizes[i], sizes[j], k, t & 1, t >> 1, flags >> t & 1, !(flags >> t & 1) && flags >> 7 & 1,
                            flags >> 8 & 3, flags >> 10 & 1);
        }
}

static void test_training_shapes(void **state)
{
    (void)state;
    check_shape(130, 172, 64, 0, 1, 0, 0, 0, false);
    check_shape(64, 172, 601, 1, 0, 1, 0, 0, true);
    check_shape(97, 200, 300, 0, 0, 0, 1, 0, true);
    check_shape(800, 40, 520, 1, 0, 1, 0, 0, false); /* long enough to be cut into slabs */
}

/* Deeper and wider than the buffers: portions must not show. */
static void test_portions(void **state)
{
    (void)state;
    check_shape(3, 40, 20001, 0, 1, 0, 1, 0, false);
    check_shape(20, 170, 17000, 1, 0, 1, 0, 0, false);
    check_shape(330, 3, 16500, 0, 1, 0, 0, 0, false);
}

static void test_nothing_to_sum(void **state)
{
    float c[2] = {1, 2}, bias[2] = {5, 6};

    (void)state;
    assert_int_equal(
        rlhfi_product_bf16(contexts[0], 0, 0, 1, 2, 0, NULL, 0, rlhfi_floats(bias), 2, bias, 0, c, 2), RLHF_OK);
    assert_true(c[0] == 5.0f && c[1] == 6.0f);
    assert_int_equal(rlhfi_product_bf16(contexts[0], 0, 0, 0, 2, 3, NULL, 3, rlhfi_floats(bias), 2, NULL, 0, c, 2),
                     RLHF_OK);
    assert_true(c[0] == 5.0f);
}

/* Panels give the bits of the product, for any number of rows; so do rows alone. */
static void test_panels(void **state)
{
    static const int64_t shapes[][2] = {{1, 1}, {64, 64}, {172, 63}, {33, 300}, {320, 576}, {130, 257}};
    static const int64_t rows[] = {1, 2, 3, 4, 8, 9, 12, 13, 64};
    enum { MOST = 64 };

    (void)state;
    for (unsigned s = 0; s < sizeof shapes / sizeof shapes[0]; s += (unsigned)pace(3)) {
        int64_t n = shapes[s][0], k = shapes[s][1], ld = s % 2 == 0 ? k : n;
        float *a = random_array(MOST * k, -1, 1), *weight = random_array(n * k, -1, 1), *bias = random_array(n, -1, 1);
        float *want = guarded(MOST * n);
        rlhfi_array sources[] = {rlhfi_floats(weight), {NULL, halves_of(weight, n * k)}};
        int transposed = s % 2 == 0;
        assert_int_equal(rlhfi_product_bf16(contexts[0], 0, transposed, MOST, n, k, a, k, sources[0], ld, bias, 0, want,
                                            n),
                         RLHF_OK);
        for (int v = 0; v < VARIANTS; v++) {
            rlhfi_panels *panels;
            assert_int_equal(rlhfi_panels_create_bf16(&panels, contexts[v], transposed, n, k, sources[v % 2], ld),
                             RLHF_OK);
            rlhfi_panels_repack(panels, sources[(v + 1) % 2], ld);
            for (unsigned r = 0; r < sizeof rows / sizeof rows[0]; r++) {
                int64_t first = random_bits() % (MOST - rows[r] + 1);
                float *c = guarded(rows[r] * n);
                assert_int_equal(rlhfi_product_panels(contexts[v], rows[r], a + first * k, k, panels, bias, c, n),
                                 RLHF_OK);
                assert_same_bits("bf16 panels", v, c, want + first * n, rows[r] * n);
                memset(c, 0xff, (size_t)(rows[r] * n) * sizeof(float));
                assert_int_equal(rlhfi_product_bf16(contexts[v], 0, transposed, rows[r], n, k, a + first * k, k,
                                                    sources[0], ld, bias, 0, c, n),
                                 RLHF_OK);
                assert_same_bits("bf16 rows alone", v, c, want + first * n, rows[r] * n);
            }
            rlhfi_panels_release(&panels);
        }
        release_guarded();
    }
}

/* Infinite numbers and NaN reach the result; which NaN is not specified. */
static void test_not_finite(void **state)
{
    float a[2 * 3] = {INFINITY, 1, 2, NAN, 1, 2}, b[3] = {1, 2, 3}, c[2], none[3] = {0, 1, 1};

    (void)state;
    for (int v = 0; v < VARIANTS; v++) {
        assert_int_equal(rlhfi_product_bf16(contexts[v], 0, 1, 2, 1, 3, a, 3, rlhfi_floats(b), 3, NULL, 0, c, 1),
                         RLHF_OK);
        assert_true(c[0] == INFINITY && isnan(c[1]));
        assert_int_equal(rlhfi_product_bf16(contexts[v], 0, 1, 1, 1, 3, a, 3, rlhfi_floats(none), 3, NULL, 0, c, 1),
                         RLHF_OK);
        assert_true(isnan(c[0]));
    }
}

/* The first 2^24 largest floats are infinite in bf16; all others go to the nearest. */
static void test_rounding(void **state)
{
    enum { COUNT = 4099 };
    float *x = guarded(COUNT), *wide = guarded(COUNT);
    uint16_t *halves = guarded_bytes(COUNT * sizeof *halves);

    (void)state;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < COUNT; i++)
            x[i] = round % 2 == 0 ? edge_number() : float_of(random_bits());
        x[0] = float_of(0x7f7fffff), x[1] = float_of(0x7f7f7fff), x[2] = -INFINITY, x[3] = float_of(0x7f800001);
        for (int v = 0; v < VARIANTS; v++) {
            rlhfi_round(contexts[v], halves, x, COUNT);
            rlhfi_widen(contexts[v], wide, halves, COUNT);
            for (int i = 0; i < COUNT; i++)
                assert_int_equal(bits_of(wide[i]), bits_of(to_bf16(x[i])));
        }
    }
    release_guarded();
}

static void test_gather(void **state)
{
    enum { ROWS = 37, D = 301, TABLE = 20 };
    float *table = random_array(TABLE * D, -1, 1), *start = random_array(ROWS * D, -1, 1);
    uint16_t *halves = halves_of(table, TABLE * D);
    int32_t id[ROWS];

    (void)state;
    for (int i = 0; i < ROWS; i++)
        id[i] = (int32_t)(random_bits() % TABLE);
    for (int v = 0; v < VARIANTS; v++)
        for (int accumulate = 0; accumulate < 2; accumulate++) {
            float *y = copy_array(start, ROWS * D);
            rlhfi_gather_bf16(contexts[v], ROWS, D, halves, id, accumulate, y);
            for (int64_t i = 0; i < ROWS * D; i++) {
                float value = to_bf16(table[id[i / D] * D + i % D]);
                assert_true(y[i] == (accumulate ? start[i] + value : value));
            }
        }
    release_guarded();
}

/* ---- the optimizer's rounding ------------------------------------------------------------------------------------ */

/* The draw of element e, from the definition. */
static uint32_t draw_of(uint64_t seed, uint64_t number, int64_t e)
{
    uint64_t counter = (uint64_t)(e / 128) * 16 + (uint64_t)(e % 16);
    int half = (int)(e % 128 / 16);
    uint32_t word[4];

    rlhfi_random4(seed, RLHFI_RANDOM_ROUND, (uint32_t)number, (uint32_t)(counter >> 32), (uint32_t)counter, word);
    return word[half / 2] >> (16 * (half % 2)) & 0xffff;
}

static void test_adamw(void **state)
{
    enum { COUNT = 100000, FIRST = 77 };
    const rlhfi_adamw step = {.learning_rate = 1e-3f, .beta1 = 0.9f, .beta2 = 0.999f, .epsilon = 1e-8f,
                              .weight_decay = 0.01f, .gradient_scale = 0.5f, .one_minus_beta1 = 0.1f,
                              .one_minus_beta2 = 0.001f, .inverse_bias1 = 10.0f, .inverse_sqrt_bias2 = 31.6f};
    const rlhfi_draw draw = {.seed = 0x123456789abcdef0u, .number = 7, .first = FIRST};
    float *start = random_array(COUNT, -1, 1), *gradient = random_array(COUNT, -1, 1);
    uint16_t *halves = halves_of(start, COUNT);
    float *exact = guarded(COUNT), *zero = guarded(COUNT), *zeros = guarded(COUNT), *m, *v2;
    double off = 0.0, drift = 0.0;

    (void)state;
    memset(zero, 0, COUNT * sizeof *zero);
    memset(zeros, 0, COUNT * sizeof *zeros);
    rlhfi_widen(contexts[0], exact, halves, COUNT);
    rlhfi_adamw_update(contexts[0], &step, COUNT, exact, gradient, zero, zeros);
    for (int v = 0; v < VARIANTS; v++) {
        uint16_t *p = guarded_bytes(COUNT * sizeof *p);
        memcpy(p, halves, COUNT * sizeof *p);
        m = guarded(COUNT);
        v2 = guarded(COUNT);
        memset(m, 0, COUNT * sizeof *m);
        memset(v2, 0, COUNT * sizeof *v2);
        rlhfi_adamw_update_bf16(contexts[v], &step, &draw, COUNT, p, gradient, m, v2);
        assert_same_bits("first moment", v, m, zero, COUNT);
        assert_same_bits("second moment", v, v2, zeros, COUNT);
        for (int64_t i = 0; i < COUNT; i++) {
            uint32_t bits = bits_of(exact[i]), want = (bits + draw_of(draw.seed, draw.number, FIRST + i)) >> 16;
            assert_int_equal(p[i], (bits & 0x7f800000u) == 0 ? bits >> 16 & 0x8000u : want);
            if (v == 0) {
                double gap = (double)float_of((uint32_t)p[i] << 16) - (double)exact[i];
                drift += gap;
                off += fabs(gap);
            }
        }
    }
    /* Errors have mean 0: their sum is a random walk, far shorter than the sum of their sizes. */
    assert_true(off > 0.0 && fabs(drift) < 0.02 * off);
    release_guarded();
}

/* ---- the machine's settings and instruction ---------------------------------------------------------------------- */

#if defined(__x86_64__)
static void test_settings_come_back(void **state)
{
    float *a = edge_array(40 * 300), *b = edge_array(70 * 300), *c = guarded(40 * 70);
    const unsigned before = _mm_getcsr();

    (void)state;
    for (int v = 0; v < VARIANTS; v++)
        for (int64_t m = 1; m <= 40; m += 39) {
            volatile float tiny = 0x1p-140f;
            assert_int_equal(
                rlhfi_product_bf16(contexts[v], 0, 1, m, 70, 300, a, 300, rlhfi_floats(b), 300, NULL, 0, c, 70),
                RLHF_OK);
            assert_int_equal(_mm_getcsr() & ~0x3fu, before & ~0x3fu); /* but for the flags of what happened */
            assert_true(tiny * 0.5f == 0x1p-141f);
        }
    release_guarded();
}

__attribute__((target("avx512f,avx512bf16"))) static void instruction(const uint32_t *a, const uint32_t *b,
                                                                      const float *c, float *out)
{
    _mm512_storeu_ps(out, _mm512_dpbf16_ps(_mm512_loadu_ps(c), (__m512bh)_mm512_loadu_si512(a),
                                           (__m512bh)_mm512_loadu_si512(b)));
}

/* What the machine's own instruction does is what is specified. */
static void test_instruction(void **state)
{
    (void)state;
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx512bf16")) {
        skip();
        return;
    }
    for (int i = 0; i < 40000; i++) {
        uint32_t a[16], b[16];
        float c[16], got[16];
        for (int j = 0; j < 16; j++) {
            a[j] = bits_of(edge_number()) >> 16 | (bits_of(edge_number()) & 0xffff0000u);
            b[j] = bits_of(edge_number()) >> 16 | (bits_of(edge_number()) & 0xffff0000u);
            c[j] = edge_number();
        }
        instruction(a, b, c, got);
        for (int j = 0; j < 16; j++) {
            float want = multiply_add(float_of(a[j] & 0xffff0000u), float_of(b[j] & 0xffff0000u), c[j]);
            want = multiply_add(float_of(a[j] << 16), float_of(b[j] << 16), want);
            assert_int_equal(bits_of(got[j]), bits_of(want));
        }
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edges),          cmocka_unit_test(test_training_shapes),
        cmocka_unit_test(test_portions),       cmocka_unit_test(test_nothing_to_sum),
        cmocka_unit_test(test_panels),         cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_rounding),       cmocka_unit_test(test_gather),
        cmocka_unit_test(test_adamw),
#if defined(__x86_64__)
        cmocka_unit_test(test_settings_come_back), cmocka_unit_test(test_instruction),
#endif
    };

    return cmocka_run_group_tests(tests, make_contexts, release_contexts);
}
