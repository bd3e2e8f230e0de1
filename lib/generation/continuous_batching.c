/* Continuous batching: one pass over the weights serves every sequence that is under way. A finished sequence leaves
 * its slot, the next row joins, and its prompt runs through the model beside the others' single tokens.
 *
 * A prompt runs once for all of its samples. The first sample's slot reads it, the other samples refer to its keys and
 * values and draw from the same logits. When there are fewer free slots than samples, the prompt also stays in a
 * spare slot until its last sample has begun. Rows begin in order, so one spare slot is enough.
 *
 * Nothing here can change a result: a row of logits has the same bits whatever stands beside it, and a draw depends on
 * its own row's logits and counter only. */
#include "generation/internal.h"

enum {
    STEP_TOKENS = 1024, /* prompts join until a step has so many tokens: bounds the activations, fills the products */
    FREE = -1
};

/* A token to be drawn for a row, from the logits behind its last token. */
typedef struct draw {
    int64_t row, slot;
    int64_t entry;    /* place in the step's logits, or FREE: the kept prompt's */
    int64_t source;   /* slot that holds the prompt if the row begins here and this is not its own slot, else FREE */
    int32_t token;
    float log_prob;
    bool stops, last; /* a stop token that counts; no token follows */
    rlhf_status status;
} draw;

typedef struct worker_scratch {
    rlhfi_sampler_scratch sampler;
    float *allowed;   /* logits without stop tokens; NULL unless min_new_tokens asks for them */
} worker_scratch;

typedef struct batcher {
    rlhfi_generation *run;
    int64_t vocabulary, samples;
    rlhfi_cache *cache;
    int64_t slots;             /* sequences side by side; slot number `slots` is the spare one */
    int64_t *row_of_slot;      /* [slots], or FREE */
    int64_t next_row;          /* the first that has not begun */
    int64_t kept_prompt;       /* prompt in the spare slot, or FREE */
    float *kept_logits;        /* [vocabulary] behind it */
    /* The step: what the model reads, what is drawn. */
    int64_t entries;
    int64_t *entry_slot, *entry_offset;
    int32_t *entry_tokens;
    float *logits;             /* [entries, vocabulary], the model's */
    draw *draws;               /* [slots] */
    int64_t draw_count;
    int64_t keep_entry;        /* entry whose prompt moves to the spare slot, or FREE */
    worker_scratch *workers;
} batcher;

static int64_t prompt_of(const batcher *batch, int64_t row)
{
    return row / batch->samples;
}

static int64_t longest_prompt(const rlhf_batch_view *prompts)
{
    int64_t longest = 0;

    for (int64_t p = 0; p < prompts->rows; p++)
        if (prompts->prompt_length[p] > longest)
            longest = prompts->prompt_length[p];
    return longest;
}

/* Length that the longest row can reach; the last token of a row is never read back. */
static int64_t longest_row(const rlhfi_generation *run)
{
    int64_t longest = 0;

    for (int64_t p = 0; p < run->prompts->rows; p++) {
        int64_t row = p * run->options.samples_per_prompt;
        int64_t length = run->prompts->prompt_length[p] + run->start[row + 1] - run->start[row] - 1;
        if (length > longest)
            longest = length;
    }
    return longest;
}

static void *scratch(batcher *batch, int64_t count, size_t size)
{
    return rlhfi_arena_alloc(batch->run->arena, (size_t)count, size);
}

static rlhf_status prepare_workers(batcher *batch)
{
    const rlhf_rollout_options *options = &batch->run->options;
    int32_t count = rlhfi_workers(batch->run->context);

    batch->workers = scratch(batch, count, sizeof *batch->workers);
    if (batch->workers == NULL)
        return RLHF_E_NOMEM;
    for (int32_t i = 0; i < count; i++) {
        worker_scratch *worker = &batch->workers[i];

        *worker = (worker_scratch){0};
        worker->sampler.probability = scratch(batch, batch->vocabulary, sizeof(double));
        worker->sampler.order = scratch(batch, batch->vocabulary, sizeof(int32_t));
        if (worker->sampler.probability == NULL || worker->sampler.order == NULL)
            return RLHF_E_NOMEM;
        if (options->min_new_tokens > 0) {
            worker->allowed = scratch(batch, batch->vocabulary, sizeof(float));
            if (worker->allowed == NULL)
                return RLHF_E_NOMEM;
        }
    }
    return RLHF_OK;
}

static rlhf_status prepare(batcher *batch, rlhfi_generation *run)
{
    int64_t most_tokens;

    *batch = (batcher){
        .run = run,
        .vocabulary = run->model->architecture.vocabulary,
        .samples = run->options.samples_per_prompt,
        .slots = run->options.batch_size < run->rows ? run->options.batch_size : run->rows,
        .kept_prompt = FREE,
    };
    most_tokens = batch->slots + STEP_TOKENS + longest_prompt(run->prompts);
    batch->row_of_slot = scratch(batch, batch->slots, sizeof *batch->row_of_slot);
    batch->kept_logits = scratch(batch, batch->vocabulary, sizeof *batch->kept_logits);
    batch->entry_slot = scratch(batch, batch->slots, sizeof *batch->entry_slot);
    batch->entry_offset = scratch(batch, batch->slots + 1, sizeof *batch->entry_offset);
    batch->entry_tokens = scratch(batch, most_tokens, sizeof *batch->entry_tokens);
    batch->draws = scratch(batch, batch->slots, sizeof *batch->draws);
    if (batch->row_of_slot == NULL || batch->kept_logits == NULL || batch->entry_slot == NULL ||
        batch->entry_offset == NULL || batch->entry_tokens == NULL || batch->draws == NULL)
        return RLHF_E_NOMEM;
    for (int64_t slot = 0; slot < batch->slots; slot++)
        batch->row_of_slot[slot] = FREE;
    RLHFI_TRY(prepare_workers(batch));
    return rlhfi_cache_create(&batch->cache, run->model, batch->slots + (batch->samples > 1), longest_row(run));
}

/* ---- what the model reads in this step --------------------------------------------------------------------------- */

static int64_t add_entry(batcher *batch, int64_t slot, const int32_t *tokens, int64_t count)
{
    int64_t begin = batch->entry_offset[batch->entries];

    memcpy(batch->entry_tokens + begin, tokens, (size_t)count * sizeof *tokens);
    batch->entry_slot[batch->entries] = slot;
    batch->entry_offset[batch->entries + 1] = begin + count;
    return batch->entries++;
}

static void add_draw(batcher *batch, int64_t row, int64_t slot, int64_t entry, int64_t source)
{
    batch->draws[batch->draw_count++] = (draw){.row = row, .slot = slot, .entry = entry, .source = source};
}

static void continue_rows(batcher *batch)
{
    const rlhfi_generation *run = batch->run;

    for (int64_t slot = 0; slot < batch->slots; slot++) {
        int64_t row = batch->row_of_slot[slot];

        if (row != FREE) {
            const int32_t *last = run->tokens + run->start[row] + run->length[row] - 1;
            add_draw(batch, row, slot, add_entry(batch, slot, last, 1), FREE);
        }
    }
}

/* Fills free slots with the next rows, as far as the step has room for their prompts. */
static void begin_rows(batcher *batch)
{
    const rlhf_batch_view *prompts = batch->run->prompts;
    int64_t read_prompt = FREE, read_entry = FREE; /* the prompt that joined last */

    for (int64_t slot = 0; slot < batch->slots && batch->next_row < batch->run->rows; slot++) {
        int64_t prompt = prompt_of(batch, batch->next_row);

        if (batch->row_of_slot[slot] != FREE)
            continue;
        if (prompt == batch->kept_prompt) {
            add_draw(batch, batch->next_row, slot, FREE, batch->slots);
        } else if (prompt == read_prompt) {
            add_draw(batch, batch->next_row, slot, read_entry, batch->entry_slot[read_entry]);
        } else {
            if (batch->entry_offset[batch->entries] > STEP_TOKENS)
                break;
            read_prompt = prompt;
            read_entry = add_entry(batch, slot, prompts->tokens + prompts->offset[prompt],
                                   prompts->prompt_length[prompt]);
            add_draw(batch, batch->next_row, slot, read_entry, FREE);
        }
        batch->row_of_slot[slot] = batch->next_row++;
    }
    /* Some samples of the last prompt are still to begin: it must outlive the slot that read it. */
    if (read_prompt != FREE && batch->next_row < batch->run->rows && prompt_of(batch, batch->next_row) == read_prompt)
        batch->keep_entry = read_entry;
}

/* ---- drawing ----------------------------------------------------------------------------------------------------- */

static const float *logits_of(const batcher *batch, const draw *one)
{
    return one->entry == FREE ? batch->kept_logits : batch->logits + one->entry * batch->vocabulary;
}

static bool is_stop(const rlhf_rollout_options *options, int32_t token)
{
    for (int32_t i = 0; i < options->stop_token_count; i++)
        if (options->stop_tokens[i] == token)
            return true;
    return false;
}

/* The draw sees logits without the stop tokens while there must be none; the log-probability is always that under the
 * whole distribution, computed by the very function whose bits training's agree with. */
static void draw_token(void *argument, int64_t index, int32_t worker)
{
    batcher *batch = argument;
    const rlhfi_generation *run = batch->run;
    draw *one = &batch->draws[index];
    worker_scratch *own = &batch->workers[worker];
    const float *logits = logits_of(batch, one), *allowed = logits;
    int64_t position = run->length[one->row];
    rlhfi_head_result result = {.log_prob = &one->log_prob};
    double u = rlhfi_uniform(run->options.seed, RLHFI_RANDOM_SAMPLE,
                             (uint32_t)(run->options.first_prompt + (uint64_t)prompt_of(batch, one->row)),
                             (uint32_t)(one->row % batch->samples), (uint32_t)position);

    if (position < run->options.min_new_tokens) {
        memcpy(own->allowed, logits, (size_t)batch->vocabulary * sizeof *logits);
        rlhfi_sampler_forbid(own->allowed, run->options.stop_tokens, run->options.stop_token_count);
        allowed = own->allowed;
    }
    one->status = rlhfi_sample(run->context, allowed, batch->vocabulary, &run->options, u, &own->sampler, &one->token);
    if (one->status != RLHF_OK)
        return;
    rlhfi_head_from_logits(run->context, 1, batch->vocabulary, logits, batch->vocabulary, &one->token,
                           run->inverse_temperature, &result);
    one->stops = !run->options.ignore_stop && is_stop(&run->options, one->token);
    one->last = one->stops || run->start[one->row] + position + 1 == run->start[one->row + 1];
}

static rlhf_status check_draws(const batcher *batch)
{
    const rlhfi_generation *run = batch->run;

    for (int64_t i = 0; i < batch->draw_count; i++) {
        const draw *one = &batch->draws[i];

        if (one->status != RLHF_OK)
            return rlhfi_fail(run->context, one->status, "row %lld: logits of response token %lld: %s",
                              (long long)one->row, (long long)run->length[one->row],
                              rlhfi_sampler_problem(one->status));
    }
    return RLHF_OK;
}

/* ---- what outlives the step -------------------------------------------------------------------------------------- */

/* Rows that begin with a prompt which another slot holds, and go on, share it. */
static rlhf_status share_prompts(batcher *batch)
{
    for (int64_t i = 0; i < batch->draw_count; i++) {
        const draw *one = &batch->draws[i];

        if (one->source != FREE && !one->last)
            RLHFI_TRY(rlhfi_cache_copy(batch->cache, one->source, one->slot,
                                       batch->run->prompts->prompt_length[prompt_of(batch, one->row)]));
    }
    return RLHF_OK;
}

/* The spare slot's old prompt has begun its last row at the latest in this step, so the new one may take its place. */
static rlhf_status keep_prompt(batcher *batch)
{
    int64_t prompt = prompt_of(batch, batch->next_row);

    if (batch->keep_entry == FREE)
        return RLHF_OK;
    rlhfi_cache_clear(batch->cache, batch->slots);
    RLHFI_TRY(rlhfi_cache_copy(batch->cache, batch->entry_slot[batch->keep_entry], batch->slots,
                               batch->run->prompts->prompt_length[prompt]));
    memcpy(batch->kept_logits, batch->logits + batch->keep_entry * batch->vocabulary,
           (size_t)batch->vocabulary * sizeof *batch->kept_logits);
    batch->kept_prompt = prompt;
    return RLHF_OK;
}

/* Writes the drawn tokens down and lets finished rows go. The callback comes last: whatever it does with the model, the
 * step's logits are no longer needed. */
static rlhf_status record_draws(batcher *batch)
{
    rlhfi_generation *run = batch->run;

    for (int64_t i = 0; i < batch->draw_count; i++) {
        const draw *one = &batch->draws[i];
        int64_t place = run->start[one->row] + run->length[one->row]++;

        run->tokens[place] = one->token;
        run->log_prob[place] = one->log_prob;
        run->terminated[one->row] = one->stops;
        if (one->last) {
            batch->row_of_slot[one->slot] = FREE;
            rlhfi_cache_clear(batch->cache, one->slot);
        }
    }
    for (int64_t i = 0; i < batch->draw_count && run->on_token != NULL; i++) {
        const draw *one = &batch->draws[i];
        rlhf_status status = run->on_token(run->user_data, one->row, one->token, (double)one->log_prob);

        if (status != RLHF_OK)
            return rlhfi_callback_failed(run->context, status, "on_token");
    }
    return RLHF_OK;
}

/* Reads, draws one token for every row under way, and makes room. */
static rlhf_status step(batcher *batch)
{
    rlhfi_generation *run = batch->run;

    RLHFI_TRY(rlhfi_check_cancel(run->context));
    batch->entries = batch->draw_count = 0;
    batch->entry_offset[0] = 0;
    batch->keep_entry = FREE;
    continue_rows(batch);
    begin_rows(batch);
    if (batch->entries > 0)
        RLHFI_TRY(rlhfi_decode(run->model, batch->cache, batch->entries, batch->entry_slot, batch->entry_offset,
                               batch->entry_tokens, &batch->logits));
    rlhfi_parallel(run->context, batch->draw_count, draw_token, batch);
    RLHFI_TRY(check_draws(batch));
    RLHFI_TRY(share_prompts(batch));
    RLHFI_TRY(keep_prompt(batch));
    return record_draws(batch);
}

rlhf_status rlhfi_generate(rlhfi_generation *run)
{
    batcher batch;
    rlhf_status status = RLHF_OK;
    bool busy = run->rows > 0;

    if (!busy)
        return RLHF_OK;
    RLHFI_GOTO(prepare(&batch, run));
    while (busy) {
        RLHFI_GOTO(step(&batch));
        busy = batch.next_row < run->rows;
        for (int64_t slot = 0; slot < batch.slots && !busy; slot++)
            busy = batch.row_of_slot[slot] != FREE;
    }
done:
    rlhfi_cache_release(&batch.cache);
    return status;
}
