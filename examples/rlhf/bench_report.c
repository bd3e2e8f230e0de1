/* Samples and how results are told: a line of JSON for machines, a table for people. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

bench_statistics bench_summary(const bench_samples *samples)
{
    bench_samples sorted = *samples;
    int n = sorted.count;
    if (n == 0)
        return (bench_statistics){0};
    qsort(sorted.value, (size_t)n, sizeof sorted.value[0], ascending);
    return (bench_statistics){sorted.value[0], (sorted.value[(n - 1) / 2] + sorted.value[n / 2]) / 2,
                              sorted.value[n - 1], n};
}

double bench_processor_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double bench_peak_megabytes(int who)
{
    struct rusage usage;
    if (getrusage(who, &usage) != 0)
        return 0;
#ifdef __APPLE__
    return (double)usage.ru_maxrss / (1024.0 * 1024.0); /* bytes there, kilobytes elsewhere */
#else
    return (double)usage.ru_maxrss / 1024.0;
#endif
}

rlhf_status bench_time(bench *bench, rlhf_status (*step)(void *work), void *work)
{
    const double shortest = 0.15;
    double once = shortest;
    rlhf_status status = RLHF_OK;
    int together = 1, calls = 0;
    for (int i = 0; status == RLHF_OK && i < bench->warmup; i++) {
        double start = clock_seconds();
        status = program_interrupted() ? RLHF_E_CANCELED : step(work);
        once = clock_seconds() - start;
    }
    if (once < shortest)
        together = once > 1e-6 ? (int)(shortest / once) : 1000;
    for (int i = 0; i < bench->phases; i++)
        bench->phase[i].seconds = 0;
    bench->wall.count = bench->processor.count = 0;
    for (int r = 0; status == RLHF_OK && r < bench->repeat; r++) {
        double processor = bench_processor_seconds(), start = clock_seconds();
        for (int i = 0; status == RLHF_OK && i < together; i++, calls++)
            status = program_interrupted() ? RLHF_E_CANCELED : step(work);
        bench->wall.value[bench->wall.count++] = (clock_seconds() - start) / together;
        bench->processor.value[bench->processor.count++] = (bench_processor_seconds() - processor) / together;
        if (bench->repeat > 1 && !bench->program->quiet)
            progress_draw(bench->program, bench->what, (uint64_t)r + 1, (uint64_t)bench->repeat, "");
    }
    progress_clear(bench->program);
    for (int i = 0; i < bench->phases && calls > 0; i++)
        bench->phase[i].seconds /= calls;
    bench->megabytes = bench_peak_megabytes(RUSAGE_SELF);
    return status;
}

void bench_add_phase(bench *bench, const char *name, double seconds)
{
    int i = 0;
    while (i < bench->phases && strcmp(bench->phase[i].name, name) != 0)
        i++;
    if (i == BENCH_MOST_PHASES)
        return;
    if (i == bench->phases)
        bench->phase[bench->phases++] = (bench_phase){name, 0};
    bench->phase[i].seconds += seconds;
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

static void json_member(const char *name, double value)
{
    printf(", \"%s\": ", name);
    json_number(stdout, value);
}

static void json_count(const char *name, int64_t value)
{
    if (value > 0)
        printf(", \"%s\": %lld", name, (long long)value);
}

static void json_statistics(const char *name, const bench_samples *samples)
{
    bench_statistics of = bench_summary(samples);
    printf(", \"%s\": {\"min\": ", name);
    json_number(stdout, of.min);
    json_member("median", of.median);
    json_member("max", of.max);
    printf(", \"n\": %d}", of.count);
}

static double decode_step(const bench *bench)
{
    double rest = bench_summary(&bench->wall).median - bench->prefill_seconds;
    return bench->decode_steps > 0 && rest > 0 ? rest / bench->decode_steps : 0;
}

static double decode_bandwidth(const bench *bench)
{
    double step = decode_step(bench);
    return step > 0 ? bench->decode_bytes / step : 0;
}

/* The share of the peak by processor time: operations per second of processor time, against those of the peak. Threads
 * that wait for nothing but the clock do not count, nor do neighbours on the machine. */
static double processor_share(const bench *bench)
{
    return bench->flops * bench->threads / bench_summary(&bench->processor).min / bench->peak.processor;
}

static void report_json(const bench *bench)
{
    double median = bench_summary(&bench->wall).median;
    printf("{\"bench\": ");
    json_string(stdout, bench->what, strlen(bench->what));
    printf(", \"engine\": \"librlhf\", \"shape\": ");
    json_string(stdout, bench->shape, strlen(bench->shape));
    printf(", \"dtype\": \"%s\", \"threads\": %d", bench->dtype, bench->threads);
    json_count("batch", bench->batch);
    json_count("seq", bench->seq);
    json_count("prompt", bench->prompt);
    json_count("new", bench->new_tokens);
    json_count("samples", bench->samples);
    json_count("epochs", bench->epochs);
    json_count("micro", bench->micro);
    json_statistics("seconds", &bench->wall);
    if (bench->flops > 0) {
        json_statistics("cpu_seconds", &bench->processor);
        json_member("tokens_per_s", bench->tokens / median);
        json_member("gflops", bench->flops / median * 1e-9);
        json_member("gflop_per_step", bench->flops * 1e-9);
        json_member("rss_before_model_mb", bench->megabytes_before);
    }
    json_member("peak_rss_mb", bench->megabytes);
    if (bench->peak.clock > 0 && bench->flops > 0) {
        json_member("peak_gflops", bench->peak.clock * 1e-9);
        json_member("peak_share", bench->flops / median / bench->peak.clock);
        json_member("cpu_peak_share", processor_share(bench));
    }
    if (bench->decode_steps > 0) {
        json_member("prefill_s", bench->prefill_seconds);
        json_member("ms_per_decode_step", decode_step(bench) * 1e3);
        if (bench->bandwidth > 0) {
            json_member("bandwidth_gb_s", bench->bandwidth * 1e-9);
            json_member("bandwidth_share", decode_bandwidth(bench) / bench->bandwidth);
        }
    }
    if (bench->phases > 0) {
        printf(", \"phases\": {");
        for (int i = 0; i < bench->phases; i++) {
            printf("%s\"%s\": ", i > 0 ? ", " : "", bench->phase[i].name);
            json_number(stdout, bench->phase[i].seconds);
        }
        printf("}");
    }
    printf("}\n");
}

static void report_table(const bench *bench)
{
    bench_statistics wall = bench_summary(&bench->wall);
    printf("%s  %s  %s  %d %s", bench->what, bench->shape, bench->dtype, bench->threads,
           bench->threads == 1 ? "thread" : "threads");
    const struct {
        const char *name;
        int64_t value;
    } sizes[] = {{"batch", bench->batch},    {"seq", bench->seq},         {"prompt", bench->prompt},
                 {"new", bench->new_tokens}, {"samples", bench->samples}, {"epochs", bench->epochs},
                 {"micro", bench->micro}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i].value > 0)
            printf("  %s %lld", sizes[i].name, (long long)sizes[i].value);
    printf("\n  %-18s %12.5f   min %.5f, max %.5f, %d samples\n", "seconds", wall.median, wall.min, wall.max,
           wall.count);
    if (bench->flops > 0) {
        printf("  %-18s %12.5f   of all threads", "processor seconds", bench_summary(&bench->processor).median);
        if (bench->peak.processor > 0)
            printf(": %5.1f %% of their peak", 100 * processor_share(bench));
        printf("\n");
        printf("  %-18s %12.1f\n", "tokens/s", bench->tokens / wall.median);
        printf("  %-18s %12.1f", "GFLOP/s", bench->flops / wall.median * 1e-9);
        if (bench->peak.clock > 0)
            printf("   %5.1f %% of the peak, %.1f", 100 * bench->flops / wall.median / bench->peak.clock,
                   bench->peak.clock * 1e-9);
        printf("\n");
    }
    if (bench->decode_steps > 0) {
        printf("  %-18s %12.5f\n", "seconds of prefill", bench->prefill_seconds);
        printf("  %-18s %12.3f", "ms per decode step", decode_step(bench) * 1e3);
        if (bench->bandwidth > 0)
            printf("   weights at %.1f GB/s, %5.1f %% of the bandwidth, %.1f", decode_bandwidth(bench) * 1e-9,
                   100 * decode_bandwidth(bench) / bench->bandwidth, bench->bandwidth * 1e-9);
        printf("\n");
    }
    printf("  %-18s %12.0f", "peak memory, MB", bench->megabytes);
    if (bench->flops > 0)
        printf("   %.0f before there was a model", bench->megabytes_before);
    printf("\n");
    for (int i = 0; i < bench->phases; i++)
        printf("  %-18s %12.5f   %5.1f %%\n", bench->phase[i].name, bench->phase[i].seconds,
               100 * bench->phase[i].seconds / wall.median);
}

void bench_report(bench *bench)
{
    if (bench->program->json)
        report_json(bench);
    else
        report_table(bench);
}
