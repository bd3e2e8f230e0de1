/* Reward model training: pairs of answers, chosen rows first, then rejected ones, through the model in one batch. Each
 * micro-batch is a mean of its own and the step is the mean of those, as TRL does it: the last, shorter micro-batch of
 * an epoch weighs as much as a full one. */
#include "training/training.h"

#include <math.h>

typedef struct pairs {
    rlhfi_trainer *trainer;
    int64_t count;
    const double *margin; /* NULL: none */
    double denominator;
    double loss;
} pairs;

static rlhf_status make_examples(rlhfi_trainer *trainer, const rlhf_dataset *dataset, const char *what,
                                 rlhfi_examples **out)
{
    int64_t positions = trainer->reward_model->model->architecture.positions;
    int64_t length = rlhfi_recipe_integer(trainer->recipe, "max_length");
    rlhfi_examples_options options = {.tokenize_flags = RLHF_TOKENIZE_EOS, .drop_long = 1};

    options.max_length = length == 0 || length > positions ? positions : length;
    RLHFI_TRY(rlhfi_examples_build(out, trainer->tokenizer, dataset, &options));
    if ((*out)->rows == 0)
        return rlhfi_fail(trainer->context, RLHF_E_INVAL, "%s: no row is left to train on", what);
    if ((*out)->kind != RLHF_ROW_PREFERENCE)
        return rlhfi_fail(trainer->context, RLHF_E_INVAL, "%s: a reward model needs rows with chosen and rejected",
                          what);
    return RLHF_OK;
}

static rlhf_status prepare(rlhfi_trainer *trainer)
{
    RLHFI_TRY(make_examples(trainer, trainer->dataset, "dataset", &trainer->examples));
    if (trainer->eval_dataset != NULL)
        RLHFI_TRY(make_examples(trainer, trainer->eval_dataset, "eval_dataset", &trainer->eval_examples));
    RLHFI_TRY(rlhfi_plan_epochs(trainer));
    return rlhfi_setup_role(trainer, "reward_model", trainer->reward_model->model);
}

/* Margins of rows, 0 where there is none; NULL if no row has one. */
static rlhf_status margins(rlhfi_trainer *trainer, const rlhfi_examples *examples, const uint64_t *row, int64_t count,
                           const double **out)
{
    bool any = false;
    double *margin;

    *out = NULL;
    for (int64_t i = 0; examples->margin != NULL && i < count; i++)
        any = any || !isnan(examples->margin[row[i]]);
    if (!any)
        return RLHF_OK;
    margin = rlhfi_doubles(trainer, count);
    if (margin == NULL)
        return RLHF_E_NOMEM;
    for (int64_t i = 0; i < count; i++)
        margin[i] = isnan(examples->margin[row[i]]) ? 0 : examples->margin[row[i]];
    *out = margin;
    return RLHF_OK;
}

static rlhf_status pair_view(rlhfi_trainer *trainer, const rlhfi_examples *examples, const uint64_t *row, int64_t count,
                             rlhf_batch_view *view)
{
    const rlhfi_sequence **sequences = rlhfi_arena_alloc(trainer->arena, 2 * (size_t)count, sizeof *sequences);

    if (sequences == NULL)
        return RLHF_E_NOMEM;
    for (int64_t i = 0; i < count; i++) {
        sequences[i] = &examples->first[row[i]];
        sequences[count + i] = &examples->second[row[i]];
    }
    return rlhfi_view_from_sequences(trainer->arena, sequences, 2 * count, view);
}

/* Loss and gradients of scores: chosen ones first. d_score NULL: only the loss. */
static rlhf_status score_loss(pairs *self, const float *score, float *d_score)
{
    int64_t count = self->count;
    double *chosen = rlhfi_doubles(self->trainer, 2 * count), *d_chosen = rlhfi_doubles(self->trainer, 2 * count);
    rlhf_pair_loss_input in = {
        .struct_size = sizeof in, .pairs = count, .margin = self->margin, .denominator = self->denominator};
    rlhf_pair_loss_output out = {.struct_size = sizeof out};

    if (chosen == NULL || d_chosen == NULL)
        return RLHF_E_NOMEM;
    for (int64_t i = 0; i < 2 * count; i++)
        chosen[i] = score[i];
    in.chosen = chosen;
    in.rejected = chosen + count;
    out.d_chosen = d_chosen;
    out.d_rejected = d_chosen + count;
    RLHFI_TRY(rlhf_objective_pair_loss(self->trainer->loss, &in, &out));
    for (int64_t i = 0; d_score != NULL && i < 2 * count; i++)
        d_score[i] = (float)d_chosen[i];
    self->loss = out.loss;
    return RLHF_OK;
}

/* TRL's numbers of a micro-batch; a tie is no success. */
static void meter_scores(rlhfi_meters *meters, bool held_out, const float *score, int64_t pair_count)
{
    double least = score[0], greatest = score[0], sum = 0, margin = 0, correct = 0;

    for (int64_t i = 0; i < 2 * pair_count; i++) {
        least = score[i] < least ? score[i] : least;
        greatest = score[i] > greatest ? score[i] : greatest;
        sum += score[i];
    }
    for (int64_t i = 0; i < pair_count; i++) {
        margin += (double)score[i] - score[pair_count + i];
        correct += score[i] > score[pair_count + i];
    }
    rlhfi_meter_mean(meters, held_out ? "eval_min_reward" : "min_reward", least);
    rlhfi_meter_mean(meters, held_out ? "eval_mean_reward" : "mean_reward", sum / (2.0 * (double)pair_count));
    rlhfi_meter_mean(meters, held_out ? "eval_max_reward" : "max_reward", greatest);
    rlhfi_meter_mean(meters, held_out ? "eval_accuracy" : "accuracy", correct / (double)pair_count);
    rlhfi_meter_mean(meters, held_out ? "eval_margin" : "margin", margin / (double)pair_count);
}

static rlhf_status train_loss(void *user_data, int64_t count, const float *score, float *d_score)
{
    pairs *self = user_data;

    RLHFI_TRY(score_loss(self, score, d_score));
    meter_scores(&self->trainer->state.meters, false, score, count / 2);
    return RLHF_OK;
}

static rlhf_status step(rlhfi_trainer *trainer)
{
    double loss = 0, norm, rate;
    rlhfi_accumulation rows;

    RLHFI_TRY(rlhfi_accumulation_draw(trainer, &rows));
    RLHFI_TRY(rlhfi_trainer_phase(trainer, RLHF_PHASE_UPDATE));
    for (int64_t m = 0; m < rows.micro_batches; m++) {
        const uint64_t *row = rows.row + rows.first[m];
        pairs self = {.trainer = trainer, .count = rows.first[m + 1] - rows.first[m]};
        size_t mark = rlhfi_arena_mark(trainer->arena);
        rlhf_batch_view view;
        self.denominator = (double)self.count * (double)rows.micro_batches;
        RLHFI_TRY(margins(trainer, trainer->examples, row, self.count, &self.margin));
        RLHFI_TRY(pair_view(trainer, trainer->examples, row, self.count, &view));
        RLHFI_TRY(rlhfi_model_train_scalars(trainer->state.role[0].model, &view, false, train_loss, &self));
        loss += self.loss;
        trainer->state.tokens += (uint64_t)view.offset[view.rows];
        rlhfi_arena_rewind(trainer->arena, mark);
        RLHFI_TRY(rlhfi_trainer_report(trainer));
    }
    RLHFI_TRY(rlhfi_optimizer_step_joint(trainer->state.role[0].optimizer, NULL, &norm, &rate));
    rlhfi_meter_mean(&trainer->state.meters, "loss", loss);
    rlhfi_meter_last(&trainer->state.meters, "grad_norm", norm);
    rlhfi_meter_last(&trainer->state.meters, "learning_rate", rate);
    rlhfi_meter_last(&trainer->state.meters, "num_tokens", (double)trainer->state.tokens);
    rlhfi_meter_last(&trainer->state.meters, "epoch", rlhfi_epoch(trainer));
    return RLHF_OK;
}

/* ---- held-out pairs ---------------------------------------------------------------------------------------------- */

static rlhf_status evaluate(rlhfi_trainer *trainer, rlhfi_meters *meters)
{
    const rlhfi_examples *examples = trainer->eval_examples;
    uint64_t batch = (uint64_t)rlhfi_recipe_integer(trainer->recipe, "per_device_train_batch_size");
    uint64_t *row = rlhfi_arena_alloc(trainer->arena, (size_t)examples->rows, sizeof *row);
    double loss = 0;

    if (row == NULL)
        return RLHF_E_NOMEM;
    for (uint64_t i = 0; i < examples->rows; i++)
        row[i] = i;
    for (uint64_t from = 0; from < examples->rows; from += batch) {
        uint64_t count = examples->rows - from < batch ? examples->rows - from : batch;
        pairs self = {.trainer = trainer, .count = (int64_t)count, .denominator = (double)examples->rows};
        size_t mark = rlhfi_arena_mark(trainer->arena);
        float *score = rlhfi_arena_alloc(trainer->arena, 2 * (size_t)count, sizeof *score);
        rlhf_batch_view view;
        if (score == NULL)
            return RLHF_E_NOMEM;
        RLHFI_TRY(margins(trainer, examples, row + from, self.count, &self.margin));
        RLHFI_TRY(pair_view(trainer, examples, row + from, self.count, &view));
        RLHFI_TRY(rlhfi_model_scalars(trainer->state.role[0].model, &view, false, score));
        RLHFI_TRY(score_loss(&self, score, NULL));
        loss += self.loss;
        meter_scores(meters, true, score, self.count);
        rlhfi_arena_rewind(trainer->arena, mark);
        RLHFI_TRY(rlhfi_trainer_report(trainer));
    }
    rlhfi_meter_last(meters, "eval_loss", loss);
    return RLHF_OK;
}

const rlhfi_method_table rlhfi_reward_training = {prepare, step, evaluate};
