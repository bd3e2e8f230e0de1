/* Timing of products: every kind gives seconds, whatever is wrong is refused, nothing leaks when memory runs out. */
#include "unit/compute/support.h"

#include <rlhf/experimental/measure.h>

static void test_every_kind(void **state)
{
    (void)state;
    for (int v = 0; v < VARIANTS; v++) {
        for (int32_t kind = RLHF_PRODUCT_FORWARD; kind <= RLHF_PRODUCT_DECODING; kind++) {
            double seconds[3] = {-1, -1, -1};
            assert_int_equal(rlhf_measure_product(contexts[v], RLHF_FLOAT32, kind, 33, 65, 17, 2, seconds), RLHF_OK);
            assert_true(seconds[0] >= 0 && seconds[1] >= 0);
            assert_true(seconds[2] == -1);
        }
    }
}

static void test_refusals(void **state)
{
    const int64_t large = (int64_t)1 << 24;
    rlhf_context *context = contexts[0];
    double seconds[1];

    (void)state;
    assert_int_equal(rlhf_measure_product(NULL, RLHF_FLOAT32, 0, 1, 1, 1, 1, seconds), RLHF_E_INVAL);
    assert_int_equal(rlhf_measure_product(context, RLHF_FLOAT32, 0, 1, 1, 1, 1, NULL), RLHF_E_INVAL);
    assert_int_equal(rlhf_measure_product(context, RLHF_FLOAT32, 4, 1, 1, 1, 1, seconds), RLHF_E_INVAL);
    assert_int_equal(rlhf_measure_product(context, RLHF_FLOAT32, -1, 1, 1, 1, 1, seconds), RLHF_E_INVAL);
    assert_int_equal(rlhf_measure_product(context, 7, 0, 1, 1, 1, 1, seconds), RLHF_E_UNSUPPORTED);
    assert_int_equal(rlhf_measure_product(context, RLHF_FLOAT32, 0, 0, 1, 1, 1, seconds), RLHF_E_RANGE);
    assert_int_equal(rlhf_measure_product(context, RLHF_FLOAT32, 0, 1, large + 1, 1, 1, seconds), RLHF_E_RANGE);
    assert_int_equal(rlhf_measure_product(context, RLHF_FLOAT32, 0, large, large, 1, 1, seconds), RLHF_E_RANGE);
    assert_int_equal(rlhf_measure_product(context, RLHF_FLOAT32, 0, 1, 1, 1, 0, seconds), RLHF_E_RANGE);
}

struct counter {
    int64_t allocations, live, fail_at;
};

static void *counting_alloc(void *user_data, size_t size, size_t alignment)
{
    struct counter *counter = user_data;
    void *pointer = NULL;

    if (++counter->allocations == counter->fail_at || posix_memalign(&pointer, alignment, size) != 0)
        return NULL;
    counter->live++;
    return pointer;
}

static void counting_free(void *user_data, void *pointer, size_t size)
{
    struct counter *counter = user_data;

    (void)size;
    counter->live -= pointer != NULL;
    free(pointer);
}

static void test_every_failure(void **state)
{
    int64_t failures = 0;

    (void)state;
    for (int64_t n = 1;; n++) {
        struct counter counter = {0};
        rlhf_context_options options;
        rlhf_context *context;
        double seconds[1];
        rlhf_context_options_init(&options, sizeof options);
        options.threads = 1;
        options.allocator = (rlhf_allocator){counting_alloc, counting_free, &counter};
        assert_int_equal(rlhf_context_create(&context, &options), RLHF_OK);
        counter.fail_at = counter.allocations + n;
        rlhf_status status =
            rlhf_measure_product(context, RLHF_FLOAT32, RLHF_PRODUCT_DECODING, 40, 70, 300, 1, seconds);
        rlhf_context_release(&context);
        assert_int_equal(counter.live, 0);
        if (status == RLHF_OK)
            break;
        assert_int_equal(status, RLHF_E_NOMEM);
        failures++;
    }
    assert_true(failures >= 4); /* three matrices and the panels */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_every_failure),
    };
    return cmocka_run_group_tests(tests, make_contexts, release_contexts);
}
