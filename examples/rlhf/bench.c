/* bench: how fast this machine and the library are, in the shapes and the work of the scripts that measure others. */
#include "bench.h"

#include <string.h>
#include <sys/resource.h>

enum { LARGEST = 1 << 20 };

static const struct task {
    const char *name;
    int (*run)(bench *bench);
    bool report; /* one result, told by bench_report; the others print their own tables */
    bool peaks;  /* whose share of the machine's peak means something */
} tasks[] = {
    {"peaks", bench_peaks, false, false},       {"gemm", bench_gemm, false, false},
    {"train", bench_train, true, true},         {"score", bench_score, true, true},
    {"decode", bench_decode, true, true},       {"reward", bench_reward, true, true},
    {"reinforce", bench_reinforce, true, true}, {"ppo", bench_ppo, true, true},
    {"startup", bench_startup, true, false},
};

static const struct absent {
    const char *name, *why;
} absent[] = {
    {"dpo", "this version has no DPO"},
    {"lora", "this version has no adapters"},
    {"grpo", "this version has no GRPO; rlhf bench reinforce does the same work: samples, reference, one update"},
};

static const struct task *find_task(const char *name)
{
    for (size_t i = 0; i < sizeof tasks / sizeof tasks[0]; i++)
        if (strcmp(tasks[i].name, name) == 0)
            return &tasks[i];
    return NULL;
}

static bool is(const bench *bench, const char *what)
{
    return strcmp(bench->what, what) == 0;
}

/* 0: done, else an exit status. */
static int read_formats(bench *bench, arguments *arguments)
{
    const char *weights = arguments_text(arguments, "weights", "f32");
    bench->dtype = arguments_text(arguments, "dtype", "f32");
    rlhf_model_options_init(&bench->model_options, sizeof bench->model_options);
    if (strcmp(bench->dtype, "f16") == 0) {
        fputs("rlhf: bench: --dtype f16 is not supported: models compute in f32 or bf16\n", stderr);
        return EXIT_FAILED;
    }
    if (strcmp(bench->dtype, "f32") != 0 && strcmp(bench->dtype, "bf16") != 0)
        return program_usage("--dtype: \"%s\" is none of f32 bf16 f16", bench->dtype);
    if (strcmp(weights, "f32") != 0 && strcmp(weights, "bf16") != 0)
        return program_usage("--weights: \"%s\" is neither f32 nor bf16", weights);
    bench->model_options.compute_format = strcmp(bench->dtype, "bf16") == 0 ? RLHF_BFLOAT16 : RLHF_FLOAT32;
    bench->model_options.weight_format = strcmp(weights, "bf16") == 0 ? RLHF_BFLOAT16 : RLHF_FLOAT32;
    bench->model_options.recompute_activations = arguments_flag(arguments, "recompute");
    return 0;
}

/* The sizes at which other engines were measured. */
static void read_sizes(bench *bench, arguments *arguments)
{
    bool tiny = strcmp(bench->shape, "tiny") == 0, little = tiny || strcmp(bench->shape, "small") == 0;
    bool samples = is(bench, "reinforce") || is(bench, "ppo"), generates = samples || is(bench, "decode");
    bool sequences = is(bench, "train") || is(bench, "score") || is(bench, "reward") || is(bench, "gemm");
    int64_t batch = is(bench, "score") ? 8 : samples ? 32 : is(bench, "decode") ? 1 : 4;
    if (little && is(bench, "train"))
        batch = tiny ? 32 : 16;
    if (generates || sequences)
        bench->batch = arguments_integer(arguments, "batch", batch, 1, LARGEST);
    if (sequences)
        bench->seq = arguments_integer(arguments, "seq", tiny && is(bench, "train") ? 128 : 256, 8, LARGEST);
    if (generates) {
        bool few = little && is(bench, "decode");
        bench->prompt = arguments_integer(arguments, "prompt", few ? 8 : 64, 1, LARGEST);
        bench->new_tokens = arguments_integer(arguments, "new", samples || few ? 64 : 128, 2, LARGEST);
    }
    if (samples) {
        bench->micro = arguments_integer(arguments, "micro",
                                         is(bench, "ppo") && bench->batch % 8 == 0 ? 8 : bench->batch, 1, LARGEST);
        if (is(bench, "ppo"))
            bench->epochs = arguments_integer(arguments, "epochs", 4, 1, LARGEST);
        else
            bench->samples = arguments_integer(arguments, "samples", 4, 1, LARGEST);
    }
    if (is(bench, "gemm")) {
        bench->m = arguments_integer(arguments, "m", 0, 1, LARGEST);
        bench->n = arguments_integer(arguments, "n", 0, 1, LARGEST);
        bench->k = arguments_integer(arguments, "k", 0, 1, LARGEST);
    }
}

static int check_sizes(const bench *bench)
{
    if (bench->micro > 0 && bench->batch % bench->micro != 0)
        return program_usage("--micro: %lld does not divide the batch, %lld", (long long)bench->micro,
                             (long long)bench->batch);
    if (bench->samples > 0 && bench->batch % bench->samples != 0)
        return program_usage("--samples: %lld does not divide the batch, %lld", (long long)bench->samples,
                             (long long)bench->batch);
    if ((bench->m > 0) != (bench->n > 0) || (bench->m > 0) != (bench->k > 0))
        return program_usage("--m, --n and --k belong together");
    return 0;
}

/* After the work, so that the arrays that are read do not count as its memory. */
static void measure_machine(bench *bench)
{
    enum { TIMES = 3 };
    const double spent = 0.1;
    bench_samples samples;
    bench->peak = bench_best_peak(bench->model_options.compute_format == RLHF_BFLOAT16, bench->threads);
    if (bench->decode_bytes > 0 && bench_read_run((size_t)bench->decode_bytes, bench->threads, spent, TIMES, &samples))
        bench->bandwidth = bench_summary(&samples).max;
}

int command_bench(program *program, arguments *arguments)
{
    bench bench = {.program = program, .threads = rlhf_context_threads(program->context)};
    const char *what = arguments_word(arguments, 0);
    const struct task *task = what != NULL ? find_task(what) : NULL;
    int result;
    for (size_t i = 0; what != NULL && i < sizeof absent / sizeof absent[0]; i++) {
        if (strcmp(absent[i].name, what) == 0) {
            fprintf(stderr, "rlhf: bench %s: not available: %s\n", what, absent[i].why);
            return EXIT_FAILED;
        }
    }
    if (task == NULL)
        return program_usage("bench: what? (peaks gemm train score decode reward reinforce ppo startup)");
    bench.what = task->name;
    bench.model = arguments_text(arguments, "model", NULL);
    bench.shape = arguments_text(arguments, "shape", strcmp(what, "startup") == 0 ? "tiny" : "smollm2");
    if (bench.model != NULL)
        bench.shape = bench.model;
    else if (!bench_shape_known(bench.shape))
        return program_usage("--shape: \"%s\" is none of tiny small smollm2 gpt2", bench.shape);
    bench.seed = (uint64_t)arguments_integer(arguments, "seed", 0, 0, INT64_MAX);
    bench.repeat = (int)arguments_integer(arguments, "repeat", 5, 1, BENCH_MOST_SAMPLES);
    bench.warmup = (int)arguments_integer(arguments, "warmup", 1, 0, BENCH_MOST_SAMPLES);
    bench.peaks = !arguments_flag(arguments, "no-peaks");
    bench.profile = arguments_flag(arguments, "profile");
    result = read_formats(&bench, arguments);
    if (result != 0)
        return result;
    read_sizes(&bench, arguments);
    if (!arguments_finish(arguments))
        return EXIT_USAGE;
    result = check_sizes(&bench);
    if (result != 0)
        return result;
    result = task->run(&bench);
    if (result == EXIT_DONE && task->peaks && bench.peaks)
        measure_machine(&bench);
    if (result == EXIT_DONE && task->report)
        bench_report(&bench);
    rlhf_policy_release(&bench.policy);
    return result;
}
