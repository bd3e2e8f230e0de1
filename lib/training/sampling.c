/* From prompts to scored samples: draw prompts, sample completions, score them, ask the reference and the value model.
 * A completion that cannot be scored takes no part in anything after this file. */
#include "training/training.h"

#include <math.h>

float rlhfi_inverse_temperature(const rlhfi_trainer *trainer)
{
    return (float)(1.0 / rlhfi_recipe_number(trainer->recipe, "temperature"));
}

static void *piece(rlhfi_trainer *trainer, int64_t count, size_t size)
{
    return rlhfi_arena_alloc(trainer->arena, (size_t)count + 1, size);
}

/* ---- prompts ----------------------------------------------------------------------------------------------------- */

/* The prompts of a dataset as rows of their own, in its order: completions and answers are none of the sampler's
 * business. */
static rlhf_status prompts_only(rlhfi_trainer *trainer, const rlhf_dataset *dataset, const char *what,
                                rlhf_dataset **out)
{
    rlhf_status status = rlhf_dataset_create(out, trainer->context);

    for (uint64_t i = 0; status == RLHF_OK && i < rlhf_dataset_rows(dataset); i++) {
        rlhf_row row = {.struct_size = sizeof row}, prompt = {.struct_size = sizeof prompt, .kind = RLHF_ROW_PROMPT};
        RLHFI_TRY(rlhf_dataset_row(dataset, i, &row));
        if (row.prompt == NULL)
            return rlhfi_fail(trainer->context, RLHF_E_INVAL, "%s: row %llu has no prompt", what,
                              (unsigned long long)i);
        prompt.prompt = row.prompt;
        prompt.conversational = row.conversational;
        prompt.margin = NAN;
        status = rlhf_dataset_append(*out, &prompt);
    }
    return status;
}

static rlhf_status build_prompts(rlhfi_trainer *trainer, const rlhf_dataset *dataset, const char *what,
                                 rlhfi_examples **out)
{
    int64_t positions = trainer->policy->model->architecture.positions;
    int64_t response = rlhfi_recipe_integer(trainer->recipe, "response_length");
    rlhfi_examples_options options = {.max_length = positions - response, .drop_long = 1};
    rlhf_dataset *prompts = NULL;
    rlhf_status status;

    if (response >= positions)
        return rlhfi_fail(trainer->context, RLHF_E_RANGE,
                          "response_length: %lld, but the model sees %lld tokens with the prompt", (long long)response,
                          (long long)positions);
    RLHFI_GOTO(prompts_only(trainer, dataset, what, &prompts));
    RLHFI_GOTO(rlhfi_examples_build(out, trainer->tokenizer, prompts, &options));
    if ((*out)->rows == 0)
        status = rlhfi_fail(trainer->context, RLHF_E_INVAL, "%s: no prompt leaves room for %lld tokens", what,
                            (long long)response);
    else if ((*out)->dropped > 0)
        rlhfi_log(trainer->context, RLHF_LOG_WARNING, "%s: %llu prompts are left out: too long for response_length",
                  what, (unsigned long long)(*out)->dropped);
done:
    rlhf_dataset_release(&prompts);
    return status;
}

rlhf_status rlhfi_prepare_prompts(rlhfi_trainer *trainer)
{
    RLHFI_TRY(build_prompts(trainer, trainer->dataset, "dataset", &trainer->examples));
    if (trainer->eval_dataset != NULL)
        RLHFI_TRY(build_prompts(trainer, trainer->eval_dataset, "eval_dataset", &trainer->eval_examples));
    return RLHF_OK;
}

typedef struct prompts {
    int64_t count;
    const rlhfi_sequence **sequence;
    const char **text, **extra; /* borrowed from the dataset */
} prompts;

static rlhf_status take_prompts(rlhfi_trainer *trainer, const rlhfi_examples *examples, const rlhf_dataset *dataset,
                                const uint64_t *row, int64_t count, prompts *out)
{
    *out = (prompts){.count = count,
                     .sequence = piece(trainer, count, sizeof *out->sequence),
                     .text = piece(trainer, count, sizeof *out->text),
                     .extra = piece(trainer, count, sizeof *out->extra)};
    if (out->sequence == NULL || out->text == NULL || out->extra == NULL)
        return RLHF_E_NOMEM;
    for (int64_t i = 0; i < count; i++) {
        rlhf_row text = {.struct_size = sizeof text};
        RLHFI_TRY(rlhf_dataset_row(dataset, examples->source[row[i]], &text));
        out->sequence[i] = &examples->first[row[i]];
        out->text[i] = text.prompt;
        out->extra[i] = text.extra;
    }
    return RLHF_OK;
}

static rlhf_status roll_out(rlhfi_trainer *trainer, const prompts *from, int32_t samples, uint64_t seed, uint64_t first,
                            rlhf_rollout **out)
{
    const rlhf_recipe *recipe = trainer->recipe;
    rlhf_rollout_options options;
    rlhf_batch *batch = NULL;
    rlhf_status status;

    rlhf_rollout_options_init(&options, sizeof options);
    options.max_new_tokens = (int32_t)rlhfi_recipe_integer(recipe, "response_length");
    options.min_new_tokens = (int32_t)rlhfi_recipe_integer(recipe, "min_new_tokens");
    options.samples_per_prompt = samples;
    options.top_k = (int32_t)rlhfi_recipe_integer(recipe, "top_k");
    options.temperature = rlhfi_recipe_number(recipe, "temperature");
    options.top_p = rlhfi_recipe_number(recipe, "top_p");
    options.min_p = rlhfi_recipe_number(recipe, "min_p");
    options.seed = seed;
    options.first_prompt = first;
    RLHFI_TRY(rlhfi_batch_from_sequences(&batch, trainer->context, from->sequence, from->count));
    status = rlhf_rollout_run(out, trainer->policy, batch, &options, NULL, NULL);
    rlhf_batch_release(&batch);
    return status;
}

/* ---- which rows stay --------------------------------------------------------------------------------------------- */

/* Marks rows with a score; where groups count whole, rows whose group has one for every row. Returns how many. */
static int64_t scorable(const double *score, int64_t rows, int32_t samples, bool keep_groups, bool *keep)
{
    int64_t kept = 0;

    for (int64_t row = 0; row < rows; row++) {
        int64_t from = keep_groups ? row - row % samples : row, to = keep_groups ? from + samples : row + 1;
        keep[row] = true;
        for (int64_t i = from; i < to; i++)
            keep[row] = keep[row] && !isnan(score[i]);
        kept += keep[row];
    }
    return kept;
}

/* Packs the kept rows of a rollout into the arena. */
static rlhf_status pack(rlhfi_trainer *trainer, const rlhf_rollout_view *from, const bool *keep, const double *score,
                        const double *gold, rlhfi_samples *out)
{
    const rlhfi_sequence **pointer = piece(trainer, out->rows, sizeof *pointer);
    rlhfi_sequence *sequence = piece(trainer, out->rows, sizeof *sequence);
    int64_t row = 0, token = 0;

    out->score = rlhfi_doubles(trainer, out->rows);
    out->gold = gold != NULL ? rlhfi_doubles(trainer, out->rows) : NULL;
    out->terminated = piece(trainer, out->rows, sizeof *out->terminated);
    out->group = piece(trainer, out->rows, sizeof *out->group);
    if (pointer == NULL || sequence == NULL || out->score == NULL || (gold != NULL && out->gold == NULL) ||
        out->terminated == NULL || out->group == NULL)
        return RLHF_E_NOMEM;
    for (int64_t i = 0; i < from->rows; i++) {
        if (!keep[i])
            continue;
        sequence[row] = (rlhfi_sequence){.tokens = (int32_t *)from->tokens + from->offset[i],
                                         .length = (int32_t)(from->offset[i + 1] - from->offset[i]),
                                         .prompt_length = from->prompt_length[i]};
        pointer[row] = &sequence[row];
        out->score[row] = score[i];
        if (gold != NULL)
            out->gold[row] = gold[i];
        out->terminated[row] = from->terminated[i];
        out->group[row++] = i / from->samples_per_prompt;
    }
    RLHFI_TRY(rlhfi_view_from_sequences(trainer->arena, pointer, out->rows, &out->view));
    out->tokens = out->view.response_offset[out->rows];
    out->log_prob = rlhfi_doubles(trainer, out->tokens);
    if (out->log_prob == NULL)
        return RLHF_E_NOMEM;
    for (int64_t i = 0; i < from->rows; i++)
        for (int64_t t = from->response_offset[i]; keep[i] && t < from->response_offset[i + 1]; t++)
            out->log_prob[token++] = from->log_prob[t];
    return RLHF_OK;
}

/* ---- what other models say --------------------------------------------------------------------------------------- */

static rlhf_status ask_reference(rlhfi_trainer *trainer, rlhfi_samples *samples)
{
    size_t mark;
    rlhfi_token_stats stats = {0};

    samples->log_prob_ref = rlhfi_doubles(trainer, samples->tokens);
    mark = rlhfi_arena_mark(trainer->arena);
    stats.log_prob = piece(trainer, samples->tokens, sizeof *stats.log_prob);
    if (samples->log_prob_ref == NULL || stats.log_prob == NULL)
        return RLHF_E_NOMEM;
    RLHFI_TRY(
        rlhfi_model_log_probs(trainer->reference->model, &samples->view, rlhfi_inverse_temperature(trainer), &stats));
    for (int64_t i = 0; i < samples->tokens; i++)
        samples->log_prob_ref[i] = stats.log_prob[i];
    rlhfi_arena_rewind(trainer->arena, mark);
    return RLHF_OK;
}

static rlhf_status ask_value_model(rlhfi_trainer *trainer, rlhfi_samples *samples)
{
    rlhfi_model *model = trainer->value_model->model;
    size_t mark;
    float *raw;

    samples->value = rlhfi_doubles(trainer, samples->tokens);
    mark = rlhfi_arena_mark(trainer->arena);
    raw = piece(trainer, samples->tokens, sizeof *raw);
    if (samples->value == NULL || raw == NULL)
        return RLHF_E_NOMEM;
    RLHFI_TRY(rlhfi_model_scalars(model, &samples->view, true, raw));
    for (int64_t i = 0; i < samples->tokens; i++)
        samples->value[i] = (float)(model->score_gain * raw[i] + model->score_bias); /* as the public function */
    rlhfi_arena_rewind(trainer->arena, mark);
    return RLHF_OK;
}

static rlhf_status score_and_pack(rlhfi_trainer *trainer, const prompts *from, const rlhf_rollout *rollout,
                                  bool keep_groups, rlhfi_samples *out)
{
    rlhf_rollout_view view = {.struct_size = sizeof view};
    double *score, *gold = NULL;
    bool *keep;

    RLHFI_TRY(rlhf_rollout_get(rollout, &view));
    score = rlhfi_doubles(trainer, view.rows);
    keep = piece(trainer, view.rows, sizeof *keep);
    if (trainer->gold_scorer != NULL)
        gold = rlhfi_doubles(trainer, view.rows);
    if (score == NULL || keep == NULL || (trainer->gold_scorer != NULL && gold == NULL))
        return RLHF_E_NOMEM;
    RLHFI_TRY(rlhfi_score_rollout(trainer->scorer, trainer->tokenizer, rollout, from->text, from->extra, score));
    if (gold != NULL)
        RLHFI_TRY(
            rlhfi_score_rollout(trainer->gold_scorer, trainer->tokenizer, rollout, from->text, from->extra, gold));
    *out = (rlhfi_samples){.sampled = view.rows, .groups = from->count, .all_tokens = view.offset[view.rows]};
    out->rows = scorable(score, view.rows, view.samples_per_prompt, keep_groups, keep);
    out->samples_per_prompt = out->rows == view.rows || keep_groups ? view.samples_per_prompt : 1;
    return pack(trainer, &view, keep, score, gold, out);
}

static rlhf_status sample(rlhfi_trainer *trainer, const prompts *from, int32_t samples_per_prompt, uint64_t seed,
                          uint64_t first, bool keep_groups, rlhfi_samples *out)
{
    rlhf_rollout *rollout = NULL;
    rlhf_status status;

    RLHFI_GOTO(roll_out(trainer, from, samples_per_prompt, seed, first, &rollout));
    if (trainer->phase == RLHF_PHASE_ROLLOUT)
        RLHFI_GOTO(rlhfi_trainer_phase(trainer, RLHF_PHASE_SCORING));
    RLHFI_GOTO(score_and_pack(trainer, from, rollout, keep_groups, out));
    if (trainer->reference != NULL)
        RLHFI_GOTO(ask_reference(trainer, out));
done:
    rlhf_rollout_release(&rollout);
    return status;
}

rlhf_status rlhfi_draw_samples(rlhfi_trainer *trainer, int64_t prompt_count, int32_t samples_per_prompt,
                               bool keep_groups, rlhfi_samples *out)
{
    rlhfi_state *state = &trainer->state;
    uint64_t *row = piece(trainer, prompt_count, sizeof *row), got;
    prompts from;

    if (row == NULL)
        return RLHF_E_NOMEM;
    RLHFI_TRY(rlhfi_trainer_phase(trainer, RLHF_PHASE_ROLLOUT));
    RLHFI_TRY(rlhfi_order_draw(trainer->order, &state->cursor, (uint64_t)prompt_count, 1, row, &got));
    RLHFI_TRY(take_prompts(trainer, trainer->examples, trainer->dataset, row, (int64_t)got, &from));
    RLHFI_TRY(sample(trainer, &from, samples_per_prompt, (uint64_t)rlhfi_recipe_integer(trainer->recipe, "seed"),
                     state->prompts, keep_groups, out));
    if (trainer->value_model != NULL)
        RLHFI_TRY(ask_value_model(trainer, out));
    state->prompts += got;
    state->episodes += (uint64_t)out->sampled;
    state->tokens += (uint64_t)out->all_tokens;
    return RLHF_OK;
}

/* ---- meters ------------------------------------------------------------------------------------------------------ */

/* Mean over prompts of the deviation among a prompt's scores, and the share of prompts where there is none. A prompt
 * with one completion says nothing; if all are so, the deviation is that of the whole. */
static double group_deviation(const rlhfi_samples *samples, double *without)
{
    double sum = 0, zero = 0;
    int64_t groups = 0, from = 0;

    while (from < samples->rows) {
        int64_t to = from;
        double variance;
        while (to < samples->rows && samples->group[to] == samples->group[from])
            to++;
        if (to - from > 1) {
            variance = rlhfi_variance(samples->score + from, to - from, false);
            sum += sqrt(variance);
            zero += variance == 0;
            groups++;
        }
        from = to;
    }
    *without = groups > 0 ? zero / (double)groups : NAN;
    return groups > 0 ? sum / (double)groups : sqrt(rlhfi_variance(samples->score, samples->rows, false));
}

typedef struct lengths {
    double sum, least, greatest;
    int64_t count;
} lengths;

static void count_length(lengths *to, double length)
{
    to->least = to->count == 0 || length < to->least ? length : to->least;
    to->greatest = length > to->greatest ? length : to->greatest;
    to->sum += length;
    to->count++;
}

static void meter_lengths(rlhfi_meters *meters, const rlhfi_samples *samples)
{
    lengths all = {0}, ended = {0};

    for (int64_t row = 0; row < samples->rows; row++) {
        double length = (double)(samples->view.response_offset[row + 1] - samples->view.response_offset[row]);
        count_length(&all, length);
        if (samples->terminated[row] != 0)
            count_length(&ended, length);
    }
    rlhfi_meter_mean(meters, "completions/mean_length", all.sum / (double)all.count);
    rlhfi_meter_mean(meters, "completions/min_length", all.least);
    rlhfi_meter_mean(meters, "completions/max_length", all.greatest);
    rlhfi_meter_mean(meters, "completions/mean_terminated_length",
                     ended.count > 0 ? ended.sum / (double)ended.count : 0);
    rlhfi_meter_mean(meters, "completions/min_terminated_length", ended.least);
    rlhfi_meter_mean(meters, "completions/max_terminated_length", ended.greatest);
    rlhfi_meter_mean(meters, "completions/clipped_ratio", 1 - (double)ended.count / (double)all.count);
}

/* Of the scores that are there. */
static double scored_mean(const double *score, int64_t count)
{
    double sum = 0;
    int64_t scored = 0;

    for (int64_t i = 0; i < count; i++) {
        sum += isnan(score[i]) ? 0 : score[i];
        scored += !isnan(score[i]);
    }
    return scored > 0 ? sum / (double)scored : NAN;
}

/* rewards/NAME/mean and rewards/NAME/std, as long as the name fits. */
static void meter_named_reward(rlhfi_trainer *trainer, const rlhfi_samples *samples)
{
    const char *name = rlhfi_scorer_name(trainer->scorer);
    size_t length = strlen(name);
    char key[RLHFI_METRIC_NAME];

    if (length + sizeof "rewards//mean" > sizeof key)
        return;
    memcpy(key, "rewards/", 8);
    memcpy(key + 8, name, length);
    memcpy(key + 8 + length, "/mean", 6);
    rlhfi_meter_mean(&trainer->state.meters, key, rlhfi_mean(samples->score, samples->rows));
    memcpy(key + 8 + length, "/std", 5);
    rlhfi_meter_mean(&trainer->state.meters, key, sqrt(rlhfi_variance(samples->score, samples->rows, false)));
}

double rlhfi_sum_of_differences(const rlhfi_samples *samples)
{
    double sum = 0;

    for (int64_t i = 0; i < samples->tokens; i++)
        sum += samples->log_prob[i] - samples->log_prob_ref[i];
    return sum;
}

void rlhfi_meter_samples(rlhfi_trainer *trainer, const rlhfi_samples *samples)
{
    rlhfi_meters *meters = &trainer->state.meters;
    double without, deviation;

    rlhfi_meter_last(meters, "num_tokens", (double)trainer->state.tokens);
    rlhfi_meter_last(meters, "epoch", rlhfi_epoch(trainer));
    rlhfi_meter_mean(meters, "rlhf/unscorable", (double)(samples->sampled - samples->rows));
    if (samples->rows == 0)
        return;
    if (trainer->method != RLHFI_PPO) {
        deviation = group_deviation(samples, &without);
        rlhfi_meter_mean(meters, "reward", rlhfi_mean(samples->score, samples->rows));
        rlhfi_meter_mean(meters, "reward_std", deviation);
        if (!isnan(without))
            rlhfi_meter_mean(meters, "frac_reward_zero_std", without);
        meter_named_reward(trainer, samples);
    }
    if (samples->gold != NULL)
        rlhfi_meter_mean(meters, "rlhf/gold_score", scored_mean(samples->gold, samples->rows));
    if (samples->log_prob_ref != NULL && trainer->method != RLHFI_PPO) {
        rlhfi_meter_mean(meters, "kl", rlhfi_sum_of_differences(samples) / (double)samples->tokens);
        rlhfi_meter_mean(meters, "rlhf/sequence_kl", rlhfi_sum_of_differences(samples) / (double)samples->rows);
    }
    meter_lengths(meters, samples);
}

/* ---- held-out prompts -------------------------------------------------------------------------------------------- */

/* Sampled from a stream of its own, always the same, so that evaluations of a run can be compared. */
enum { EVALUATION_STREAM = 0x65766131 };

rlhf_status rlhfi_sample_evaluate(rlhfi_trainer *trainer, rlhfi_meters *meters)
{
    int64_t count = (int64_t)trainer->eval_examples->rows;
    uint64_t *row = piece(trainer, count, sizeof *row);
    double cut = 0;
    rlhfi_samples samples;
    prompts from;

    if (row == NULL)
        return RLHF_E_NOMEM;
    for (int64_t i = 0; i < count; i++)
        row[i] = (uint64_t)i;
    RLHFI_TRY(take_prompts(trainer, trainer->eval_examples, trainer->eval_dataset, row, count, &from));
    RLHFI_TRY(sample(trainer, &from, 1, (uint64_t)rlhfi_recipe_integer(trainer->recipe, "seed") + EVALUATION_STREAM, 0,
                     false, &samples));
    if (samples.rows == 0)
        return RLHF_OK;
    for (int64_t i = 0; i < samples.rows; i++)
        cut += samples.terminated[i] == 0;
    rlhfi_meter_last(meters, "eval_reward", rlhfi_mean(samples.score, samples.rows));
    if (samples.gold != NULL)
        rlhfi_meter_last(meters, "eval_rlhf/gold_score", scored_mean(samples.gold, samples.rows));
    if (samples.log_prob_ref != NULL)
        rlhfi_meter_last(meters, "eval_rlhf/sequence_kl", rlhfi_sum_of_differences(&samples) / (double)samples.rows);
    rlhfi_meter_last(meters, "eval_completions/mean_length", (double)samples.tokens / (double)samples.rows);
    rlhfi_meter_last(meters, "eval_completions/clipped_ratio", cut / (double)samples.rows);
    return RLHF_OK;
}
