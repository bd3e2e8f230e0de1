/* The backward pass of the trunk, written by hand (formats.md 3.8). What is cheap to compute again (norms, activations)
 * is not stored. Groups that run side by side gather the gradients of the layers in buffers of their own, which are
 * added in order at the end: the sums depend on the batch, not on threads. */
#include "model/internal.h"

enum { MOST_BUFFERS = 16, BUFFER_FLOATS = 1 << 24 };

struct scratch {
    float *normed, *d_normed; /* [rows, width] */
    float *hidden;            /* [rows, inner] */
    float *d_up, *d_qkv, *d_attended;
    const float **rows;
    rlhfi_layer_tape layer;   /* of a layer that is computed again */
};

struct run {
    const rlhfi_model *model;
    const rlhfi_tape *tape;
    float *d_hidden;        /* in: behind the final norm; out: of the embeddings' sum */
    float *gradient;        /* [buffers, layers_end - origin] */
    int64_t origin, extent; /* offset in the flat buffer that gradient begins at, floats per buffer */
    int64_t buffers;
    const rlhfi_layer_panels *panels; /* [layers], or NULL */
    struct scratch *scratch;          /* [workers] */
};

/* dx += through the norm */
static rlhf_status norm_backward(rlhf_context *context, const rlhfi_model *model, int64_t weight, int64_t bias,
                                 const rlhfi_sink *sink, int64_t rows, const float *x, const float *mean,
                                 const float *rstd, const float *dy, float *dx)
{
    const rlhfi_architecture *a = &model->architecture;

    if (a->norm == RLHFI_NORM_RMS)
        return rlhfi_rms_norm_backward(context, rows, a->width, x, rlhfi_vector_at(model, weight), rstd, dy, dx,
                                       rlhfi_gradient_at(sink, weight));
    return rlhfi_layer_norm_backward(context, rows, a->width, x, rlhfi_vector_at(model, weight), mean, rstd, dy, dx,
                                     rlhfi_gradient_at(sink, weight), rlhfi_gradient_at(sink, bias));
}

/* dx: gradient behind the layer, becomes the one before it. */
static rlhf_status layer_backward(rlhf_context *context, const rlhfi_model *model, int64_t layer,
                                  const rlhfi_layer_panels *panels, const rlhfi_group *group,
                                  const rlhfi_layer_tape *tape, const int32_t *position, const rlhfi_sink *sink,
                                  const struct scratch *scratch, float *dx)
{
    const rlhfi_architecture *a = &model->architecture;
    const rlhfi_layer *l = &model->table->layer[layer];
    rlhfi_linear qkv = rlhfi_linear_qkv(model, layer), projection = rlhfi_linear_output(model, layer);
    rlhfi_linear up = rlhfi_linear_up(model, layer), down = rlhfi_linear_down(model, layer);
    int64_t rows = group->rows, width = rlhfi_up_width(a), query = rlhfi_query_width(a);
    float *dq = scratch->d_qkv, *dk = dq + query, *dv = dk + a->kv_heads * a->head_dim;
    rlhfi_attention attention;

    /* MLP. The gradient of the hidden layer lies where the gate's will be: one replaces the other in place. */
    rlhfi_block_activate(context, model, rows, tape->up, scratch->hidden);
    RLHFI_TRY(rlhfi_linear_backward(context, model, &down, panels->d_down, sink, rows, scratch->hidden, dx,
                                    scratch->d_up, width));
    rlhfi_activate_backward(context, a->activation, rows, a->inner, tape->up, width,
                            a->gated ? tape->up + a->inner : NULL, width, scratch->d_up, width, scratch->d_up, width,
                            a->gated ? scratch->d_up + a->inner : NULL, width);
    rlhfi_norm_forward(context, model, l->norm2_weight, l->norm2_bias, rows, tape->middle, scratch->normed, NULL, NULL);
    RLHFI_TRY(rlhfi_linear_backward(context, model, &up, panels->d_up, sink, rows, scratch->normed, scratch->d_up,
                                    scratch->d_normed, a->width));
    RLHFI_TRY(norm_backward(context, model, l->norm2_weight, l->norm2_bias, sink, rows, tape->middle, tape->mean2,
                            tape->rstd2, scratch->d_normed, dx));

    /* Attention. */
    RLHFI_TRY(rlhfi_linear_backward(context, model, &projection, panels->d_output, sink, rows, tape->attended, dx,
                                    scratch->d_attended, query));
    attention = rlhfi_whole_attention(model, layer, group, tape->qkv, scratch->rows);
    RLHFI_TRY(rlhfi_attend_backward(context, &attention, tape->qkv, qkv.out, tape->attended, query, tape->log_sum_exp,
                                    scratch->d_attended, query, dq, qkv.out, dk, dv, qkv.out));
    if (a->position == RLHFI_POSITION_ROTARY)
        rlhfi_rotate(context, rows, a->heads + a->kv_heads, a->head_dim, position, model->table->cosine,
                     model->table->sine, -1, scratch->d_qkv, qkv.out);
    rlhfi_norm_forward(context, model, l->norm1_weight, l->norm1_bias, rows, tape->input, scratch->normed, NULL, NULL);
    RLHFI_TRY(rlhfi_linear_backward(context, model, &qkv, panels->d_qkv, sink, rows, scratch->normed, scratch->d_qkv,
                                    scratch->d_normed, a->width));
    return norm_backward(context, model, l->norm1_weight, l->norm1_bias, sink, rows, tape->input, tape->mean1,
                         tape->rstd1, scratch->d_normed, dx);
}

static rlhf_status group_backward(rlhf_context *context, const struct run *run, const rlhfi_group *group,
                                  const rlhfi_sink *sink, const struct scratch *scratch)
{
    const rlhfi_model *model = run->model;
    const rlhfi_tape *tape = run->tape;
    int64_t width = model->architecture.width, row = group->row;
    float *dx = run->d_hidden + row * width;

    rlhfi_copy(context, scratch->d_normed, dx, group->rows * width);
    rlhfi_zero(context, dx, group->rows * width);
    RLHFI_TRY(norm_backward(context, model, model->table->final_weight, model->table->final_bias, sink, group->rows,
                            tape->last + row * width, tape->mean != NULL ? tape->mean + row : NULL, tape->rstd + row,
                            scratch->d_normed, dx));
    for (int64_t layer = model->architecture.layers - 1; layer >= 0; layer--) {
        const rlhfi_layer_panels *panels = run->panels != NULL ? &run->panels[layer] : &rlhfi_no_panels;
        rlhfi_layer_tape at = rlhfi_layer_tape_at(model, tape, layer, row, &scratch->layer);
        if (tape->recompute)
            RLHFI_TRY(rlhfi_layer_forward(context, model, layer, panels, group, tape->position + row, &at,
                                          scratch->normed, scratch->hidden, scratch->rows, NULL));
        RLHFI_TRY(layer_backward(context, model, layer, panels, group, &at, tape->position + row, sink, scratch, dx));
    }
    return RLHF_OK;
}

/* One buffer: every group whose number leaves this remainder, in order. */
static rlhf_status run_buffer(void *argument, int64_t index, int32_t worker, rlhf_context *context)
{
    const struct run *run = argument;
    rlhfi_sink sink = {.base = run->gradient + index * run->extent, .origin = run->origin};

    if (run->gradient != run->model->gradient)
        rlhfi_zero(context, sink.base, run->extent);
    for (int64_t i = index; i < run->tape->groups.count; i += run->buffers)
        RLHFI_TRY(group_backward(context, run, &run->tape->groups.group[i], &sink, &run->scratch[worker]));
    return RLHF_OK;
}

static rlhf_status scratch_make(const rlhfi_model *model, const rlhfi_tape *tape, struct scratch *scratch)
{
    const rlhfi_architecture *a = &model->architecture;
    int64_t rows = tape->groups.most_rows;

    *scratch = (struct scratch){
        .normed = rlhfi_scratch(model, rows * a->width, sizeof(float)),
        .d_normed = rlhfi_scratch(model, rows * a->width, sizeof(float)),
        .hidden = rlhfi_scratch(model, rows * a->inner, sizeof(float)),
        .d_up = rlhfi_scratch(model, rows * rlhfi_up_width(a), sizeof(float)),
        .d_qkv = rlhfi_scratch(model, rows * rlhfi_qkv_width(a), sizeof(float)),
        .d_attended = rlhfi_scratch(model, rows * rlhfi_query_width(a), sizeof(float)),
        .rows = rlhfi_scratch(model, 4 * tape->groups.most_sequences, sizeof(float *)),
    };
    if (scratch->normed == NULL || scratch->d_normed == NULL || scratch->hidden == NULL || scratch->d_up == NULL ||
        scratch->d_qkv == NULL || scratch->d_attended == NULL || scratch->rows == NULL)
        return RLHF_E_NOMEM;
    return tape->recompute ? rlhfi_layer_tape_make(model, rows, true, &scratch->layer) : RLHF_OK;
}

/* How many gradient buffers: one per group, within bounds of memory. */
int64_t rlhfi_gradient_buffers(const rlhfi_model *model, int64_t groups)
{
    int64_t most = BUFFER_FLOATS / (model->table->layers_end - model->table->layers_begin);

    if (most > MOST_BUFFERS)
        most = MOST_BUFFERS;
    if (most > groups)
        most = groups;
    return most < 1 ? 1 : most;
}

rlhf_status rlhfi_backward(rlhfi_model *model, const rlhfi_ragged *batch, rlhfi_tape *tape, float *d_hidden)
{
    const struct rlhfi_block_table *table = model->table;
    const int32_t *tokens = batch->tokens + batch->offset[0];
    int64_t width = model->architecture.width, workers;
    struct run run = {.model = model, .tape = tape, .d_hidden = d_hidden};
    size_t mark = rlhfi_arena_mark(model->arena);

    if (tape->groups.count == 0)
        return RLHF_OK;
    RLHFI_TRY(rlhfi_model_need_gradient(model));
    run.extent = table->layers_end - table->layers_begin;
    run.buffers = rlhfi_gradient_buffers(model, tape->groups.count);
    if (run.buffers > 1) {
        run.gradient = rlhfi_scratch(model, run.buffers * run.extent, sizeof(float));
        run.origin = table->layers_begin;
    } else {
        run.gradient = model->gradient;
    }
    if (run.buffers > 1) {
        RLHFI_TRY(rlhfi_lanes_need(model));
        RLHFI_TRY(rlhfi_panels_need(model, false, true));
        run.panels = model->decode->layer;
    }
    workers = rlhfi_groups_workers(model, run.buffers > 1);
    run.scratch = rlhfi_scratch(model, workers, sizeof *run.scratch);
    if (run.gradient == NULL || run.scratch == NULL)
        return RLHF_E_NOMEM;
    for (int64_t i = 0; i < workers; i++)
        RLHFI_TRY(scratch_make(model, tape, &run.scratch[i]));

    RLHFI_TRY(rlhfi_groups_run(model, run.buffers > 1, run.buffers, run_buffer, &run));
    if (run.buffers > 1)
        for (int64_t i = 0; i < run.buffers; i++)
            rlhfi_add_to(model->context, model->gradient + run.origin, run.gradient + i * run.extent, run.extent);
    rlhfi_scatter_add(model->context, tape->tokens, width, tokens, d_hidden, model->gradient + table->token_embedding);
    if (table->position_embedding != RLHFI_NONE)
        rlhfi_scatter_add(model->context, tape->tokens, width, tape->position, d_hidden,
                          model->gradient + table->position_embedding);
    rlhfi_arena_rewind(model->arena, mark);
    return RLHF_OK;
}
