/* Linear maps of a layer, both ways: the only place that knows how the weights of a map are stored. */
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

/* Panels and products give the same bits. */
rlhf_status rlhfi_linear_forward(rlhf_context *context, const rlhfi_model *model, const rlhfi_linear *map,
                                 const rlhfi_panels *panels, int64_t rows, const float *x, float *y)
{
    bool transposed = model->architecture.transposed_weights;
    const float *bias = rlhfi_vector_at(model, map->bias);

    if (panels != NULL)
        return rlhfi_product_panels(context, rows, x, map->in, panels, bias, y, map->out);
    return rlhfi_product_either(context, rlhfi_rounds(model), RLHFI_NO, transposed, rows, map->out, map->in, x, map->in,
                                rlhfi_weight_at(model, map->weight), transposed ? map->in : map->out, bias, 0, y,
                                map->out);
}

rlhf_status rlhfi_linear_backward(rlhf_context *context, const rlhfi_model *model, const rlhfi_linear *map,
                                  const rlhfi_panels *panels, const rlhfi_sink *sink, int64_t rows, const float *x,
                                  const float *dy, float *dx, int64_t lddx)
{
    bool transposed = model->architecture.transposed_weights, rounded = rlhfi_rounds(model);
    float *dw = rlhfi_gradient_at(sink, map->weight);

    if (map->bias != RLHFI_NONE)
        RLHFI_TRY(rlhfi_bias_gradient(context, rows, map->out, dy, map->out, rlhfi_gradient_at(sink, map->bias)));
    if (transposed)
        RLHFI_TRY(rlhfi_product_either(context, rounded, RLHFI_YES, RLHFI_NO, map->out, map->in, rows, dy, map->out,
                                       rlhfi_floats(x), map->in, NULL, 1, dw, map->in));
    else
        RLHFI_TRY(rlhfi_product_either(context, rounded, RLHFI_YES, RLHFI_NO, map->in, map->out, rows, x, map->in,
                                       rlhfi_floats(dy), map->out, NULL, 1, dw, map->out));
    if (panels != NULL)
        return rlhfi_product_panels(context, rows, dy, map->out, panels, NULL, dx, lddx);
    return rlhfi_product_either(context, rounded, RLHFI_NO, !transposed, rows, map->in, map->out, dy, map->out,
                                rlhfi_weight_at(model, map->weight), transposed ? map->in : map->out, NULL, 0, dx,
                                lddx);
}
