/* Runs with an allocator that refuses: whichever piece is refused, the call says so and nothing is lost. And once a
 * step has made room, later ones ask for nothing. */
#include "runs.h"

struct counter {
    int64_t calls, live;
    int64_t fail_at; /* this call and all later ones return NULL; 0 = none */
};

static void *counter_alloc(void *user_data, size_t size, size_t alignment)
{
    struct counter *counter = user_data;
    int64_t call = __atomic_add_fetch(&counter->calls, 1, __ATOMIC_RELAXED);
    void *pointer;

    if (counter->fail_at > 0 && call >= counter->fail_at)
        return NULL;
    pointer = aligned_alloc(alignment, size);
    assert_non_null(pointer);
    memset(pointer, 0xA5, size); /* nobody may rely on zeros */
    __atomic_add_fetch(&counter->live, 1, __ATOMIC_RELAXED);
    return pointer;
}

static void counter_free(void *user_data, void *pointer, size_t size)
{
    struct counter *counter = user_data;

    __atomic_sub_fetch(&counter->live, 1, __ATOMIC_RELAXED);
    memset(pointer, 0x5A, size);
    free(pointer);
}

static rlhf_context *counting_context(struct counter *counter)
{
    rlhf_context_options options;
    rlhf_context *context;

    memset(counter, 0, sizeof *counter);
    rlhf_context_options_init(&options, sizeof options);
    options.threads = 1;
    options.use_blis = 0;
    options.allocator = (rlhf_allocator){counter_alloc, counter_free, counter};
    assert_int_equal(rlhf_context_create(&context, &options), RLHF_OK);
    return context;
}

/* A whole run in a directory: models, tokenizer and data as given, the rest made by the trainer. */
static rlhf_status whole_run(struct parts *parts)
{
    rlhf_trainer *trainer = NULL;
    rlhf_status status = rlhf_trainer_create(&trainer, parts->context, parts->recipe, &parts->options);

    if (status == RLHF_OK)
        status = rlhf_trainer_run(trainer);
    else
        assert_null(trainer);
    rlhf_trainer_release(&trainer);
    return status;
}

/* Fresh parts, then a run whose allocation number fail is refused (0: none). Returns how many it asked for. */
static int64_t run_with_failure(const char *method, const char *directory, int64_t fail)
{
    struct counter counter;
    rlhf_context *context = counting_context(&counter);
    struct parts parts;
    rlhf_status status;
    int64_t before;

    make_parts(&parts, context, method);
    set(context, parts.recipe, "max_steps", "2");
    parts.options.output_dir = directory;
    parts.options.overwrite = 1;
    parts.options.eval_dataset = parts.dataset;
    before = counter.calls;
    counter.fail_at = fail > 0 ? before + fail : 0;
    status = whole_run(&parts);
    counter.fail_at = 0;
    if (status != (fail > 0 ? RLHF_E_NOMEM : RLHF_OK))
        fail_msg("%s: allocation %lld failed, and the run says %s", method, (long long)fail, rlhf_status_name(status));
    release_parts(&parts);
    rlhf_context_release(&context);
    assert_int_equal(counter.live, 0);
    return counter.calls - before;
}

static void test_every_allocation_may_fail(void **state)
{
    enum { POINTS = 40 };
    char directory[64];
    rlhf_context *context;

    (void)state;
    make_directory(directory);
    for (int m = 0; m < ALL_METHODS; m += (int)pace(3)) {
        int64_t calls = run_with_failure(all_methods[m], directory, 0);
        assert_true(calls > POINTS);
        for (int i = 0; i <= POINTS; i += (int)pace(10))
            run_with_failure(all_methods[m], directory, 1 + i * (calls - 1) / POINTS);
    }
    context = make_context(1, ~0u, 0);
    remove_directory(context, directory);
    rlhf_context_release(&context);
}

static void test_later_steps_ask_for_nothing(void **state)
{
    static const char *const methods[] = {"pretrain", "sft", "reward"};

    (void)state;
    for (int m = 0; m < 3; m++) {
        struct counter counter;
        rlhf_context *context = counting_context(&counter);
        struct parts parts;
        rlhf_trainer *trainer;
        int64_t after_two;
        make_parts(&parts, context, methods[m]);
        set(context, parts.recipe, "per_device_train_batch_size", "5");
        set(context, parts.recipe, "gradient_accumulation_steps", "2"); /* all ten rows in every step */
        set(context, parts.recipe, "shuffle_dataset", "false");
        CHECK(context, rlhf_trainer_create(&trainer, context, parts.recipe, &parts.options));
        CHECK(context, rlhf_trainer_step(trainer));
        CHECK(context, rlhf_trainer_step(trainer));
        after_two = counter.calls;
        CHECK(context, rlhf_trainer_step(trainer));
        CHECK(context, rlhf_trainer_step(trainer));
        assert_int_equal(counter.calls, after_two);
        rlhf_trainer_release(&trainer);
        release_parts(&parts);
        rlhf_context_release(&context);
        assert_int_equal(counter.live, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_allocation_may_fail),
        cmocka_unit_test(test_later_steps_ask_for_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
