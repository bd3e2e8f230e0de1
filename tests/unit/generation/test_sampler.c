/* Filters and draws: against a plain re-implementation of the rules, by counting, and at the edges. */
#include "support.h"

#include <float.h>
#include <math.h>

static rlhf_context *context;

static int set_up(void **state)
{
    context = make_context(1, UINT32_MAX, NULL);
    return 0;
}

static int tear_down(void **state)
{
    rlhf_context_release(&context);
    return 0;
}

static rlhf_rollout_options filters(double temperature, int32_t top_k, double top_p, double min_p)
{
    rlhf_rollout_options options = options_of(1, 1);

    options.temperature = temperature;
    options.top_k = top_k;
    options.top_p = top_p;
    options.min_p = min_p;
    return options;
}

static double number(uint32_t stream, uint32_t index)
{
    return rlhfi_uniform(1234, RLHFI_RANDOM_USER, stream, 0, index);
}

/* ---- a plain re-implementation ----------------------------------------------------------------------------------- */

struct ranked {
    double x;
    int id;
};

static int descending(const void *a, const void *b)
{
    const struct ranked *p = a, *q = b;

    if (p->x != q->x)
        return p->x < q->x ? 1 : -1;
    return p->id - q->id;
}

static void normalise(const double *x, const int *kept, int n, double *p)
{
    double top = -INFINITY, sum = 0;

    for (int i = 0; i < n; i++)
        if (kept[i] && x[i] > top)
            top = x[i];
    for (int i = 0; i < n; i++) {
        p[i] = kept[i] ? exp(x[i] - top) : 0;
        sum += p[i];
    }
    for (int i = 0; i < n; i++)
        p[i] /= sum;
}

/* transformers' rules, step by step, each on the renormalised result of the one before. Returns how near to a threshold
 * of top-p or min-p some token came: where rounding may decide, the two need not agree. */
static double plain_distribution(const float *logits, int n, const rlhf_rollout_options *options, double *p)
{
    double *x = malloc((size_t)n * sizeof *x), nearest = 1;
    int *kept = malloc((size_t)n * sizeof *kept);
    struct ranked *order = malloc((size_t)n * sizeof *order);

    for (int i = 0; i < n; i++) {
        x[i] = logits[i] / options->temperature;
        kept[i] = 1;
        order[i] = (struct ranked){x[i], i};
    }
    qsort(order, (size_t)n, sizeof *order, descending);
    if (options->top_k > 0 && options->top_k < n)
        for (int i = 0; i < n; i++)
            kept[i] = x[i] >= order[options->top_k - 1].x;
    if (options->top_p < 1) {
        double smaller = 0;

        normalise(x, kept, n, p);
        for (int i = n - 1; i > 0; i--) {
            int id = order[i].id;

            smaller += p[id];
            if (kept[id] && fabs(smaller - (1 - options->top_p)) < nearest)
                nearest = fabs(smaller - (1 - options->top_p));
            if (smaller <= 1 - options->top_p)
                kept[id] = 0;
        }
    }
    if (options->min_p > 0) {
        double largest;

        normalise(x, kept, n, p);
        largest = p[order[0].id];
        for (int i = 0; i < n; i++) {
            if (kept[i] && fabs(p[i] / largest - options->min_p) < nearest)
                nearest = fabs(p[i] / largest - options->min_p);
            if (p[i] < options->min_p * largest)
                kept[i] = 0;
        }
    }
    normalise(x, kept, n, p);
    free(x);
    free(kept);
    free(order);
    return nearest;
}

static void random_filters_agree_with_the_rules(void **state)
{
    enum { MOST = 300 };
    float logits[MOST];
    double expected[MOST], p[MOST];
    int compared = 0;

    for (uint32_t trial = 0; trial < 2000; trial++) {
        int n = 1 + (int)(number(trial, 0) * MOST);
        double spread = 0.1 + 8 * number(trial, 1);
        bool coarse = number(trial, 2) < 0.3; /* many ties */
        rlhf_rollout_options options = filters(0.05 + 2 * number(trial, 3), 0, 1, 0);

        if (number(trial, 4) < 0.6)
            options.top_k = 1 + (int32_t)(number(trial, 5) * 1.2 * n);
        if (number(trial, 6) < 0.6)
            options.top_p = number(trial, 7);
        if (number(trial, 8) < 0.6)
            options.min_p = number(trial, 9) * number(trial, 9);
        for (int i = 0; i < n; i++) {
            double z = spread * (number(trial, 10 + (uint32_t)i) - 0.5);
            logits[i] = (float)(coarse ? floor(4 * z) / 4 : z);
        }
        if (plain_distribution(logits, n, &options, expected) < 1e-9)
            continue;
        CHECK(rlhf_rollout_distribution(context, logits, n, &options, p));
        for (int i = 0; i < n; i++) {
            assert_true(fabs(p[i] - expected[i]) < 1e-12);
            assert_int_equal(p[i] > 0, expected[i] > 0);
        }
        compared++;
    }
    assert_true(compared > 1500);
}

/* ---- filters at their edges -------------------------------------------------------------------------------------- */

static void assert_kept(const float *logits, int n, rlhf_rollout_options options, const char *expected)
{
    double p[16], sum = 0;
    char kept[17] = {0};

    CHECK(rlhf_rollout_distribution(context, logits, n, &options, p));
    for (int i = 0; i < n; i++) {
        kept[i] = p[i] > 0 ? 'x' : '.';
        sum += p[i];
    }
    assert_string_equal(kept, expected);
    assert_true(fabs(sum - 1) < 1e-15);
}

static void ties_follow_the_documented_rules(void **state)
{
    const float tied[6] = {1, 3, 2, 3, 2, 2}, zeros[4] = {0.0f, -0.0f, -1, 0}, equal[4] = {5, 5, 5, 5};

    assert_kept(tied, 6, filters(1, 1, 1, 0), ".x.x..");  /* all that equal the k-th stay */
    assert_kept(tied, 6, filters(1, 2, 1, 0), ".x.x..");
    assert_kept(tied, 6, filters(1, 3, 1, 0), ".xxxxx");
    assert_kept(tied, 6, filters(1, 6, 1, 0), "xxxxxx");
    assert_kept(tied, 6, filters(1, 100, 1, 0), "xxxxxx");
    assert_kept(zeros, 4, filters(1, 1, 1, 0), "xx.x");   /* 0 and -0 are equal */
    assert_kept(tied, 6, filters(1, 0, 0.1, 0), ".x...."); /* top-p takes the smaller id among equals */
    assert_kept(tied, 6, filters(1, 0, 0.5, 0), ".x.x..");
    assert_kept(tied, 6, filters(1, 0, 0.7, 0), ".xxx..");
    assert_kept(tied, 6, filters(1, 0, 1e-300, 0), ".x....");
    assert_kept(equal, 4, filters(1, 0, 0.5, 0), "xx..");  /* exactly on the border: enough */
    assert_kept(equal, 4, filters(1, 0, 0.75, 0), "xxx.");
    assert_kept(equal, 4, filters(1, 0, 0.76, 0), "xxxx");
    assert_kept(tied, 6, filters(1, 0, 1, 1), ".x.x..");
    assert_kept(tied, 6, filters(1, 0, 1, 0.36), ".xxxxx"); /* e^-1 = 0.368 */
    assert_kept(tied, 6, filters(1, 0, 1, 0.37), ".x.x..");
    assert_kept(tied, 6, filters(1e-6, 0, 1, 0), ".x.x..");
}

static void impossible_tokens_stay_impossible(void **state)
{
    const float some[5] = {-INFINITY, 1, -INFINITY, 0, -FLT_MAX}, far[3] = {0, -800, -600};
    double p[5];

    assert_kept(some, 5, filters(1, 0, 1, 0), ".x.x.");
    assert_kept(some, 5, filters(1, 4, 0.999, 0.001), ".x.x.");
    CHECK(rlhf_rollout_distribution(context, far, 3, NULL, p));
    assert_true(p[0] == 1 && p[1] == 0 && p[2] > 0); /* beyond -700 is nothing */
}

static void greedy_is_the_first_largest(void **state)
{
    const float tied[6] = {1, 3, 2, 3, 2, 2}, all[3] = {-7, -7, -7};
    rlhf_rollout_options greedy = filters(0, 2, 0.5, 0.1);
    rlhfi_sampler_scratch none = {0};
    int32_t token;

    assert_kept(tied, 6, greedy, ".x....");
    assert_kept(all, 3, greedy, "x..");
    CHECK(rlhfi_sample(context, tied, 6, &greedy, 0.999, &none, &token));
    assert_int_equal(token, 1);
}

static void bad_logits_and_options_are_refused(void **state)
{
    const float nan_logits[9] = {0, 1, 2, 3, 4, 5, 6, 7, NAN}, inf_logits[2] = {1, INFINITY};
    const float none[2] = {-INFINITY, -INFINITY}, fine[2] = {0, 1};
    const struct {
        double temperature, top_p, min_p;
        int32_t top_k;
        const char *name;
    } bad[] = {
        {-1, 1, 0, 0, "temperature"}, {NAN, 1, 0, 0, "temperature"},   {INFINITY, 1, 0, 0, "temperature"},
        {1e-9, 1, 0, 0, "temperature"}, {1, 0, 0, 0, "top_p"},         {1, 1.5, 0, 0, "top_p"},
        {1, NAN, 0, 0, "top_p"},      {1, 1, -0.1, 0, "min_p"},        {1, 1, 1.1, 0, "min_p"},
        {1, 1, NAN, 0, "min_p"},      {1, 1, 0, -1, "top_k"},
    };
    rlhf_rollout_options options;
    double p[9];

    assert_int_equal(rlhf_rollout_distribution(context, nan_logits, 9, NULL, p), RLHF_E_NONFINITE);
    assert_error(context, "NaN");
    assert_int_equal(rlhf_rollout_distribution(context, inf_logits, 2, NULL, p), RLHF_E_NONFINITE);
    assert_int_equal(rlhf_rollout_distribution(context, none, 2, NULL, p), RLHF_E_INVAL);
    assert_error(context, "no token is possible");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        options = filters(bad[i].temperature, bad[i].top_k, bad[i].top_p, bad[i].min_p);
        assert_int_equal(rlhf_rollout_distribution(context, fine, 2, &options, p), RLHF_E_INVAL);
        assert_error(context, bad[i].name);
    }
    assert_int_equal(rlhf_rollout_distribution(NULL, fine, 2, NULL, p), RLHF_E_INVAL);
    assert_int_equal(rlhf_rollout_distribution(context, NULL, 2, NULL, p), RLHF_E_INVAL);
    assert_int_equal(rlhf_rollout_distribution(context, fine, 2, NULL, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_rollout_distribution(context, fine, 0, NULL, p), RLHF_E_INVAL);
    options = filters(1, 0, 1, 0);
    options.struct_size = 4;
    assert_int_equal(rlhf_rollout_distribution(context, fine, 2, &options, p), RLHF_E_INVAL);
}

/* ---- draws ------------------------------------------------------------------------------------------------------- */

static void draws_invert_the_cumulative_distribution(void **state)
{
    enum { MOST = 200 };
    float logits[MOST];
    double p[MOST], memory[MOST];
    int32_t order[MOST], token;
    rlhfi_sampler_scratch scratch = {memory, order};

    for (uint32_t trial = 0; trial < 400; trial++) {
        int n = 1 + (int)(number(trial, 0) * MOST);
        rlhf_rollout_options options = filters(1, trial % 3 == 0 ? n / 2 : 0, trial % 4 == 0 ? 0.8 : 1, 0);

        for (int i = 0; i < n; i++)
            logits[i] = (float)(6 * number(trial, 10 + (uint32_t)i));
        CHECK(rlhf_rollout_distribution(context, logits, n, &options, p));
        for (uint32_t k = 0; k < 50; k++) {
            double u = number(trial, 1000 + k), sum = 0;
            int expected = -1, last = 0;
            bool near = false;

            for (int i = 0; i < n && expected < 0; i++) {
                sum += p[i];
                near |= fabs(sum - u) < 1e-12;
                last = p[i] > 0 ? i : last;
                expected = sum > u ? i : -1;
            }
            CHECK(rlhfi_sample(context, logits, n, &options, u, &scratch, &token));
            if (!near)
                assert_int_equal(token, expected < 0 ? last : expected);
        }
    }
}

static void extreme_draws_give_possible_tokens(void **state)
{
    float logits[130];
    double memory[130];
    int32_t order[130], token;
    rlhfi_sampler_scratch scratch = {memory, order};
    rlhf_rollout_options options = filters(1, 0, 1, 0);

    for (int i = 0; i < 130; i++)
        logits[i] = i >= 5 && i < 101 ? (float)(i % 7) : -INFINITY;
    CHECK(rlhfi_sample(context, logits, 130, &options, 0x1p-54, &scratch, &token));
    assert_int_equal(token, 5);
    CHECK(rlhfi_sample(context, logits, 130, &options, 1 - 0x1p-53, &scratch, &token));
    assert_int_equal(token, 100);
    CHECK(rlhfi_sample(context, logits, 130, &options, 1, &scratch, &token)); /* even beyond what is promised */
    assert_int_equal(token, 100);
}

/* Chi-square of counted draws against the distribution, with the counters that a rollout uses. Fixed seed: no luck. */
static void assert_frequencies(const float *logits, int n, rlhf_rollout_options options, uint32_t stream)
{
    enum { DRAWS = 200000, MOST = 64 };
    double p[MOST], memory[MOST], chi_square = 0;
    int32_t order[MOST], token;
    int64_t count[MOST] = {0};
    rlhfi_sampler_scratch scratch = {memory, order};
    int degrees = -1;

    CHECK(rlhf_rollout_distribution(context, logits, n, &options, p));
    for (uint32_t i = 0; i < DRAWS; i++) {
        double u = rlhfi_uniform(9, RLHFI_RANDOM_SAMPLE, i / 1000, stream, i % 1000);
        CHECK(rlhfi_sample(context, logits, n, &options, u, &scratch, &token));
        count[token]++;
    }
    for (int i = 0; i < n; i++) {
        double expected = p[i] * DRAWS;
        if (p[i] == 0) {
            assert_int_equal(count[i], 0);
            continue;
        }
        assert_true(expected > 5);
        chi_square += ((double)count[i] - expected) * ((double)count[i] - expected) / expected;
        degrees++;
    }
    /* Wilson and Hilferty: the cube root is nearly normal. 3.7 deviations: one test in 10,000. */
    if (degrees > 0) {
        double normal = (cbrt(chi_square / degrees) - (1 - 2.0 / (9 * degrees))) / sqrt(2.0 / (9 * degrees));
        assert_true(fabs(normal) < 3.7);
    }
}

static void frequencies_are_the_probabilities(void **state)
{
    float logits[64];

    for (int i = 0; i < 64; i++)
        logits[i] = (float)(3 * number(77, (uint32_t)i));
    assert_frequencies(logits, 64, filters(1, 0, 1, 0), 0);
    assert_frequencies(logits, 64, filters(0.5, 0, 1, 0), 1);
    assert_frequencies(logits, 64, filters(1, 20, 1, 0), 2);
    assert_frequencies(logits, 64, filters(1, 0, 0.7, 0), 3);
    assert_frequencies(logits, 64, filters(1.5, 0, 1, 0.3), 4);
    assert_frequencies(logits, 64, filters(0.8, 40, 0.9, 0.1), 5);
    assert_frequencies(logits, 2, filters(1, 0, 1, 0), 6);
    assert_frequencies(logits, 1, filters(1, 0, 1, 0), 7);
}

/* Every compiler, instruction set and machine must come to these bits. */
static void bits_are_the_recorded_ones(void **state)
{
    static const char *const expected[5] = {
        "86275dccbe70ec23", "ac29a5a16332428a", "b7e4239239df7ae3", "cad32cc29dd7f93e", "5d655887f5726849",
    };
    const rlhf_rollout_options options[5] = {filters(1, 0, 1, 0), filters(0.3, 0, 1, 0), filters(1, 33, 1, 0),
                                             filters(1, 0, 0.6, 0), filters(2.5, 0, 1, 0.125)};
    float logits[203];
    double p[203], memory[203];
    int32_t order[203], token;
    rlhfi_sampler_scratch scratch = {memory, order};
    char hex[65];

    for (int i = 0; i < 203; i++)
        logits[i] = (float)(10 * number(5, (uint32_t)i) - 5);
    for (int k = 0; k < 5; k++) {
        rlhfi_sha256 hash;

        rlhfi_sha256_init(&hash);
        CHECK(rlhf_rollout_distribution(context, logits, 203, &options[k], p));
        rlhfi_sha256_add(&hash, p, sizeof p);
        for (uint32_t i = 0; i < 1000; i++) {
            CHECK(rlhfi_sample(context, logits, 203, &options[k], number(6, i), &scratch, &token));
            rlhfi_sha256_add(&hash, &token, sizeof token);
        }
        rlhfi_sha256_hex(&hash, hex);
        hex[16] = '\0';
        assert_string_equal(hex, expected[k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_filters_agree_with_the_rules),
        cmocka_unit_test(ties_follow_the_documented_rules),
        cmocka_unit_test(impossible_tokens_stay_impossible),
        cmocka_unit_test(greedy_is_the_first_largest),
        cmocka_unit_test(bad_logits_and_options_are_refused),
        cmocka_unit_test(draws_invert_the_cumulative_distribution),
        cmocka_unit_test(extreme_draws_give_possible_tokens),
        cmocka_unit_test(frequencies_are_the_probabilities),
        cmocka_unit_test(bits_are_the_recorded_ones),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
