/* The flat buffer and its table: life of a model, sharing until somebody writes, the hash. */
#include "model/internal.h"

static void destroy(rlhfi_model *model)
{
    rlhf_context *context = model->context;

    rlhfi_panel_set_release(model);
    rlhfi_vectors_release(model);
    rlhfi_lanes_release(model);
    if (model->table != NULL) {
        rlhfi_free(context, model->table->layer);
        rlhfi_free(context, model->table->cosine);
        rlhfi_free(context, model->table->sine);
        rlhfi_free(context, model->table);
    }
    rlhfi_arena_release(&model->arena);
    rlhfi_free(context, model->gradient);
    rlhfi_free(context, model->parameters);
    rlhfi_free(context, model->architecture.inverse_frequency);
    rlhfi_hf_config_free(context, &model->config);
    rlhfi_weights_release(&model->weights);
    rlhfi_free(context, model);
    rlhf_context_release(&context);
}

rlhf_status rlhfi_model_new(rlhfi_model **out, rlhf_context *context, rlhfi_hf_config *config,
                            enum rlhfi_head_kind head, const rlhf_model_options *options, bool with_weights)
{
    rlhfi_model *model = rlhfi_calloc(context, 1, sizeof *model);
    rlhf_status status;

    *out = NULL;
    if (model == NULL) {
        rlhfi_hf_config_free(context, config);
        return RLHF_E_NOMEM;
    }
    model->references = 1;
    model->context = rlhfi_context_retain(context);
    model->head = head;
    model->score_gain = 1.0;
    model->config = *config;
    *config = (rlhfi_hf_config){0};
    RLHFI_GOTO(rlhfi_model_take_options(model, options));
    RLHFI_GOTO(rlhfi_arena_create(&model->arena, context));
    RLHFI_GOTO(rlhfi_model_describe(model));
    if (with_weights)
        RLHFI_GOTO(rlhfi_model_need_weights(model));
    *out = model;
    return RLHF_OK;
done:
    destroy(model);
    return status;
}

rlhf_status rlhfi_model_need_weights(rlhfi_model *model)
{
    const rlhfi_parameter *last = &model->parameters[model->parameter_count - 1];

    return rlhfi_weights_create(&model->weights, model->context, model->options.weight_format,
                                last->offset + last->elements);
}

rlhfi_model *rlhfi_model_retain(rlhfi_model *model)
{
    model->references++;
    return model;
}

void rlhfi_model_release(rlhfi_model **model)
{
    if (model == NULL || *model == NULL)
        return;
    if (--(*model)->references == 0)
        destroy(*model);
    *model = NULL;
}

/* A second model of the same config; weights are the caller's business. */
static rlhf_status model_like(rlhfi_model **out, const rlhfi_model *model, enum rlhfi_head_kind head, bool with_weights)
{
    rlhfi_hf_config config = {0};

    *out = NULL;
    RLHFI_TRY(rlhfi_hf_config_copy(model->context, &config, &model->config));
    RLHFI_TRY(rlhfi_model_new(out, model->context, &config, head, &model->options, with_weights));
    (*out)->score_gain = model->score_gain;
    (*out)->score_bias = model->score_bias;
    return RLHF_OK;
}

rlhf_status rlhfi_model_share(rlhfi_model **out, const rlhfi_model *model)
{
    RLHFI_TRY(model_like(out, model, model->head, false));
    (*out)->weights = model->weights;
    (*out)->weights->references++;
    return RLHF_OK;
}

rlhf_status rlhfi_model_with_scalar_head(rlhfi_model **out, const rlhfi_model *model, float head_std, uint64_t seed)
{
    const rlhfi_parameter *head;
    rlhf_status status;

    RLHFI_TRY(model_like(out, model, RLHFI_HEAD_SCALAR, true));
    /* The trunk comes first in every flat buffer, the head last. */
    head = &(*out)->parameters[(*out)->parameter_count - 1];
    rlhfi_weights_copy((*out)->weights, model->weights, head->offset);
    status = rlhfi_scalar_head_initialise(*out, head_std, seed);
    if (status != RLHF_OK)
        rlhfi_model_release(out);
    else
        (*out)->score_gain = 1.0, (*out)->score_bias = 0.0;
    return status;
}

rlhf_status rlhfi_model_writable(rlhfi_model *model)
{
    if (model->weights->references > 1) {
        rlhfi_weights *own;
        RLHFI_TRY(rlhfi_weights_create(&own, model->context, model->options.weight_format, model->weights->count));
        rlhfi_weights_copy(own, model->weights, own->count);
        rlhfi_weights_release(&model->weights);
        model->weights = own;
    }
    model->version++;
    return RLHF_OK;
}

rlhf_status rlhfi_model_take_weights(rlhfi_model *model, const rlhfi_model *from)
{
    RLHFI_REQUIRE(model->context, from->weights->count == model->weights->count);
    RLHFI_REQUIRE(model->context, from->options.weight_format == model->options.weight_format);
    RLHFI_TRY(rlhfi_model_writable(model));
    rlhfi_weights_copy(model->weights, from->weights, from->weights->count);
    return RLHF_OK;
}

rlhf_status rlhfi_model_need_gradient(rlhfi_model *model)
{
    if (model->gradient == NULL)
        model->gradient = rlhfi_calloc(model->context, (size_t)model->weights->count, sizeof(float));
    return model->gradient != NULL ? RLHF_OK : RLHF_E_NOMEM;
}

rlhf_status rlhfi_model_hash(const rlhfi_model *model, char hex[65])
{
    rlhfi_sha256 hash;

    rlhfi_sha256_init(&hash);
    for (int64_t i = 0; i < model->parameter_count; i++) {
        const rlhfi_parameter *parameter = &model->parameters[i];
        /* Name with its NUL, rank and sizes as 64-bit little-endian numbers, then the numbers: nothing can be read as
         * part of its neighbour. */
        uint8_t sizes[3 * 8];
        uint64_t numbers[3] = {(uint64_t)parameter->rank, (uint64_t)parameter->shape[0], (uint64_t)parameter->shape[1]};
        for (int n = 0; n < 3; n++)
            for (int byte = 0; byte < 8; byte++)
                sizes[8 * n + byte] = (uint8_t)(numbers[n] >> (8 * byte));
        rlhfi_sha256_add(&hash, parameter->name, strlen(parameter->name) + 1);
        rlhfi_sha256_add(&hash, sizes, sizeof sizes);
        if (model->weights->data != NULL)
            rlhfi_sha256_add(&hash, model->weights->data + parameter->offset,
                             (size_t)parameter->elements * sizeof(float));
        else
            rlhfi_sha256_add(&hash, model->weights->half + parameter->offset,
                             (size_t)parameter->elements * sizeof(uint16_t));
    }
    rlhfi_sha256_hex(&hash, hex);
    return RLHF_OK;
}
