/* Rollouts: what is asked for is checked here, continuous_batching.c samples, and the result is packed row behind
 * row. */
#include "generation/internal.h"

#include <math.h>

struct rlhf_rollout {
    int64_t references;
    rlhf_context *context;
    int32_t samples_per_prompt;
    int64_t rows;
    int64_t *offset;
    int32_t *tokens;
    int32_t *prompt_length;
    int64_t *response_offset;
    float *log_prob;
    int32_t *terminated;
};

static const rlhf_rollout_options defaults = {
    .struct_size = sizeof(rlhf_rollout_options),
    .max_new_tokens = 64,
    .samples_per_prompt = 1,
    .batch_size = 64,
    .temperature = 1,
    .top_p = 1,
};

void rlhf_rollout_options_init(rlhf_rollout_options *options, size_t size)
{
    rlhfi_options_init(options, size, &defaults, sizeof defaults);
}

/* ---- checks ------------------------------------------------------------------------------------------------------ */

/* One double that must satisfy a rule; the text is made without the C library, whose decimal point may be a comma. */
static rlhf_status check_number(rlhf_context *context, const char *name, double value, bool good, const char *rule)
{
    char text[32];

    if (good)
        return RLHF_OK;
    rlhfi_format_double(value, text, sizeof text);
    return rlhfi_fail(context, RLHF_E_INVAL, "%s: %s, must be %s", name, text, rule);
}

static rlhf_status check_filters(rlhf_context *context, const rlhf_rollout_options *options)
{
    double temperature = options->temperature, top_p = options->top_p, min_p = options->min_p;

    /* Beyond these, logits divided by the temperature leave the range in which fp32 can tell them apart. */
    RLHFI_TRY(check_number(context, "temperature", temperature,
                           temperature == 0 || (temperature >= 1e-6 && temperature <= 1e6),
                           "0 (greedy) or from 1e-6 to 1e6"));
    RLHFI_TRY(check_number(context, "top_k", options->top_k, options->top_k >= 0, "0 (off) or more"));
    RLHFI_TRY(check_number(context, "top_p", top_p, top_p > 0 && top_p <= 1, "above 0 and at most 1 (off)"));
    return check_number(context, "min_p", min_p, min_p >= 0 && min_p <= 1, "from 0 (off) to 1");
}

static rlhf_status check_counts(rlhf_context *context, const rlhf_rollout_options *options)
{
    const struct {
        const char *name;
        int32_t value, least, most;
    } counts[] = {
        {"max_new_tokens", options->max_new_tokens, 1, INT32_MAX},
        {"min_new_tokens", options->min_new_tokens, 0, options->max_new_tokens},
        {"samples_per_prompt", options->samples_per_prompt, 1, INT32_MAX},
        {"batch_size", options->batch_size, 1, INT32_MAX},
        {"stop_token_count", options->stop_token_count, 0, RLHF_MAX_STOP_TOKENS},
        {"ignore_stop", options->ignore_stop, 0, 1},
    };

    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (counts[i].value < counts[i].least || counts[i].value > counts[i].most)
            return rlhfi_fail(context, RLHF_E_INVAL, "%s: %d, must be from %d to %d", counts[i].name,
                              (int)counts[i].value, (int)counts[i].least, (int)counts[i].most);
    return RLHF_OK;
}

/* The stop tokens that were given, else those of the model; ids that the model cannot produce need no stopping. */
static rlhf_status choose_stop_tokens(rlhf_context *context, const rlhfi_model *model, rlhf_rollout_options *options)
{
    int64_t vocabulary = model->architecture.vocabulary;

    for (int32_t i = 0; i < options->stop_token_count; i++)
        if (options->stop_tokens[i] < 0 || options->stop_tokens[i] >= vocabulary)
            return rlhfi_fail(context, RLHF_E_RANGE, "stop_tokens: %d, the vocabulary has %lld tokens",
                              (int)options->stop_tokens[i], (long long)vocabulary);
    if (options->stop_token_count > 0)
        return RLHF_OK;
    for (int32_t i = 0; i < model->config.eos_count && options->stop_token_count < RLHF_MAX_STOP_TOKENS; i++)
        if (model->config.eos[i] >= 0 && model->config.eos[i] < vocabulary)
            options->stop_tokens[options->stop_token_count++] = (int32_t)model->config.eos[i];
    return RLHF_OK;
}

static rlhf_status check_prompts(rlhf_context *context, const rlhfi_model *model, const rlhf_batch_view *prompts,
                                 uint64_t first_prompt)
{
    int64_t positions = model->architecture.positions, vocabulary = model->architecture.vocabulary;

    if (prompts->rows > 0 && (first_prompt > UINT32_MAX || (uint64_t)prompts->rows - 1 > UINT32_MAX - first_prompt))
        return rlhfi_fail(context, RLHF_E_RANGE, "first_prompt: %llu and %lld prompts, numbers end at %llu",
                          (unsigned long long)first_prompt, (long long)prompts->rows, (unsigned long long)UINT32_MAX);
    for (int64_t p = 0; p < prompts->rows; p++) {
        const int32_t *tokens = prompts->tokens + prompts->offset[p];
        int64_t length = prompts->prompt_length[p];

        if (length == 0)
            return rlhfi_fail(context, RLHF_E_INVAL, "prompt %lld: empty (prompt_length is 0, the row has %lld tokens)",
                              (long long)p, (long long)(prompts->offset[p + 1] - prompts->offset[p]));
        if (length >= positions)
            return rlhfi_fail(context, RLHF_E_RANGE,
                              "prompt %lld: %lld tokens, at most %lld leave room for a new one (%lld positions)",
                              (long long)p, (long long)length, (long long)positions - 1, (long long)positions);
        for (int64_t i = 0; i < length; i++)
            if (tokens[i] < 0 || tokens[i] >= vocabulary)
                return rlhfi_fail(context, RLHF_E_RANGE, "prompt %lld: token %d at %lld, the vocabulary has %lld",
                                  (long long)p, (int)tokens[i], (long long)i, (long long)vocabulary);
    }
    return RLHF_OK;
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

/* Every row gets a place as long as it can become. */
static rlhf_status make_room(rlhfi_generation *run)
{
    int64_t samples = run->options.samples_per_prompt, positions = run->model->architecture.positions;
    int64_t *start;
    size_t total = 0;

    if (run->prompts->rows > INT64_MAX / samples - 1)
        return rlhfi_out_of_memory(run->context);
    run->rows = run->prompts->rows * samples;
    start = rlhfi_arena_alloc(run->arena, (size_t)run->rows + 1, sizeof *start);
    if (start == NULL)
        return RLHF_E_NOMEM;
    start[0] = 0;
    for (int64_t row = 0; row < run->rows; row++) {
        int64_t room = positions - run->prompts->prompt_length[row / samples];

        if (room > run->options.max_new_tokens)
            room = run->options.max_new_tokens;
        if (!rlhfi_add(total, (size_t)room, &total) || total > INT64_MAX / sizeof(int32_t))
            return rlhfi_out_of_memory(run->context);
        start[row + 1] = (int64_t)total;
    }
    run->start = start;
    run->length = rlhfi_arena_alloc(run->arena, (size_t)run->rows, sizeof *run->length);
    run->terminated = rlhfi_arena_alloc(run->arena, (size_t)run->rows, sizeof *run->terminated);
    run->tokens = rlhfi_arena_alloc(run->arena, total, sizeof *run->tokens);
    run->log_prob = rlhfi_arena_alloc(run->arena, total, sizeof *run->log_prob);
    if (run->length == NULL || run->terminated == NULL || run->tokens == NULL || run->log_prob == NULL)
        return RLHF_E_NOMEM;
    memset(run->length, 0, (size_t)run->rows * sizeof *run->length);
    memset(run->terminated, 0, (size_t)run->rows * sizeof *run->terminated);
    return RLHF_OK;
}

static void rollout_free(rlhf_rollout *rollout)
{
    rlhf_context *context = rollout->context;

    rlhfi_free(context, rollout->offset);
    rlhfi_free(context, rollout->tokens);
    rlhfi_free(context, rollout->prompt_length);
    rlhfi_free(context, rollout->response_offset);
    rlhfi_free(context, rollout->log_prob);
    rlhfi_free(context, rollout->terminated);
    rlhfi_free(context, rollout);
    rlhf_context_release(&context);
}

/* Packs prompts and responses row behind row. */
static rlhf_status pack(rlhf_rollout **out, const rlhfi_generation *run)
{
    const rlhf_batch_view *prompts = run->prompts;
    int64_t samples = run->options.samples_per_prompt, all = 0, responses = 0;
    size_t rows = (size_t)run->rows;
    rlhf_rollout *rollout = rlhfi_calloc(run->context, 1, sizeof *rollout);

    if (rollout == NULL)
        return RLHF_E_NOMEM;
    rollout->references = 1;
    rollout->context = rlhfi_context_retain(run->context);
    rollout->samples_per_prompt = run->options.samples_per_prompt;
    rollout->rows = run->rows;
    for (int64_t row = 0; row < run->rows; row++) {
        all += prompts->prompt_length[row / samples] + run->length[row];
        responses += run->length[row];
    }
    rollout->offset = rlhfi_alloc_array(run->context, rows + 1, sizeof *rollout->offset);
    rollout->tokens = rlhfi_alloc_array(run->context, (size_t)all, sizeof *rollout->tokens);
    rollout->prompt_length = rlhfi_alloc_array(run->context, rows, sizeof *rollout->prompt_length);
    rollout->response_offset = rlhfi_alloc_array(run->context, rows + 1, sizeof *rollout->response_offset);
    rollout->log_prob = rlhfi_alloc_array(run->context, (size_t)responses, sizeof *rollout->log_prob);
    rollout->terminated = rlhfi_alloc_array(run->context, rows, sizeof *rollout->terminated);
    if (rollout->offset == NULL || rollout->tokens == NULL || rollout->prompt_length == NULL ||
        rollout->response_offset == NULL || rollout->log_prob == NULL || rollout->terminated == NULL) {
        rollout_free(rollout);
        return RLHF_E_NOMEM;
    }

    rollout->offset[0] = rollout->response_offset[0] = 0;
    for (int64_t row = 0; row < run->rows; row++) {
        int64_t prompt = row / samples, begin = rollout->offset[row], first = rollout->response_offset[row];
        int32_t prompt_length = prompts->prompt_length[prompt];
        size_t length = (size_t)run->length[row];

        memcpy(rollout->tokens + begin, prompts->tokens + prompts->offset[prompt],
               (size_t)prompt_length * sizeof *rollout->tokens);
        memcpy(rollout->tokens + begin + prompt_length, run->tokens + run->start[row],
               length * sizeof *rollout->tokens);
        memcpy(rollout->log_prob + first, run->log_prob + run->start[row], length * sizeof *rollout->log_prob);
        rollout->prompt_length[row] = prompt_length;
        rollout->terminated[row] = run->terminated[row];
        rollout->offset[row + 1] = begin + prompt_length + run->length[row];
        rollout->response_offset[row + 1] = first + run->length[row];
    }
    *out = rollout;
    return RLHF_OK;
}

rlhf_status rlhf_rollout_run(rlhf_rollout **out, rlhf_policy *policy, const rlhf_batch *prompts,
                             const rlhf_rollout_options *options, rlhf_token_fn on_token, void *user_data)
{
    rlhfi_generation run = {.options = defaults, .on_token = on_token, .user_data = user_data};
    rlhf_batch_view view = {.struct_size = sizeof view};
    rlhf_batch *held;
    rlhf_context *context;
    rlhf_status status;

    if (out != NULL)
        *out = NULL;
    if (policy == NULL)
        return RLHF_E_INVAL;
    context = policy->model->context;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, out != NULL);
    RLHFI_REQUIRE(context, prompts != NULL);
    RLHFI_TRY(rlhfi_options_copy(context, &run.options, sizeof run.options, options, sizeof run.options,
                                 "rollout options"));
    RLHFI_TRY(check_counts(context, &run.options));
    RLHFI_TRY(check_filters(context, &run.options));
    RLHFI_TRY(choose_stop_tokens(context, policy->model, &run.options));
    RLHFI_TRY(rlhf_batch_get(prompts, &view));
    RLHFI_TRY(check_prompts(context, policy->model, &view, run.options.first_prompt));

    run.context = context;
    run.prompts = &view;
    run.inverse_temperature = run.options.temperature == 0 ? 1 : (float)(1 / run.options.temperature);
    /* The callback may release what it was given. */
    run.model = rlhfi_model_retain(policy->model);
    held = rlhfi_batch_retain((rlhf_batch *)prompts);
    RLHFI_GOTO(rlhfi_arena_create(&run.arena, context));
    RLHFI_GOTO(make_room(&run));
    RLHFI_GOTO(rlhfi_generate(&run));
    RLHFI_GOTO(pack(out, &run));
done:
    rlhfi_arena_release(&run.arena);
    rlhf_batch_release(&held);
    rlhfi_model_release(&run.model);
    return status;
}

/* ---- the handle -------------------------------------------------------------------------------------------------- */

rlhf_rollout *rlhfi_rollout_retain(rlhf_rollout *rollout)
{
    rollout->references++;
    return rollout;
}

void rlhf_rollout_release(rlhf_rollout **rollout)
{
    if (rollout == NULL || *rollout == NULL)
        return;
    if (--(*rollout)->references == 0)
        rollout_free(*rollout);
    *rollout = NULL;
}

rlhf_status rlhf_rollout_get(const rlhf_rollout *rollout, rlhf_rollout_view *view)
{
    if (rollout == NULL)
        return RLHF_E_INVAL;
    RLHFI_REQUIRE(rollout->context, view != NULL);
    RLHFI_REQUIRE(rollout->context, view->struct_size >= sizeof *view);
    *view = (rlhf_rollout_view){
        .struct_size = view->struct_size,
        .samples_per_prompt = rollout->samples_per_prompt,
        .rows = rollout->rows,
        .offset = rollout->offset,
        .tokens = rollout->tokens,
        .prompt_length = rollout->prompt_length,
        .response_offset = rollout->response_offset,
        .log_prob = rollout->log_prob,
        .terminated = rollout->terminated,
    };
    return RLHF_OK;
}

rlhf_status rlhf_rollout_batch(const rlhf_rollout *rollout, rlhf_batch **out)
{
    if (out != NULL)
        *out = NULL;
    if (rollout == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(rollout->context));
    RLHFI_REQUIRE(rollout->context, out != NULL);
    return rlhf_batch_create(out, rollout->context, rollout->rows, rollout->offset, rollout->tokens,
                             rollout->prompt_length);
}

/* The simplest alignment there is: no training, and KL(best-of-n to its sampler) <= log n - (n-1)/n. */
rlhf_status rlhf_rollout_best_of_n(const rlhf_rollout *rollout, const double *score, int64_t *best)
{
    rlhf_rollout_view view = {.struct_size = sizeof view};

    if (rollout == NULL || score == NULL || best == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhf_rollout_get(rollout, &view));
    for (int64_t first = 0; first < view.rows; first += view.samples_per_prompt) {
        int64_t chosen = -1;

        for (int64_t row = first; row < first + view.samples_per_prompt; row++)
            if (!isnan(score[row]) && (chosen < 0 || score[row] > score[chosen]))
                chosen = row;
        best[first / view.samples_per_prompt] = chosen;
    }
    return RLHF_OK;
}

rlhf_status rlhf_rollout_distribution(rlhf_context *context, const float *logits, int64_t vocabulary,
                                      const rlhf_rollout_options *options, double *probability)
{
    rlhf_rollout_options known = defaults;
    rlhfi_sampler_scratch scratch = {.probability = probability};
    rlhf_status status;
    double total;

    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, logits != NULL);
    RLHFI_REQUIRE(context, probability != NULL);
    RLHFI_REQUIRE(context, vocabulary > 0 && vocabulary <= INT32_MAX);
    RLHFI_TRY(rlhfi_options_copy(context, &known, sizeof known, options, sizeof known, "rollout options"));
    RLHFI_TRY(check_filters(context, &known));
    scratch.order = rlhfi_alloc_array(context, (size_t)vocabulary, sizeof *scratch.order);
    if (scratch.order == NULL)
        return RLHF_E_NOMEM;
    status = rlhfi_sampler_weights(context, logits, vocabulary, &known, &scratch);
    rlhfi_free(context, scratch.order);
    if (status != RLHF_OK)
        return rlhfi_fail(context, status, "logits: %s", rlhfi_sampler_problem(status));
    total = rlhfi_sampler_total(probability, vocabulary);
    for (int64_t i = 0; i < vocabulary; i++)
        probability[i] /= total;
    return RLHF_OK;
}
