/* The reference: what include/rlhf/reference.h declares. */
#include "model/internal.h"

static rlhf_status reference_from(rlhf_reference **out, rlhfi_model *model)
{
    rlhf_context *context = model->context;

    *out = rlhfi_calloc(context, 1, sizeof **out);
    if (*out == NULL) {
        rlhfi_model_release(&model);
        return RLHF_E_NOMEM;
    }
    (*out)->references = 1;
    (*out)->model = model;
    return RLHF_OK;
}

rlhf_status rlhf_reference_freeze(rlhf_reference **out, const rlhf_policy *policy)
{
    rlhfi_model *model;

    if (out != NULL)
        *out = NULL;
    if (policy == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(policy->model->context));
    RLHFI_REQUIRE(policy->model->context, out != NULL);
    RLHFI_TRY(rlhfi_model_share(&model, policy->model));
    return reference_from(out, model);
}

rlhf_status rlhf_reference_load(rlhf_reference **out, rlhf_context *context, const char *directory,
                                const rlhf_model_options *options)
{
    rlhfi_model *model;

    if (out != NULL)
        *out = NULL;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, out != NULL && directory != NULL);
    RLHFI_TRY(rlhfi_model_load(&model, context, directory, RLHFI_HEAD_TOKENS, options));
    return reference_from(out, model);
}

rlhf_reference *rlhfi_reference_retain(rlhf_reference *reference)
{
    reference->references++;
    return reference;
}

void rlhf_reference_release(rlhf_reference **reference)
{
    if (reference == NULL || *reference == NULL)
        return;
    if (--(*reference)->references == 0) {
        rlhfi_model *model = (*reference)->model;
        rlhfi_free(model->context, *reference);
        rlhfi_model_release(&model);
    }
    *reference = NULL;
}

rlhf_status rlhf_reference_log_probs(rlhf_reference *reference, const rlhf_batch *batch, double temperature,
                                     float *log_prob)
{
    rlhfi_token_stats stats = {.log_prob = log_prob};
    rlhf_batch_view view;
    float inverse;

    if (reference == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(reference->model->context));
    RLHFI_REQUIRE(reference->model->context, batch != NULL && log_prob != NULL);
    RLHFI_TRY(rlhfi_role_view(reference->model, batch, &view));
    RLHFI_TRY(rlhfi_role_temperature(reference->model, temperature, &inverse));
    return rlhfi_model_log_probs(reference->model, &view, inverse, &stats);
}

rlhf_status rlhf_reference_hash(const rlhf_reference *reference, char hex[65])
{
    return reference == NULL ? RLHF_E_INVAL : rlhfi_role_hash(reference->model, hex);
}
