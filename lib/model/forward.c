/* The trunk from tokens to the hidden states behind the final norm, over ragged batches. */
#include "model/internal.h"

void *rlhfi_scratch(const rlhfi_model *model, int64_t count, size_t size)
{
    return rlhfi_arena_alloc(model->arena, (size_t)(count > 0 ? count : 1), size);
}

rlhf_status rlhfi_model_idle(const rlhfi_model *model)
{
    if (model->busy)
        return rlhfi_fail(model->context, RLHF_E_BUSY, "model: a loss callback may not call the model in training");
    return RLHF_OK;
}

rlhf_status rlhfi_check_tokens(const rlhfi_model *model, int64_t row, const int32_t *tokens, int64_t count)
{
    const rlhfi_architecture *a = &model->architecture;

    if (count > a->positions)
        return rlhfi_fail(model->context, RLHF_E_RANGE, "row %lld: %lld tokens, the model takes %lld", (long long)row,
                          (long long)count, (long long)a->positions);
    for (int64_t i = 0; i < count; i++)
        if (tokens[i] < 0 || tokens[i] >= a->vocabulary)
            return rlhfi_fail(model->context, RLHF_E_RANGE, "row %lld: token %lld is %d, the vocabulary has %lld",
                              (long long)row, (long long)i, tokens[i], (long long)a->vocabulary);
    return RLHF_OK;
}

rlhfi_layer_tape rlhfi_layer_tape_at(const rlhfi_model *model, const rlhfi_tape *tape, int64_t layer, int64_t row,
                                     const rlhfi_layer_tape *scratch)
{
    const rlhfi_architecture *a = &model->architecture;
    rlhfi_layer_tape at = tape->recompute ? *scratch : tape->layer[layer];

    at.input = tape->layer[layer].input + row * a->width;
    if (tape->recompute)
        return at;
    at.qkv += row * rlhfi_qkv_width(a);
    at.attended += row * rlhfi_query_width(a);
    at.log_sum_exp += row * a->heads;
    at.middle += row * a->width;
    at.up += row * rlhfi_up_width(a);
    at.rstd1 += row;
    at.rstd2 += row;
    if (at.mean1 != NULL) {
        at.mean1 += row;
        at.mean2 += row;
    }
    return at;
}

rlhfi_attention rlhfi_whole_attention(const rlhfi_model *model, int64_t layer, const rlhfi_group *group,
                                      const float *qkv, const float **rows)
{
    const rlhfi_architecture *a = &model->architecture;
    int64_t width = rlhfi_qkv_width(a), keys = rlhfi_query_width(a), values = keys + a->kv_heads * a->head_dim;
    const float **key = rows, **value = key + group->sequences, **prefix_key = value + group->sequences,
                **prefix_value = prefix_key + group->sequences;

    for (int64_t s = 0, root = 0; s < group->sequences; s++) {
        key[s] = qkv + group->offset[s] * width + keys;
        value[s] = qkv + group->offset[s] * width + values;
        if (group->prefix == NULL || group->prefix[s] == 0)
            root = s;
        prefix_key[s] = key[root];
        prefix_value[s] = value[root];
    }
    return (rlhfi_attention){
        .sequences = group->sequences,
        .query_offset = group->offset,
        .key_length = group->length,
        .key = key,
        .value = value,
        .ldkv = width,
        .heads = (int32_t)a->heads,
        .kv_heads = (int32_t)a->kv_heads,
        .head_dim = (int32_t)a->head_dim,
        .scale = rlhfi_attention_scale(a, layer),
        .prefix_key = prefix_key,
        .prefix_value = prefix_value,
        .prefix_length = group->prefix,
    };
}

rlhf_status rlhfi_layer_forward(rlhf_context *context, const rlhfi_model *model, int64_t layer,
                                const rlhfi_layer_panels *panels, const rlhfi_group *group, const int32_t *position,
                                const rlhfi_layer_tape *tape, float *normed, float *hidden, const float **rows,
                                float *output)
{
    const rlhfi_architecture *a = &model->architecture;
    rlhfi_attention attention;

    RLHFI_TRY(rlhfi_block_begin(context, model, layer, panels, group->rows, position, tape, normed));
    attention = rlhfi_whole_attention(model, layer, group, tape->qkv, rows);
    RLHFI_TRY(rlhfi_attend(context, &attention, tape->qkv, rlhfi_qkv_width(a), tape->attended, rlhfi_query_width(a),
                           tape->log_sum_exp));
    return rlhfi_block_end(context, model, layer, panels, group->rows, tape, normed, hidden, output);
}

/* What a worker needs beside the tape. */
struct scratch {
    float *normed, *hidden;
    const float **rows;
    rlhfi_layer_tape layer; /* what the tape does not keep: its arrays serve every layer in turn */
};

struct run {
    const rlhfi_model *model;
    const int32_t *tokens, *position;
    rlhfi_tape *tape;           /* NULL = inference */
    const rlhfi_groups *groups;
    const rlhfi_layer_panels *panels; /* [layers], or NULL */
    struct scratch *scratch;    /* [workers] */
    float *out;                 /* [T, width] */
};

rlhf_status rlhfi_layer_tape_make(const rlhfi_model *model, int64_t rows, bool backward, rlhfi_layer_tape *tape)
{
    const rlhfi_architecture *a = &model->architecture;
    bool mean = backward && a->norm == RLHFI_NORM_LAYER;

    *tape = (rlhfi_layer_tape){
        .qkv = rlhfi_scratch(model, rows * rlhfi_qkv_width(a), sizeof(float)),
        .attended = rlhfi_scratch(model, rows * rlhfi_query_width(a), sizeof(float)),
        .middle = rlhfi_scratch(model, rows * a->width, sizeof(float)),
        .up = rlhfi_scratch(model, rows * rlhfi_up_width(a), sizeof(float)),
    };
    if (tape->qkv == NULL || tape->attended == NULL || tape->middle == NULL || tape->up == NULL)
        return RLHF_E_NOMEM;
    if (!backward)
        return RLHF_OK;
    tape->log_sum_exp = rlhfi_scratch(model, rows * a->heads, sizeof(float));
    tape->rstd1 = rlhfi_scratch(model, rows, sizeof(float));
    tape->rstd2 = rlhfi_scratch(model, rows, sizeof(float));
    if (mean) {
        tape->mean1 = rlhfi_scratch(model, rows, sizeof(float));
        tape->mean2 = rlhfi_scratch(model, rows, sizeof(float));
    }
    return tape->log_sum_exp == NULL || tape->rstd1 == NULL || tape->rstd2 == NULL ||
                   (mean && (tape->mean1 == NULL || tape->mean2 == NULL))
               ? RLHF_E_NOMEM
               : RLHF_OK;
}

/* tape NULL = inference */
static rlhf_status scratch_make(const rlhfi_model *model, const rlhfi_groups *groups, const rlhfi_tape *tape,
                                struct scratch *scratch)
{
    const rlhfi_architecture *a = &model->architecture;
    int64_t rows = groups->most_rows;

    *scratch = (struct scratch){
        .normed = rlhfi_scratch(model, rows * a->width, sizeof(float)),
        .hidden = rlhfi_scratch(model, rows * a->inner, sizeof(float)),
        .rows = rlhfi_scratch(model, 4 * groups->most_sequences, sizeof(float *)),
    };
    if (scratch->normed == NULL || scratch->hidden == NULL || scratch->rows == NULL)
        return RLHF_E_NOMEM;
    if (tape != NULL && !tape->recompute)
        return RLHF_OK;
    RLHFI_TRY(rlhfi_layer_tape_make(model, rows, false, &scratch->layer));
    if (tape == NULL && (scratch->layer.input = rlhfi_scratch(model, rows * a->width, sizeof(float))) == NULL)
        return RLHF_E_NOMEM;
    return RLHF_OK;
}

static rlhf_status tape_make(const rlhfi_model *model, int64_t tokens, rlhfi_tape **out)
{
    const rlhfi_architecture *a = &model->architecture;
    rlhfi_tape *tape = rlhfi_scratch(model, 1, sizeof *tape);

    if (tape == NULL)
        return RLHF_E_NOMEM;
    *tape = (rlhfi_tape){.tokens = tokens, .recompute = model->options.recompute_activations != 0};
    tape->layer = rlhfi_scratch(model, a->layers, sizeof *tape->layer);
    tape->last = rlhfi_scratch(model, tokens * a->width, sizeof(float));
    tape->rstd = rlhfi_scratch(model, tokens, sizeof(float));
    if (tape->layer == NULL || tape->last == NULL || tape->rstd == NULL)
        return RLHF_E_NOMEM;
    if (a->norm == RLHFI_NORM_LAYER && (tape->mean = rlhfi_scratch(model, tokens, sizeof(float))) == NULL)
        return RLHF_E_NOMEM;
    for (int64_t i = 0; i < a->layers; i++) {
        tape->layer[i] = (rlhfi_layer_tape){0};
        if (!tape->recompute)
            RLHFI_TRY(rlhfi_layer_tape_make(model, tokens, true, &tape->layer[i]));
        tape->layer[i].input = rlhfi_scratch(model, tokens * a->width, sizeof(float));
        if (tape->layer[i].input == NULL)
            return RLHF_E_NOMEM;
    }
    *out = tape;
    return RLHF_OK;
}

static rlhf_status run_group(void *argument, int64_t index, int32_t worker, rlhf_context *context)
{
    const struct run *run = argument;
    const rlhfi_model *model = run->model;
    const rlhfi_architecture *a = &model->architecture;
    const rlhfi_group *group = &run->groups->group[index];
    struct scratch *scratch = &run->scratch[worker];
    const rlhfi_tape *tape = run->tape;
    const int32_t *position = run->position + group->row;
    rlhfi_layer_tape now = scratch->layer;

    for (int64_t layer = 0; layer < a->layers; layer++) {
        const rlhfi_layer_panels *panels = run->panels != NULL ? &run->panels[layer] : &rlhfi_no_panels;
        float *output = now.input; /* free again once the middle is known */
        if (tape != NULL) {
            now = rlhfi_layer_tape_at(model, tape, layer, group->row, &scratch->layer);
            output = (layer + 1 < a->layers ? tape->layer[layer + 1].input : tape->last) + group->row * a->width;
        }
        if (layer == 0)
            rlhfi_embed(context, model, group->rows, run->tokens + group->row, position, now.input);
        RLHFI_TRY(rlhfi_layer_forward(context, model, layer, panels, group, position, &now, scratch->normed,
                                      scratch->hidden, scratch->rows, output));
        now.input = output;
    }
    rlhfi_norm_forward(context, model, model->table->final_weight, model->table->final_bias, group->rows, now.input,
                       run->out + group->row * a->width,
                       tape != NULL && tape->mean != NULL ? tape->mean + group->row : NULL,
                       tape != NULL ? tape->rstd + group->row : NULL);
    return RLHF_OK;
}

rlhf_status rlhfi_forward_more(rlhfi_model *model, const rlhfi_ragged *batch, rlhfi_tape **tape, float **hidden)
{
    int64_t tokens = batch->offset[batch->sequences] - batch->offset[0], longest = 0, workers;
    const int32_t *first = batch->tokens + batch->offset[0];
    rlhfi_tape *made = NULL;
    rlhfi_groups groups;
    int32_t *position;
    struct run run;
    size_t mark;

    for (int64_t s = 0; s < batch->sequences; s++) {
        int64_t length = batch->offset[s + 1] - batch->offset[s];
        RLHFI_REQUIRE(model->context, length >= 0);
        RLHFI_TRY(rlhfi_check_tokens(model, s, batch->tokens + batch->offset[s], length));
        if (batch->prefix != NULL)
            length += batch->prefix[s];
        if (length > longest)
            longest = length;
    }
    RLHFI_TRY(rlhfi_model_need_positions(model, longest));
    RLHFI_TRY(rlhfi_vectors_need(model));
    *hidden = rlhfi_scratch(model, tokens * model->architecture.width, sizeof(float));
    position = rlhfi_scratch(model, tokens, sizeof *position);
    if (*hidden == NULL || position == NULL)
        return RLHF_E_NOMEM;
    for (int64_t s = 0, row = 0; s < batch->sequences; s++)
        for (int64_t i = 0; i < batch->offset[s + 1] - batch->offset[s]; i++)
            position[row++] = (int32_t)(i + (batch->prefix != NULL ? batch->prefix[s] : 0));
    RLHFI_TRY(rlhfi_groups_make(model, batch, rlhfi_model_is_small(model) ? RLHFI_GROUP_ROWS : INT64_MAX, &groups));
    if (tape != NULL) {
        RLHFI_TRY(tape_make(model, tokens, &made));
        made->position = position;
        made->groups = groups;
        *tape = made;
    }
    /* Many groups would each pack the weights again. */
    if (groups.parallel) {
        RLHFI_TRY(rlhfi_lanes_need(model));
        RLHFI_TRY(rlhfi_panels_need(model, false, false));
    }
    mark = rlhfi_arena_mark(model->arena);
    workers = rlhfi_groups_workers(model, groups.parallel);
    run = (struct run){.model = model, .tokens = first, .position = position, .tape = made, .groups = &groups,
                       .panels = groups.parallel ? model->decode->layer : NULL,
                       .scratch = rlhfi_scratch(model, workers, sizeof *run.scratch), .out = *hidden};
    if (run.scratch == NULL)
        return RLHF_E_NOMEM;
    for (int64_t i = 0; i < workers; i++)
        RLHFI_TRY(scratch_make(model, &groups, made, &run.scratch[i]));
    RLHFI_TRY(rlhfi_groups_run(model, groups.parallel, groups.count, run_group, &run));
    rlhfi_arena_rewind(model->arena, mark); /* the backward pass needs scratch of its own */
    return RLHF_OK;
}

rlhf_status rlhfi_forward(rlhfi_model *model, const rlhfi_ragged *batch, rlhfi_tape **tape, float **hidden)
{
    RLHFI_TRY(rlhfi_model_idle(model));
    rlhfi_arena_reset(model->arena);
    return rlhfi_forward_more(model, batch, tape, hidden);
}
