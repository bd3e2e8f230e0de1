/* The pool: workers that wait for a job, claim its indices one by one and wait again.
 *
 * The caller works too, and it does not wait for workers that wake up late: a worker enters a job only while it is
 * open, the caller closes it when all indices are claimed, and then waits for those that are inside. One atomic word
 * holds (generation, open, number inside), so entering and closing cannot pass each other by. */
#include "core/internal.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

enum { STACK_BYTES = 2 << 20 };

/* How long both sides look before they sleep. Waking a sleeper costs the waker about 10 microseconds and its help comes
 * 50 later (README): so it is worth waiting a part of that, and no more is ever lost. */
static const double patience = 20e-6;

#define OPEN ((uint64_t)1 << 31)
#define INSIDE(state) ((state) & (OPEN - 1))
#define GENERATION(state) ((uint32_t)((state) >> 32))

struct worker {
    struct rlhfi_pool *pool;
    pthread_t thread;
    int32_t index; /* the caller is 0 */
};

struct rlhfi_pool {
    _Alignas(64) _Atomic uint64_t state;
    _Alignas(64) _Atomic int64_t next; /* first index that nobody has claimed */
    _Alignas(64) rlhfi_task task;      /* the job: written while it is closed and nobody is inside */
    void *argument;
    int64_t count;
    bool running;
    _Alignas(64) _Atomic int32_t sleepers;
    pthread_mutex_t mutex;
    pthread_cond_t work, done;
    bool stop;
    bool patient;    /* each thread has a processor: looking takes nothing from the others */
    int32_t workers; /* without the caller */
    struct worker worker[];
};

static void run_claims(struct rlhfi_pool *pool, int32_t worker)
{
    int64_t index;

    while ((index = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed)) < pool->count)
        pool->task(pool->argument, index, worker);
}

static bool has_news(struct rlhfi_pool *pool, uint32_t seen)
{
    uint64_t state = atomic_load(&pool->state);

    return (state & OPEN) != 0 && GENERATION(state) != seen;
}

/* True when the worker is inside a job that it has not seen yet. */
static bool enter_job(struct rlhfi_pool *pool, uint32_t *seen)
{
    uint64_t state = atomic_load(&pool->state);

    while ((state & OPEN) != 0 && GENERATION(state) != *seen)
        if (atomic_compare_exchange_weak(&pool->state, &state, state + 1)) {
            *seen = GENERATION(state);
            return true;
        }
    return false;
}

static void leave_job(struct rlhfi_pool *pool)
{
    uint64_t before = atomic_fetch_sub(&pool->state, 1);

    if ((before & OPEN) == 0 && INSIDE(before) == 1) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_signal(&pool->done);
        pthread_mutex_unlock(&pool->mutex);
    }
}

static bool all_out(struct rlhfi_pool *pool, uint32_t unused)
{
    (void)unused;
    return INSIDE(atomic_load(&pool->state)) == 0;
}

/* Looks for a while; true if it came about. The clock is asked seldom, because a look is much cheaper. */
static bool watch(struct rlhfi_pool *pool, bool (*came)(struct rlhfi_pool *pool, uint32_t seen), uint32_t seen)
{
    double end;

    if (came(pool, seen))
        return true;
    if (!pool->patient)
        return false;
    end = rlhfi_seconds() + patience;
    do {
        for (int i = 0; i < 16; i++) {
            rlhfi_system_relax();
            if (came(pool, seen))
                return true;
        }
    } while (rlhfi_seconds() < end);
    return false;
}

/* False when the pool ends. True may come without a job: who was woken too late for one looks again for the next. */
static bool wait_for_job(struct rlhfi_pool *pool, uint32_t seen)
{
    bool stop;

    if (watch(pool, has_news, seen))
        return true;
    pthread_mutex_lock(&pool->mutex);
    /* First announce the sleep, then look once more; the caller opens first, then looks for sleepers: one sees the
     * other. */
    atomic_fetch_add(&pool->sleepers, 1);
    if (!pool->stop && !has_news(pool, seen))
        pthread_cond_wait(&pool->work, &pool->mutex);
    atomic_fetch_sub(&pool->sleepers, 1);
    stop = pool->stop;
    pthread_mutex_unlock(&pool->mutex);
    return !stop;
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    uint32_t seen = 0;

    while (wait_for_job(worker->pool, seen))
        if (enter_job(worker->pool, &seen)) {
            run_claims(worker->pool, worker->index);
            leave_job(worker->pool);
        }
    return NULL;
}

/* Which of the pool's threads this is; thread-local variables would tell, but a library that is loaded late may not
 * have them. */
static int32_t current_worker(const struct rlhfi_pool *pool)
{
    pthread_t self = pthread_self();

    for (int32_t i = 0; i < pool->workers; i++)
        if (pthread_equal(pool->worker[i].thread, self))
            return pool->worker[i].index;
    return 0;
}

static void run_inline(int64_t count, rlhfi_task task, void *argument, int32_t worker)
{
    for (int64_t index = 0; index < count; index++)
        task(argument, index, worker);
}

static void wake_workers(struct rlhfi_pool *pool, int64_t wanted)
{
    if (atomic_load(&pool->sleepers) == 0)
        return;
    pthread_mutex_lock(&pool->mutex);
    if (wanted >= pool->workers)
        pthread_cond_broadcast(&pool->work);
    else
        for (; wanted > 0; wanted--)
            pthread_cond_signal(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
}

static void wait_for_workers(struct rlhfi_pool *pool)
{
    atomic_fetch_and(&pool->state, ~OPEN);
    if (watch(pool, all_out, 0))
        return;
    pthread_mutex_lock(&pool->mutex);
    while (!all_out(pool, 0))
        pthread_cond_wait(&pool->done, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}

void rlhfi_parallel(rlhf_context *context, int64_t count, rlhfi_task task, void *argument)
{
    struct rlhfi_pool *pool = context->pool;
    uint32_t generation;

    if (pool == NULL || count <= 1) {
        run_inline(count, task, argument, pool != NULL && pool->running ? current_worker(pool) : 0);
        return;
    }
    /* A context belongs to one thread at a time, so a job that is running is the one that this call comes from. */
    if (pool->running) {
        run_inline(count, task, argument, current_worker(pool));
        return;
    }
    pool->running = true;
    pool->task = task;
    pool->argument = argument;
    pool->count = count;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    generation = GENERATION(atomic_load_explicit(&pool->state, memory_order_relaxed)) + 1;
    atomic_store(&pool->state, (uint64_t)generation << 32 | OPEN);
    wake_workers(pool, count - 1);
    run_claims(pool, 0);
    wait_for_workers(pool);
    pool->running = false;
}

int32_t rlhfi_workers(const rlhf_context *context)
{
    return context->pool == NULL ? 1 : context->pool->workers + 1;
}

/* The host's signals are handled on the host's threads. Faults stay open: a thread gets them only for its own deed, and
 * blocking them would take the host's crash report away. */
static void signals_to_block(sigset_t *set)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};

    sigfillset(set);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        sigdelset(set, faults[i]);
}

/* Returns how many of the wanted workers started. */
static int32_t start_workers(struct rlhfi_pool *pool, int32_t wanted)
{
    sigset_t block, before;
    pthread_attr_t attributes;
    int32_t started = 0;

    if (pthread_attr_init(&attributes) != 0)
        return 0;
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    /* A thread inherits the mask of the one that makes it: so not even its first instruction can be interrupted. */
    signals_to_block(&block);
    pthread_sigmask(SIG_SETMASK, &block, &before);
    for (; started < wanted; started++) {
        struct worker *worker = &pool->worker[started];
        *worker = (struct worker){.pool = pool, .index = started + 1};
        if (pthread_create(&worker->thread, &attributes, worker_main, worker) != 0)
            break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return started;
}

rlhf_status rlhfi_pool_create(struct rlhfi_pool **out, rlhf_context *context, int32_t threads)
{
    struct rlhfi_pool *pool;

    *out = NULL;
    if (threads <= 1)
        return RLHF_OK;
    pool = rlhfi_calloc(context, 1, sizeof *pool + (size_t)(threads - 1) * sizeof pool->worker[0]);
    if (pool == NULL)
        return RLHF_E_NOMEM;
    pool->patient = threads <= rlhfi_system_processors();
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->workers = start_workers(pool, threads - 1);
    /* The results are the same for any number of threads, so fewer are no failure. */
    if (pool->workers < threads - 1)
        rlhfi_log(context, RLHF_LOG_WARNING, "threads: %d wanted, the system grants %d", threads, pool->workers + 1);
    if (pool->workers == 0) {
        rlhfi_pool_destroy(pool, context, false);
        return RLHF_OK;
    }
    *out = pool;
    return RLHF_OK;
}

void rlhfi_pool_destroy(struct rlhfi_pool *pool, rlhf_context *context, bool forked)
{
    if (pool == NULL)
        return;
    if (!forked) {
        pthread_mutex_lock(&pool->mutex);
        pool->stop = true;
        pthread_cond_broadcast(&pool->work);
        pthread_mutex_unlock(&pool->mutex);
        for (int32_t i = 0; i < pool->workers; i++)
            pthread_join(pool->worker[i].thread, NULL);
        pthread_cond_destroy(&pool->done);
        pthread_cond_destroy(&pool->work);
        pthread_mutex_destroy(&pool->mutex);
    }
    rlhfi_free(context, pool);
}
