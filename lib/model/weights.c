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
    int64_t count = last->offset + last->elements;

    RLHFI_TRY(rlhfi_plan_check(model, (uint64_t)count * (uint64_t)rlhfi_weight_bytes(model), "the model's weights"));
    return rlhfi_weights_create(&model->weights, model->context, model->options.weight_format, count);
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
    rlhf_status status = model_like(out, model, model->head, false);

    if (status == RLHF_OK && model->value_head)
        status = rlhfi_model_describe_value_head(*out);
    if (status != RLHF_OK) {
        rlhfi_model_release(out);
        return status;
    }
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

rlhf_status rlhfi_model_add_value_head(rlhfi_model *model)
{
    int64_t count = model->weights->count, width = model->architecture.width;
    float *gradient = NULL;
    rlhfi_weights *grown;
    rlhf_status status;

    RLHFI_REQUIRE(model->context, model->head == RLHFI_HEAD_TOKENS);
    RLHFI_TRY(rlhfi_model_idle(model));
    if (model->value_head)
        return RLHF_OK;
    if (model->weights->half != NULL)
        return rlhfi_fail(model->context, RLHF_E_UNSUPPORTED,
                          "value head: the policy's weights are bfloat16; only float32 weights can carry one");
    RLHFI_TRY(rlhfi_weights_create(&grown, model->context, RLHF_FLOAT32, count + width));
    if (model->gradient != NULL)
        gradient = rlhfi_calloc(model->context, (size_t)grown->count, sizeof *gradient);
    status = model->gradient == NULL || gradient != NULL ? rlhfi_model_describe_value_head(model) : RLHF_E_NOMEM;
    if (status != RLHF_OK) {
        rlhfi_free(model->context, gradient);
        rlhfi_weights_release(&grown);
        return status;
    }
    rlhfi_copy(model->context, grown->data, model->weights->data, count);
    rlhfi_zero(model->context, grown->data + count, width);
    if (gradient != NULL) {
        rlhfi_copy(model->context, gradient, model->gradient, count);
        rlhfi_free(model->context, model->gradient);
        model->gradient = gradient;
    }
    rlhfi_weights_release(&model->weights);
    model->weights = grown;
    model->version++;
    return RLHF_OK;
}

int64_t rlhfi_model_own_parameters(const rlhfi_model *model)
{
    return model->parameter_count - (model->value_head ? 1 : 0);
}

int64_t rlhfi_model_own_weights(const rlhfi_model *model)
{
    const rlhfi_parameter *last = &model->parameters[rlhfi_model_own_parameters(model) - 1];

    return last->offset + last->elements;
}

float *rlhfi_value_head_weight(const rlhfi_model *model)
{
    return model->value_head ? model->weights->data + model->table->scalar : NULL;
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
    RLHFI_REQUIRE(model->context, from->weights->count == rlhfi_model_own_weights(model));
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
    for (int64_t i = 0; i < rlhfi_model_own_parameters(model); i++) {
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
