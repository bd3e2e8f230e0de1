/* How weights are stored: as floats, or as bf16 without any float copy but of the few that work outside products. */
#include "model/internal.h"

rlhf_status rlhfi_weights_create(rlhfi_weights **out, rlhf_context *context, int32_t format, int64_t count)
{
    rlhfi_weights *weights = rlhfi_calloc(context, 1, sizeof *weights);

    *out = NULL;
    if (weights == NULL)
        return RLHF_E_NOMEM;
    if (format == RLHF_BFLOAT16)
        weights->half = rlhfi_alloc_array(context, (size_t)count, sizeof *weights->half);
    else
        weights->data = rlhfi_alloc_array(context, (size_t)count, sizeof *weights->data);
    if (weights->data == NULL && weights->half == NULL) {
        rlhfi_free(context, weights);
        return RLHF_E_NOMEM;
    }
    weights->references = 1;
    weights->context = rlhfi_context_retain(context);
    weights->count = count;
    *out = weights;
    return RLHF_OK;
}

void rlhfi_weights_release(rlhfi_weights **weights)
{
    rlhf_context *context;

    if (*weights != NULL && --(*weights)->references == 0) {
        context = (*weights)->context;
        rlhfi_free(context, (*weights)->data);
        rlhfi_free(context, (*weights)->half);
        rlhfi_free(context, *weights);
        rlhf_context_release(&context);
    }
    *weights = NULL;
}

void rlhfi_weights_copy(rlhfi_weights *to, const rlhfi_weights *from, int64_t count)
{
    if (to->data != NULL)
        rlhfi_copy(to->context, to->data, from->data, count);
    else
        memcpy(to->half, from->half, (size_t)count * sizeof *to->half);
}

/* ---- what works in float ----------------------------------------------------------------------------------------- */

struct rlhfi_vectors {
    uint64_t version; /* of the weights that were copied */
    int64_t *place;   /* [parameter_count] where a parameter's floats begin; RLHFI_NONE = it has none here */
    float *data;
};

static bool is_vector(const rlhfi_parameter *parameter)
{
    return parameter->rank == 1 || parameter->kind == RLHFI_PARAMETER_SCALAR_HEAD;
}

void rlhfi_vectors_release(rlhfi_model *model)
{
    if (model->vectors == NULL)
        return;
    rlhfi_free(model->context, model->vectors->place);
    rlhfi_free(model->context, model->vectors->data);
    rlhfi_free(model->context, model->vectors);
    model->vectors = NULL;
}

/* Vectors that stand side by side in the flat buffer do so here: a map's bias may be several tensors. */
static rlhf_status vectors_create(rlhfi_model *model)
{
    struct rlhfi_vectors *vectors = model->vectors = rlhfi_calloc(model->context, 1, sizeof *vectors);
    int64_t used = 0;

    if (vectors == NULL)
        return RLHF_E_NOMEM;
    vectors->place = rlhfi_calloc(model->context, (size_t)model->parameter_count, sizeof *vectors->place);
    for (int64_t i = 0; vectors->place != NULL && i < model->parameter_count; i++) {
        vectors->place[i] = is_vector(&model->parameters[i]) ? used : RLHFI_NONE;
        used += is_vector(&model->parameters[i]) ? model->parameters[i].elements : 0;
    }
    if (vectors->place != NULL)
        vectors->data = rlhfi_alloc_array(model->context, (size_t)used, sizeof *vectors->data);
    if (vectors->data != NULL)
        return RLHF_OK;
    rlhfi_vectors_release(model);
    return RLHF_E_NOMEM;
}

rlhf_status rlhfi_vectors_need(rlhfi_model *model)
{
    bool made = model->vectors == NULL;

    if (model->weights->half == NULL)
        return RLHF_OK;
    if (made)
        RLHFI_TRY(vectors_create(model));
    if (!made && model->vectors->version == model->version)
        return RLHF_OK;
    for (int64_t i = 0; i < model->parameter_count; i++)
        if (is_vector(&model->parameters[i]))
            rlhfi_widen(model->context, model->vectors->data + model->vectors->place[i],
                        model->weights->half + model->parameters[i].offset, model->parameters[i].elements);
    model->vectors->version = model->version;
    return RLHF_OK;
}

const float *rlhfi_vector_at(const rlhfi_model *model, int64_t offset)
{
    int64_t low = 0, high = model->parameter_count - 1;

    if (offset == RLHFI_NONE)
        return NULL;
    if (model->weights->data != NULL)
        return model->weights->data + offset;
    while (low < high) { /* the last parameter that begins at offset or before */
        int64_t middle = low + (high - low + 1) / 2;
        if (model->parameters[middle].offset <= offset)
            low = middle;
        else
            high = middle - 1;
    }
    return model->vectors->data + model->vectors->place[low];
}

/* ---- filling ----------------------------------------------------------------------------------------------------- */

rlhf_status rlhfi_filling_begin(rlhfi_filling *filling, rlhfi_model *model, const rlhfi_parameter *parameter)
{
    *filling = (rlhfi_filling){.model = model, .parameter = parameter};
    if (model->weights->data != NULL)
        filling->data = model->weights->data + parameter->offset;
    else
        filling->data = rlhfi_alloc_array(model->context, (size_t)parameter->elements, sizeof *filling->data);
    return filling->data != NULL ? RLHF_OK : RLHF_E_NOMEM;
}

void rlhfi_filling_end(rlhfi_filling *filling)
{
    rlhfi_model *model = filling->model;

    if (model->weights->data == NULL) {
        rlhfi_round(model->context, model->weights->half + filling->parameter->offset, filling->data,
                    filling->parameter->elements);
        rlhfi_free(model->context, filling->data);
    }
    filling->data = NULL;
}
