#include "helper.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

static rlhf_context *make(int32_t threads)
{
    rlhf_context_options options;
    rlhf_context *context;

    rlhf_context_options_init(&options, sizeof options);
    options.threads = threads;
    assert_int_equal(rlhf_context_create(&context, &options), RLHF_OK);
    return context;
}

struct job {
    rlhf_context *context;
    _Atomic int32_t visits[5000];
    _Atomic int64_t wrong_worker;
    double partial[5000];
};

static void visit(void *argument, int64_t index, int32_t worker)
{
    struct job *job = argument;

    atomic_fetch_add(&job->visits[index], 1);
    if (worker < 0 || worker >= rlhfi_workers(job->context))
        atomic_fetch_add(&job->wrong_worker, 1);
    job->partial[index] = 1.0 / (double)(index + 1);
}

static void each_index_once(void **state)
{
    static const int32_t threads[] = {1, 2, 3, 8};
    static const int64_t counts[] = {0, 1, 2, 3, 7, 64, 5000};
    static struct job job;

    for (size_t t = 0; t < 4; t++) {
        job.context = make(threads[t]);
        assert_int_equal(rlhfi_workers(job.context), threads[t]);
        assert_int_equal(rlhf_context_threads(job.context), threads[t]);
        for (int repeat = 0; repeat < 100; repeat++)
            for (size_t c = 0; c < 7; c++) {
                if (counts[c] == 5000 && repeat % 10 != 0)
                    continue;
                memset(job.visits, 0, sizeof job.visits);
                rlhfi_parallel(job.context, counts[c], visit, &job);
                for (int64_t i = 0; i < 5000; i++)
                    if (job.visits[i] != (i < counts[c]))
                        fail_msg("%d threads, %lld tasks: task %lld ran %d times", threads[t], (long long)counts[c],
                                 (long long)i, job.visits[i]);
            }
        rlhfi_parallel(job.context, -1, visit, &job);
        assert_int_equal(job.wrong_worker, 0);
        rlhf_context_release(&job.context);
    }
}

/* What tasks wrote is visible to the caller as soon as the call returns, without atomics. */
static void results_are_visible(void **state)
{
    static struct job job;

    job.context = make(4);
    for (int repeat = 0; repeat < 2000; repeat++) {
        double sum = 0.0;
        int64_t count = 2 + repeat % 40;
        memset(job.partial, 0, sizeof job.partial);
        rlhfi_parallel(job.context, count, visit, &job);
        for (int64_t i = 0; i < count; i++)
            sum += job.partial[i] != 1.0 / (double)(i + 1);
        assert_true(sum == 0.0);
    }
    rlhf_context_release(&job.context);
}

struct meeting {
    rlhf_context *context;
    _Atomic int32_t present;
    _Atomic int64_t used[8];
    _Atomic int64_t nested, foreign;
    int32_t expected;
};

/* Returns only when all threads are inside: so they do run at the same time. */
static void meet(void *argument, int64_t index, int32_t worker)
{
    struct meeting *meeting = argument;

    atomic_fetch_add(&meeting->used[worker], 1);
    atomic_fetch_add(&meeting->present, 1);
    while (atomic_load(&meeting->present) < meeting->expected)
        sched_yield();
}

static void threads_work_together(void **state)
{
    for (int32_t threads = 2; threads <= 4; threads++) {
        struct meeting meeting = {.context = make(threads), .expected = threads};
        for (int repeat = 0; repeat < 50; repeat++) {
            meeting.present = 0;
            memset(meeting.used, 0, sizeof meeting.used);
            rlhfi_parallel(meeting.context, threads, meet, &meeting);
            for (int32_t i = 0; i < threads; i++)
                assert_int_equal(meeting.used[i], 1);
            /* Long enough for the workers to fall asleep. */
            if (repeat % 10 == 0)
                usleep(2000);
        }
        rlhf_context_release(&meeting.context);
    }
}

struct nest {
    struct meeting *meeting;
    int32_t worker;
};

static void inner(void *argument, int64_t index, int32_t worker)
{
    struct nest *nest = argument;

    atomic_fetch_add(&nest->meeting->nested, 1);
    if (worker != nest->worker)
        atomic_fetch_add(&nest->meeting->foreign, 1);
}

static void outer(void *argument, int64_t index, int32_t worker)
{
    struct meeting *meeting = argument;
    struct nest nest = {meeting, worker};

    rlhfi_parallel(meeting->context, 5, inner, &nest);
    rlhfi_parallel(meeting->context, 1, inner, &nest);
    meet(argument, index, worker);
}

/* A call from inside a task runs on the thread of that task, under its number. */
static void nested_calls_run_inline(void **state)
{
    struct meeting meeting = {.context = make(3), .expected = 3};

    rlhfi_parallel(meeting.context, 3, outer, &meeting);
    assert_int_equal(meeting.nested, 18);
    assert_int_equal(meeting.foreign, 0);
    rlhf_context_release(&meeting.context);
}

static void blocked(void *argument, int64_t index, int32_t worker)
{
    struct meeting *meeting = argument;
    sigset_t mask;

    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    if (worker > 0 && (!sigismember(&mask, SIGINT) || !sigismember(&mask, SIGTERM) || !sigismember(&mask, SIGALRM) ||
                       !sigismember(&mask, SIGUSR1) || !sigismember(&mask, SIGCHLD)))
        atomic_fetch_add(&meeting->foreign, 1);
    meet(argument, index, worker);
}

static void workers_take_no_signals(void **state)
{
    struct meeting meeting = {.expected = 4};
    sigset_t before, after;

    sigemptyset(&before);
    sigaddset(&before, SIGUSR2);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    meeting.context = make(4);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    assert_true(sigismember(&after, SIGUSR2)); /* the caller's mask is as it was */
    assert_false(sigismember(&after, SIGINT));
    sigemptyset(&before);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    rlhfi_parallel(meeting.context, 4, blocked, &meeting);
    assert_int_equal(meeting.foreign, 0);
    rlhf_context_release(&meeting.context);
}

static int count_threads(void)
{
    char line[256];
    int threads = -1;
    FILE *file = fopen("/proc/self/status", "r");

    if (file == NULL)
        return -1;
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "Threads:", 8) == 0)
            threads = atoi(line + 8);
    fclose(file);
    return threads;
}

static void a_context_has_exactly_its_threads(void **state)
{
    rlhf_context *one, *four;
    int before = count_threads();

    if (before < 0) {
        print_message("skipped: no /proc\n");
        skip();
    }
    one = make(1);
    assert_int_equal(count_threads(), before);
    four = make(4);
    assert_int_equal(count_threads(), before + 3);
    rlhf_context_release(&one);
    rlhf_context_release(&four);
    assert_int_equal(count_threads(), before);
}

static void the_default_is_what_may_be_used(void **state)
{
    rlhf_context *context;
    cpu_set_t before, one;
    int allowed;

    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    context = make(0);
    allowed = CPU_COUNT(&before);
    assert_int_equal(rlhf_context_threads(context), allowed < 1024 ? allowed : 1024);
    rlhf_context_release(&context);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &before))
            CPU_SET(i, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    context = make(0);
    assert_int_equal(rlhf_context_threads(context), 1);
    rlhf_context_release(&context);
    /* More threads than processors still get their work done. */
    context = make(3);
    {
        struct meeting meeting = {.context = context, .expected = 3};
        rlhfi_parallel(context, 3, meet, &meeting);
        assert_int_equal(meeting.present, 3);
    }
    rlhf_context_release(&context);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

static void *use_alone(void *argument)
{
    static struct job jobs[2];
    struct job *job = &jobs[*(int *)argument];

    job->context = make(2);
    for (int repeat = 0; repeat < 500; repeat++) {
        memset(job->visits, 0, sizeof job->visits);
        rlhfi_parallel(job->context, 20, visit, job);
        for (int i = 0; i < 20; i++)
            if (job->visits[i] != 1)
                return argument;
    }
    rlhf_context_release(&job->context);
    return NULL;
}

static void contexts_are_independent(void **state)
{
    pthread_t thread[2];
    int number[2] = {0, 1};
    void *result;

    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, use_alone, &number[i]), 0);
    for (int i = 0; i < 2; i++) {
        pthread_join(thread[i], &result);
        assert_null(result);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_index_once),
        cmocka_unit_test(results_are_visible),
        cmocka_unit_test(threads_work_together),
        cmocka_unit_test(nested_calls_run_inline),
        cmocka_unit_test(workers_take_no_signals),
        cmocka_unit_test(a_context_has_exactly_its_threads),
        cmocka_unit_test(the_default_is_what_may_be_used),
        cmocka_unit_test(contexts_are_independent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
