/* generate and best-of-n. */
#include "sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int sample_open(program *program, arguments *arguments, int default_n, sample *sample)
{
    memset(sample, 0, sizeof *sample);
    rlhf_rollout_options *o = &sample->options;
    rlhf_rollout_options_init(o, sizeof *o);
    const char *model = arguments_required(arguments, "model");
    const char *prompt = arguments_text(arguments, "prompt", NULL), *data = arguments_text(arguments, "data", NULL);
    rlhf_dataset_options options = arguments_dataset(arguments);
    o->samples_per_prompt = (int32_t)arguments_integer(arguments, "n", default_n, 1, 100000);
    o->max_new_tokens = (int32_t)arguments_integer(arguments, "max-new-tokens", 128, 1, 1000000);
    o->temperature = arguments_number(arguments, "temperature", 1.0, 0.0, 100.0);
    o->top_k = (int32_t)arguments_integer(arguments, "top-k", 0, 0, 10000000);
    o->top_p = arguments_number(arguments, "top-p", 1.0, 0.0, 1.0);
    o->min_p = arguments_number(arguments, "min-p", 0.0, 0.0, 1.0);
    o->batch_size = (int32_t)arguments_integer(arguments, "batch", 64, 1, 4096);
    program->formats = arguments_formats(arguments);
    o->seed = (uint64_t)arguments_integer(arguments, "seed", 0, 0, INT64_MAX);
    if (arguments->error != 0)
        return arguments->error;
    if ((prompt == NULL) == (data == NULL))
        return program_usage("%s: give either --prompt TEXT or --data FILE", arguments->command);

    const char *what = model;
    rlhf_status status = rlhf_policy_load(&sample->policy, program->context, model, &program->formats);
    if (status == RLHF_OK)
        status = rlhf_tokenizer_load(&sample->tokenizer, program->context, model);
    if (status == RLHF_OK && data != NULL) {
        what = data;
        status = rlhf_dataset_load(&sample->prompts, program->context, data, &options);
    } else if (status == RLHF_OK) {
        rlhf_row row = {.struct_size = sizeof row, .kind = RLHF_ROW_PROMPT, .prompt = prompt, .margin = NAN};
        what = "--prompt";
        status = rlhf_dataset_create(&sample->prompts, program->context);
        if (status == RLHF_OK)
            status = rlhf_dataset_append(sample->prompts, &row);
    }
    if (status == RLHF_OK && rlhf_dataset_rows(sample->prompts) == 0) {
        fprintf(stderr, "rlhf: %s: no rows\n", what);
        return EXIT_FAILED;
    }
    if (status == RLHF_OK)
        status = rlhf_batch_tokenize(&sample->batch, sample->tokenizer, sample->prompts, 0,
                                     rlhf_dataset_rows(sample->prompts), RLHF_TOKENIZE_SEPARATE);
    return status == RLHF_OK ? EXIT_DONE : program_fail(program, status, what);
}

int sample_run(program *program, sample *sample)
{
    rlhf_status status =
        rlhf_rollout_run(&sample->rollout, sample->policy, sample->batch, &sample->options, NULL, NULL);
    sample->view.struct_size = sizeof sample->view;
    if (status == RLHF_OK)
        status = rlhf_rollout_get(sample->rollout, &sample->view);
    return status == RLHF_OK ? EXIT_DONE : program_fail(program, status, "");
}

/* Text of the first count tokens of a row, malloc'ed; NULL on failure. */
static char *decode_start(sample *sample, int64_t row, size_t count, size_t *bytes)
{
    const int32_t *tokens = sample->view.tokens + sample->view.offset[row];
    size_t needed = 0;
    rlhf_status status =
        rlhf_tokenizer_decode(sample->tokenizer, tokens, count, RLHF_DECODE_SKIP_SPECIAL, NULL, 0, &needed);
    char *text = status == RLHF_OK || needed > 0 ? malloc(needed + 1) : NULL;
    if (text == NULL)
        return NULL;
    if (needed > 0 && rlhf_tokenizer_decode(sample->tokenizer, tokens, count, RLHF_DECODE_SKIP_SPECIAL, text, needed,
                                            &needed) != RLHF_OK) {
        free(text);
        return NULL;
    }
    text[needed] = '\0';
    *bytes = needed;
    return text;
}

/* What the response adds to the prompt's text: decoded alone it could lose a blank at its beginning. */
char *sample_text(sample *sample, int64_t row, size_t *bytes)
{
    const rlhf_rollout_view *view = &sample->view;
    size_t prompt_tokens = (size_t)view->prompt_length[row], prompt_bytes = 0, whole_bytes = 0;
    size_t tokens = (size_t)(view->offset[row + 1] - view->offset[row]);
    char *prompt = decode_start(sample, row, prompt_tokens, &prompt_bytes);
    char *whole = decode_start(sample, row, tokens, &whole_bytes);
    /* A character that begins in the prompt and ends in the response is shown with the response. */
    while (prompt != NULL && whole != NULL && prompt_bytes > 0 &&
           (prompt_bytes > whole_bytes || memcmp(prompt, whole, prompt_bytes) != 0))
        prompt_bytes--;
    if (prompt != NULL && whole != NULL) {
        *bytes = whole_bytes - prompt_bytes;
        memmove(whole, whole + prompt_bytes, *bytes + 1);
    } else {
        free(whole);
        whole = NULL;
    }
    free(prompt);
    return whole;
}

int sample_score(program *program, sample *sample, rlhf_scorer *scorer, double **score)
{
    const rlhf_rollout_view *view = &sample->view;
    size_t rows = (size_t)view->rows;
    const char **prompt = calloc(rows + 1, sizeof *prompt), **extra = calloc(rows + 1, sizeof *extra);
    *score = calloc(rows + 1, sizeof **score);
    rlhf_status status = prompt != NULL && extra != NULL && *score != NULL ? RLHF_OK : RLHF_E_NOMEM;
    for (size_t r = 0; status == RLHF_OK && r < rows; r++) {
        rlhf_row row = {.struct_size = sizeof row};
        status = rlhf_dataset_row(sample->prompts, r / (size_t)view->samples_per_prompt, &row);
        prompt[r] = row.prompt != NULL ? row.prompt : row.text;
        extra[r] = row.extra;
    }
    rlhf_score_input in = {.struct_size = sizeof in,
                           .rows = view->rows,
                           .offset = view->offset,
                           .tokens = view->tokens,
                           .prompt_length = view->prompt_length,
                           .prompt = prompt,
                           .extra = extra,
                           .terminated = view->terminated};
    if (status == RLHF_OK)
        status = rlhf_scorer_run(scorer, sample->tokenizer, &in, *score);
    free(prompt);
    free(extra);
    return status == RLHF_OK ? EXIT_DONE : program_fail(program, status, "scoring");
}

void sample_close(sample *sample)
{
    rlhf_rollout_release(&sample->rollout);
    rlhf_batch_release(&sample->batch);
    rlhf_dataset_release(&sample->prompts);
    rlhf_policy_release(&sample->policy);
    rlhf_tokenizer_release(&sample->tokenizer);
}

static bool write_row(FILE *file, sample *sample, int64_t row, const double *score, bool plain)
{
    const rlhf_rollout_view *view = &sample->view;
    size_t bytes = 0;
    char *text = sample_text(sample, row, &bytes);
    rlhf_row source = {.struct_size = sizeof source};
    if (text == NULL ||
        rlhf_dataset_row(sample->prompts, (uint64_t)(row / view->samples_per_prompt), &source) != RLHF_OK) {
        free(text);
        return false;
    }
    const char *prompt = source.prompt != NULL ? source.prompt : source.text;
    if (plain) {
        fprintf(file, "%s%.*s\n", prompt, (int)bytes, text);
    } else {
        double log_prob = 0.0;
        for (int64_t t = view->response_offset[row]; t < view->response_offset[row + 1]; t++)
            log_prob += view->log_prob[t];
        fputs("{\"prompt\": ", file);
        json_string(file, prompt, strlen(prompt));
        fputs(", \"completion\": ", file);
        json_string(file, text, bytes);
        fputs(", \"log_prob\": ", file);
        json_number(file, log_prob);
        fprintf(file, ", \"tokens\": %lld, \"terminated\": %s",
                (long long)(view->response_offset[row + 1] - view->response_offset[row]),
                view->terminated[row] ? "true" : "false");
        if (score != NULL) {
            fputs(", \"score\": ", file);
            json_number(file, score[row]);
        }
        fputs("}\n", file);
    }
    free(text);
    return !ferror(file);
}

/* rows: which rows to write, or NULL for all. */
static int write_rows(program *program, sample *sample, const int64_t *rows, int64_t count, const double *score,
                      const char *path, bool plain)
{
    char temporary[4096];
    FILE *file = path != NULL ? file_begin(path, temporary, sizeof temporary) : stdout;
    if (file == NULL)
        return EXIT_FAILED;
    bool good = true;
    for (int64_t i = 0; good && i < count; i++)
        if (rows == NULL || rows[i] >= 0)
            good = write_row(file, sample, rows != NULL ? rows[i] : i, score, plain);
    if (path != NULL)
        good = file_commit(file, temporary, path) && good;
    if (!good)
        fprintf(stderr, "rlhf: %s: not everything could be written\n", path != NULL ? path : "standard output");
    (void)program;
    return good ? EXIT_DONE : EXIT_FAILED;
}

int command_generate(program *program, arguments *arguments)
{
    sample sample;
    const char *path = arguments_text(arguments, "out", NULL);
    bool plain = path == NULL && !program->json && arguments_text(arguments, "prompt", NULL) != NULL;
    int result = sample_open(program, arguments, 1, &sample);
    if (result == EXIT_DONE && !arguments_finish(arguments))
        result = EXIT_USAGE;
    if (result == EXIT_DONE)
        result = sample_run(program, &sample);
    if (result == EXIT_DONE)
        result = write_rows(program, &sample, NULL, sample.view.rows, NULL, path, plain);
    sample_close(&sample);
    return result;
}

/* Best and worst sample of every prompt as a preference row; prompts whose samples are all equal give none. */
static int write_pairs(sample *sample, const double *score, const char *path)
{
    const rlhf_rollout_view *view = &sample->view;
    int64_t n = view->samples_per_prompt;
    char temporary[4096];
    FILE *file = file_begin(path, temporary, sizeof temporary);
    if (file == NULL)
        return EXIT_FAILED;
    bool good = true;
    for (int64_t p = 0; good && p < view->rows / n; p++) {
        int64_t best = -1, worst = -1;
        for (int64_t r = p * n; r < (p + 1) * n; r++) {
            if (isnan(score[r]))
                continue;
            best = best < 0 || score[r] > score[best] ? r : best;
            worst = worst < 0 || score[r] < score[worst] ? r : worst;
        }
        if (best < 0 || score[best] == score[worst])
            continue;
        size_t chosen_bytes = 0, rejected_bytes = 0;
        rlhf_row row = {.struct_size = sizeof row};
        char *chosen = sample_text(sample, best, &chosen_bytes),
             *rejected = sample_text(sample, worst, &rejected_bytes);
        good = chosen != NULL && rejected != NULL && rlhf_dataset_row(sample->prompts, (uint64_t)p, &row) == RLHF_OK;
        if (good) {
            const char *prompt = row.prompt != NULL ? row.prompt : row.text;
            fputs("{\"prompt\": ", file);
            json_string(file, prompt, strlen(prompt));
            fputs(", \"chosen\": ", file);
            json_string(file, chosen, chosen_bytes);
            fputs(", \"rejected\": ", file);
            json_string(file, rejected, rejected_bytes);
            fputs(", \"score_chosen\": ", file);
            json_number(file, score[best]);
            fputs(", \"score_rejected\": ", file);
            json_number(file, score[worst]);
            fputs("}\n", file);
            good = !ferror(file);
        }
        free(chosen);
        free(rejected);
    }
    return file_commit(file, temporary, path) && good ? EXIT_DONE : EXIT_FAILED;
}

int command_best_of_n(program *program, arguments *arguments)
{
    sample sample;
    rlhf_scorer *scorer = NULL;
    double *score = NULL;
    int64_t *best = NULL;
    const char *path = arguments_text(arguments, "out", NULL), *pairs = arguments_text(arguments, "pairs", NULL);
    const char *judge = arguments_required(arguments, "scorer");
    int result = sample_open(program, arguments, 4, &sample);
    if (result == EXIT_DONE && !arguments_finish(arguments))
        result = EXIT_USAGE;
    if (result == EXIT_DONE)
        result = scorer_from_text(program, judge, &scorer);
    if (result == EXIT_DONE)
        result = sample_run(program, &sample);
    if (result == EXIT_DONE)
        result = sample_score(program, &sample, scorer, &score);
    if (result == EXIT_DONE && pairs != NULL)
        result = write_pairs(&sample, score, pairs);
    if (result == EXIT_DONE && (pairs == NULL || path != NULL)) {
        int64_t prompts = sample.view.rows / sample.view.samples_per_prompt;
        best = calloc((size_t)prompts + 1, sizeof *best);
        rlhf_status status = best != NULL ? rlhf_rollout_best_of_n(sample.rollout, score, best) : RLHF_E_NOMEM;
        result = status == RLHF_OK ? write_rows(program, &sample, best, prompts, score, path, false)
                                   : program_fail(program, status, "best-of-n");
    }
    free(best);
    free(score);
    rlhf_scorer_release(&scorer);
    sample_close(&sample);
    return result;
}
