/* RAFT (2304.06767): sample several completions per prompt, keep the best, train on them as if they were
 * demonstrations, repeat. Selection by lot is the control that tells the reward's share from that of more training. */
#include "training/training.h"

#include <math.h>
#include <stdlib.h>

enum { SELECT_BEST, SELECT_TOP_FRACTION, SELECT_RANDOM };

static int64_t setting(const rlhfi_trainer *trainer, const char *key)
{
    return rlhfi_recipe_integer(trainer->recipe, key);
}

static int64_t ceiling(int64_t a, int64_t b)
{
    return a / b + (a % b != 0);
}

/* Completions that a round keeps if all can be scored. */
static int64_t kept_rows(const rlhfi_trainer *trainer)
{
    int64_t prompts = setting(trainer, "prompts_per_iteration");

    if (rlhfi_recipe_choice(trainer->recipe, "selection") != SELECT_TOP_FRACTION)
        return prompts;
    return (int64_t)ceil((double)(prompts * setting(trainer, "num_generations")) *
                         rlhfi_recipe_number(trainer->recipe, "selection_fraction"));
}

static rlhf_status prepare(rlhfi_trainer *trainer)
{
    int64_t per_update =
        setting(trainer, "per_device_train_batch_size") * setting(trainer, "gradient_accumulation_steps");
    int64_t most = setting(trainer, "max_steps");

    RLHFI_TRY(rlhfi_prepare_prompts(trainer));
    trainer->total_steps = (uint64_t)(most > 0 ? most : setting(trainer, "num_iterations"));
    trainer->planned_updates = trainer->total_steps * (uint64_t)setting(trainer, "num_epochs_per_iteration") *
                               (uint64_t)ceiling(kept_rows(trainer), per_update);
    return rlhfi_setup_role(trainer, "policy", trainer->policy->model);
}

/* What completions are ranked by: the score, less the penalty for a missing end and the leash. */
static rlhf_status ranks(rlhfi_trainer *trainer, const rlhfi_samples *samples, double **out)
{
    double penalty = rlhfi_recipe_number(trainer->recipe, "missing_eos_penalty");
    double beta = rlhfi_recipe_number(trainer->recipe, "beta");
    const int64_t *offset = samples->view.response_offset;
    double *rank = *out = rlhfi_doubles(trainer, samples->rows);

    if (rank == NULL)
        return RLHF_E_NOMEM;
    for (int64_t row = 0; row < samples->rows; row++) {
        rank[row] = samples->score[row];
        if (samples->terminated[row] == 0 && !isnan(penalty))
            rank[row] -= penalty;
        for (int64_t i = offset[row]; beta > 0 && i < offset[row + 1]; i++)
            rank[row] -= beta * (samples->log_prob[i] - samples->log_prob_ref[i]);
    }
    return RLHF_OK;
}

/* One row of every group: the best (the first among equals), or one by lot. */
static int64_t select_per_prompt(const rlhfi_trainer *trainer, const rlhfi_samples *samples, const double *rank,
                                 bool by_lot, int64_t *row)
{
    uint64_t seed = (uint64_t)setting(trainer, "seed"), first = trainer->state.prompts - (uint64_t)samples->groups;
    int64_t from = 0, count = 0;

    while (from < samples->rows) {
        int64_t to = from, best = from;
        for (; to < samples->rows && samples->group[to] == samples->group[from]; to++)
            if (rank[to] > rank[best])
                best = to;
        if (by_lot)
            best = from + (int64_t)(rlhfi_uniform(seed, RLHFI_RANDOM_SELECTION,
                                                  (uint32_t)(first + (uint64_t)samples->group[from]), 0, 0) *
                                    (double)(to - from));
        row[count++] = best;
        from = to;
    }
    return count;
}

typedef struct ranked {
    double rank;
    int64_t row;
} ranked;

/* Best first; among equals the earlier row. */
static int by_rank(const void *a, const void *b)
{
    const ranked *x = a, *y = b;

    if (x->rank != y->rank)
        return x->rank > y->rank ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

static rlhf_status select_top(rlhfi_trainer *trainer, const rlhfi_samples *samples, const double *rank, int64_t *row,
                              int64_t *count)
{
    ranked *all = rlhfi_arena_alloc(trainer->arena, (size_t)samples->rows, sizeof *all);

    if (all == NULL)
        return RLHF_E_NOMEM;
    for (int64_t r = 0; r < samples->rows; r++)
        all[r] = (ranked){rank[r], r};
    qsort(all, (size_t)samples->rows, sizeof *all, by_rank);
    *count = kept_rows(trainer) < samples->rows ? kept_rows(trainer) : samples->rows;
    for (int64_t r = 0; r < *count; r++)
        row[r] = all[r].row;
    return RLHF_OK;
}

static rlhf_status select_rows(rlhfi_trainer *trainer, const rlhfi_samples *samples, int64_t **row, int64_t *count)
{
    int32_t selection = rlhfi_recipe_choice(trainer->recipe, "selection");
    double *rank, score = 0;

    RLHFI_TRY(ranks(trainer, samples, &rank));
    *row = rlhfi_arena_alloc(trainer->arena, (size_t)samples->rows, sizeof **row);
    if (*row == NULL)
        return RLHF_E_NOMEM;
    if (selection == SELECT_TOP_FRACTION)
        RLHFI_TRY(select_top(trainer, samples, rank, *row, count));
    else
        *count = select_per_prompt(trainer, samples, rank, selection == SELECT_RANDOM, *row);
    for (int64_t i = 0; i < *count; i++)
        score += samples->score[(*row)[i]];
    rlhfi_meter_mean(&trainer->state.meters, "rlhf/selected_reward", score / (double)*count);
    return RLHF_OK;
}

/* One optimizer step on count of the kept rows. */
static rlhf_status update(rlhfi_trainer *trainer, const rlhfi_sequence *const *sequences, int64_t count)
{
    int64_t batch = setting(trainer, "per_device_train_batch_size"), micro = ceiling(count, batch);
    int64_t *first = rlhfi_arena_alloc(trainer->arena, (size_t)micro + 1, sizeof *first);
    uint64_t tokens = trainer->state.tokens;

    if (first == NULL)
        return RLHF_E_NOMEM;
    for (int64_t m = 0; m <= micro; m++)
        first[m] = m * batch < count ? m * batch : count;
    RLHFI_TRY(rlhfi_token_step(trainer, sequences, first, micro));
    trainer->state.tokens = tokens; /* they were counted when they were sampled */
    return RLHF_OK;
}

static rlhf_status train(rlhfi_trainer *trainer, const rlhfi_samples *samples, const int64_t *row, int64_t count,
                         int64_t *updates)
{
    int64_t size = setting(trainer, "per_device_train_batch_size") * setting(trainer, "gradient_accumulation_steps");
    int64_t epochs = setting(trainer, "num_epochs_per_iteration");
    rlhfi_sequence *sequence = rlhfi_arena_alloc(trainer->arena, (size_t)count, sizeof *sequence);
    const rlhfi_sequence **pointer = rlhfi_arena_alloc(trainer->arena, (size_t)count, sizeof *pointer);
    uint64_t *order = rlhfi_arena_alloc(trainer->arena, (size_t)count, sizeof *order);

    if (sequence == NULL || pointer == NULL || order == NULL)
        return RLHF_E_NOMEM;
    for (int64_t i = 0; i < count; i++)
        sequence[i] =
            (rlhfi_sequence){.tokens = (int32_t *)samples->view.tokens + samples->view.offset[row[i]],
                             .length = (int32_t)(samples->view.offset[row[i] + 1] - samples->view.offset[row[i]]),
                             .prompt_length = samples->view.prompt_length[row[i]]};
    for (int64_t epoch = 0; epoch < epochs; epoch++) {
        rlhfi_permutation((uint64_t)setting(trainer, "seed"), RLHFI_RANDOM_MINIBATCH,
                          (uint32_t)(trainer->state.step * (uint64_t)epochs + (uint64_t)epoch), order, (uint64_t)count);
        for (int64_t i = 0; i < count; i++)
            pointer[i] = &sequence[order[i]];
        for (int64_t from = 0; from < count; from += size) {
            RLHFI_TRY(update(trainer, pointer + from, count - from < size ? count - from : size));
            ++*updates;
        }
    }
    return RLHF_OK;
}

static rlhf_status step(rlhfi_trainer *trainer)
{
    int64_t *row, count, updates = 0;
    rlhfi_samples samples;
    rlhf_status status;

    RLHFI_TRY(rlhfi_draw_samples(trainer, setting(trainer, "prompts_per_iteration"),
                                 (int32_t)setting(trainer, "num_generations"), false, &samples));
    rlhfi_meter_samples(trainer, &samples);
    if (samples.rows == 0)
        return RLHF_OK;
    RLHFI_TRY(select_rows(trainer, &samples, &row, &count));
    RLHFI_TRY(rlhfi_trainer_phase(trainer, RLHF_PHASE_UPDATE));
    status = train(trainer, &samples, row, count, &updates);
    trainer->torn = status != RLHF_OK && updates > 0;
    return status;
}

const rlhfi_method_table rlhfi_raft = {prepare, step, rlhfi_sample_evaluate};
