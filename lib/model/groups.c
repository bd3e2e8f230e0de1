/* Small models do little work per kernel, so that starting threads for each would cost more than the work. Their
 * batches are cut into groups of sequences, and a worker takes a group through all layers alone, its activations never
 * leaving its cache. The cut depends on nothing but the batch, and a row's bits depend on nothing but the row. */
#include "model/internal.h"

/* A layer of 256 Ki floats is 1 MiB, what a core's own cache holds. */
enum { SMALL_LAYER = 1 << 18 };

bool rlhfi_model_is_small(const rlhfi_model *model)
{
    const rlhfi_architecture *a = &model->architecture;
    int64_t floats = a->width * (rlhfi_qkv_width(a) + rlhfi_query_width(a) + rlhfi_up_width(a) + a->inner);

    return floats <= SMALL_LAYER;
}

rlhf_status rlhfi_groups_make(const rlhfi_model *model, const rlhfi_ragged *batch, int64_t target,
                              rlhfi_groups *groups)
{
    int64_t sequences = batch->sequences, used = 0, *offset, *length, *prefix = NULL;
    rlhfi_group *group = NULL;

    *groups = (rlhfi_groups){.group = rlhfi_scratch(model, sequences + 1, sizeof *group)};
    offset = rlhfi_scratch(model, 2 * sequences + 1, sizeof *offset); /* a group of one sequence has two offsets */
    length = rlhfi_scratch(model, sequences + 1, sizeof *length);
    if (batch->prefix != NULL && (prefix = rlhfi_scratch(model, sequences + 1, sizeof *prefix)) == NULL)
        return RLHF_E_NOMEM;
    if (groups->group == NULL || offset == NULL || length == NULL)
        return RLHF_E_NOMEM;
    for (int64_t s = 0; s < sequences; s++) {
        int64_t tokens = batch->offset[s + 1] - batch->offset[s], before = prefix != NULL ? batch->prefix[s] : 0;
        if (tokens == 0)
            continue;
        if (group == NULL || (group->rows >= target && before == 0)) {
            group = &groups->group[groups->count++];
            *group = (rlhfi_group){.first = used, .row = batch->offset[s] - batch->offset[0], .offset = offset,
                                   .length = length + used, .prefix = prefix != NULL ? prefix + used : NULL};
            *offset++ = 0;
        }
        if (prefix != NULL)
            prefix[used] = before;
        length[used++] = before + tokens;
        group->rows += tokens;
        group->sequences++;
        *offset++ = group->rows;
    }
    for (int64_t i = 0; i < groups->count; i++) {
        if (groups->group[i].rows > groups->most_rows)
            groups->most_rows = groups->group[i].rows;
        if (groups->group[i].sequences > groups->most_sequences)
            groups->most_sequences = groups->group[i].sequences;
    }
    groups->parallel = groups->count > 1 && rlhfi_model_is_small(model);
    return RLHF_OK;
}

/* A compute context has one user at a time, so every worker that calls kernels by itself has one of its own, without
 * threads. BLIS has nothing to win there: the products are small. */
rlhf_status rlhfi_lanes_need(rlhfi_model *model)
{
    rlhf_context *context = model->context;
    rlhf_context_options options;

    if (model->lane != NULL)
        return RLHF_OK;
    model->lane = rlhfi_calloc(context, (size_t)rlhfi_workers(context), sizeof *model->lane);
    if (model->lane == NULL)
        return RLHF_E_NOMEM;
    rlhf_context_options_init(&options, sizeof options);
    options.threads = 1;
    options.allocator = context->allocator;
    options.cpu_mask = context->cpu_mask;
    options.use_blis = 0;
    for (int32_t i = 0; i < rlhfi_workers(context); i++) {
        rlhf_status status = rlhf_context_create(&model->lane[i], &options);
        if (status != RLHF_OK) {
            rlhfi_lanes_release(model);
            return status == RLHF_E_NOMEM ? rlhfi_out_of_memory(context)
                                          : rlhfi_fail(context, status, "model: no context for a worker");
        }
    }
    return RLHF_OK;
}

void rlhfi_lanes_release(rlhfi_model *model)
{
    for (int32_t i = 0; model->lane != NULL && i < rlhfi_workers(model->context); i++)
        rlhf_context_release(&model->lane[i]);
    rlhfi_free(model->context, model->lane);
    model->lane = NULL;
}

struct run {
    const rlhfi_model *model;
    rlhfi_group_work work;
    void *argument;
    int64_t failed; /* lowest index that failed, or the count */
    rlhf_status status;
    int lock;
};

static void task(void *argument, int64_t index, int32_t worker)
{
    struct run *run = argument;
    rlhf_context *lane = run->model->lane[worker];
    rlhf_status status = run->work(run->argument, index, worker, lane);

    if (status == RLHF_OK)
        return;
    while (__atomic_exchange_n(&run->lock, 1, __ATOMIC_ACQUIRE) != 0)
        ;
    if (index < run->failed) {
        run->failed = index;
        run->status = rlhfi_fail(run->model->context, status, "%s", lane->error);
    }
    __atomic_store_n(&run->lock, 0, __ATOMIC_RELEASE);
}

/* Which lane did the largest piece is chance: all get the scratch it needed, so that next time none has to ask. */
static rlhf_status level_lanes(const rlhfi_model *model)
{
    int32_t lanes = rlhfi_workers(model->context);

    for (int32_t i = 1; i < lanes; i++)
        RLHFI_TRY(rlhfi_compute_match(model->lane[0], model->lane[i]));
    for (int32_t i = 1; i < lanes; i++)
        RLHFI_TRY(rlhfi_compute_match(model->lane[i], model->lane[0]));
    return RLHF_OK;
}

rlhf_status rlhfi_groups_run(const rlhfi_model *model, bool parallel, int64_t count, rlhfi_group_work work,
                             void *argument)
{
    struct run run = {.model = model, .work = work, .argument = argument, .failed = count};

    if (parallel) {
        rlhfi_parallel(model->context, count, task, &run);
        if (run.status == RLHF_OK && level_lanes(model) != RLHF_OK)
            return rlhfi_out_of_memory(model->context);
    }
    for (int64_t i = 0; i < count && !parallel && run.status == RLHF_OK; i++)
        run.status = work(argument, i, 0, model->context);
    return run.status;
}

int64_t rlhfi_groups_workers(const rlhfi_model *model, bool parallel)
{
    return parallel ? rlhfi_workers(model->context) : 1;
}
