/* What the commands of the program share: arguments, output, progress. Only public headers of the library are used. */
#ifndef RLHF_PROGRAM_H
#define RLHF_PROGRAM_H

#include <rlhf/rlhf.h>

#include <stdbool.h>
#include <stdio.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

/* ---- arguments.c: --name value, --name=value, --flag, and positional words
 * -------------------------------------------- */

typedef struct argument {
    const char *name, *value; /* name NULL: positional; value NULL: a flag without value */
    bool used;
} argument;

typedef struct arguments {
    const char *command;
    argument item[256];
    int count;
    const char *known[96]; /* names that the command asked for: "did you mean" */
    int known_count;
    int error; /* EXIT_USAGE after a bad value */
} arguments;

/* flags: NULL-terminated names that take no value. Returns false (and says why) on a malformed line. */
bool arguments_parse(arguments *arguments, int argc, char **argv, const char *const *flags);
const char *arguments_text(arguments *arguments, const char *name, const char *otherwise);
const char *arguments_required(arguments *arguments, const char *name);
int64_t arguments_integer(arguments *arguments, const char *name, int64_t otherwise, int64_t low, int64_t high);
double arguments_number(arguments *arguments, const char *name, double otherwise, double low, double high);
bool arguments_flag(arguments *arguments, const char *name);
const char *arguments_word(arguments *arguments, int index); /* positional, NULL if there is none */
/* --rows N and --bad-rows stop|skip. */
rlhf_dataset_options arguments_dataset(arguments *arguments);
/* --dtype float32|bfloat16 (the weights in memory) and --bf16 true|false (the products alone). */
rlhf_model_options arguments_formats(arguments *arguments);
/* True if everything was understood; else says what was not. Call after all options were asked for. */
bool arguments_finish(arguments *arguments);
bool parse_number(const char *text, double *out); /* independent of the locale */

/* ---- output.c
 * ------------------------------------------------------------------------------------------------------------- */

typedef struct program {
    rlhf_context *context;
    bool quiet, json;      /* --quiet: errors only; --json: results as JSON on standard output */
    bool terminal;         /* progress bar or plain lines */
    double started, drawn; /* clock of the progress bar */
    uint64_t drawn_step;
    rlhf_model_options formats; /* of the models that are loaded */
} program;

double clock_seconds(void);
/* True once the user asked to stop, for loops around calls that do not stop by themselves. */
bool program_interrupted(void);
/* Prints "rlhf: what: text of the context" and returns the exit status of the code. */
int program_fail(program *program, rlhf_status status, const char *what);
int program_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A bar with rate and time left on a terminal; nothing otherwise. done: clears the line. */
void progress_draw(program *program, const char *label, uint64_t step, uint64_t total, const char *note);
void progress_clear(program *program);
/* JSON text pieces on a stream. */
void json_string(FILE *file, const char *text, size_t bytes);
void json_number(FILE *file, double value); /* null for NaN and infinities */
/* Writes through a temporary beside the target. fclose and rename in file_commit. */
FILE *file_begin(const char *path, char *temporary, size_t capacity);
bool file_commit(FILE *file, const char *temporary, const char *path);
char *text_duplicate(const char *text);
/* Growing text for reports. */
typedef struct text {
    char *data;
    size_t size, capacity;
    bool failed;
} text;
void text_add(text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_add_html(text *text, const char *plain); /* escaped */
void text_free(text *text);

/* ---- judges: gold scorers that need no model
 * -------------------------------------------------------------------------------- */

/* lexicon:FILE (VADER's tab-separated lexicon, .gz not needed): mean valence of a text's words, with negation. */
rlhf_status lexicon_scorer(rlhf_scorer **out, rlhf_context *context, const char *path, char *why, size_t capacity);
/* A scorer from the command line: "lexicon:FILE", or the directory of a reward model. */
int scorer_from_text(program *program, const char *text, rlhf_scorer **out);

/* ---- commands
 * ------------------------------------------------------------------------------------------------------------------ */

int command_train(program *program, arguments *arguments); /* pretrain sft reward raft reinforce pairwise ppo */
int command_run(program *program, arguments *arguments);
int command_generate(program *program, arguments *arguments);
int command_best_of_n(program *program, arguments *arguments);
int command_score(program *program, arguments *arguments);
int command_evaluate(program *program, arguments *arguments);
int command_inspect(program *program, arguments *arguments);
int command_check(program *program, arguments *arguments);
int command_bench(program *program, arguments *arguments);
int command_quickstart(program *program, arguments *arguments);

/* One training run with progress and metrics on the terminal; used by train, run and quickstart. */
int train_recipe(program *program, rlhf_recipe *recipe, rlhf_trainer_options *options, const char *label);

#endif
