/* eval: a policy against its reference and a scorer, or a reward model on pairs. */
#include "sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void print_estimate(program *program, const char *name, const rlhf_estimate *estimate, bool last)
{
    if (program->json) {
        printf("\"%s\": {\"mean\": ", name);
        json_number(stdout, estimate->mean);
        fputs(", \"standard_error\": ", stdout);
        json_number(stdout, estimate->standard_error);
        printf(", \"count\": %lld}%s", (long long)estimate->count, last ? "" : ", ");
    } else {
        printf("%-28s %10.4f +- %.4f  (%lld)\n", name, estimate->mean, estimate->standard_error,
               (long long)estimate->count);
    }
}

enum { SLICE = 64 };

/* Scores pairs [first, first+count) and appends those that fit into the model: *kept grows. */
static rlhf_status score_pairs(rlhf_context *context, rlhf_reward_model *model, rlhf_tokenizer *tokenizer,
                               rlhf_dataset *dataset, uint64_t first, uint64_t count, double *chosen, double *rejected,
                               uint64_t *kept)
{
    rlhf_batch *batch = NULL, *fitting = NULL;
    rlhf_batch_view view = {.struct_size = sizeof view};
    int64_t offset[2 * SLICE + 1] = {0}, rows = 0, positions = rlhf_reward_model_positions(model);
    float score[2 * SLICE];
    rlhf_status status = rlhf_batch_tokenize(&batch, tokenizer, dataset, first, count, RLHF_TOKENIZE_EOS);
    if (status == RLHF_OK)
        status = rlhf_batch_get(batch, &view);
    int32_t *tokens = status == RLHF_OK ? malloc(((size_t)view.offset[view.rows] + 1) * sizeof *tokens) : NULL;
    if (status == RLHF_OK && tokens == NULL)
        status = RLHF_E_NOMEM;
    /* A pair's two rows side by side: rows 2i and 2i+1. */
    for (uint64_t i = 0; status == RLHF_OK && i < count; i++) {
        uint64_t row[2] = {i, count + i};
        if (view.offset[row[0] + 1] - view.offset[row[0]] > positions ||
            view.offset[row[1] + 1] - view.offset[row[1]] > positions)
            continue;
        for (int side = 0; side < 2; side++) {
            int64_t length = view.offset[row[side] + 1] - view.offset[row[side]];
            memcpy(tokens + offset[rows], view.tokens + view.offset[row[side]], (size_t)length * sizeof *tokens);
            offset[rows + 1] = offset[rows] + length;
            rows++;
        }
    }
    if (status == RLHF_OK && rows > 0)
        status = rlhf_batch_create(&fitting, context, rows, offset, tokens, NULL);
    if (status == RLHF_OK && rows > 0)
        status = rlhf_reward_model_score(model, fitting, score);
    for (int64_t r = 0; status == RLHF_OK && r < rows; r += 2) {
        chosen[*kept] = score[r];
        rejected[(*kept)++] = score[r + 1];
    }
    free(tokens);
    rlhf_batch_release(&fitting);
    rlhf_batch_release(&batch);
    return status;
}

static int evaluate_reward_model(program *program, const char *model_path, const char *data,
                                 const rlhf_dataset_options *options)
{
    rlhf_reward_model *model = NULL;
    rlhf_tokenizer *tokenizer = NULL;
    rlhf_dataset *dataset = NULL;
    double *chosen = NULL, *rejected = NULL;
    uint64_t kept = 0;
    int result = EXIT_DONE;
    rlhf_status status = rlhf_reward_model_load(&model, program->context, model_path, &program->formats);
    if (status == RLHF_OK)
        status = rlhf_tokenizer_load(&tokenizer, program->context, model_path);
    if (status == RLHF_OK)
        status = rlhf_dataset_load(&dataset, program->context, data, options);
    uint64_t rows = rlhf_dataset_rows(dataset);
    chosen = calloc((size_t)rows + 1, sizeof *chosen);
    rejected = calloc((size_t)rows + 1, sizeof *rejected);
    if (chosen == NULL || rejected == NULL)
        status = RLHF_E_NOMEM;
    for (uint64_t first = 0; status == RLHF_OK && first < rows; first += SLICE) {
        uint64_t count = rows - first < SLICE ? rows - first : SLICE;
        progress_draw(program, "scoring", first, rows, "");
        status = score_pairs(program->context, model, tokenizer, dataset, first, count, chosen, rejected, &kept);
    }
    progress_clear(program);
    rlhf_calibration c = {.struct_size = sizeof c};
    if (status == RLHF_OK)
        status = rlhf_evaluate_calibration(chosen, rejected, (int64_t)kept, &c);
    if (status != RLHF_OK) {
        result = program_fail(program, status, data);
    } else if (program->json) {
        printf("{\"pairs\": %llu, \"accuracy\": %.9g, \"accuracy_standard_error\": %.9g, \"negative_log_likelihood\": "
               "%.9g, "
               "\"brier\": %.9g, \"expected_calibration_error\": %.9g, \"temperature\": %.9g, \"calibrated_error\": "
               "%.9g}\n",
               (unsigned long long)kept, c.accuracy, c.accuracy_standard_error, c.negative_log_likelihood, c.brier,
               c.expected_calibration_error, c.temperature, c.calibrated_error);
    } else {
        printf("pairs                        %llu (%llu too long, %llu bad rows skipped)\n", (unsigned long long)kept,
               (unsigned long long)(rows - kept), (unsigned long long)rlhf_dataset_skipped(dataset));
        printf("accuracy                     %.4f +- %.4f  (%.1f standard errors above 0.5)\n", c.accuracy,
               c.accuracy_standard_error, (c.accuracy - 0.5) / c.accuracy_standard_error);
        printf("negative log-likelihood      %.4f  (a coin: %.4f)\n", c.negative_log_likelihood, log(2.0));
        printf("Brier score                  %.4f\n", c.brier);
        printf("expected calibration error   %.4f  (%.4f after scaling scores by %.3f)\n", c.expected_calibration_error,
               c.calibrated_error, c.temperature);
    }
    free(chosen);
    free(rejected);
    rlhf_dataset_release(&dataset);
    rlhf_tokenizer_release(&tokenizer);
    rlhf_reward_model_release(&model);
    return result;
}

static int evaluate_policy(program *program, arguments *arguments)
{
    sample sample;
    rlhf_scorer *scorer = NULL, *gold = NULL;
    rlhf_reference *reference = NULL;
    double *score = NULL, *gold_score = NULL;
    rlhf_estimate *curve = NULL;
    const char *judge = arguments_required(arguments, "scorer"), *gold_text = arguments_text(arguments, "gold", NULL);
    const char *reference_path = arguments_text(arguments, "reference", NULL);
    int result = sample_open(program, arguments, 1, &sample);
    if (result == EXIT_DONE && !arguments_finish(arguments))
        result = EXIT_USAGE;
    if (result == EXIT_DONE)
        result = scorer_from_text(program, judge, &scorer);
    if (result == EXIT_DONE && gold_text != NULL)
        result = scorer_from_text(program, gold_text, &gold);
    if (result == EXIT_DONE && reference_path != NULL) {
        rlhf_status status = rlhf_reference_load(&reference, program->context, reference_path, &program->formats);
        if (status != RLHF_OK)
            result = program_fail(program, status, reference_path);
    }
    if (result == EXIT_DONE)
        result = sample_run(program, &sample);
    if (result == EXIT_DONE)
        result = sample_score(program, &sample, scorer, &score);
    if (result == EXIT_DONE && gold != NULL)
        result = sample_score(program, &sample, gold, &gold_score);
    if (result != EXIT_DONE)
        goto done;
    const rlhf_rollout_view *view = &sample.view;
    int64_t n = view->samples_per_prompt, prompts = view->rows / n;
    rlhf_estimate mean, kl, length;
    double *tokens = calloc((size_t)view->rows + 1, sizeof *tokens);
    curve = calloc((size_t)n + 1, sizeof *curve);
    rlhf_status status = tokens != NULL && curve != NULL ? RLHF_OK : RLHF_E_NOMEM;
    for (int64_t r = 0; status == RLHF_OK && r < view->rows; r++)
        tokens[r] = (double)(view->response_offset[r + 1] - view->response_offset[r]);
    if (status == RLHF_OK)
        status = rlhf_evaluate_mean(score, view->rows, &mean);
    if (status == RLHF_OK)
        status = rlhf_evaluate_mean(tokens, view->rows, &length);
    free(tokens);
    if (status == RLHF_OK && reference != NULL)
        status = rlhf_evaluate_kl(sample.rollout, reference,
                                  sample.options.temperature > 0 ? sample.options.temperature : 1.0, 1, &kl);
    if (status == RLHF_OK && n > 1)
        status = rlhf_evaluate_best_of_n(score, gold_score != NULL ? gold_score : score, prompts, n, curve);
    if (status != RLHF_OK) {
        result = program_fail(program, status, "");
        goto done;
    }
    if (program->json)
        putchar('{');
    print_estimate(program, "score", &mean, false);
    if (gold_score != NULL) {
        rlhf_estimate golden;
        if (rlhf_evaluate_mean(gold_score, view->rows, &golden) == RLHF_OK)
            print_estimate(program, "gold", &golden, false);
    }
    if (reference != NULL)
        print_estimate(program, "kl", &kl, false);
    for (int64_t i = 1; n > 1 && i <= n; i *= 2) {
        char name[40];
        snprintf(name, sizeof name, "best_of_%lld", (long long)i);
        print_estimate(program, name, &curve[i - 1], false);
    }
    print_estimate(program, "tokens", &length, true);
    if (program->json)
        puts("}");
done:
    free(curve);
    free(score);
    free(gold_score);
    rlhf_reference_release(&reference);
    rlhf_scorer_release(&scorer);
    rlhf_scorer_release(&gold);
    sample_close(&sample);
    return result;
}

int command_evaluate(program *program, arguments *arguments)
{
    const char *reward_model = arguments_text(arguments, "reward-model", NULL);
    if (reward_model == NULL)
        return evaluate_policy(program, arguments);
    const char *data = arguments_required(arguments, "data");
    rlhf_dataset_options options = arguments_dataset(arguments);
    program->formats = arguments_formats(arguments);
    (void)arguments_text(arguments, "seed", NULL);
    if (!arguments_finish(arguments))
        return EXIT_USAGE;
    return evaluate_reward_model(program, reward_model, data, &options);
}
