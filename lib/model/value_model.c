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

rlhf_status rlhf_value_model_on_policy(rlhf_value_model **out, rlhf_policy *policy)
{
    if (out != NULL)
        *out = NULL;
    if (policy == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(policy->model->context));
    RLHFI_REQUIRE(policy->model->context, out != NULL);
    RLHFI_TRY(rlhfi_model_add_value_head(policy->model));
    return value_model_from(out, rlhfi_model_retain(policy->model));
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

/* A value model by itself, for what speaks of one: on a policy's trunk it is a copy of trunk and value head. */
static rlhf_status stand_alone(rlhfi_model **out, const rlhf_value_model *model)
{
    const float *head = rlhfi_value_head_weight(model->model);
    const rlhfi_parameter *score;

    RLHFI_TRY(rlhfi_enter(model->model->context));
    if (head == NULL) {
        *out = rlhfi_model_retain(model->model);
        return RLHF_OK;
    }
    RLHFI_TRY(rlhfi_model_with_scalar_head(out, model->model, 0.0f, 0));
    score = &(*out)->parameters[(*out)->parameter_count - 1];
    rlhfi_copy(model->model->context, (*out)->weights->data + score->offset, head, score->elements);
    return RLHF_OK;
}

rlhf_status rlhf_value_model_save(const rlhf_value_model *model, const char *directory)
{
    rlhfi_model *alone;
    rlhf_status status;

    if (model == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(stand_alone(&alone, model));
    status = rlhfi_role_save(alone, directory);
    rlhfi_model_release(&alone);
    return status;
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
    rlhfi_model *alone;
    rlhf_status status;

    if (model == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(stand_alone(&alone, model));
    status = rlhfi_role_hash(alone, hex);
    rlhfi_model_release(&alone);
    return status;
}

/* ---- both heads of one trunk in one pass ------------------------------------------------------------------------ */

static rlhf_status need_policy_trunk(const rlhf_value_model *model)
{
    if (model->model->value_head)
        return RLHF_OK;
    return rlhfi_fail(model->model->context, RLHF_E_UNSUPPORTED,
                      "value model: it has a trunk of its own, only one made by rlhf_value_model_on_policy has log-"
                      "probabilities too");
}

rlhf_status rlhf_value_model_joint(rlhf_value_model *model, const rlhf_batch *batch, double temperature,
                                   float *log_prob, float *entropy, float *value)
{
    rlhfi_token_stats stats = {.log_prob = log_prob, .entropy = entropy, .value = value};
    rlhf_batch_view view;
    float inverse;

    if (model == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(model->model->context));
    RLHFI_REQUIRE(model->model->context, batch != NULL && log_prob != NULL && value != NULL);
    RLHFI_TRY(need_policy_trunk(model));
    RLHFI_TRY(rlhfi_role_view(model->model, batch, &view));
    RLHFI_TRY(rlhfi_role_temperature(model->model, temperature, &inverse));
    return rlhfi_model_log_probs(model->model, &view, inverse, &stats);
}

struct given_joint {
    const float *d_log_prob, *d_entropy, *d_value;
};

static rlhf_status hand_over_joint(void *user_data, const rlhfi_train_arrays *arrays)
{
    const struct given_joint *given = user_data;
    size_t bytes = (size_t)arrays->count * sizeof(float);

    if (bytes == 0)
        return RLHF_OK;
    memcpy(arrays->d_log_prob, given->d_log_prob, bytes);
    memcpy(arrays->d_value, given->d_value, bytes);
    if (given->d_entropy != NULL)
        memcpy(arrays->d_entropy, given->d_entropy, bytes);
    return RLHF_OK;
}

rlhf_status rlhf_value_model_joint_backward(rlhf_value_model *model, const rlhf_batch *batch, double temperature,
                                            const float *d_log_prob, const float *d_entropy, const float *d_value)
{
    struct given_joint given = {d_log_prob, d_entropy, d_value};
    rlhf_batch_view view;
    float inverse;

    if (model == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(model->model->context));
    RLHFI_REQUIRE(model->model->context, batch != NULL && d_log_prob != NULL && d_value != NULL);
    RLHFI_TRY(need_policy_trunk(model));
    RLHFI_TRY(rlhfi_role_view(model->model, batch, &view));
    RLHFI_TRY(rlhfi_role_temperature(model->model, temperature, &inverse));
    return rlhfi_model_train(model->model, &view, inverse, d_entropy != NULL, false, false, hand_over_joint, &given);
}
