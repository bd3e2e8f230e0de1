/* What the files of `rlhf bench` share. Names of shapes, the work of each measurement and the formula for its
 * floating-point operations are those of the scripts that measure other engines, so that lines can be put side by
 * side. */
#ifndef RLHF_BENCH_H
#define RLHF_BENCH_H

#include "program.h"

enum { BENCH_MOST_SAMPLES = 1000, BENCH_MOST_PHASES = 8 };

/* ---- bench_report.c: samples, and how results are told */

typedef struct bench_samples {
    double value[BENCH_MOST_SAMPLES];
    int count;
} bench_samples;

typedef struct bench_statistics {
    double min, median, max;
    int count;
} bench_statistics;

bench_statistics bench_summary(const bench_samples *samples);
double bench_processor_seconds(void); /* of all threads of this process */
double bench_peak_megabytes(int who);  /* RUSAGE_SELF or RUSAGE_CHILDREN: most memory ever resident */

/* ---- bench_peaks.c: what the machine can do */

enum bench_peak_kind { BENCH_FMA_256, BENCH_FMA_512, BENCH_BF16_512, BENCH_PORTABLE, BENCH_PEAKS };
const char *bench_peak_name(enum bench_peak_kind kind);
bool bench_peak_supported(enum bench_peak_kind kind);
/* Of all threads together: what they did in a second by the clock, and what they would do if each had a processor of
 * its own all the time. The second doesn't suffer from neighbours. */
typedef struct bench_rate {
    double clock, processor;
} bench_rate;
/* Floating-point operations per second, from a run of about the given length; 0 without memory or threads. */
bench_rate bench_peak_run(enum bench_peak_kind kind, int threads, double seconds);
/* The fastest of the multiply-adds in float32; for bfloat16 that instruction too, where it is faster. */
bench_rate bench_best_peak(bool bf16, int threads);
/* Bytes per second read from an array of so many bytes in all. */
bool bench_read_run(size_t bytes, int threads, double seconds, int times, bench_samples *samples);

/* ---- bench_model.c: models, tokenizers and texts to work on */

/* What floating-point operations and bytes are counted from. */
typedef struct bench_sizes {
    double layer_weights;   /* elements of all matrices inside layers */
    double head_weights;    /* vocabulary x width */
    double layers, attention_width; /* heads x head_dim */
} bench_sizes;

/* ---- bench.c */

typedef struct bench_phase {
    const char *name;
    double seconds; /* per repetition */
} bench_phase;

typedef struct bench {
    program *program;
    const char *what, *shape, *dtype;
    const char *model; /* directory, NULL: random weights */
    rlhf_model_options model_options;
    int64_t batch, seq, prompt, new_tokens, samples, epochs, micro; /* 0: not of this work */
    int64_t m, n, k;                                                /* gemm */
    int warmup, repeat, threads;
    bool peaks, profile;
    uint64_t seed;

    rlhf_policy *policy;
    bench_sizes sizes;

    /* results */
    bench_samples wall, processor;
    bench_phase phase[BENCH_MOST_PHASES];
    int phases;
    double tokens, flops;             /* of one repetition */
    double decode_bytes, decode_steps, prefill_seconds;
    double megabytes_before, megabytes;
    bench_rate peak;                  /* of the machine, measured in the same run; 0: not measured */
    double bandwidth;
} bench;

/* Repeats step: warm-up first, calls shorter than 0.15 s in groups that last so long. Phases that the step adds to are
 * divided by the number of timed calls. */
rlhf_status bench_time(bench *bench, rlhf_status (*step)(void *work), void *work);
void bench_add_phase(bench *bench, const char *name, double seconds);

/* bench_report.c */
void bench_report(bench *bench);

/* bench_model.c */
bool bench_shape_known(const char *name);
rlhf_status bench_make_policy(bench *bench);
double bench_forward_flops(const bench_sizes *sizes, int64_t batch, int64_t seq, int64_t head_positions);
double bench_generation_flops(const bench_sizes *sizes, int64_t batch, int64_t prompt, int64_t new_tokens);
/* rows sequences of length tokens, each with a prompt of prompt tokens; ids from the whole vocabulary. */
rlhf_status bench_make_batch(bench *bench, int64_t rows, int64_t length, int32_t prompt, rlhf_batch **out);
/* One token per byte of text, and words that never occur to fill the vocabulary. */
rlhf_status bench_make_tokenizer(bench *bench, rlhf_tokenizer **out);
/* rows prompts of `prompt` letters; with answer > 0 preference rows with two answers of so many letters. */
rlhf_status bench_make_dataset(bench *bench, int64_t rows, int64_t prompt, int64_t answer, rlhf_dataset **out);

/* bench_work.c, bench_training.c, bench_tables.c */
int bench_train(bench *bench);
int bench_score(bench *bench);
int bench_decode(bench *bench);
int bench_reward(bench *bench);
int bench_reinforce(bench *bench);
int bench_ppo(bench *bench);
int bench_startup(bench *bench);
int bench_peaks(bench *bench);
int bench_gemm(bench *bench);

#endif
