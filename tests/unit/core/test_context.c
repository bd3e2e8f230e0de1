#include "helper.h"

#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void defaults_are_true_values(void **state)
{
    rlhf_context_options options;

    memset(&options, 0xA5, sizeof options);
    rlhf_context_options_init(&options, sizeof options);
    assert_int_equal(options.struct_size, sizeof options);
    assert_int_equal(options.threads, 0);
    assert_int_equal(options.seed, 0);
    assert_null(options.allocator.alloc);
    assert_null(options.allocator.free);
    assert_null(options.allocator.user_data);
    assert_null(options.log);
    assert_int_equal(options.log_level, RLHF_LOG_WARNING);
    assert_true(options.cpu_mask == UINT32_MAX);
    assert_int_equal(options.use_blis, 0);
    assert_int_equal(options.reserved, 0);
    rlhf_context_options_init(NULL, sizeof options);
}

static rlhf_status create_with(rlhf_context_options options)
{
    rlhf_context *context = (rlhf_context *)&options;
    rlhf_status status = rlhf_context_create(&context, &options);

    assert_true((status == RLHF_OK) == (context != NULL));
    rlhf_context_release(&context);
    return status;
}

static void *some_alloc(void *user_data, size_t size, size_t alignment)
{
    return aligned_alloc(alignment, size);
}

static void options_are_checked(void **state)
{
    rlhf_context_options good, bad;
    struct {
        rlhf_context_options known;
        char tail[16];
    } longer;
    rlhf_context *context;

    rlhf_context_options_init(&good, sizeof good);
    assert_int_equal(create_with(good), RLHF_OK);
    assert_int_equal(rlhf_context_create(NULL, &good), RLHF_E_INVAL);
#define REFUSED(change) (bad = good, bad.change, assert_int_equal(create_with(bad), RLHF_E_INVAL))
    REFUSED(threads = -1);
    REFUSED(threads = 100000);
    REFUSED(reserved = 1);
    REFUSED(use_blis = 2);
    REFUSED(log_level = 5);
    REFUSED(log_level = -1);
    REFUSED(allocator.alloc = some_alloc);
    REFUSED(struct_size = sizeof good - 4);
    REFUSED(struct_size = 0);
    memset(&longer, 0, sizeof longer);
    longer.known = good;
    longer.known.struct_size = sizeof longer;
    assert_int_equal(rlhf_context_create(&context, &longer.known), RLHF_OK);
    rlhf_context_release(&context);
    longer.tail[15] = 1;
    assert_int_equal(rlhf_context_create(&context, &longer.known), RLHF_E_UNSUPPORTED);
    assert_null(context);
}

static void a_context_keeps_what_it_was_told(void **state)
{
    rlhf_context_options options;
    rlhf_context *context, *share;
    char text[300];
    size_t bytes;

    rlhf_context_options_init(&options, sizeof options);
    options.seed = 42;
    options.threads = 2;
    options.cpu_mask = 0;
    options.use_blis = 1;
    assert_int_equal(rlhf_context_create(&context, &options), RLHF_OK);
    assert_int_equal(context->seed, 42);
    assert_int_equal(context->cpu_mask, 0);
    assert_int_equal(context->use_blis, 1);
    assert_int_equal(rlhf_context_threads(context), 2);
    assert_int_equal(rlhf_context_threads(NULL), 0);
    assert_int_equal(rlhf_context_set_seed(context, 43), RLHF_OK);
    assert_int_equal(context->seed, 43);
    assert_int_equal(rlhf_context_set_seed(NULL, 43), RLHF_E_INVAL);

    bytes = rlhf_context_describe(context, text, sizeof text);
    assert_string_equal(text, "2 threads");
    assert_int_equal(bytes, 10);
    strcpy(context->compute_text, "avx512");
    rlhf_context_describe(context, text, sizeof text);
    assert_string_equal(text, "2 threads, avx512");
    assert_int_equal(rlhf_context_describe(context, text, 4), 18);
    assert_string_equal(text, "2 t");
    assert_int_equal(rlhf_context_describe(NULL, text, 4), 0);
    assert_int_equal(rlhf_context_describe(context, NULL, 4), 18);

    share = rlhfi_context_retain(context);
    rlhf_context_release(&context);
    assert_null(context);
    assert_int_equal(share->seed, 43);
    rlhf_context_release(&share);
    rlhf_context_release(&share);
    rlhf_context_release(NULL);
}

static void each_allocation_may_fail(void **state)
{
    struct counter counter = {0};
    rlhf_context *context;
    rlhf_status status;
    int64_t n = 0;

    do {
        counter.calls = 0;
        counter.fail_at = ++n;
        status = counted_context(&context, &counter, 3);
        if (status != RLHF_OK) {
            assert_int_equal(status, RLHF_E_NOMEM);
            assert_null(context);
            assert_int_equal(counter.live, 0);
        }
    } while (status != RLHF_OK);
    assert_int_equal(n, 3); /* the context and its pool */
    rlhf_context_release(&context);
    assert_int_equal(counter.live, 0);
    assert_int_equal(counter.bytes, 0);
}

static int destroyed;

static void products_destroy(rlhf_context *context)
{
    /* Runs while the context still works: it may free and use the pool. */
    rlhfi_free(context, context->products);
    assert_int_equal(rlhfi_workers(context), 2);
    destroyed++;
}

static rlhf_status attach_products(rlhf_context *context)
{
    context->products = rlhfi_alloc(context, 100);
    if (context->products == NULL)
        return RLHF_E_NOMEM;
    context->products_destroy = products_destroy;
    return RLHF_OK;
}

static rlhf_status attach_and_fail(rlhf_context *context)
{
    RLHFI_TRY(attach_products(context));
    return rlhfi_fail(context, RLHF_E_UNSUPPORTED, "no such machine");
}

static void the_compute_room_comes_and_goes(void **state)
{
    struct counter counter = {0};
    rlhf_context *context;

    destroyed = 0;
    attach_hook = attach_products;
    assert_int_equal(counted_context(&context, &counter, 2), RLHF_OK);
    assert_int_equal(destroyed, 0);
    rlhf_context_release(&context);
    assert_int_equal(destroyed, 1);
    assert_int_equal(counter.live, 0);

    attach_hook = attach_and_fail;
    assert_int_equal(counted_context(&context, &counter, 2), RLHF_E_UNSUPPORTED);
    assert_null(context);
    assert_int_equal(destroyed, 2);
    assert_int_equal(counter.live, 0);
    attach_hook = NULL;
}

/* A sanitizer's own locks do not survive a fork of a program with threads: there a child starts no threads. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static void touch(void *argument, int64_t index, int32_t worker)
{
}

/* Returns when all four threads have come. */
static void gather(void *argument, int64_t index, int32_t worker)
{
    atomic_fetch_add((_Atomic int *)argument, 1);
    while (atomic_load((_Atomic int *)argument) < 4)
        usleep(10);
}

/* Exit code of a child that does everything that must work, or fail well, after fork. */
static int in_child(rlhf_context *context)
{
    char text[256];
    rlhf_context_options options;
    rlhf_context *own;

    if (rlhfi_enter(context) != RLHF_E_FORKED || rlhf_context_set_seed(context, 1) != RLHF_E_FORKED)
        return 1;
    if (context->seed != 0 || rlhf_context_error(context, text, sizeof text) < 10 || strstr(text, "fork") == NULL)
        return 2;
    rlhf_context_release(&context);
    if (context != NULL)
        return 3;
    rlhf_context_options_init(&options, sizeof options);
    options.threads = SANITIZED ? 1 : 3;
    if (rlhf_context_create(&own, &options) != RLHF_OK || rlhf_context_set_seed(own, 1) != RLHF_OK)
        return 4;
    rlhfi_parallel(own, 100, touch, NULL);
    rlhf_context_release(&own);
    return 0;
}

static void a_forked_child_may_only_release(void **state)
{
    rlhf_context_options options;
    rlhf_context *context;
    _Atomic int present = 0;

    rlhf_context_options_init(&options, sizeof options);
    options.threads = 4;
    assert_int_equal(rlhf_context_create(&context, &options), RLHF_OK);
    rlhfi_parallel(context, 4, gather, &present);
    for (int repeat = 0; repeat < 20; repeat++) {
        int status = -1;
        pid_t child;
        rlhfi_parallel(context, 50, touch, NULL); /* the workers are awake, or on their way to sleep */
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            alarm(20); /* a hang becomes a death */
            _exit(in_child(context));
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            fail_msg("the child ended with status %d", status);
    }
    /* The parent is as before. */
    assert_int_equal(rlhf_context_set_seed(context, 1), RLHF_OK);
    rlhfi_parallel(context, 50, touch, NULL);
    rlhf_context_release(&context);
}

static rlhf_status warned;

static void take_warning(void *user_data, int32_t level, const char *line)
{
    warned = level == RLHF_LOG_WARNING && strstr(line, "threads: 8 wanted") != NULL;
}

/* A sandbox that grants no threads: the work is done with those that there are. */
static void fewer_threads_are_no_failure(void **state)
{
    int status = -1;
    pid_t child;

    if (SANITIZED) {
        print_message("skipped: no threads after fork under a sanitizer\n");
        skip();
    }
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        rlhf_context_options options;
        rlhf_context *context;
        struct rlimit limit = {0, 0};
        alarm(20);
        /* Limits of threads do not bind the superuser. */
        if ((geteuid() == 0 && setuid(65534) != 0) || setrlimit(RLIMIT_NPROC, &limit) != 0)
            _exit(77);
        rlhf_context_options_init(&options, sizeof options);
        options.threads = 8;
        options.log = take_warning;
        if (rlhf_context_create(&context, &options) != RLHF_OK || rlhf_context_threads(context) != 1 || !warned)
            _exit(1);
        rlhfi_parallel(context, 50, touch, NULL);
        rlhf_context_release(&context);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        print_message("skipped: the number of threads cannot be limited here\n");
        skip();
    }
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_true_values),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(a_context_keeps_what_it_was_told),
        cmocka_unit_test(each_allocation_may_fail),
        cmocka_unit_test(the_compute_room_comes_and_goes),
        cmocka_unit_test(a_forked_child_may_only_release),
        cmocka_unit_test(fewer_threads_are_no_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
