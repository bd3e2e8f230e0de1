#include "helper.h"

#include <math.h>

static const uint64_t seed = 0x0123456789abcdefu;

/* The known answers that Random123 publishes for philox4x32_R(10). */
static void known_answers(void **state)
{
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } answer[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    uint32_t out[4];

    for (size_t i = 0; i < 3; i++) {
        rlhfi_philox(answer[i].counter, answer[i].key, out);
        assert_memory_equal(out, answer[i].expected, sizeof out);
    }
    rlhfi_random4(0x299f31d0a4093822u, 0x03707344, 0x13198a2e, 0x85a308d3, 0x243f6a88, out);
    assert_memory_equal(out, answer[2].expected, sizeof out);
    memcpy(out, answer[1].counter, sizeof out);
    rlhfi_philox(out, answer[1].key, out); /* in place */
    assert_memory_equal(out, answer[1].expected, sizeof out);
}

/* Values of an independent Philox and of Python's statistics.NormalDist.inv_cdf. */
static void uniform_and_normal_values(void **state)
{
    static const float expected[16] = {
        -0x1.3aa18p-7f, 0x1.db6914p-7f, 0x1.92181p-6f, 0x1.74367ap-6f, -0x1.79b176p-10f, 0x1.931a56p-7f,
        0x1.f77b5ap-9f, -0x1.e4f1e8p-7f, 0x1.09fb04p-8f, -0x1.0a3baep-6f, 0x1.d24eap-6f, -0x1.5ae39ep-6f,
        0x1.c17594p-9f, 0x1.6f3ae2p-7f, -0x1.250f9ap-6f, 0x1.758326p-8f};
    float out[16];

    assert_true(rlhfi_uniform(seed, 1, 2, 3, 4) == 0.9221435138344724);
    rlhfi_normal_fill(seed, 3, 7, 0.02f, out, 16);
    for (int i = 0; i < 16; i++)
        assert_true(out[i] == expected[i]);
}

static void uniform_is_open_and_even(void **state)
{
    enum { DRAWS = 100000, CELLS = 64 };
    int cells[CELLS] = {0};
    double chi = 0.0, low_bits = 0.0;

    for (uint32_t i = 0; i < DRAWS; i++) {
        double u = rlhfi_uniform(seed, RLHFI_RANDOM_SAMPLE, 0, 0, i);
        assert_true(u > 0.0 && u < 1.0);
        cells[(int)(u * CELLS)]++;
        low_bits += fmod(u * 0x1p40, 1.0);
    }
    for (int i = 0; i < CELLS; i++) {
        double difference = cells[i] - (double)DRAWS / CELLS;
        chi += difference * difference * CELLS / DRAWS;
    }
    /* 63 degrees of freedom: 0.001 and 0.999 quantiles. */
    assert_true(chi > 32.7 && chi < 103.4);
    assert_true(fabs(low_bits / DRAWS - 0.5) < 0.004); /* the last bits are filled too */
}

static void normal_fill_has_the_distribution(void **state)
{
    enum { DRAWS = 200000 };
    float *out = malloc(DRAWS * sizeof *out);
    double sum = 0, squares = 0, cubes = 0, fourths = 0;
    int beyond = 0;

    assert_non_null(out);
    rlhfi_normal_fill(seed, RLHFI_RANDOM_INIT, 1, 1.0f, out, DRAWS);
    for (int i = 0; i < DRAWS; i++) {
        double x = out[i];
        sum += x;
        squares += x * x;
        cubes += x * x * x;
        fourths += x * x * x * x;
        beyond += fabs(x) > 3.0;
    }
    assert_true(fabs(sum / DRAWS) < 0.009);
    assert_true(fabs(squares / DRAWS - 1) < 0.013);
    assert_true(fabs(cubes / DRAWS) < 0.035);
    assert_true(fabs(fourths / DRAWS - 3) < 0.09);
    assert_true(abs(beyond - 540) < 95); /* 0.0027 of them */
    free(out);
}

/* Element i depends on i only, not on how much is filled; streams, purposes and seeds differ. */
static void normal_fill_elements_stand_alone(void **state)
{
    float whole[101], part[101];
    int equal = 0;

    rlhfi_normal_fill(seed, 1, 2, 0.5f, whole, 101);
    for (size_t count = 0; count <= 101; count++) {
        memset(part, 0x7f, sizeof part);
        rlhfi_normal_fill(seed, 1, 2, 0.5f, part, count);
        assert_memory_equal(whole, part, count * sizeof part[0]);
        if (count < 101)
            assert_true(part[count] > 1e30f); /* nothing behind the end */
    }
    rlhfi_normal_fill(seed + 1, 1, 2, 0.5f, part, 101);
    for (int i = 0; i < 101; i++)
        equal += whole[i] == part[i];
    rlhfi_normal_fill(seed, 2, 2, 0.5f, part, 101);
    for (int i = 0; i < 101; i++)
        equal += whole[i] == part[i];
    rlhfi_normal_fill(seed, 1, 3, 0.5f, part, 101);
    for (int i = 0; i < 101; i++)
        equal += whole[i] == part[i];
    assert_int_equal(equal, 0);
}

/* The bits are part of the promise: the same on every machine, forever. */
static void recorded_bits(void **state)
{
    static uint64_t order[1000];
    static float out[10001];
    rlhfi_sha256 hash;
    char hex[65];

    rlhfi_normal_fill(seed, 3, 7, 0.02f, out, 10001);
    rlhfi_sha256_init(&hash);
    rlhfi_sha256_add(&hash, out, sizeof out);
    rlhfi_sha256_hex(&hash, hex);
    assert_string_equal(hex, "8c282ad48e738fa6a3527e0d9bcb115c003f01b5f9398792aebc149b922993e2");

    rlhfi_permutation(seed, 2, 5, order, 1000);
    rlhfi_sha256_init(&hash);
    rlhfi_sha256_add(&hash, order, sizeof order);
    rlhfi_sha256_hex(&hash, hex);
    assert_string_equal(hex, "5d931a38d4fc05e6d9b7d06a68b54fb62e28c5ec718d1e17103a140ce0435ea5");
}

static void permutations_are_permutations(void **state)
{
    static const uint64_t expected[20] = {14, 18, 15, 7, 17, 5, 12, 2, 13, 1, 8, 3, 10, 11, 0, 9, 16, 6, 19, 4};
    uint64_t order[200], other[20];

    rlhfi_permutation(seed, 2, 5, order, 20);
    assert_memory_equal(order, expected, sizeof expected);
    rlhfi_permutation(seed, 2, 6, other, 20);
    assert_memory_not_equal(order, other, sizeof other);
    order[0] = 77;
    rlhfi_permutation(seed, 2, 5, order, 0);
    assert_int_equal(order[0], 77);
    for (uint64_t count = 1; count <= 200; count++) {
        bool seen[200] = {false};
        rlhfi_permutation(count, RLHFI_RANDOM_SHUFFLE, 0, order, count);
        for (uint64_t i = 0; i < count; i++) {
            assert_in_range(order[i], 0, count - 1);
            assert_false(seen[order[i]]);
            seen[order[i]] = true;
        }
    }
}

/* All 24 orders of four things come equally often. */
static void permutations_are_fair(void **state)
{
    enum { DRAWS = 48000 };
    int counts[256] = {0}, orders = 0;
    double chi = 0.0;

    for (uint32_t i = 0; i < DRAWS; i++) {
        uint64_t order[4];
        rlhfi_permutation(seed, RLHFI_RANDOM_SHUFFLE, i, order, 4);
        counts[order[0] << 6 | order[1] << 4 | order[2] << 2 | order[3]]++;
    }
    for (int i = 0; i < 256; i++)
        if (counts[i] > 0) {
            orders++;
            chi += (counts[i] - 2000.0) * (counts[i] - 2000.0) / 2000.0;
        }
    assert_int_equal(orders, 24);
    assert_true(chi < 49.7); /* 23 degrees of freedom: 0.999 quantile */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(uniform_and_normal_values),
        cmocka_unit_test(uniform_is_open_and_even),
        cmocka_unit_test(normal_fill_has_the_distribution),
        cmocka_unit_test(normal_fill_elements_stand_alone),
        cmocka_unit_test(recorded_bits),
        cmocka_unit_test(permutations_are_permutations),
        cmocka_unit_test(permutations_are_fair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
