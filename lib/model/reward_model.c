/* The reward model: what include/rlhf/reward_model.h declares. */
#include "model/internal.h"

static rlhf_status reward_model_from(rlhf_reward_model **out, rlhfi_model *model)
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

rlhf_status rlhf_reward_model_load(rlhf_reward_model **out, rlhf_context *context, const char *directory,
                                   const rlhf_model_options *options)
{
    rlhfi_model *model;

    if (out != NULL)
        *out = NULL;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, out != NULL && directory != NULL);
    RLHFI_TRY(rlhfi_model_load(&model, context, directory, RLHFI_HEAD_SCALAR, options));
    return reward_model_from(out, model);
}

rlhf_status rlhf_reward_model_from_policy(rlhf_reward_model **out, const rlhf_policy *policy, uint64_t seed)
{
    rlhfi_model *model;
    double width;

    if (out != NULL)
        *out = NULL;
    if (policy == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(policy->model->context));
    RLHFI_REQUIRE(policy->model->context, out != NULL);
    width = (double)policy->model->architecture.width;
    RLHFI_TRY(rlhfi_model_with_scalar_head(&model, policy->model, (float)(1.0 / __builtin_sqrt(width + 1.0)), seed));
    return reward_model_from(out, model);
}

rlhf_reward_model *rlhfi_reward_model_retain(rlhf_reward_model *model)
{
    model->references++;
    return model;
}

void rlhf_reward_model_release(rlhf_reward_model **model)
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

rlhf_status rlhf_reward_model_save(const rlhf_reward_model *model, const char *directory)
{
    return model == NULL ? RLHF_E_INVAL : rlhfi_role_save(model->model, directory);
}

rlhf_status rlhf_reward_model_score(rlhf_reward_model *model, const rlhf_batch *batch, float *score)
{
    rlhf_batch_view view;

    if (model == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(model->model->context));
    RLHFI_REQUIRE(model->model->context, batch != NULL && score != NULL);
    RLHFI_TRY(rlhfi_role_view(model->model, batch, &view));
    RLHFI_TRY(rlhfi_model_scalars(model->model, &view, false, score));
    rlhfi_role_normalise(model->model, view.rows, score);
    return RLHF_OK;
}

static rlhf_status hand_over(void *user_data, int64_t count, const float *scalar, float *d_scalar)
{
    (void)scalar;
    if (count > 0)
        memcpy(d_scalar, user_data, (size_t)count * sizeof *d_scalar);
    return RLHF_OK;
}

rlhf_status rlhf_reward_model_backward(rlhf_reward_model *model, const rlhf_batch *batch, const float *d_score)
{
    rlhf_batch_view view;

    if (model == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(model->model->context));
    RLHFI_REQUIRE(model->model->context, batch != NULL && d_score != NULL);
    RLHFI_TRY(rlhfi_role_view(model->model, batch, &view));
    return rlhfi_model_train_scalars(model->model, &view, false, hand_over, (void *)(uintptr_t)d_score);
}

rlhf_status rlhf_reward_model_set_normalisation(rlhf_reward_model *model, double gain, double bias)
{
    if (model == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(model->model->context));
    if (!__builtin_isfinite(gain) || gain == 0.0 || !__builtin_isfinite(bias))
        return rlhfi_fail(model->model->context, RLHF_E_INVAL,
                          "normalisation: the gain must be finite and not 0, the bias finite");
    model->model->score_gain = gain;
    model->model->score_bias = bias;
    return RLHF_OK;
}

rlhf_status rlhf_reward_model_normalisation(const rlhf_reward_model *model, double *gain, double *bias)
{
    if (model == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(model->model->context));
    RLHFI_REQUIRE(model->model->context, gain != NULL && bias != NULL);
    *gain = model->model->score_gain;
    *bias = model->model->score_bias;
    return RLHF_OK;
}

rlhf_status rlhf_reward_model_hash(const rlhf_reward_model *model, char hex[65])
{
    return model == NULL ? RLHF_E_INVAL : rlhfi_role_hash(model->model, hex);
}

size_t rlhf_reward_model_describe(const rlhf_reward_model *model, char *buffer, size_t capacity)
{
    return model == NULL ? 0 : rlhfi_model_text(model->model, buffer, capacity);
}

int64_t rlhf_reward_model_positions(const rlhf_reward_model *model)
{
    return model != NULL ? model->model->architecture.positions : 0;
}
