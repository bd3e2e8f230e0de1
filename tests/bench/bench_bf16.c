/* bf16 against float, in turns in one run: products of a training step, the head, panels for decoding, AdamW. The times
 * are the best of many, of this thread's processor. Usage: bench_bf16 [turns, default 20]; RLHF_BENCH_MASK as
 * cpu_mask */
#include "compute/compute.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int turns = 20;

static double thread_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *filled(int64_t count)
{
    float *x = aligned_alloc(64, ((size_t)count * sizeof *x + 63) / 64 * 64);

    if (x == NULL)
        exit(1);
    for (int64_t i = 0; i < count; i++)
        x[i] = (float)(((uint64_t)i * 2654435761u >> 8) % 2001) * 1e-3f - 1.0f;
    return x;
}

/* Best time of each of the two, which take turns. */
#define IN_TURNS(one, other, best)                                                                                     \
    double best[2] = {1e9, 1e9};                                                                                       \
    for (int turn = 0; turn < 2 * turns; turn++) {                                                                     \
        double start = thread_seconds(), time;                                                                         \
        if (turn % 2 == 0)                                                                                             \
            (void)(one);                                                                                               \
        else                                                                                                           \
            (void)(other);                                                                                             \
        time = thread_seconds() - start;                                                                               \
        best[turn % 2] = time < best[turn % 2] ? time : best[turn % 2];                                                \
    }

static void bench_product(rlhf_context *context, const char *kind, int64_t m, int64_t n, int64_t k)
{
    int ta = kind[0] == 'T', tb = kind[1] == 'T';
    float *a = filled(m * k), *b = filled(n * k), *c = filled(m * n);
    double work = 2e-9 * (double)m * (double)n * (double)k;
    int64_t lda = ta ? m : k, ldb = tb ? k : n;

    IN_TURNS(rlhfi_product(context, ta, tb, m, n, k, a, lda, b, ldb, NULL, ta, c, n),
             rlhfi_product_bf16(context, ta, tb, m, n, k, a, lda, rlhfi_floats(b), ldb, NULL, ta, c, n), best);
    printf("%s %5lld x %5lld x %5lld: float %6.1f GFLOP/s, bf16 %6.1f, ratio %.2f\n", kind, (long long)m, (long long)n,
           (long long)k, work / best[0], work / best[1], best[0] / best[1]);
    free(a);
    free(b);
    free(c);
}

static void bench_head(rlhf_context *context, int64_t rows, int64_t d, int64_t vocabulary)
{
    float *hidden = filled(rows * d), *weight = filled(vocabulary * d), *g = filled(rows), *dh = filled(rows * d);
    float *dw = filled(vocabulary * d);
    int32_t *target = calloc((size_t)rows, sizeof *target);
    rlhfi_head_result result = {filled(rows), filled(rows), NULL, NULL, filled(rows)};
    rlhfi_head_matrix wide = rlhfi_float_head(weight), rounded = {rlhfi_floats(weight), true};
    double work = 2e-9 * (double)rows * (double)d * (double)vocabulary;

    IN_TURNS(rlhfi_head(context, rows, d, vocabulary, hidden, NULL, wide, target, 1.0f, &result),
             rlhfi_head(context, rows, d, vocabulary, hidden, NULL, rounded, target, 1.0f, &result), best);
    IN_TURNS(rlhfi_head_backward(context, rows, d, vocabulary, hidden, NULL, wide, target, 1.0f, &result, g, NULL, NULL,
                                 dh, dw),
             rlhfi_head_backward(context, rows, d, vocabulary, hidden, NULL, rounded, target, 1.0f, &result, g, NULL,
                                 NULL, dh, dw),
             back);
    printf("head %lld x %lld x %lld: float %.1f GFLOP/s, bf16 %.1f, ratio %.2f; backward %.1f, %.1f, ratio %.2f\n",
           (long long)rows, (long long)d, (long long)vocabulary, work / best[0], work / best[1], best[0] / best[1],
           3 * work / back[0], 3 * work / back[1], back[0] / back[1]);
    free(hidden);
    free(weight);
    free(g);
    free(dh);
    free(dw);
    free(target);
    free(result.log_prob);
    free(result.entropy);
    free(result.log_sum_exp);
}

static void bench_panels(rlhf_context *context, int64_t m, int64_t n, int64_t k)
{
    float *a = filled(m * k), *w = filled(n * k), *c = filled(m * n);
    rlhfi_panels *wide = NULL, *narrow = NULL;
    double weights = 1e-9 * (double)n * (double)k;

    if (rlhfi_panels_create(&wide, context, 1, n, k, w, k) != RLHF_OK ||
        rlhfi_panels_create_bf16(&narrow, context, 1, n, k, rlhfi_floats(w), k) != RLHF_OK)
        exit(1);
    IN_TURNS(rlhfi_product_panels(context, m, a, k, wide, NULL, c, n),
             rlhfi_product_panels(context, m, a, k, narrow, NULL, c, n), best);
    printf("panels %2lld x %5lld x %4lld: float %5.1f GB/s, %6.1f GFLOP/s, bf16 %5.1f GB/s, %6.1f GFLOP/s, "
           "ratio %.2f\n",
           (long long)m, (long long)n, (long long)k, 4 * weights / best[0], 2 * (double)m * weights / best[0],
           2 * weights / best[1], 2 * (double)m * weights / best[1], best[0] / best[1]);
    rlhfi_panels_release(&wide);
    rlhfi_panels_release(&narrow);
    free(a);
    free(w);
    free(c);
}

static void bench_adamw(rlhf_context *context, int64_t count)
{
    const rlhfi_adamw step = {1e-3f, 0.9f, 0.999f, 1e-8f, 0.0f, 1.0f, 0.1f, 0.001f, 1.0f, 1.0f};
    const rlhfi_draw draw = {1, 1, 0};
    float *p = filled(count), *g = filled(count), *m = filled(count), *v = filled(count);
    uint16_t *half = calloc((size_t)count, sizeof *half);

    for (int64_t i = 0; i < count; i++)
        v[i] = 1.0f;
    rlhfi_round(context, half, p, count);
    IN_TURNS((rlhfi_adamw_update(context, &step, count, p, g, m, v), 0),
             (rlhfi_adamw_update_bf16(context, &step, &draw, count, half, g, m, v), 0), best);
    printf("adamw %lld: float %.2f ns an element, bf16 %.2f\n", (long long)count, 1e9 * best[0] / (double)count,
           1e9 * best[1] / (double)count);
    free(p);
    free(g);
    free(m);
    free(v);
    free(half);
}

int main(int count, char **arguments)
{
    static const int64_t layers[][2] = {{64, 64}, {172, 64}, {576, 576}, {960, 576}, {3072, 576}, {576, 1536}};
    rlhf_context_options options;
    rlhf_context *context;
    char text[256];

    if (count > 1)
        turns = (int)strtol(arguments[1], NULL, 10);
    rlhf_context_options_init(&options, sizeof options);
    options.threads = 1;
    if (getenv("RLHF_BENCH_MASK") != NULL)
        options.cpu_mask = (uint32_t)strtoul(getenv("RLHF_BENCH_MASK"), NULL, 10);
    if (rlhf_context_create(&context, &options) != RLHF_OK)
        return 1;
    rlhf_context_describe(context, text, sizeof text);
    printf("%s\n", text);
    for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++) {
        bench_product(context, "NT", 1024, layers[i][0], layers[i][1]);
        bench_product(context, "NN", 1024, layers[i][1], layers[i][0]);
        bench_product(context, "TN", layers[i][0], layers[i][1], 1024);
    }
    bench_head(context, 512, 576, 16384);
    for (int64_t m = 1; m <= 32; m *= m == 1 ? 8 : 4) {
        bench_panels(context, m, 1536, 576);
        bench_panels(context, m, 49152, 576);
    }
    bench_adamw(context, 1 << 22);
    rlhf_context_release(&context);
    return 0;
}
