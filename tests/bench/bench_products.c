/* Speed of the compute room: products at the shapes of SmolLM2-135M and stories260K as a share of the FMA peak
 * measured in the same run, panels for decoding, attention, norms, head. Usage: bench_products [seconds per line,
 * default 0.1] */
#include "compute/compute.h"

#include <stdio.h>
#include <stdlib.h>

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#define UNROLLED _Pragma("unroll")
#else
#define UNROLLED _Pragma("GCC unroll 12")
#endif

/* Twelve independent chains of fused multiply-adds: nothing can be faster. */
__attribute__((target("avx512f"))) static float burn_avx512(int64_t rounds)
{
    __m512 sum[12], x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f);
    for (int i = 0; i < 12; i++)
        sum[i] = _mm512_set1_ps((float)i);
    for (int64_t r = 0; r < rounds; r++)
        UNROLLED for (int i = 0; i < 12; i++)
            sum[i] = _mm512_fmadd_ps(sum[i], x, y);
    for (int i = 1; i < 12; i++)
        sum[0] = _mm512_add_ps(sum[0], sum[i]);
    return _mm512_cvtss_f32(sum[0]);
}

__attribute__((target("avx2,fma"))) static float burn_avx2(int64_t rounds)
{
    __m256 sum[12], x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(0.001f);
    for (int i = 0; i < 12; i++)
        sum[i] = _mm256_set1_ps((float)i);
    for (int64_t r = 0; r < rounds; r++)
        UNROLLED for (int i = 0; i < 12; i++)
            sum[i] = _mm256_fmadd_ps(sum[i], x, y);
    for (int i = 1; i < 12; i++)
        sum[0] = _mm256_add_ps(sum[0], sum[i]);
    return _mm256_cvtss_f32(sum[0]);
}
#endif

struct burn {
    int64_t rounds;
    volatile float sink;
};

static double burn_flops_per_round(void)
{
#if defined(__x86_64__)
    return 2.0 * 12 * (__builtin_cpu_supports("avx512f") ? 16 : 8);
#else
    return 2.0 * 12 * 4;
#endif
}

static void burn_task(void *argument, int64_t index, int32_t worker)
{
    struct burn *burn = argument;
    (void)index;
    (void)worker;
#if defined(__x86_64__)
    burn->sink = __builtin_cpu_supports("avx512f") ? burn_avx512(burn->rounds) : burn_avx2(burn->rounds);
#else
    float sum[48];
    for (int i = 0; i < 48; i++)
        sum[i] = (float)i;
    for (int64_t r = 0; r < burn->rounds; r++)
        for (int i = 0; i < 48; i++)
            sum[i] = __builtin_fmaf(sum[i], 0.999f, 0.001f);
    burn->sink = sum[0] + sum[47];
#endif
}

static double line_seconds = 0.1, peak; /* GFLOP/s of all threads */

static void measure_peak(rlhf_context *context)
{
    struct burn burn = {.rounds = 1000000};

    for (int i = 0; i < 3; i++) {
        double start = rlhfi_seconds();
        rlhfi_parallel(context, rlhfi_workers(context), burn_task, &burn);
        double rate = burn_flops_per_round() * (double)burn.rounds * rlhfi_workers(context) / (rlhfi_seconds() - start);
        peak = rate * 1e-9 > peak ? rate * 1e-9 : peak;
    }
}

static float *filled(size_t count)
{
    float *x = aligned_alloc(64, (count * sizeof *x + 63) / 64 * 64);
    if (x == NULL)
        exit(1);
    for (size_t i = 0; i < count; i++)
        x[i] = (float)((i * 2654435761u >> 8) % 2001) * 1e-3f - 1.0f;
    return x;
}

/* Best time of one call of body, called until the line's time is over. */
#define BEST_TIME(best, body)                                                                                          \
    double best = 1e9;                                                                                                 \
    for (double begin = rlhfi_seconds(), start = begin; start - begin < line_seconds || start == begin;) {            \
        body;                                                                                                          \
        double now = rlhfi_seconds();                                                                                  \
        best = now - start < best ? now - start : best;                                                                \
        start = now;                                                                                                   \
    }

static void bench_product(rlhf_context *context, const char *kind, int64_t m, int64_t n, int64_t k)
{
    int transpose_a = kind[0] == 'T', transpose_b = kind[1] == 'T';
    float *a = filled((size_t)(m * k)), *b = filled((size_t)(n * k)), *c = filled((size_t)(m * n));

    BEST_TIME(best, rlhfi_product(context, transpose_a, transpose_b, m, n, k, a, transpose_a ? m : k, b,
                                  transpose_b ? k : n, NULL, transpose_a, c, n));
    double rate = 2e-9 * (double)m * (double)n * (double)k / best;
    printf("%s %6lld x %6lld x %6lld  %9.1f us  %7.1f GFLOP/s  %5.1f %%\n", kind, (long long)m, (long long)n,
           (long long)k, best * 1e6, rate, 100 * rate / peak);
    free(a);
    free(b);
    free(c);
}

static void bench_layer(rlhf_context *context, int64_t rows, int64_t n, int64_t k)
{
    bench_product(context, "NT", rows, n, k); /* forward: y = x W^T */
    bench_product(context, "NN", rows, k, n); /* dx = dy W */
    bench_product(context, "TN", n, k, rows); /* dW = dy^T x */
}

static void bench_panels(rlhf_context *context, int64_t m, int64_t n, int64_t k)
{
    float *a = filled((size_t)(m * k)), *w = filled((size_t)(n * k)), *c = filled((size_t)(m * n));
    rlhfi_panels *panels = NULL;

    if (rlhfi_panels_create(&panels, context, 1, n, k, w, k) != RLHF_OK)
        exit(1);
    BEST_TIME(best, rlhfi_product_panels(context, m, a, k, panels, NULL, c, n));
    double rate = 2e-9 * (double)m * (double)n * (double)k / best;
    printf("panels %3lld x %6lld x %5lld %9.1f us  %7.1f GFLOP/s  %5.1f %%  weights %6.1f GB/s\n", (long long)m,
           (long long)n, (long long)k, best * 1e6, rate, 100 * rate / peak, 4e-9 * (double)n * (double)k / best);
    rlhfi_panels_release(&panels);
    free(a);
    free(w);
    free(c);
}

static void bench_attention(rlhf_context *context, int64_t sequences, int64_t queries, int64_t keys, int32_t heads,
                            int32_t kv_heads, int32_t head_dim)
{
    size_t q_count = (size_t)(sequences * queries * heads * head_dim);
    size_t kv_count = (size_t)(sequences * keys * kv_heads * head_dim);
    float *q = filled(q_count), *k = filled(kv_count), *v = filled(kv_count), *out = filled(q_count);
    float *dout = filled(q_count), *dq = filled(q_count), *dk = filled(kv_count), *dv = filled(kv_count);
    float *lse = filled((size_t)(sequences * queries * heads));
    int64_t *offset = calloc((size_t)sequences + 1, sizeof *offset),
            *length = calloc((size_t)sequences, sizeof *length);
    const float **key = calloc((size_t)sequences, sizeof *key), **value = calloc((size_t)sequences, sizeof *value);
    int64_t ldq = heads * head_dim, ldkv = kv_heads * head_dim;

    for (int64_t s = 0; s < sequences; s++) {
        offset[s + 1] = offset[s] + queries;
        length[s] = keys;
        key[s] = k + s * keys * ldkv;
        value[s] = v + s * keys * ldkv;
    }
    rlhfi_attention shape = {.sequences = sequences, .query_offset = offset, .key_length = length, .key = key,
                             .value = value, .ldkv = ldkv, .heads = heads, .kv_heads = kv_heads, .head_dim = head_dim,
                             .scale = 0.2f};
    double pairs = (double)sequences * ((double)queries * (double)(keys - queries) +
                                        0.5 * (double)queries * (double)(queries + 1)) * heads;
    BEST_TIME(best, rlhfi_attend(context, &shape, q, ldq, out, ldq, lse));
    printf("attention  %3lld x %4lld/%4lld, %d/%d heads of %d: %9.1f us  %6.1f GFLOP/s", (long long)sequences,
           (long long)queries, (long long)keys, heads, kv_heads, head_dim, best * 1e6, 4e-9 * pairs * head_dim / best);
    if (queries == keys) {
        BEST_TIME(back,
                  rlhfi_attend_backward(context, &shape, q, ldq, out, ldq, lse, dout, ldq, dq, ldq, dk, dv, ldkv));
        printf("; backward %9.1f us  %6.1f GFLOP/s\n", back * 1e6, 10e-9 * pairs * head_dim / back);
    } else {
        printf("; keys and values %5.1f GB/s\n", 8e-9 * (double)kv_count / best);
    }
    free(q); free(k); free(v); free(out); free(dout); free(dq); free(dk); free(dv); free(lse);
    free(offset); free(length); free(key); free(value);
}

static void bench_rows(rlhf_context *context, int64_t rows, int64_t d)
{
    size_t count = (size_t)(rows * d);
    float *x = filled(count), *y = filled(count), *w = filled((size_t)d), *r = filled((size_t)rows), *u = filled(count);
    float *dw = filled((size_t)d), *du = filled(count);

    BEST_TIME(norm, rlhfi_rms_norm(context, rows, d, x, w, 1e-5f, y, r));
    BEST_TIME(norm_back, rlhfi_rms_norm_backward(context, rows, d, x, w, r, y, u, dw));
    BEST_TIME(silu, rlhfi_activate(context, RLHFI_SILU, rows, d, x, d, u, d, y, d));
    BEST_TIME(silu_back, rlhfi_activate_backward(context, RLHFI_SILU, rows, d, x, d, u, d, y, d, y, d, du, d));
    printf("rows %5lld x %5lld: rms norm %7.1f us %5.1f GB/s, backward %7.1f us; gated silu %7.1f us %5.1f GB/s, "
           "backward %7.1f us\n",
           (long long)rows, (long long)d, norm * 1e6, 8e-9 * (double)count / norm, norm_back * 1e6, silu * 1e6,
           12e-9 * (double)count / silu, silu_back * 1e6);
    free(x); free(y); free(w); free(r); free(u); free(dw); free(du);
}

static void bench_head(rlhf_context *context, int64_t rows, int64_t d, int64_t vocabulary)
{
    float *hidden = filled((size_t)(rows * d)), *weight = filled((size_t)(vocabulary * d)), *g = filled((size_t)rows);
    float *dh = filled((size_t)(rows * d)), *dw = filled((size_t)(vocabulary * d));
    int32_t *target = calloc((size_t)rows, sizeof *target);
    rlhfi_head_result result = {filled((size_t)rows), filled((size_t)rows), NULL, NULL, filled((size_t)rows)};
    double work = 2e-9 * (double)rows * (double)d * (double)vocabulary;

    BEST_TIME(best, rlhfi_head(context, rows, d, vocabulary, hidden, NULL, rlhfi_float_head(weight), target, 1.0f,
                               &result));
    BEST_TIME(back, rlhfi_head_backward(context, rows, d, vocabulary, hidden, NULL, rlhfi_float_head(weight), target,
                                        1.0f, &result, g,
                                        NULL, NULL, dh, dw));
    printf("head %5lld x %4lld x %6lld: %9.1f us %6.1f GFLOP/s %5.1f %%; backward %9.1f us %6.1f GFLOP/s %5.1f %%\n",
           (long long)rows, (long long)d, (long long)vocabulary, best * 1e6, work / best, 100 * work / best / peak,
           back * 1e6, 3 * work / back, 300 * work / back / peak);
    free(hidden); free(weight); free(g); free(dh); free(dw); free(target);
    free(result.log_prob); free(result.entropy); free(result.log_sum_exp);
}

static void bench_optimizer(rlhf_context *context, int64_t count)
{
    float *p = filled((size_t)count), *g = filled((size_t)count), *m = filled((size_t)count),
          *v = filled((size_t)count);
    rlhfi_adamw step = {1e-3f, 0.9f, 0.999f, 1e-8f, 0.0f, 1.0f, 0.1f, 0.001f, 1.0f, 1.0f};

    for (int64_t i = 0; i < count; i++)
        v[i] = 1.0f;
    BEST_TIME(adamw, rlhfi_adamw_update(context, &step, count, p, g, m, v));
    BEST_TIME(squares, (void)rlhfi_sum_of_squares(context, g, count));
    printf("optimizer %lld: adamw %8.1f us %5.1f GB/s, sum of squares %8.1f us %5.1f GB/s\n", (long long)count,
           adamw * 1e6, 28e-9 * (double)count / adamw, squares * 1e6, 4e-9 * (double)count / squares);
    free(p); free(g); free(m); free(v);
}

static void bench_call(rlhf_context *context)
{
    float *a = filled(64 * 64), *b = filled(64 * 64), *c = filled(64 * 64);
    BEST_TIME(best, rlhfi_product(context, 0, 1, 1, 64, 64, a, 64, b, 64, NULL, 0, c, 64));
    printf("smallest call, 1 x 64 x 64: %.2f us\n", best * 1e6);
    free(a);
    free(b);
    free(c);
}

int main(int count, char **arguments)
{
    rlhf_context_options options;
    rlhf_context *context;
    char text[256];

    if (count > 1)
        line_seconds = strtod(arguments[1], NULL);
    rlhf_context_options_init(&options, sizeof options);
    if (getenv("RLHF_BENCH_THREADS") != NULL)
        options.threads = (int32_t)strtol(getenv("RLHF_BENCH_THREADS"), NULL, 10);
    if (getenv("RLHF_BENCH_MASK") != NULL)
        options.cpu_mask = (uint32_t)strtoul(getenv("RLHF_BENCH_MASK"), NULL, 10);
    if (getenv("RLHF_BENCH_BLIS") != NULL)
        options.use_blis = (int32_t)strtol(getenv("RLHF_BENCH_BLIS"), NULL, 10);
    if (rlhf_context_create(&context, &options) != RLHF_OK)
        return 1;
    rlhf_context_describe(context, text, sizeof text);
    measure_peak(context);
    printf("%s; FMA peak %.1f GFLOP/s\n", text, peak);

    bench_call(context);
    puts("stories260K: dim 64, hidden 172, vocabulary 512");
    static const int64_t rows[] = {256, 512, 1024, 2048};
    for (int i = 0; i < 4; i++) {
        bench_layer(context, rows[i], 64, 64);
        bench_layer(context, rows[i], 172, 64);
        bench_layer(context, rows[i], 64, 172);
    }
    puts("SmolLM2-135M: dim 576, kv 192, hidden 1536");
    bench_layer(context, 512, 576, 576);
    bench_layer(context, 512, 192, 576);
    bench_layer(context, 512, 1536, 576);
    bench_layer(context, 512, 576, 1536);
    bench_layer(context, 2048, 1536, 576);
    static const int64_t few[] = {1, 8, 32, 64};
    for (int i = 0; i < 4; i++) {
        bench_panels(context, few[i], 64, 64);
        bench_panels(context, few[i], 172, 64);
        bench_panels(context, few[i], 512, 64);
        bench_panels(context, few[i], 1536, 576);
        bench_panels(context, few[i], 49152, 576);
    }
    bench_attention(context, 16, 128, 128, 8, 4, 8);
    bench_attention(context, 8, 64, 64, 8, 4, 8);
    bench_attention(context, 2, 256, 256, 9, 3, 64);
    bench_attention(context, 1, 2048, 2048, 9, 3, 64);
    bench_attention(context, 64, 1, 200, 8, 4, 8);
    bench_attention(context, 1, 1, 2000, 9, 3, 64);
    bench_attention(context, 32, 1, 500, 9, 3, 64);
    bench_rows(context, 512, 64);
    bench_rows(context, 2048, 64);
    bench_rows(context, 512, 576);
    bench_rows(context, 512, 1536);
    bench_head(context, 512, 64, 512);
    bench_head(context, 2048, 64, 512);
    bench_head(context, 512, 576, 49152);
    bench_optimizer(context, 260000);
    bench_optimizer(context, 20000000);
    rlhf_context_release(&context);
    return 0;
}
