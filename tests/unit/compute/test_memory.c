/* Memory of the compute room: the second step of the same shapes allocates nothing, every failing allocation comes
 * back as RLHF_E_NOMEM, and nothing leaks. */
#include "unit/compute/support.h"
#include "pace.h"

struct counter {
    int64_t allocations, live, fail_at; /* fail_at: number of the allocation that fails, 0 = none */
};

static void *counting_alloc(void *user_data, size_t size, size_t alignment)
{
    struct counter *counter = user_data;
    void *pointer = NULL;

    counter->allocations++;
    if (counter->allocations == counter->fail_at || posix_memalign(&pointer, alignment, size) != 0)
        return NULL;
    counter->live++;
    return pointer;
}

static void counting_free(void *user_data, void *pointer, size_t size)
{
    struct counter *counter = user_data;

    (void)size;
    if (pointer != NULL)
        counter->live--;
    free(pointer);
}

static rlhf_status create(rlhf_context **context, struct counter *counter)
{
    rlhf_context_options options;

    rlhf_context_options_init(&options, sizeof options);
    options.threads = 1; /* the counter is not atomic */
    options.allocator = (rlhf_allocator){counting_alloc, counting_free, counter};
    return rlhf_context_create(context, &options);
}

enum { ROWS = 300, D = 64, WIDE = 176, VOCABULARY = 1200, HEADS = 4, HEAD_DIM = 16 };

static struct {
    float x[ROWS * D], y[ROWS * WIDE], w[WIDE * D], table[VOCABULARY * D], out[ROWS * D], lse[ROWS * HEADS], sum[WIDE];
    float dq[ROWS * D], dk[ROWS * D], dv[ROWS * D], dw[VOCABULARY * D], log_prob[ROWS], head_lse[ROWS];
    int32_t target[ROWS];
    int64_t row[ROWS];
} arrays;

static rlhf_status step_bf16(rlhf_context *context)
{
    const rlhfi_head_matrix matrix = {rlhfi_floats(arrays.table), true};
    rlhfi_head_result result = {arrays.log_prob, NULL, NULL, NULL, arrays.head_lse};
    rlhfi_panels *panels;

    RLHFI_TRY(rlhfi_product_bf16(context, 0, 1, ROWS, WIDE, D, arrays.x, D, rlhfi_floats(arrays.w), D, NULL, 0,
                                 arrays.y, WIDE));
    RLHFI_TRY(rlhfi_product_bf16(context, 1, 0, WIDE, D, ROWS, arrays.y, WIDE, rlhfi_floats(arrays.x), D, NULL, 1,
                                 arrays.w, D));
    RLHFI_TRY(rlhfi_head(context, ROWS, D, VOCABULARY, arrays.x, arrays.row, matrix, arrays.target, 1.0f, &result));
    RLHFI_TRY(rlhfi_head_backward(context, ROWS, D, VOCABULARY, arrays.x, arrays.row, matrix, arrays.target, 1.0f,
                                  &result, arrays.x, NULL, NULL, arrays.dq, arrays.dw));
    RLHFI_TRY(rlhfi_panels_create_bf16(&panels, context, 1, WIDE, D, rlhfi_floats(arrays.w), D));
    rlhf_status status = rlhfi_product_panels(context, ROWS, arrays.x, D, panels, NULL, arrays.y, WIDE);
    rlhfi_panels_release(&panels);
    return status;
}

/* Something of everything that needs memory. */
static rlhf_status step(rlhf_context *context)
{
    const int64_t offset[2] = {0, ROWS}, length = ROWS;
    const float *key = arrays.x, *value = arrays.out;
    rlhfi_attention shape = {.sequences = 1, .query_offset = offset, .key_length = &length, .key = &key,
                             .value = &value, .ldkv = D, .heads = HEADS, .kv_heads = HEADS, .head_dim = HEAD_DIM,
                             .scale = 0.25f};
    rlhfi_head_result result = {arrays.log_prob, NULL, NULL, NULL, arrays.head_lse};
    rlhfi_panels *panels;

    RLHFI_TRY(rlhfi_product(context, 0, 1, ROWS, WIDE, D, arrays.x, D, arrays.w, D, NULL, 0, arrays.y, WIDE));
    RLHFI_TRY(rlhfi_product(context, 1, 0, WIDE, D, ROWS, arrays.y, WIDE, arrays.x, D, NULL, 1, arrays.w, D));
    RLHFI_TRY(rlhfi_bias_gradient(context, ROWS, WIDE, arrays.y, WIDE, arrays.sum));
    RLHFI_TRY(rlhfi_attend(context, &shape, arrays.x, D, arrays.dq, D, arrays.lse));
    RLHFI_TRY(rlhfi_attend_backward(context, &shape, arrays.x, D, arrays.dq, D, arrays.lse, arrays.x, D, arrays.out, D,
                                    arrays.dk, arrays.dv, D));
    RLHFI_TRY(
        rlhfi_head(context, ROWS, D, VOCABULARY, arrays.x, arrays.row, rlhfi_float_head(arrays.table), arrays.target,
                   1.0f, &result));
    RLHFI_TRY(rlhfi_head_backward(context, ROWS, D, VOCABULARY, arrays.x, arrays.row, rlhfi_float_head(arrays.table),
                                  arrays.target, 1.0f,
                                  &result, arrays.x, NULL, NULL, arrays.dq, arrays.dw));
    RLHFI_TRY(rlhfi_panels_create(&panels, context, 1, WIDE, D, arrays.w, D));
    rlhf_status status = rlhfi_product_panels(context, 5, arrays.x, D, panels, NULL, arrays.y, WIDE);
    rlhfi_panels_release(&panels);
    RLHFI_TRY(status);
    return step_bf16(context);
}

static void fill_arrays(void)
{
    for (int i = 0; i < ROWS * D; i++)
        arrays.x[i] = arrays.out[i] = random_float(-1, 1);
    for (int i = 0; i < WIDE * D; i++)
        arrays.w[i] = random_float(-1, 1);
    for (int i = 0; i < VOCABULARY * D; i++)
        arrays.table[i] = random_float(-1, 1);
    for (int i = 0; i < ROWS; i++) {
        arrays.target[i] = i * 3;
        arrays.row[i] = ROWS - 1 - i;
    }
}

static void test_second_step_allocates_nothing(void **state)
{
    struct counter counter = {0};
    rlhf_context *context;

    (void)state;
    fill_arrays();
    assert_int_equal(create(&context, &counter), RLHF_OK);
    assert_int_equal(step(context), RLHF_OK);
    int64_t before = counter.allocations, live = counter.live;
    assert_int_equal(step(context), RLHF_OK);
    assert_int_equal(counter.allocations - before, 4); /* the panels, which are released again */
    assert_int_equal(counter.live, live);
    rlhf_context_release(&context);
    assert_int_equal(counter.live, 0);
}

static void test_every_failure(void **state)
{
    int64_t failures = 0;

    (void)state;
    fill_arrays();
    for (int64_t n = 1;; n += pace(5)) {
        struct counter counter = {.fail_at = n};
        rlhf_context *context = NULL;
        rlhf_status status = create(&context, &counter);
        if (status == RLHF_OK)
            status = step(context);
        if (status != RLHF_OK) {
            assert_int_equal(status, RLHF_E_NOMEM);
            failures++;
        }
        if (status != RLHF_OK && context != NULL)
            assert_int_equal(step(context), RLHF_OK); /* the context is as good as before */
        rlhf_context_release(&context);
        assert_int_equal(counter.live, 0);
        if (counter.allocations < n)
            break;
    }
    assert_true(failures * pace(5) > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_second_step_allocates_nothing),
        cmocka_unit_test(test_every_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
