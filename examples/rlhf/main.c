/* rlhf: the pipeline on the command line. An example program: it sees public headers only. */
#include "program.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct command {
    const char *name;
    int (*run)(program *program, arguments *arguments);
    const char *summary, *help;
} command;

#define FORMATS_HELP                                                                                                   \
    "  --dtype bfloat16   weights in memory as bfloat16, products too (default float32)\n"                            \
    "  --bf16 true        products in bfloat16, weights float32\n"

static const char training_help[] =
    "  --config FILE      recipe in YAML; every key can also be given as --key value (see --keys)\n"
    "  --out DIR          run directory: config.yaml metrics.jsonl checkpoints/ model/ receipt.json\n"
    "  --resume           go on from the newest checkpoint in the run directory, to the same bits\n"
    "  --overwrite        start again in a directory that holds a run\n"
    "  --scorer WHAT      on-policy methods: a reward model's directory, lexicon:FILE, or a plugin's NAME[:ARGUMENT]\n"
    "  --objective NAME   a plugin's loss instead of the built-in one (NAME[:ARGUMENT])\n"
    "  --gold WHAT        measured beside the reward, never trained on\n"
    "  --keys             list every key with its default\n";

static const command commands[] = {
    {"quickstart", command_quickstart, "the whole pipeline on a world that the program makes itself",
     "  --out DIR          where summary.json, report.html and the models go (default rlhf-quickstart)\n"
     "  --seeds N          repeat with N seeds, from --seed on (default 1)\n"},
    {"pretrain", command_train, "train a language model on plain text from random weights", training_help},
    {"sft", command_train, "supervised fine-tuning on texts or prompts with completions", training_help},
    {"reward", command_train, "reward model from pairs of chosen and rejected answers", training_help},
    {"raft", command_train, "sample n, keep the best, fine-tune, repeat", training_help},
    {"reinforce", command_train, "policy gradient with a baseline", training_help},
    {"pairwise", command_train, "raise the better of two samples, lower the other", training_help},
    {"ppo", command_train, "proximal policy optimisation with a value model", training_help},
    {"run", command_run, "several stages from one YAML file", "  rlhf run PIPELINE.yaml [--out DIR] [--resume]\n"},
    {"generate", command_generate, "sample completions",
     "  --model DIR        Hugging Face directory with tokenizer\n"
     "  --prompt TEXT      one prompt, or\n"
     "  --data FILE        prompts from JSONL\n"
     "  --out FILE         JSONL (default: standard output)\n"
     "  --n N  --max-new-tokens N  --temperature T  --top-k K  --top-p P  --min-p P  --batch N\n"
     FORMATS_HELP},
    {"best-of-n", command_best_of_n, "sample n, score them, keep the best",
     "  as generate, and --scorer WHAT (a reward model's directory or lexicon:FILE), --n N (default 4)\n"
     "  --pairs FILE       best and worst of the n as preference pairs (chosen, rejected)\n"},
    {"score", command_score, "score prompts with completions",
     "  --scorer WHAT      a reward model's directory, or lexicon:FILE\n"
     "  --data FILE        JSONL with prompt and completion, or chosen and rejected\n"
     "  --out FILE         JSONL (default: standard output)\n" FORMATS_HELP},
    {"eval", command_evaluate,
     "measure a policy (score, KL, best-of-n curve) or a reward model (accuracy, calibration)",
     "  --model DIR        a policy: with --data PROMPTS --scorer WHAT [--reference DIR] [--n N]\n"
     "  --reward-model DIR a reward model: with --data PAIRS\n"
     "  --rows N           at most N rows of the data\n"
     "  --bad-rows skip    count rows that cannot be read instead of stopping\n" FORMATS_HELP},
    {"inspect", command_inspect, "what a model, tokenizer or dataset is", "  rlhf inspect PATH\n"
     "  rlhf inspect MODEL --plan sft|ppo [--batch N] [--seq N] [--recompute]\n"},
    {"check", command_check, "prove exactness on a model of yours",
     "  rlhf check ratio --model DIR   sampled and recomputed log-probabilities must be equal bit for bit\n"
     "  --data FILE        prompts (default: a beginning-of-sequence token)\n" FORMATS_HELP},
    {"bench", command_bench, "measure the machine and the library, as the scripts for other engines do",
     "  rlhf bench WHAT    peaks      fused multiply-adds, bfloat16 products, reading\n"
     "                     gemm       the dense products of a shape, or of --m N --n N --k N\n"
     "                     train      a step on --batch sequences of --seq tokens: backward pass, clipping, AdamW\n"
     "                     score      their log-probabilities\n"
     "                     decode     --new tokens behind --batch prompts of --prompt tokens\n"
     "                     reward     a step of a reward model on --batch pairs\n"
     "                     reinforce  an iteration: --batch rollouts, --samples to a prompt, reference, update\n"
     "                     ppo        an iteration with value and reward model, --epochs updates\n"
     "                     startup    a process from its start to the end of its first iteration\n"
     "  --shape NAME       tiny (stories260K), small, smollm2 (default), gpt2: with random weights, or\n"
     "  --model DIR        a model of yours\n"
     "  --dtype FORMAT     f32 (default) or bf16; --weights bf16: the weights in memory, too\n"
     "  --batch N  --seq N  --prompt N  --new N  --samples N  --epochs N  --micro N (rows that train side by side)\n"
     "  --repeat N         samples (default 5; the median is told); --warmup N before them (default 1)\n"
     "  --profile          train: forward and backward pass, trunk and head\n"
     "  --recompute        activations are computed again instead of kept\n"
     "  --no-peaks         without the share of the machine's peak, which is measured after the work\n"
     "  --json             one object a line, with the keys of the other scripts\n"},
    {"version", NULL, "version and machine", ""},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static const char *const flags[] = {"help", "quiet",   "json",      "resume",   "overwrite", "keys",
                                    "blis", "profile", "recompute", "no-peaks", NULL};

/* What a signal handler may touch. */
static rlhf_context *interrupted;
static volatile sig_atomic_t stop_asked;

bool program_interrupted(void)
{
    return stop_asked != 0;
}

static void on_interrupt(int number)
{
    if (stop_asked)
        _exit(128 + number);
    stop_asked = 1;
    rlhf_context_cancel(interrupted);
}

static void usage(FILE *file)
{
    fputs("rlhf aligns language models with human preferences on ordinary CPUs.\n\nusage: rlhf COMMAND [OPTIONS]\n\n",
          file);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(file, "  %-11s %s\n", commands[i].name, commands[i].summary);
    fputs("\noptions of every command:\n"
          "  --threads N        threads that work (default: all processors)\n"
          "  --seed N           seed of every random choice (default 0)\n"
          "  --cpu MASK         instruction sets: 0 plain C, 1 AVX2, 3 AVX-512 too (default: all; same bits)\n"
          "  --plugin FILE      shared object with objectives or scorers by name; repeatable\n"
          "  --blis             large dense products through BLIS where that is faster (same bits)\n"
          "  --quiet            errors only\n"
          "  --json             results as JSON on standard output\n"
          "  --help             this, or the command's options\n"
          "\nexit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted (a resumable checkpoint was written)\n",
          file);
}

static void log_line(void *user_data, int32_t level, const char *line)
{
    (void)user_data;
    fprintf(stderr, "rlhf: %s: %s\n", level <= RLHF_LOG_ERROR ? "error" : "warning", line);
}

static int load_plugins(program *program, arguments *arguments)
{
    (void)arguments_text(arguments, "plugin", NULL); /* a known name */
    for (int i = 0; i < arguments->count; i++) {
        argument *item = &arguments->item[i];
        if (item->name == NULL || strcmp(item->name, "plugin") != 0)
            continue;
        item->used = true;
        rlhf_status status = rlhf_plugin_load(program->context, item->value);
        if (status != RLHF_OK)
            return program_fail(program, status, "");
    }
    return EXIT_DONE;
}

int main(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        usage(argc < 2 ? stderr : stdout);
        return argc < 2 ? EXIT_USAGE : EXIT_DONE;
    }
    const command *command = NULL;
    const char *name = strcmp(argv[1], "--version") == 0 ? "version" : argv[1];
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(name, commands[i].name) == 0)
            command = &commands[i];
    if (command == NULL)
        return program_usage("unknown command \"%s\" (rlhf --help lists them)", argv[1]);

    arguments arguments;
    if (!arguments_parse(&arguments, argc, argv, flags))
        return EXIT_USAGE;
    if (arguments_flag(&arguments, "help")) {
        printf("rlhf %s: %s\n\n%s\nrlhf --help lists the options of every command.\n", command->name, command->summary,
               command->help);
        return EXIT_DONE;
    }

    rlhf_context_options options;
    rlhf_context_options_init(&options, sizeof options);
    options.threads = (int32_t)arguments_integer(&arguments, "threads", 0, 0, 1024);
    options.seed = (uint64_t)arguments_integer(&arguments, "seed", 0, 0, INT64_MAX);
    options.cpu_mask = (uint32_t)arguments_integer(&arguments, "cpu", UINT32_MAX, 0, UINT32_MAX);
    options.use_blis = arguments_flag(&arguments, "blis");
    options.log = log_line;
    program program = {.quiet = arguments_flag(&arguments, "quiet"), .json = arguments_flag(&arguments, "json")};
    rlhf_model_options_init(&program.formats, sizeof program.formats);
    program.terminal = isatty(STDERR_FILENO) != 0;
    if (arguments.error != 0)
        return arguments.error;
    rlhf_status status = rlhf_context_create(&program.context, &options);
    if (status != RLHF_OK) {
        fprintf(stderr, "rlhf: no context: %s\n", rlhf_status_name(status));
        return EXIT_FAILED;
    }
    int result = load_plugins(&program, &arguments);
    if (result != EXIT_DONE) {
        rlhf_context_release(&program.context);
        return result;
    }
    if (command->run == NULL) {
        char machine[512];
        rlhf_context_describe(program.context, machine, sizeof machine);
        printf("librlhf %u.%u.%u\n%s\n", rlhf_version() >> 16, rlhf_version() >> 8 & 255, rlhf_version() & 255,
               machine);
        result = arguments_finish(&arguments) ? EXIT_DONE : EXIT_USAGE;
    } else {
        interrupted = program.context;
        struct sigaction action = {.sa_handler = on_interrupt};
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        arguments.command = command->name;
        result = command->run(&program, &arguments);
    }
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    rlhf_context_release(&program.context);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fputs("rlhf: standard output cannot be written\n", stderr);
        return EXIT_FAILED;
    }
    return result;
}
