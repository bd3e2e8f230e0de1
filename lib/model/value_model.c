/* The value model: what include/rlhf/value_model.h declares. */
#include "model/internal.h"

static rlhf_status value_model_from(rlhf_value_model **out, rlhfi_model *model)
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

rlhf_status rlhf_value_model_from_reward_model(rlhf_value_model **out, const rlhf_reward_model *model)
{
    rlhfi_model *shared;

    if (out != NULL)
        *out = NULL;
    if (model == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(model->model->context));
    RLHFI_REQUIRE(model->model->context, out != NULL);
    RLHFI_TRY(rlhfi_model_share(&shared, model->model));
    return value_model_from(out, shared);
}

rlhf_status rlhf_value_model_from_policy(rlhf_value_model **out, const rlhf_policy *policy)
{
    rlhfi_model *model;

    if (out != NULL)
        *out = NULL;
    if (policy == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(policy->model->context));
    RLHFI_REQUIRE(policy->model->context, out != NULL);
    RLHFI_TRY(rlhfi_model_with_scalar_head(&model, policy->model, 0.0f, 0));
    return value_model_from(out, model);
}

rlhf_status rlhf_value_model_load(rlhf_value_model **out, rlhf_context *context, const char *directory,
                                  const rlhf_model_options *options)
{
    rlhfi_model *model;

    if (out != NULL)
        *out = NULL;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, out != NULL && directory != NULL);
    RLHFI_TRY(rlhfi_model_load(&model, context, directory, RLHFI_HEAD_SCALAR, options));
    return value_model_from(out, model);
}

rlhf_value_model *rlhfi_value_model_retain(rlhf_value_model *model)
{
    model->references++;
    return model;
}

void rlhf_value_model_release(rlhf_value_model **model)
{
    if (model == NULL || *model == NULL)
        return;
    if (--(*model)->references == 0) {
        rlhfi_model *inner = (*model)->model;
        rlhfi_free(inner->context, *model);
        rlhfi_model_release(&inner);
    }
    *model = NULL;
}

rlhf_status rlhf_value_model_save(const rlhf_value_model *model, const char *directory)
{
    return model == NULL ? RLHF_E_INVAL : rlhfi_role_save(model->model, directory);
}

rlhf_status rlhf_value_model_values(rlhf_value_model *model, const rlhf_batch *batch, float *value)
{
    rlhf_batch_view view;

    if (model == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(model->model->context));
    RLHFI_REQUIRE(model->model->context, batch != NULL && value != NULL);
    RLHFI_TRY(rlhfi_role_view(model->model, batch, &view));
    RLHFI_TRY(rlhfi_model_scalars(model->model, &view, true, value));
    rlhfi_role_normalise(model->model, view.response_offset[view.rows], value);
    return RLHF_OK;
}

struct given {
    const float *d_value;
    double gain;
};

/* value = gain * raw + bias */
static rlhf_status hand_over(void *user_data, int64_t count, const float *scalar, float *d_scalar)
{
    const struct given *given = user_data;

    (void)scalar;
    for (int64_t i = 0; i < count; i++)
        d_scalar[i] = (float)(given->gain * (double)given->d_value[i]);
    return RLHF_OK;
}

rlhf_status rlhf_value_model_backward(rlhf_value_model *model, const rlhf_batch *batch, const float *d_value)
{
    struct given given = {.d_value = d_value};
    rlhf_batch_view view;

    if (model == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(model->model->context));
    RLHFI_REQUIRE(model->model->context, batch != NULL && d_value != NULL);
    RLHFI_TRY(rlhfi_role_view(model->model, batch, &view));
    given.gain = model->model->score_gain;
    return rlhfi_model_train_scalars(model->model, &view, true, hand_over, &given);
}

rlhf_status rlhf_value_model_hash(const rlhf_value_model *model, char hex[65])
{
    return model == NULL ? RLHF_E_INVAL : rlhfi_role_hash(model->model, hex);
}
