/* The policy: what include/rlhf/policy.h declares. */
#include "model/internal.h"

static rlhf_status policy_from(rlhf_policy **out, rlhfi_model *model)
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

rlhf_status rlhf_policy_load(rlhf_policy **out, rlhf_context *context, const char *directory,
                             const rlhf_model_options *options)
{
    rlhfi_model *model;

    if (out != NULL)
        *out = NULL;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, out != NULL && directory != NULL);
    RLHFI_TRY(rlhfi_model_load(&model, context, directory, RLHFI_HEAD_TOKENS, options));
    return policy_from(out, model);
}

rlhf_status rlhf_policy_create(rlhf_policy **out, rlhf_context *context, const char *config_json, size_t bytes,
                               uint64_t seed, const rlhf_model_options *options)
{
    rlhfi_model *model;

    if (out != NULL)
        *out = NULL;
    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, out != NULL && config_json != NULL);
    RLHFI_TRY(rlhfi_model_create(&model, context, config_json, bytes, RLHFI_HEAD_TOKENS, seed, options));
    return policy_from(out, model);
}

rlhf_status rlhf_policy_clone(rlhf_policy **out, const rlhf_policy *policy)
{
    rlhfi_model *model;

    if (out != NULL)
        *out = NULL;
    if (policy == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(policy->model->context));
    RLHFI_REQUIRE(policy->model->context, out != NULL);
    RLHFI_TRY(rlhfi_model_share(&model, policy->model));
    return policy_from(out, model);
}

rlhf_policy *rlhfi_policy_retain(rlhf_policy *policy)
{
    policy->references++;
    return policy;
}

void rlhf_policy_release(rlhf_policy **policy)
{
    if (policy == NULL || *policy == NULL)
        return;
    if (--(*policy)->references == 0) {
        rlhfi_model *model = (*policy)->model;
        rlhfi_free(model->context, *policy);
        rlhfi_model_release(&model);
    }
    *policy = NULL;
}

rlhf_status rlhf_policy_save(const rlhf_policy *policy, const char *directory)
{
    return policy == NULL ? RLHF_E_INVAL : rlhfi_role_save(policy->model, directory);
}

rlhf_status rlhf_policy_log_probs(rlhf_policy *policy, const rlhf_batch *batch, double temperature, float *log_prob,
                                  float *entropy)
{
    rlhfi_token_stats stats = {.log_prob = log_prob, .entropy = entropy};
    rlhf_batch_view view;
    float inverse;

    if (policy == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(policy->model->context));
    RLHFI_REQUIRE(policy->model->context, batch != NULL && log_prob != NULL);
    RLHFI_TRY(rlhfi_role_view(policy->model, batch, &view));
    RLHFI_TRY(rlhfi_role_temperature(policy->model, temperature, &inverse));
    return rlhfi_model_log_probs(policy->model, &view, inverse, &stats);
}

struct given {
    const float *d_log_prob, *d_entropy;
};

static rlhf_status hand_over(void *user_data, const rlhfi_train_arrays *arrays)
{
    const struct given *given = user_data;
    size_t bytes = (size_t)arrays->count * sizeof(float);

    if (bytes == 0)
        return RLHF_OK;
    memcpy(arrays->d_log_prob, given->d_log_prob, bytes);
    if (given->d_entropy != NULL)
        memcpy(arrays->d_entropy, given->d_entropy, bytes);
    return RLHF_OK;
}

rlhf_status rlhf_policy_backward(rlhf_policy *policy, const rlhf_batch *batch, double temperature,
                                 const float *d_log_prob, const float *d_entropy)
{
    struct given given = {d_log_prob, d_entropy};
    rlhf_batch_view view;
    float inverse;

    if (policy == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(policy->model->context));
    RLHFI_REQUIRE(policy->model->context, batch != NULL && d_log_prob != NULL);
    RLHFI_TRY(rlhfi_role_view(policy->model, batch, &view));
    RLHFI_TRY(rlhfi_role_temperature(policy->model, temperature, &inverse));
    return rlhfi_model_train(policy->model, &view, inverse, d_entropy != NULL, false, false, hand_over, &given);
}

int64_t rlhf_policy_vocabulary(const rlhf_policy *policy)
{
    return policy == NULL ? 0 : policy->model->architecture.vocabulary;
}

int64_t rlhf_policy_positions(const rlhf_policy *policy)
{
    return policy == NULL ? 0 : policy->model->architecture.positions;
}

int64_t rlhf_policy_parameter_count(const rlhf_policy *policy)
{
    return policy == NULL ? 0 : policy->model->parameter_count;
}

rlhf_status rlhf_policy_parameter(const rlhf_policy *policy, int64_t index, rlhf_parameter_view *view)
{
    rlhf_parameter_view known = {.struct_size = sizeof known};
    const rlhfi_parameter *parameter;
    const rlhfi_model *model;
    uint32_t size;

    if (policy == NULL)
        return RLHF_E_INVAL;
    model = policy->model;
    RLHFI_TRY(rlhfi_enter(model->context));
    RLHFI_REQUIRE(model->context, view != NULL && view->struct_size >= sizeof known);
    if (index < 0 || index >= model->parameter_count)
        return rlhfi_fail(model->context, RLHF_E_RANGE, "parameter %lld: the policy has %lld", (long long)index,
                          (long long)model->parameter_count);
    if (model->weights->data == NULL)
        return rlhfi_fail(model->context, RLHF_E_UNSUPPORTED,
                          "parameter %lld: the weights are bfloat16, there are no floats to look at", (long long)index);
    parameter = &model->parameters[index];
    size = view->struct_size;
    memset(view, 0, size);
    known.struct_size = size;
    known.rank = parameter->rank;
    known.name = parameter->name;
    known.shape = parameter->shape;
    known.data = model->weights->data + parameter->offset;
    known.gradient = model->gradient != NULL ? model->gradient + parameter->offset : NULL;
    known.elements = parameter->elements;
    memcpy(view, &known, sizeof known);
    return RLHF_OK;
}

rlhf_status rlhf_policy_hash(const rlhf_policy *policy, char hex[65])
{
    return policy == NULL ? RLHF_E_INVAL : rlhfi_role_hash(policy->model, hex);
}

size_t rlhf_policy_describe(const rlhf_policy *policy, char *buffer, size_t capacity)
{
    return policy == NULL ? 0 : rlhfi_model_text(policy->model, buffer, capacity);
}
