/* Memory: any allocation may fail without harm, nothing leaks, and after the first step nothing is allocated. */
#include "models.h"
#include "pace.h"

/* Counts, and fails the allocation numbered `fail_at`. Called from any thread of the pool. */
struct counter {
    int64_t live, allocations, fail_at;
};

static void *counted_alloc(void *user_data, size_t size, size_t alignment)
{
    struct counter *counter = user_data;
    int64_t number = __atomic_fetch_add(&counter->allocations, 1, __ATOMIC_RELAXED);

    if (number == counter->fail_at)
        return NULL;
    __atomic_fetch_add(&counter->live, 1, __ATOMIC_RELAXED);
    return aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

static void counted_free(void *user_data, void *pointer, size_t size)
{
    struct counter *counter = user_data;

    (void)size;
    __atomic_fetch_sub(&counter->live, 1, __ATOMIC_RELAXED);
    free(pointer);
}

static rlhf_context *counted_context(struct counter *counter)
{
    rlhf_context_options options;
    rlhf_context *context;

    *counter = (struct counter){.fail_at = -1};
    rlhf_context_options_init(&options, sizeof options);
    options.threads = 2;
    options.allocator = (rlhf_allocator){counted_alloc, counted_free, counter};
    assert_int_equal(rlhf_context_create(&context, &options), RLHF_OK);
    return context;
}

static char directory[64];

/* ---- operations: each with what it needs made before ------------------------------------------------------------ */

struct subject {
    rlhf_context *context;
    rlhfi_model *model, *scalar;
    struct rows *rows;
    float *out;
};

static rlhf_status run_load(struct subject *s)
{
    rlhfi_model *model;
    rlhf_status status = rlhfi_model_load(&model, s->context, directory, RLHFI_HEAD_TOKENS, NULL);

    if (status != RLHF_OK)
        assert_null(model);
    rlhfi_model_release(&model);
    return status;
}

static rlhf_status run_create(struct subject *s)
{
    rlhfi_model *model;
    rlhf_status status =
        rlhfi_model_create(&model, s->context, llama_config, strlen(llama_config), RLHFI_HEAD_TOKENS, 1, NULL);

    if (status != RLHF_OK)
        assert_null(model);
    rlhfi_model_release(&model);
    return status;
}

static rlhf_status run_write(struct subject *s)
{
    rlhfi_model *model;
    const rlhfi_weights *weights = s->model->weights;
    rlhf_status status = rlhfi_model_share(&model, s->model);

    if (status == RLHF_OK)
        status = rlhfi_model_writable(model);
    rlhfi_model_release(&model);
    assert_ptr_equal(s->model->weights, weights);
    assert_int_equal(weights->references, 1);
    return status;
}

static rlhf_status run_scalar_head(struct subject *s)
{
    rlhfi_model *model;
    rlhf_status status = rlhfi_model_with_scalar_head(&model, s->model, 1.0f, 1);

    rlhfi_model_release(&model);
    return status;
}

static rlhf_status run_save(struct subject *s)
{
    return rlhfi_model_save(s->scalar, directory);
}

static rlhf_status run_log_probs(struct subject *s)
{
    rlhfi_token_stats stats = {.log_prob = s->out};

    return rlhfi_model_log_probs(s->model, &s->rows->view, 1.0f, &stats);
}

static rlhf_status run_train(struct subject *s)
{
    struct linear_loss l = {.seed = 1};

    return rlhfi_model_train(s->model, &s->rows->view, 1.0f, true, true, true, linear_loss, &l);
}

static rlhf_status run_train_scalars(struct subject *s)
{
    struct linear_loss l = {.seed = 1};

    return rlhfi_model_train_scalars(s->scalar, &s->rows->view, true, linear_scalar_loss, &l);
}

/* A model with gathered gradients gets a head, and both heads go through it. Half a head is none. */
static rlhf_status run_value_head(struct subject *s)
{
    struct linear_loss l = {.seed = 1};
    rlhfi_token_stats stats = {.log_prob = s->out, .value = s->out};
    int64_t parameters = s->model->parameter_count;
    rlhfi_model *shared;
    rlhf_status status;

    if (!s->model->value_head) {
        RLHFI_TRY(rlhfi_model_need_gradient(s->model));
        status = rlhfi_model_add_value_head(s->model);
        assert_int_equal(s->model->parameter_count, status == RLHF_OK ? parameters + 1 : parameters);
        RLHFI_TRY(status);
    }
    RLHFI_TRY(rlhfi_model_share(&shared, s->model));
    rlhfi_model_release(&shared);
    RLHFI_TRY(rlhfi_model_log_probs(s->model, &s->rows->view, 1.0f, &stats));
    return rlhfi_model_train(s->model, &s->rows->view, 1.0f, true, true, true, linear_loss, &l);
}

static rlhf_status run_decode(struct subject *s)
{
    static const int32_t token[] = {1, 2, 3, 4, 5};
    static const int64_t slot[] = {2, 0}, offset[] = {0, 3, 5}, next[] = {0, 1, 2};
    rlhfi_cache *cache;
    float *logits;
    rlhf_status status = rlhfi_cache_create(&cache, s->model, 3, 9);

    if (status == RLHF_OK)
        status = rlhfi_decode(s->model, cache, 2, slot, offset, token, &logits);
    if (status == RLHF_OK)
        status = rlhfi_cache_copy(cache, 2, 1, 3);
    if (status == RLHF_OK)
        status = rlhfi_decode(s->model, cache, 2, slot, next, token, &logits);
    rlhfi_cache_release(&cache);
    return status;
}

static const struct {
    const char *name;
    rlhf_status (*run)(struct subject *s);
} operations[] = {
    {"load", run_load},     {"create", run_create},
    {"write", run_write},   {"scalar head", run_scalar_head},
    {"save", run_save},     {"log-probabilities", run_log_probs},
    {"train", run_train},   {"train scalars", run_train_scalars},
    {"decode", run_decode}, {"value head", run_value_head},
};

/* rows enough for several groups, so that workers have contexts and buffers of their own */
static void subject_make(struct subject *s, struct counter *counter, const char *json)
{
    s->context = counted_context(counter);
    s->model = make_model(s->context, json, RLHFI_HEAD_TOKENS, 41);
    s->scalar = make_model(s->context, json, RLHFI_HEAD_SCALAR, 41);
    s->rows = random_rows(s->model, 24, 2, 40, 42);
    s->out = malloc((size_t)responses(s->rows) * sizeof *s->out);
    check_ok(s->context, rlhfi_model_save(s->model, directory), "save");
}

static void subject_free(struct subject *s, struct counter *counter)
{
    free(s->rows);
    free(s->out);
    rlhfi_model_release(&s->model);
    rlhfi_model_release(&s->scalar);
    rlhf_context_release(&s->context);
    assert_int_equal(counter->live, 0);
}

static void test_failing(void **state)
{
    static const char *const jsons[] = {llama_config, gpt2_config};
    (void)state;

    for (size_t j = 0; j < 2; j++)
        for (size_t o = 0; o < sizeof operations / sizeof operations[0]; o++) {
            struct counter counter;
            struct subject s;
            rlhf_status status = RLHF_E_NOMEM;
            int64_t n;
            make_directory(directory);
            for (n = 0;; n += pace(29)) {
                bool reached;
                subject_make(&s, &counter, jsons[j]);
                counter.fail_at = counter.allocations + n;
                status = operations[o].run(&s);
                reached = counter.allocations > counter.fail_at;
                counter.fail_at = -1;
                if (status != RLHF_OK && status != RLHF_E_NOMEM)
                    check_ok(s.context, status, operations[o].name);
                /* Once there is memory again, it works. */
                if (status != RLHF_OK)
                    check_ok(s.context, operations[o].run(&s), operations[o].name);
                subject_free(&s, &counter);
                if (!reached)
                    break;
            }
            assert_int_equal(status, RLHF_OK);
            print_message("%s: allocations up to number %d may fail\n", operations[o].name, (int)n);
            subject_make(&s, &counter, jsons[j]);
            check_ok(s.context, rlhfi_remove_tree(s.context, directory), "clean up");
            subject_free(&s, &counter);
        }
}

static void test_steady(void **state)
{
    (void)state;
    for (size_t c = 0; c < CONFIGS; c += (size_t)pace(3))
        for (size_t o = 5; o < 8; o++) {
            struct counter counter;
            struct subject s;
            int64_t before;
            make_directory(directory);
            subject_make(&s, &counter, configs[c].json);
            check_ok(s.context, operations[o].run(&s), operations[o].name);
            before = counter.allocations;
            for (int step = 0; step < 3; step++) {
                check_ok(s.context, rlhfi_model_writable(s.model), "writable");
                check_ok(s.context, operations[o].run(&s), operations[o].name);
            }
            if (counter.allocations != before)
                fail_msg("%s, %s: %d allocations after the first step", configs[c].name, operations[o].name,
                         (int)(counter.allocations - before));
            check_ok(s.context, rlhfi_remove_tree(s.context, directory), "clean up");
            subject_free(&s, &counter);
        }
}

/* Decoding allocates only when sequences become longer than any before. */
static void test_steady_decoding(void **state)
{
    (void)state;
    for (size_t c = 2; c < CONFIGS; c++) {
        struct counter counter;
        rlhf_context *context = counted_context(&counter);
        rlhfi_model *model = make_model(context, configs[c].json, RLHFI_HEAD_TOKENS, 43);
        int64_t slot[70], offset[71], before = 0;
        int32_t token[70];
        rlhfi_cache *cache;
        float *logits;
        for (int i = 0; i < 70; i++) {
            slot[i] = offset[i] = i;
            token[i] = i % 60;
        }
        offset[70] = 70;
        check_ok(context, rlhfi_cache_create(&cache, model, 70, 200), "cache");
        for (int round = 0; round < 2; round++) {
            before = counter.allocations;
            for (int step = 0; step < 100; step += (int)pace(50))
                check_ok(context, rlhfi_decode(model, cache, 70, slot, offset, token, &logits), "decode");
            for (int i = 0; i < 70; i++)
                rlhfi_cache_clear(cache, i);
        }
        assert_int_equal(counter.allocations, before);
        rlhfi_cache_release(&cache);
        rlhfi_model_release(&model);
        rlhf_context_release(&context);
        assert_int_equal(counter.live, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failing),
        cmocka_unit_test(test_steady),
        cmocka_unit_test(test_steady_decoding),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
