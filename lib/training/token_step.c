/* One optimizer step of the token loss. However the rows are cut into micro-batches, every token of the step that
 * counts is divided by the same number: the count over all of them. */
#include "training/training.h"

typedef struct micro_batch {
    rlhfi_trainer *trainer;
    const rlhf_batch_view *view;
    double denominator;
    double loss;
} micro_batch;

static double *widen(rlhfi_trainer *trainer, const float *from, int64_t count)
{
    double *out = rlhfi_doubles(trainer, count);

    for (int64_t i = 0; out != NULL && i < count; i++)
        out[i] = from[i];
    return out;
}

static void narrow(float *to, const double *from, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        to[i] = (float)from[i];
}

/* Token-level quality: as TRL, means over the tokens of a micro-batch that count. */
static void meter_tokens(rlhfi_meters *meters, const char *prefix, const rlhfi_token_stats *stats,
                         const rlhf_batch_view *view)
{
    int64_t count = view->response_offset[view->rows], i = 0;
    double entropy = 0, correct = 0;
    char name[RLHFI_METRIC_NAME];

    for (int64_t row = 0; row < view->rows; row++) {
        const int32_t *token = view->tokens + view->offset[row] + view->prompt_length[row];
        for (; i < view->response_offset[row + 1]; i++, token++) {
            entropy += stats->entropy[i];
            correct += stats->best[i] == *token;
        }
    }
    if (count == 0)
        return;
    for (int which = 0; which < 2; which++) {
        const char *what = which == 0 ? "entropy" : "mean_token_accuracy";
        size_t used = strlen(prefix);
        memcpy(name, prefix, used);
        memcpy(name + used, what, strlen(what) + 1);
        rlhfi_meter_mean(meters, name, (which == 0 ? entropy : correct) / (double)count);
    }
}

static rlhf_status evaluate_objective(micro_batch *self, const rlhfi_token_stats *stats, double *d_log_prob,
                                      double *d_mean_log_prob)
{
    int64_t count = self->view->response_offset[self->view->rows];
    rlhf_token_loss_input in = {.struct_size = sizeof in,
                                .rows = self->view->rows,
                                .offset = self->view->response_offset,
                                .denominator = self->denominator};
    rlhf_token_loss_output out = {
        .struct_size = sizeof out, .d_log_prob = d_log_prob, .d_mean_log_prob = d_mean_log_prob};
    double *log_prob = widen(self->trainer, stats->log_prob, count);

    if (log_prob == NULL)
        return RLHF_E_NOMEM;
    in.log_prob = log_prob;
    if (stats->mean_log_prob != NULL && (in.mean_log_prob = widen(self->trainer, stats->mean_log_prob, count)) == NULL)
        return RLHF_E_NOMEM;
    RLHFI_TRY(rlhf_objective_token_loss(self->trainer->loss, &in, &out));
    self->loss = out.loss;
    return RLHF_OK;
}

static rlhf_status token_loss(void *user_data, const rlhfi_train_arrays *arrays)
{
    micro_batch *self = user_data;
    rlhfi_token_stats stats = {.log_prob = (float *)arrays->log_prob, .entropy = (float *)arrays->entropy,
                               .mean_log_prob = (float *)arrays->mean_log_prob, .best = (int32_t *)arrays->best};
    double *d_log_prob = rlhfi_doubles(self->trainer, arrays->count), *d_mean = NULL;

    if (arrays->mean_log_prob != NULL)
        d_mean = rlhfi_doubles(self->trainer, arrays->count);
    if (d_log_prob == NULL || (arrays->mean_log_prob != NULL && d_mean == NULL))
        return RLHF_E_NOMEM;
    RLHFI_TRY(evaluate_objective(self, &stats, d_log_prob, d_mean));
    narrow(arrays->d_log_prob, d_log_prob, arrays->count);
    if (d_mean != NULL)
        narrow(arrays->d_mean_log_prob, d_mean, arrays->count);
    meter_tokens(&self->trainer->state.meters, "", &stats, self->view);
    return RLHF_OK;
}

static double counted(const rlhfi_sequence *const *sequences, int64_t count)
{
    int64_t tokens = 0;

    for (int64_t i = 0; i < count; i++)
        tokens += sequences[i]->length - sequences[i]->prompt_length;
    return tokens > 0 ? (double)tokens : 1;
}

rlhf_status rlhfi_token_step(rlhfi_trainer *trainer, const rlhfi_sequence *const *sequences, const int64_t *first,
                             int64_t micro_batches)
{
    bool want_mean = (rlhf_objective_need(trainer->loss) & RLHF_NEED_MEAN_LOG_PROB) != 0;
    double denominator = counted(sequences, first[micro_batches]), loss = 0, norm, rate;

    for (int64_t m = 0; m < micro_batches; m++) {
        size_t mark = rlhfi_arena_mark(trainer->arena);
        rlhf_batch_view view;
        micro_batch micro = {trainer, &view, denominator, 0};
        RLHFI_TRY(rlhfi_view_from_sequences(trainer->arena, sequences + first[m], first[m + 1] - first[m], &view));
        RLHFI_TRY(rlhfi_model_train(trainer->state.role[0].model, &view, 1, true, want_mean, true, token_loss, &micro));
        loss += micro.loss;
        trainer->state.tokens += (uint64_t)view.offset[view.rows];
        rlhfi_arena_rewind(trainer->arena, mark);
        RLHFI_TRY(rlhfi_trainer_report(trainer));
    }
    RLHFI_TRY(rlhfi_optimizer_step_joint(trainer->state.role[0].optimizer, NULL, &norm, &rate));
    rlhfi_meter_mean(&trainer->state.meters, "loss", loss);
    rlhfi_meter_last(&trainer->state.meters, "grad_norm", norm);
    rlhfi_meter_last(&trainer->state.meters, "learning_rate", rate);
    return RLHF_OK;
}

/* ---- held-out data ----------------------------------------------------------------------------------------------- */

static rlhf_status evaluate_batch(rlhfi_trainer *trainer, const rlhf_batch_view *view, double denominator, double *loss,
                                  rlhfi_meters *meters)
{
    bool want_mean = (rlhf_objective_need(trainer->loss) & RLHF_NEED_MEAN_LOG_PROB) != 0;
    int64_t count = view->response_offset[view->rows];
    micro_batch micro = {trainer, view, denominator, 0};
    rlhfi_token_stats stats = {
        .log_prob = rlhfi_arena_alloc(trainer->arena, (size_t)count + 1, sizeof(float)),
        .entropy = rlhfi_arena_alloc(trainer->arena, (size_t)count + 1, sizeof(float)),
        .mean_log_prob = want_mean ? rlhfi_arena_alloc(trainer->arena, (size_t)count + 1, sizeof(float)) : NULL,
        .best = rlhfi_arena_alloc(trainer->arena, (size_t)count + 1, sizeof(int32_t)),
    };
    double *d_log_prob = rlhfi_doubles(trainer, count), *d_mean = want_mean ? rlhfi_doubles(trainer, count) : NULL;

    if (stats.log_prob == NULL || stats.entropy == NULL || (want_mean && stats.mean_log_prob == NULL) ||
        stats.best == NULL || d_log_prob == NULL || (want_mean && d_mean == NULL))
        return RLHF_E_NOMEM;
    RLHFI_TRY(rlhfi_model_log_probs(trainer->state.role[0].model, view, 1, &stats));
    RLHFI_TRY(evaluate_objective(&micro, &stats, d_log_prob, d_mean));
    *loss += micro.loss;
    meter_tokens(meters, "eval_", &stats, view);
    return RLHF_OK;
}

rlhf_status rlhfi_token_evaluate(rlhfi_trainer *trainer, const rlhfi_examples *examples, rlhfi_meters *meters)
{
    uint64_t batch = (uint64_t)rlhfi_recipe_integer(trainer->recipe, "per_device_train_batch_size");
    const rlhfi_sequence **sequences = rlhfi_arena_alloc(trainer->arena, (size_t)examples->rows, sizeof *sequences);
    double denominator, loss = 0;

    if (sequences == NULL)
        return RLHF_E_NOMEM;
    for (uint64_t i = 0; i < examples->rows; i++)
        sequences[i] = &examples->first[i];
    denominator = counted(sequences, (int64_t)examples->rows);
    for (uint64_t from = 0; from < examples->rows; from += batch) {
        uint64_t count = examples->rows - from < batch ? examples->rows - from : batch;
        size_t mark = rlhfi_arena_mark(trainer->arena);
        rlhf_batch_view view;
        RLHFI_TRY(rlhfi_view_from_sequences(trainer->arena, sequences + from, (int64_t)count, &view));
        RLHFI_TRY(evaluate_batch(trainer, &view, denominator, &loss, meters));
        rlhfi_arena_rewind(trainer->arena, mark);
        RLHFI_TRY(rlhfi_trainer_report(trainer));
    }
    rlhfi_meter_last(meters, "eval_loss", loss);
    return RLHF_OK;
}
