/* Random weights: every tensor is a stream of its own, so a tensor's values depend on the seed and its number alone. */
#include "model/internal.h"

/* Streams of scalar heads lie apart from those of the trunk's tensors. */
enum { HEAD_STREAM = 1 << 30 };

static rlhf_status initializer_range(const rlhfi_model *model, double *range)
{
    rlhfi_json *root = NULL;

    RLHFI_TRY(rlhfi_json_parse(&root, model->context, model->config.json, strlen(model->config.json), "config.json"));
    *range = 0.02;
    rlhfi_json_number(rlhfi_json_get(root, "initializer_range"), range);
    rlhfi_json_release(&root);
    if (!(*range >= 0.0) || *range > 1e6)
        return rlhfi_fail(model->context, RLHF_E_FORMAT, "config.json: initializer_range must be a number from 0");
    return RLHF_OK;
}

static void fill(float *out, int64_t count, float value)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = value;
}

rlhf_status rlhfi_scalar_head_initialise(rlhfi_model *model, float std, uint64_t seed)
{
    const rlhfi_parameter *head = &model->parameters[model->parameter_count - 1];
    rlhfi_filling filling;

    RLHFI_TRY(rlhfi_filling_begin(&filling, model, head));
    if (std > 0.0f)
        rlhfi_normal_fill(seed, RLHFI_RANDOM_INIT, HEAD_STREAM, std, filling.data, (size_t)head->elements);
    else
        fill(filling.data, head->elements, 0.0f);
    rlhfi_filling_end(&filling);
    return RLHF_OK;
}

rlhf_status rlhfi_model_initialise(rlhfi_model *model, uint64_t seed)
{
    double range, residual;

    RLHFI_TRY(initializer_range(model, &range));
    residual = range / __builtin_sqrt(2.0 * (double)model->architecture.layers);
    for (int64_t i = 0; i < model->parameter_count; i++) {
        const rlhfi_parameter *parameter = &model->parameters[i];
        rlhfi_filling filling;
        if (parameter->kind == RLHFI_PARAMETER_SCALAR_HEAD) {
            float std = (float)(1.0 / __builtin_sqrt(model->architecture.width + 1.0));
            RLHFI_TRY(rlhfi_scalar_head_initialise(model, std, seed));
            continue;
        }
        RLHFI_TRY(rlhfi_filling_begin(&filling, model, parameter));
        switch (parameter->kind) {
        case RLHFI_PARAMETER_MATRIX:
        case RLHFI_PARAMETER_RESIDUAL:
            rlhfi_normal_fill(seed, RLHFI_RANDOM_INIT, (uint32_t)i,
                              (float)(parameter->kind == RLHFI_PARAMETER_MATRIX ? range : residual),
                              filling.data,
                              (size_t)parameter->elements);
            break;
        case RLHFI_PARAMETER_GAIN:
            fill(filling.data, parameter->elements, 1.0f);
            break;
        case RLHFI_PARAMETER_BIAS:
            fill(filling.data, parameter->elements, 0.0f);
            break;
        case RLHFI_PARAMETER_SCALAR_HEAD: /* above */
            break;
        }
        rlhfi_filling_end(&filling);
    }
    return RLHF_OK;
}

rlhf_status rlhfi_model_create(rlhfi_model **out, rlhf_context *context, const char *config_json, size_t bytes,
                               enum rlhfi_head_kind head, uint64_t seed, const rlhf_model_options *options)
{
    rlhfi_hf_config config = {0};
    rlhf_status status;

    *out = NULL;
    RLHFI_TRY(rlhfi_hf_config_parse(&config, context, config_json, bytes, "config.json"));
    RLHFI_TRY(rlhfi_model_new(out, context, &config, head, options, true));
    status = rlhfi_model_initialise(*out, seed);
    if (status != RLHF_OK)
        rlhfi_model_release(out);
    return status;
}
