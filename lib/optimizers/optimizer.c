/* AdamW (1711.05101) with global-norm clipping and a schedule. A model's parameters, gradients and both moments are
 * flat buffers of the same layout, so a step is a few passes over them. A step that cannot be taken changes nothing:
 * gradients are looked at and copies of shared weights are made before the first write. */
#include "optimizers/optimizers.h"

#include <math.h>

struct rlhf_optimizer {
    rlhfi_model *model;
    rlhf_optimizer_options options;
    float *first_moment, *second_moment; /* [count] */
    int64_t count;                       /* of the model's weights when it was made */
    uint64_t steps, seed;                /* seed: of stochastic rounding */
};

/* ---- options and life -------------------------------------------------------------------------------------------- */

static const rlhf_optimizer_options defaults = {
    .struct_size = sizeof defaults,
    .schedule = RLHF_SCHEDULE_LINEAR,
    .learning_rate = 2e-5,
    .beta1 = 0.9,
    .beta2 = 0.999,
    .epsilon = 1e-8,
    .max_grad_norm = 1,
};

void rlhf_optimizer_options_init(rlhf_optimizer_options *options, size_t size)
{
    rlhfi_options_init(options, size, &defaults, sizeof defaults);
}

static rlhf_status check_options(rlhf_context *context, const rlhf_optimizer_options *options)
{
    /* Everything that goes into float32 arithmetic must be a float32 number there too: epsilon 1e-50 would be 0. */
    const struct { const char *name; double value, low, high; } bounds[] = {
        {"learning_rate", options->learning_rate, 0, 1e6}, {"beta1", options->beta1, 0, 0.9999999},
        {"beta2", options->beta2, 0, 0.9999999},           {"epsilon", options->epsilon, 1e-30, 1e6},
        {"weight_decay", options->weight_decay, 0, 1e6},   {"max_grad_norm", options->max_grad_norm, 0, 1e30},
        {"min_lr_rate", options->min_lr_rate, 0, 1},
    };
    char value[32], low[32], high[32];

    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        if (bounds[i].value >= bounds[i].low && bounds[i].value <= bounds[i].high)
            continue;
        rlhfi_format_double(bounds[i].value, value, sizeof value);
        rlhfi_format_double(bounds[i].low, low, sizeof low);
        rlhfi_format_double(bounds[i].high, high, sizeof high);
        return rlhfi_fail(context, RLHF_E_RANGE, "optimizer: %s is %s, must be at least %s and at most %s",
                          bounds[i].name, value, low, high);
    }
    if (options->schedule < RLHF_SCHEDULE_CONSTANT || options->schedule > RLHF_SCHEDULE_COSINE)
        return rlhfi_fail(context, RLHF_E_RANGE,
                          "optimizer: schedule is %ld, known are 0 (constant), 1 (linear), 2 (cosine)",
                          (long)options->schedule);
    if (options->schedule != RLHF_SCHEDULE_CONSTANT && options->total_steps > 0 &&
        options->warmup_steps > options->total_steps)
        return rlhfi_fail(context, RLHF_E_RANGE, "optimizer: warmup_steps is %llu, more than total_steps, %llu",
                          (unsigned long long)options->warmup_steps, (unsigned long long)options->total_steps);
    return RLHF_OK;
}

rlhf_status rlhfi_optimizer_create(rlhf_optimizer **out, rlhfi_model *model, const rlhf_optimizer_options *options)
{
    rlhf_context *context = model->context;
    rlhf_optimizer_options known = defaults;
    size_t count = (size_t)model->weights->count;
    rlhf_optimizer *optimizer;

    *out = NULL;
    RLHFI_TRY(rlhfi_options_copy(context, &known, sizeof known, options, sizeof known, "optimizer options"));
    RLHFI_TRY(check_options(context, &known));
    RLHFI_TRY(rlhfi_plan_check(model,
                               (uint64_t)count * (3 * sizeof(float) + (model->weights->half != NULL ? 2 : 4)),
                               "weights, gradient and AdamW's moments"));
    optimizer = rlhfi_calloc(context, 1, sizeof *optimizer);
    if (optimizer == NULL)
        return RLHF_E_NOMEM;
    optimizer->model = rlhfi_model_retain(model);
    optimizer->options = known;
    optimizer->count = model->weights->count;
    optimizer->seed = context->seed;
    optimizer->first_moment = rlhfi_calloc(context, count, sizeof(float));
    optimizer->second_moment = rlhfi_calloc(context, count, sizeof(float));
    if (optimizer->first_moment == NULL || optimizer->second_moment == NULL) {
        rlhf_optimizer_release(&optimizer);
        return rlhfi_out_of_memory(context);
    }
    *out = optimizer;
    return RLHF_OK;
}

/* The three roles differ only in name: context of the role's model, then the optimizer of that model. */
static rlhf_status create_public(rlhf_optimizer **out, rlhfi_model *model, const rlhf_optimizer_options *options)
{
    if (out != NULL)
        *out = NULL;
    if (model == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(model->context));
    RLHFI_REQUIRE(model->context, out != NULL);
    return rlhfi_optimizer_create(out, model, options);
}

rlhf_status rlhf_optimizer_create_policy(rlhf_optimizer **out, rlhf_policy *policy,
                                         const rlhf_optimizer_options *options)
{
    return create_public(out, policy != NULL ? policy->model : NULL, options);
}

rlhf_status rlhf_optimizer_create_reward_model(rlhf_optimizer **out, rlhf_reward_model *model,
                                               const rlhf_optimizer_options *options)
{
    return create_public(out, model != NULL ? model->model : NULL, options);
}

rlhf_status rlhf_optimizer_create_value_model(rlhf_optimizer **out, rlhf_value_model *model,
                                              const rlhf_optimizer_options *options)
{
    return create_public(out, model != NULL ? model->model : NULL, options);
}

void rlhf_optimizer_release(rlhf_optimizer **optimizer)
{
    rlhf_optimizer *gone = optimizer != NULL ? *optimizer : NULL;

    if (gone == NULL)
        return;
    *optimizer = NULL;
    rlhf_context *context = gone->model->context;
    rlhfi_free(context, gone->first_moment);
    rlhfi_free(context, gone->second_moment);
    /* The model may be what keeps the context alive, so it goes last. */
    rlhfi_model *model = gone->model;
    rlhfi_free(context, gone);
    rlhfi_model_release(&model);
}

/* ---- step -------------------------------------------------------------------------------------------------------- */

/* Sum of squares of all gradients; NONFINITE with the first bad parameter's name. A finite float's square and any
 * number of them stay finite in double, so the sum tells. */
static rlhf_status sum_of_squares(const rlhf_optimizer *optimizer, double *sum)
{
    const rlhfi_model *model = optimizer->model;

    *sum = rlhfi_sum_of_squares(model->context, model->gradient, model->weights->count);
    if (isfinite(*sum))
        return RLHF_OK;
    for (int64_t i = 0; i < model->parameter_count; i++) {
        const rlhfi_parameter *parameter = &model->parameters[i];
        if (!rlhfi_all_finite(model->context, model->gradient + parameter->offset, parameter->elements))
            return rlhfi_fail(model->context, RLHF_E_NONFINITE, "optimizer: the gradient of %s is not finite",
                              parameter->name);
    }
    return rlhfi_fail(model->context, RLHF_E_NONFINITE, "optimizer: the gradient is not finite");
}

/* base^exponent by squaring, so that the bits do not depend on a C library's pow. */
static double power(double base, uint64_t exponent)
{
    double result = 1;

    for (; exponent > 0; exponent >>= 1, base *= base)
        if ((exponent & 1) != 0)
            result *= base;
    return result;
}

/* bf16 weights are rounded stochastically: to the nearest most steps would be too short to move them. Seed, step and
 * place in the flat buffer are all that a draw depends on. */
static void update_range(rlhf_optimizer *optimizer, const rlhfi_adamw *pass, int64_t from, int64_t count)
{
    const rlhfi_model *model = optimizer->model;
    const rlhfi_weights *weights = model->weights;
    const rlhfi_draw draw = {.seed = optimizer->seed, .number = optimizer->steps, .first = from};

    if (weights->data != NULL)
        rlhfi_adamw_update(model->context, pass, count, weights->data + from, model->gradient + from,
                           optimizer->first_moment + from, optimizer->second_moment + from);
    else
        rlhfi_adamw_update_bf16(model->context, pass, &draw, count, weights->half + from, model->gradient + from,
                                optimizer->first_moment + from, optimizer->second_moment + from);
}

/* AdamW on every parameter; neighbours with equal decay go together. */
static void update(rlhf_optimizer *optimizer, double learning_rate, double scale)
{
    const rlhf_optimizer_options *options = &optimizer->options;
    rlhfi_model *model = optimizer->model;
    uint64_t t = ++optimizer->steps;
    rlhfi_adamw pass = {
        .learning_rate = (float)learning_rate,
        .beta1 = (float)options->beta1,
        .beta2 = (float)options->beta2,
        .epsilon = (float)options->epsilon,
        .gradient_scale = (float)scale,
        .one_minus_beta1 = (float)(1 - options->beta1),
        .one_minus_beta2 = (float)(1 - options->beta2),
        .inverse_bias1 = (float)(1 / (1 - power(options->beta1, t))),
        .inverse_sqrt_bias2 = (float)(1 / sqrt(1 - power(options->beta2, t))),
    };

    for (int64_t i = 0, next; i < model->parameter_count; i = next) {
        int64_t from = model->parameters[i].offset, to = from + model->parameters[i].elements;
        bool decay = model->parameters[i].rank >= 2;
        for (next = i + 1; next < model->parameter_count && model->parameters[next].offset == to &&
                           (model->parameters[next].rank >= 2) == decay; next++)
            to += model->parameters[next].elements;
        pass.weight_decay = decay ? (float)options->weight_decay : 0;
        update_range(optimizer, &pass, from, to - from);
    }
    rlhfi_zero(model->context, model->gradient, model->weights->count);
}

rlhf_status rlhfi_optimizer_step_joint(rlhf_optimizer *first, rlhf_optimizer *second, double *gradient_norm,
                                       double *learning_rate)
{
    rlhf_optimizer *both[] = {first, second};
    int count = second != NULL ? 2 : 1;
    double squares = 0, norm, scale = 1, rate = rlhfi_schedule(&first->options, first->steps);

    RLHFI_REQUIRE(first->model->context, second == NULL || second->model != first->model);
    for (int i = 0; i < count; i++) {
        double sum;
        if (both[i]->count != both[i]->model->weights->count)
            return rlhfi_fail(both[i]->model->context, RLHF_E_INVAL,
                              "optimizer: made for %lld weights, the model has %lld since it got a value head",
                              (long long)both[i]->count, (long long)both[i]->model->weights->count);
        RLHFI_TRY(rlhfi_model_need_gradient(both[i]->model));
        RLHFI_TRY(sum_of_squares(both[i], &sum));
        squares += sum;
    }
    for (int i = 0; i < count; i++)
        RLHFI_TRY(rlhfi_model_writable(both[i]->model));

    /* As PyTorch's clip_grad_norm_: the small term keeps a norm of exactly the limit a little below it. */
    norm = sqrt(squares);
    if (first->options.max_grad_norm > 0 && norm + 1e-6 > first->options.max_grad_norm)
        scale = first->options.max_grad_norm / (norm + 1e-6);
    for (int i = 0; i < count; i++)
        update(both[i], rlhfi_schedule(&both[i]->options, both[i]->steps), scale);
    if (gradient_norm != NULL)
        *gradient_norm = norm;
    if (learning_rate != NULL)
        *learning_rate = rate;
    return RLHF_OK;
}

rlhf_status rlhf_optimizer_step(rlhf_optimizer *optimizer, double *gradient_norm, double *learning_rate)
{
    if (gradient_norm != NULL)
        *gradient_norm = 0;
    if (learning_rate != NULL)
        *learning_rate = 0;
    if (optimizer == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(optimizer->model->context));
    return rlhfi_optimizer_step_joint(optimizer, NULL, gradient_norm, learning_rate);
}

rlhf_status rlhf_optimizer_step_joint(rlhf_optimizer *first, rlhf_optimizer *second, double *gradient_norm,
                                      double *learning_rate)
{
    if (gradient_norm != NULL)
        *gradient_norm = 0;
    if (learning_rate != NULL)
        *learning_rate = 0;
    if (first == NULL || second == NULL)
        return RLHF_E_INVAL;
    RLHFI_TRY(rlhfi_enter(first->model->context));
    RLHFI_REQUIRE(first->model->context, second->model->context == first->model->context);
    return rlhfi_optimizer_step_joint(first, second, gradient_norm, learning_rate);
}

rlhf_status rlhf_optimizer_zero(rlhf_optimizer *optimizer)
{
    rlhfi_model *model;

    if (optimizer == NULL)
        return RLHF_E_INVAL;
    model = optimizer->model;
    RLHFI_TRY(rlhfi_enter(model->context));
    if (model->gradient != NULL)
        rlhfi_zero(model->context, model->gradient, model->weights->count);
    return RLHF_OK;
}

uint64_t rlhf_optimizer_steps(const rlhf_optimizer *optimizer)
{
    return optimizer != NULL ? optimizer->steps : 0;
}

/* ---- state for checkpoints --------------------------------------------------------------------------------------- */

uint64_t rlhfi_optimizer_step_count(const rlhf_optimizer *optimizer)
{
    return optimizer->steps;
}

void rlhfi_optimizer_set_seed(rlhf_optimizer *optimizer, uint64_t seed)
{
    optimizer->seed = seed;
}

void rlhfi_optimizer_set_step_count(rlhf_optimizer *optimizer, uint64_t steps)
{
    optimizer->steps = steps;
}

float *rlhfi_optimizer_first_moment(rlhf_optimizer *optimizer)
{
    return optimizer->first_moment;
}

float *rlhfi_optimizer_second_moment(rlhf_optimizer *optimizer)
{
    return optimizer->second_moment;
}

rlhfi_model *rlhfi_optimizer_model(rlhf_optimizer *optimizer)
{
    return optimizer->model;
}
