/* One decoder layer, driven by the description. Every row passes the same kernels in the same order wherever it comes
 * from: that is why a token's log-probability has the same bits when it is sampled, scored and trained on. */
#include "model/internal.h"

void rlhfi_norm_forward(rlhf_context *context, const rlhfi_model *model, int64_t weight, int64_t bias, int64_t rows,
                        const float *x, float *y, float *mean, float *rstd)
{
    const rlhfi_architecture *a = &model->architecture;

    if (a->norm == RLHFI_NORM_RMS)
        rlhfi_rms_norm(context, rows, a->width, x, rlhfi_vector_at(model, weight), a->norm_eps, y, rstd);
    else
        rlhfi_layer_norm(context, rows, a->width, x, rlhfi_vector_at(model, weight), rlhfi_vector_at(model, bias),
                         a->norm_eps, y, mean, rstd);
}

static void gather(rlhf_context *context, const rlhfi_model *model, int64_t rows, int64_t table, const int32_t *id,
                   int accumulate, float *x)
{
    rlhfi_array from = rlhfi_weight_at(model, table);

    if (from.f32 != NULL)
        rlhfi_gather(context, rows, model->architecture.width, from.f32, id, accumulate, x);
    else
        rlhfi_gather_bf16(context, rows, model->architecture.width, from.bf16, id, accumulate, x);
}

void rlhfi_embed(rlhf_context *context, const rlhfi_model *model, int64_t rows, const int32_t *token,
                 const int32_t *position, float *x)
{
    const struct rlhfi_block_table *table = model->table;

    gather(context, model, rows, table->token_embedding, token, 0, x);
    if (table->position_embedding != RLHFI_NONE)
        gather(context, model, rows, table->position_embedding, position, 1, x);
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
    RLHFI_TRY(rlhfi_linear_forward(context, model, &qkv, panels->qkv, rows, normed, tape->qkv));
    /* The heads of q and of k stand side by side: one rotation turns both. */
    if (a->position == RLHFI_POSITION_ROTARY)
        rlhfi_rotate(context, rows, a->heads + a->kv_heads, a->head_dim, position, model->table->cosine,
                     model->table->sine, 1, tape->qkv, qkv.out);
    return RLHF_OK;
}

void rlhfi_block_activate(rlhf_context *context, const rlhfi_model *model, int64_t rows, const float *up, float *hidden)
{
    const rlhfi_architecture *a = &model->architecture;
    int64_t width = rlhfi_up_width(a);

    rlhfi_activate(context, a->activation, rows, a->inner, up, width, a->gated ? up + a->inner : NULL, width, hidden,
                   a->inner);
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
    RLHFI_TRY(rlhfi_linear_forward(context, model, &projection, panels->output, rows, tape->attended, tape->middle));
    rlhfi_add_to(context, tape->middle, tape->input, rows * width);
    rlhfi_norm_forward(context, model, l->norm2_weight, l->norm2_bias, rows, tape->middle, normed, tape->mean2,
                       tape->rstd2);
    RLHFI_TRY(rlhfi_linear_forward(context, model, &up, panels->up, rows, normed, tape->up));
    if (output == NULL)
        return RLHF_OK;
    rlhfi_block_activate(context, model, rows, tape->up, hidden);
    RLHFI_TRY(rlhfi_linear_forward(context, model, &down, panels->down, rows, hidden, output));
    rlhfi_add_to(context, output, tape->middle, rows * width);
    return RLHF_OK;
}
