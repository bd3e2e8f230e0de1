/* Options of a model: what include/rlhf/model_options.h declares. */
#include "model/internal.h"

/* The first layout ended with recompute_activations. */
enum { FIRST_LAYOUT = offsetof(rlhf_model_options, recompute_activations) + sizeof(int32_t) };

static const rlhf_model_options defaults = {.struct_size = sizeof defaults};

void rlhf_model_options_init(rlhf_model_options *options, size_t size)
{
    rlhfi_options_init(options, size, &defaults, sizeof defaults);
}

static rlhf_status check(rlhf_context *context, const char *name, int32_t value)
{
    if (value == 0 || value == 1)
        return RLHF_OK;
    return rlhfi_fail(context, RLHF_E_INVAL, "model options: %s must be 0 or 1, is %d", name, value);
}

rlhf_status rlhfi_model_take_options(rlhfi_model *model, const rlhf_model_options *options)
{
    rlhf_context *context = model->context;
    rlhf_model_options *own = &model->options;

    *own = defaults;
    if (options == NULL)
        return RLHF_OK;
    RLHFI_TRY(rlhfi_options_copy(context, own, sizeof *own, options, FIRST_LAYOUT, "model options"));
    RLHFI_TRY(check(context, "compute_format", own->compute_format));
    RLHFI_TRY(check(context, "weight_format", own->weight_format));
    RLHFI_TRY(check(context, "recompute_activations", own->recompute_activations));
    if (own->weight_format == RLHF_BFLOAT16 && own->compute_format != RLHF_BFLOAT16)
        return rlhfi_fail(context, RLHF_E_INVAL, "model options: bfloat16 weights need compute_format bfloat16");
    return RLHF_OK;
}
