/* Benchmarks without a model: the machine's peaks, and the library's dense products. */
#include "bench.h"

#include <rlhf/experimental/measure.h>

#include <string.h>
#include <unistd.h>

static void peak_line(const bench *bench, const char *what, int threads, const char *unit, const bench_samples *samples)
{
    bench_statistics of = bench_summary(samples);
    if (bench->program->json) {
        printf("{\"bench\": \"peak\", \"what\": \"%s\", \"threads\": %d, \"unit\": \"%s\", \"min\": ", what, threads,
               unit);
        json_number(stdout, of.min);
        printf(", \"median\": ");
        json_number(stdout, of.median);
        printf(", \"max\": ");
        json_number(stdout, of.max);
        printf(", \"n\": %d}\n", of.count);
    } else {
        printf("%-22s %7d  %9.1f %9.1f %9.1f  %s\n", what, threads, of.min, of.median, of.max, unit);
    }
    fflush(stdout);
}

static size_t free_memory(void)
{
    long pages = sysconf(_SC_AVPHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (size_t)pages * (size_t)size : 0;
}

int bench_peaks(bench *bench)
{
    const double spent = 0.1;
    const struct {
        const char *name;
        size_t megabytes;
        bool per_thread;
    } reads[] = {{"read_1MiB_per_thread", 1, true},
                 {"read_64MiB_total", 64, false},
                 {"read_538MiB_total", 538, false},
                 {"read_2GiB_total", 2048, false}};
    bench_samples samples;
    if (!bench->program->json)
        printf("%-22s threads        min    median       max\n", "");
    for (int kind = 0; kind < BENCH_PEAKS; kind++) {
        for (int threads = 1; bench_peak_supported(kind) && threads <= bench->threads; threads++) {
            for (samples.count = 0; samples.count < bench->repeat; samples.count++)
                samples.value[samples.count] = bench_peak_run(kind, threads, spent).clock * 1e-9;
            peak_line(bench, bench_peak_name(kind), threads, "GFLOP/s", &samples);
        }
    }
    for (size_t i = 0; i < sizeof reads / sizeof reads[0]; i++) {
        for (int threads = 1; threads <= bench->threads; threads++) {
            if (program_interrupted())
                return EXIT_INTERRUPTED;
            size_t bytes = (reads[i].megabytes << 20) * (reads[i].per_thread ? (size_t)threads : 1);
            if (bytes > free_memory() / 2) {
                fprintf(stderr, "rlhf: bench peaks: %s is left out: too little memory is free\n", reads[i].name);
                continue;
            }
            if (!bench_read_run(bytes, threads, spent, bench->repeat, &samples)) {
                fprintf(stderr, "rlhf: bench peaks: no memory for %s\n", reads[i].name);
                return EXIT_FAILED;
            }
            for (int r = 0; r < samples.count; r++)
                samples.value[r] *= 1e-9;
            peak_line(bench, reads[i].name, threads, "GB/s", &samples);
        }
    }
    return EXIT_DONE;
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

static int product_line(bench *bench, const char *label, int32_t kind, int64_t m, int64_t n, int64_t k)
{
    static const char *const kinds[] = {"forward", "input_gradient", "weight_gradient", "decoding"};
    const double enough = 0.2;
    double flops = 2.0 * (double)m * (double)n * (double)k, wanted = enough * bench->peak.clock / flops;
    bench_samples samples;
    samples.count = wanted > 200 ? 200 : (int)wanted;
    if (samples.count < bench->repeat)
        samples.count = bench->repeat;
    if (program_interrupted())
        return EXIT_INTERRUPTED;
    rlhf_status status = rlhf_measure_product(bench->program->context, bench->model_options.compute_format, kind, m, n,
                                              k, samples.count, samples.value);
    if (status != RLHF_OK)
        return program_fail(bench->program, status, "bench gemm");
    bench_statistics seconds = bench_summary(&samples);
    for (int i = 0; i < samples.count; i++)
        samples.value[i] = flops / samples.value[i] * 1e-9;
    bench_statistics speed = bench_summary(&samples);
    if (bench->program->json) {
        printf("{\"bench\": \"gemm\", \"engine\": \"librlhf\", \"what\": ");
        json_string(stdout, label, strlen(label));
        printf(", \"kind\": \"%s\", \"dtype\": \"%s\", \"threads\": %d, \"m\": %lld, \"n\": %lld, \"k\": %lld, "
               "\"seconds\": {\"min\": ",
               kinds[kind], bench->dtype, bench->threads, (long long)m, (long long)n, (long long)k);
        json_number(stdout, seconds.min);
        printf(", \"median\": ");
        json_number(stdout, seconds.median);
        printf(", \"max\": ");
        json_number(stdout, seconds.max);
        printf(", \"n\": %d}, \"gflops\": {\"min\": ", seconds.count);
        json_number(stdout, speed.min);
        printf(", \"median\": ");
        json_number(stdout, speed.median);
        printf(", \"max\": ");
        json_number(stdout, speed.max);
        printf("}, \"weights_gb_s\": ");
        json_number(stdout, 4e-9 * (double)n * (double)k / seconds.median);
        printf(", \"peak_gflops\": ");
        json_number(stdout, bench->peak.clock * 1e-9);
        printf(", \"peak_share\": ");
        json_number(stdout, speed.median * 1e9 / bench->peak.clock);
        printf("}\n");
    } else {
        printf("%-12s %-15s %6lld x %6lld x %6lld %11.1f us %9.1f GFLOP/s %6.1f %%  weights %6.1f GB/s\n", label,
               kinds[kind], (long long)m, (long long)n, (long long)k, seconds.median * 1e6, speed.median,
               100 * speed.median * 1e9 / bench->peak.clock, 4e-9 * (double)n * (double)k / seconds.median);
    }
    fflush(stdout);
    return EXIT_DONE;
}

/* The four products that a matrix of n outputs and k inputs takes part in. */
static int matrix_lines(bench *bench, const char *label, int64_t n, int64_t k)
{
    static const int64_t few[] = {1, 8, 32};
    int64_t rows = bench->batch * bench->seq;
    int result = product_line(bench, label, RLHF_PRODUCT_FORWARD, rows, n, k);
    if (result == EXIT_DONE)
        result = product_line(bench, label, RLHF_PRODUCT_INPUT_GRADIENT, rows, k, n);
    if (result == EXIT_DONE)
        result = product_line(bench, label, RLHF_PRODUCT_WEIGHT_GRADIENT, n, k, rows);
    for (size_t i = 0; i < sizeof few / sizeof few[0] && result == EXIT_DONE; i++)
        result = product_line(bench, label, RLHF_PRODUCT_DECODING, few[i], n, k);
    return result;
}

static int shape_lines(bench *bench)
{
    enum { MOST = 16 };
    int64_t seen[MOST][2];
    int count = 0, result = EXIT_DONE;
    rlhf_status status = bench_make_policy(bench);
    if (status != RLHF_OK)
        return program_fail(bench->program, status, "bench gemm");
    for (int64_t i = 0; i < rlhf_policy_parameter_count(bench->policy) && result == EXIT_DONE; i++) {
        rlhf_parameter_view view = {.struct_size = sizeof view};
        const char *label;
        int known = 0;
        status = rlhf_policy_parameter(bench->policy, i, &view);
        if (status != RLHF_OK)
            return program_fail(bench->program, status, "bench gemm");
        if (view.rank != 2 || strstr(view.name, "wpe") != NULL)
            continue;
        /* GPT-2 stores its matrices inputs first. */
        bool inputs_first = strstr(view.name, ".c_") != NULL;
        int64_t n = view.shape[inputs_first ? 1 : 0], k = view.shape[inputs_first ? 0 : 1];
        while (known < count && (seen[known][0] != n || seen[known][1] != k))
            known++;
        if (known < count || count == MOST)
            continue;
        seen[count][0] = n;
        seen[count++][1] = k;
        /* "model.layers.0.mlp.up_proj.weight" -> "up_proj" */
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)(strlen(view.name) - strlen(".weight")), view.name);
        label = strrchr(name, '.') != NULL ? strrchr(name, '.') + 1 : name;
        result = matrix_lines(bench, label, n, k);
    }
    return result;
}

int bench_gemm(bench *bench)
{
    int result;
    bench->peak = bench_best_peak(bench->model_options.compute_format == RLHF_BFLOAT16, bench->threads);
    if (bench->peak.clock <= 0) {
        fputs("rlhf: bench gemm: the machine's peak cannot be measured: no threads\n", stderr);
        return EXIT_FAILED;
    }
    if (!bench->program->json)
        printf("peak %.1f GFLOP/s; m x n x k\n", bench->peak.clock * 1e-9);
    if (bench->m == 0)
        return shape_lines(bench);
    result = product_line(bench, "given", RLHF_PRODUCT_FORWARD, bench->m, bench->n, bench->k);
    if (result == EXIT_DONE)
        result = product_line(bench, "given", RLHF_PRODUCT_INPUT_GRADIENT, bench->m, bench->n, bench->k);
    if (result == EXIT_DONE)
        result = product_line(bench, "given", RLHF_PRODUCT_WEIGHT_GRADIENT, bench->m, bench->n, bench->k);
    if (result == EXIT_DONE)
        result = product_line(bench, "given", RLHF_PRODUCT_DECODING, bench->m, bench->n, bench->k);
    return result;
}
