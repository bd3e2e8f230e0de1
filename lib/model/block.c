/* One decoder layer, driven by the description. Every row passes the same kernels in the same order wherever it comes
 * from: that is why a token's log-probability has the same bits when it is sampled, scored and trained on. */
#include "model/internal.h"

rlhfi_linear rlhfi_linear_qkv(const rlhfi_model *model, int64_t layer)
{
    const rlhfi_layer *l = &model->table->layer[layer];

    return (rlhfi_linear){l->qkv_weight, l->qkv_bias, model->architecture.width, rlhfi_qkv_width(&model->architecture)};
}

rlhfi_linear rlhfi_linear_output(const rlhfi_model *model, int64_t layer)
{
    const rlhfi_layer *l = &model->table->layer[layer];

    return (rlhfi_linear){l->output_weight, l->output_bias, rlhfi_query_width(&model->architecture),
                          model->architecture.width};
}

rlhfi_linear rlhfi_linear_up(const rlhfi_model *model, int64_t layer)
{
    const rlhfi_layer *l = &model->table->layer[layer];

    return (rlhfi_linear){l->up_weight, l->up_bias, model->architecture.width, rlhfi_up_width(&model->architecture)};
}

rlhfi_linear rlhfi_linear_down(const rlhfi_model *model, int64_t layer)
{
    const rlhfi_layer *l = &model->table->layer[layer];

    return (rlhfi_linear){l->down_weight, l->down_bias, model->architecture.inner, model->architecture.width};
}

const rlhfi_layer_panels rlhfi_no_panels = {0};

/* Panels and products give the same bits. */
static rlhf_status linear(rlhf_context *context, const rlhfi_model *model, const rlhfi_linear *map,
                          const rlhfi_panels *panels, int64_t rows, const float *x, float *y)
{
    bool transposed = model->architecture.transposed_weights;
    const float *weight = rlhfi_weight_at(model, map->weight), *bias = rlhfi_weight_at(model, map->bias);

    if (panels != NULL)
        return rlhfi_product_panels(context, rows, x, map->in, panels, bias, y, map->out);
    return rlhfi_product(context, RLHFI_NO, transposed, rows, map->out, map->in, x, map->in, weight,
                         transposed ? map->in : map->out, bias, 0, y, map->out);
}

void rlhfi_norm_forward(rlhf_context *context, const rlhfi_model *model, int64_t weight, int64_t bias, int64_t rows,
                        const float *x, float *y, float *mean, float *rstd)
{
    const rlhfi_architecture *a = &model->architecture;

    if (a->norm == RLHFI_NORM_RMS)
        rlhfi_rms_norm(context, rows, a->width, x, rlhfi_weight_at(model, weight), a->norm_eps, y, rstd);
    else
        rlhfi_layer_norm(context, rows, a->width, x, rlhfi_weight_at(model, weight), rlhfi_weight_at(model, bias),
                         a->norm_eps, y, mean, rstd);
}

void rlhfi_embed(rlhf_context *context, const rlhfi_model *model, int64_t rows, const int32_t *token,
                 const int32_t *position, float *x)
{
    const struct rlhfi_block_table *table = model->table;
    int64_t width = model->architecture.width;

    rlhfi_gather(context, rows, width, rlhfi_weight_at(model, table->token_embedding), token, 0, x);
    if (table->position_embedding != RLHFI_NONE)
        rlhfi_gather(context, rows, width, rlhfi_weight_at(model, table->position_embedding), position, 1, x);
}

rlhf_status rlhfi_block_begin(rlhf_context *context, const rlhfi_model *model, int64_t layer,
                              const rlhfi_layer_panels *panels, int64_t rows, const int32_t *position,
                              const rlhfi_layer_tape *tape, float *normed)
{
    const rlhfi_architecture *a = &model->architecture;
    const rlhfi_layer *l = &model->table->layer[layer];
    rlhfi_linear qkv = rlhfi_linear_qkv(model, layer);

    rlhfi_norm_forward(context, model, l->norm1_weight, l->norm1_bias, rows, tape->input, normed, tape->mean1,
                       tape->rstd1);
    RLHFI_TRY(linear(context, model, &qkv, panels->qkv, rows, normed, tape->qkv));
    /* The heads of q and of k stand side by side: one rotation turns both. */
    if (a->position == RLHFI_POSITION_ROTARY)
        rlhfi_rotate(context, rows, a->heads + a->kv_heads, a->head_dim, position, model->table->cosine,
                     model->table->sine, 1, tape->qkv, qkv.out);
    return RLHF_OK;
}

void rlhfi_block_activate(rlhf_context *context, const rlhfi_model *model, int64_t rows, const float *up,
                          float *hidden)
{
    const rlhfi_architecture *a = &model->architecture;
    int64_t width = rlhfi_up_width(a);

    rlhfi_activate(context, a->activation, rows, a->inner, up, width, a->gated ? up + a->inner : NULL, width,
                   hidden, a->inner);
}

rlhf_status rlhfi_block_end(rlhf_context *context, const rlhfi_model *model, int64_t layer,
                            const rlhfi_layer_panels *panels, int64_t rows, const rlhfi_layer_tape *tape, float *normed,
                            float *hidden, float *output)
{
    const rlhfi_layer *l = &model->table->layer[layer];
    rlhfi_linear projection = rlhfi_linear_output(model, layer), up = rlhfi_linear_up(model, layer);
    rlhfi_linear down = rlhfi_linear_down(model, layer);
    int64_t width = model->architecture.width;

    /* Branch first, residual second; a sum of two does not care which comes first. */
    RLHFI_TRY(linear(context, model, &projection, panels->output, rows, tape->attended, tape->middle));
    rlhfi_add_to(context, tape->middle, tape->input, rows * width);
    rlhfi_norm_forward(context, model, l->norm2_weight, l->norm2_bias, rows, tape->middle, normed, tape->mean2,
                       tape->rstd2);
    RLHFI_TRY(linear(context, model, &up, panels->up, rows, normed, tape->up));
    rlhfi_block_activate(context, model, rows, tape->up, hidden);
    RLHFI_TRY(linear(context, model, &down, panels->down, rows, hidden, output));
    rlhfi_add_to(context, output, tape->middle, rows * width);
    return RLHF_OK;
}
