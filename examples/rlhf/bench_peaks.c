/* What the machine can do: chains of fused multiply-adds that nothing can outrun, and reading of arrays. The
 * instructions are written out, because a compiler that may drop or split them would measure itself. */
#include "bench.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__x86_64__)
typedef float vector8 __attribute__((vector_size(32)));
typedef float vector16 __attribute__((vector_size(64)));

/* Twelve independent chains hide the latency of every machine so far. */
#define TWELVE(one) one(0) one(1) one(2) one(3) one(4) one(5) one(6) one(7) one(8) one(9) one(10) one(11)
#define IN_AND_OUT(class)                                                                                              \
    "+" class(s[0]), "+" class(s[1]), "+" class(s[2]), "+" class(s[3]), "+" class(s[4]), "+" class(s[5]),              \
        "+" class(s[6]), "+" class(s[7]), "+" class(s[8]), "+" class(s[9]), "+" class(s[10]), "+" class(s[11])
#define FMA(i) "vfmadd213ps %13, %12, %" #i "\n\t"
#define BF16(i) "vdpbf16ps %13, %12, %" #i "\n\t"

__attribute__((target("avx2,fma"))) static void burn_fma_256(int64_t rounds)
{
    vector8 s[12], x, y;
    for (int i = 0; i < 8; i++)
        x[i] = 0.999f, y[i] = 0.001f;
    for (int i = 0; i < 12; i++)
        s[i] = y;
    for (int64_t r = 0; r < rounds; r++)
        __asm__ volatile(TWELVE(FMA) : IN_AND_OUT("x") : "x"(x), "x"(y));
}

__attribute__((target("avx512f"))) static void burn_fma_512(int64_t rounds)
{
    vector16 s[12], x, y;
    for (int i = 0; i < 16; i++)
        x[i] = 0.999f, y[i] = 0.001f;
    for (int i = 0; i < 12; i++)
        s[i] = y;
    for (int64_t r = 0; r < rounds; r++)
        __asm__ volatile(TWELVE(FMA) : IN_AND_OUT("v") : "v"(x), "v"(y));
}

__attribute__((target("avx512f"))) static void burn_bf16_512(int64_t rounds)
{
    vector16 s[12], x, y;
    for (int i = 0; i < 16; i++)
        x[i] = 0.5f, y[i] = 0.25f; /* as pairs of bfloat16: (0, 0.5) and (0, 0.25) */
    for (int i = 0; i < 12; i++)
        s[i] = y;
    for (int64_t r = 0; r < rounds; r++)
        __asm__ volatile(TWELVE(BF16) : IN_AND_OUT("v") : "v"(x), "v"(y));
}
#endif

/* For machines that we know nothing about: multiply and add as the compiler likes it best. */
static void burn_portable(int64_t rounds)
{
    float s[48];
    for (int i = 0; i < 48; i++)
        s[i] = (float)i;
    for (int64_t r = 0; r < rounds; r++) {
        for (int i = 0; i < 48; i++) {
#ifdef __FP_FAST_FMAF
            s[i] = __builtin_fmaf(s[i], 0.999f, 0.001f);
#else
            s[i] = s[i] * 0.999f + 0.001f;
#endif
        }
        __asm__ volatile("" : : "r"(s) : "memory");
    }
}

static const struct kernel {
    const char *name;
    void (*burn)(int64_t rounds);
    double operations; /* per round */
} kernels[BENCH_PEAKS] = {
#if defined(__x86_64__)
    [BENCH_FMA_256] = {"fp32_fma_256", burn_fma_256, 2.0 * 12 * 8},
    [BENCH_FMA_512] = {"fp32_fma_512", burn_fma_512, 2.0 * 12 * 16},
    [BENCH_BF16_512] = {"bf16_dpbf16ps_512", burn_bf16_512, 2.0 * 12 * 32},
#else
    [BENCH_FMA_256] = {"fp32_fma_256", NULL, 0},
    [BENCH_FMA_512] = {"fp32_fma_512", NULL, 0},
    [BENCH_BF16_512] = {"bf16_dpbf16ps_512", NULL, 0},
#endif
    [BENCH_PORTABLE] = {"fp32_compiled", burn_portable, 2.0 * 48},
};

const char *bench_peak_name(enum bench_peak_kind kind)
{
    return kernels[kind].name;
}

bool bench_peak_supported(enum bench_peak_kind kind)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (kind == BENCH_FMA_256)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (kind == BENCH_FMA_512)
        return __builtin_cpu_supports("avx512f") != 0;
    if (kind == BENCH_BF16_512)
        return __builtin_cpu_supports("avx512bf16") != 0;
#endif
    return kernels[kind].burn != NULL;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

typedef uint64_t line __attribute__((vector_size(64)));

#define READ_LINES                                                                                                     \
    line sum[4] = {{0}, {0}, {0}, {0}};                                                                                \
    for (size_t i = 0; i + 4 <= count; i += 4)                                                                         \
        for (int j = 0; j < 4; j++)                                                                                    \
            sum[j] ^= p[i + (size_t)j];                                                                                \
    sum[0] ^= sum[1] ^ sum[2] ^ sum[3];                                                                                \
    __asm__ volatile("" : : "m"(sum[0]))

static void read_plain(const line *p, size_t count)
{
    READ_LINES;
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void read_avx2(const line *p, size_t count)
{
    READ_LINES;
}

__attribute__((target("avx512f"))) static void read_avx512(const line *p, size_t count)
{
    READ_LINES;
}
#endif

static void read_lines(const line *p, size_t count)
{
#if defined(__x86_64__)
    if (bench_peak_supported(BENCH_FMA_512)) {
        read_avx512(p, count);
        return;
    }
    if (bench_peak_supported(BENCH_FMA_256)) {
        read_avx2(p, count);
        return;
    }
#endif
    read_plain(p, count);
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

enum gate_state { CLOSED, OPEN, GIVEN_UP };

typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum gate_state state;
} gate;

typedef struct job {
    const struct kernel *kernel; /* NULL: reads */
    int64_t rounds;
    const line *lines;
    size_t count;
    pthread_t thread;
    gate *gate;
} job;

static void do_job(const job *self)
{
    if (self->kernel != NULL)
        self->kernel->burn(self->rounds);
    else
        for (int64_t r = 0; r < self->rounds; r++)
            read_lines(self->lines, self->count);
}

static void *work(void *argument)
{
    const job *self = argument;
    enum gate_state state;
    pthread_mutex_lock(&self->gate->lock);
    while (self->gate->state == CLOSED)
        pthread_cond_wait(&self->gate->changed, &self->gate->lock);
    state = self->gate->state;
    pthread_mutex_unlock(&self->gate->lock);
    if (state == OPEN)
        do_job(self);
    return NULL;
}

/* Seconds of all jobs side by side, the caller's first; negative if not all threads could be started. processor: of
 * all threads together. */
static double run_jobs(job *jobs, int threads, double *processor)
{
    gate gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, CLOSED};
    int started = 1;
    double start, used = bench_processor_seconds();
    for (int t = 0; t < threads; t++)
        jobs[t].gate = &gate;
    while (started < threads && pthread_create(&jobs[started].thread, NULL, work, &jobs[started]) == 0)
        started++;
    pthread_mutex_lock(&gate.lock);
    gate.state = started == threads ? OPEN : GIVEN_UP;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
    start = clock_seconds();
    if (gate.state == OPEN)
        do_job(&jobs[0]);
    for (int t = 1; t < started; t++)
        pthread_join(jobs[t].thread, NULL);
    *processor = bench_processor_seconds() - used;
    return gate.state == OPEN ? clock_seconds() - start : -1.0;
}

/* Rounds per second of each thread, by the clock and by processor time, from a run of about the given length; 0 if
 * there were no threads. */
static bench_rate rate(job *jobs, int threads, double seconds)
{
    int64_t rounds = 1;
    for (;;) {
        double processor;
        for (int t = 0; t < threads; t++)
            jobs[t].rounds = rounds;
        double spent = run_jobs(jobs, threads, &processor);
        if (spent < 0)
            return (bench_rate){0};
        if (spent >= 0.7 * seconds)
            return (bench_rate){(double)rounds / spent, (double)rounds * threads / processor};
        rounds = spent < 0.1 * seconds ? rounds * 8 : (int64_t)((double)rounds * seconds / spent) + 1;
    }
}

bench_rate bench_peak_run(enum bench_peak_kind kind, int threads, double seconds)
{
    job *jobs = calloc((size_t)threads, sizeof *jobs);
    bench_rate result = {0};
    if (jobs == NULL)
        return result;
    for (int t = 0; t < threads; t++)
        jobs[t].kernel = &kernels[kind];
    result = rate(jobs, threads, seconds);
    result.clock *= kernels[kind].operations * threads;
    result.processor *= kernels[kind].operations * threads;
    free(jobs);
    return result;
}

bool bench_read_run(size_t bytes, int threads, double seconds, int times, bench_samples *samples)
{
    enum { PAGE = 2 << 20 };
    size_t all = (bytes + PAGE - 1) / PAGE * PAGE, count = bytes / (size_t)threads / sizeof(line) / 4 * 4;
    line *lines = aligned_alloc(PAGE, all);
    job *jobs = calloc((size_t)threads, sizeof *jobs);
    bool good = lines != NULL && jobs != NULL && count > 0;
    samples->count = 0;
    if (good) {
#ifdef MADV_HUGEPAGE
        madvise(lines, all, MADV_HUGEPAGE);
#endif
        memset(lines, 1, all);
        for (int t = 0; t < threads; t++) {
            jobs[t].lines = lines + (size_t)t * count;
            jobs[t].count = count;
        }
        while (samples->count < times)
            samples->value[samples->count++] =
                rate(jobs, threads, seconds).clock * (double)(count * sizeof(line)) * threads;
        good = bench_summary(samples).min > 0;
    }
    free(jobs);
    free(lines);
    return good;
}

bench_rate bench_best_peak(bool bf16, int threads)
{
    enum { BURSTS = 5 };
    const double burst = 0.03;
    bench_rate best = {0};
    for (int kind = 0; kind < BENCH_PEAKS; kind++) {
        if (!bench_peak_supported(kind) || (kind == BENCH_BF16_512 && !bf16))
            continue;
        for (int i = 0; i < BURSTS; i++) {
            bench_rate now = bench_peak_run(kind, threads, burst);
            best.clock = now.clock > best.clock ? now.clock : best.clock;
            best.processor = now.processor > best.processor ? now.processor : best.processor;
        }
    }
    return best;
}
