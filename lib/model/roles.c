/* What the four roles have in common. */
#include "model/internal.h"

rlhf_status rlhfi_role_view(const rlhfi_model *model, const rlhf_batch *batch, rlhf_batch_view *view)
{
    *view = (rlhf_batch_view){.struct_size = sizeof *view};
    if (batch == NULL)
        return rlhfi_fail(model->context, RLHF_E_INVAL, "batch: NULL");
    return rlhf_batch_get(batch, view);
}

rlhf_status rlhfi_role_temperature(const rlhfi_model *model, double temperature, float *inverse)
{
    *inverse = (float)(1.0 / temperature);
    /* Not >= 0 in one comparison, so that NaN is refused as well. */
    if (!(temperature > 0.0) || !__builtin_isfinite(*inverse) || !(*inverse > 0.0f))
        return rlhfi_fail(model->context, RLHF_E_RANGE, "temperature: it must be above 0 and finite");
    return RLHF_OK;
}

rlhf_status rlhfi_role_hash(const rlhfi_model *model, char hex[65])
{
    RLHFI_TRY(rlhfi_enter(model->context));
    RLHFI_REQUIRE(model->context, hex != NULL);
    return rlhfi_model_hash(model, hex);
}

rlhf_status rlhfi_role_save(const rlhfi_model *model, const char *directory)
{
    RLHFI_TRY(rlhfi_enter(model->context));
    RLHFI_REQUIRE(model->context, directory != NULL);
    return rlhfi_model_save(model, directory);
}

/* The public interface computes in double and rounds once: gain * raw + bias. */
void rlhfi_role_normalise(const rlhfi_model *model, int64_t count, float *scalar)
{
    if (model->score_gain == 1.0 && model->score_bias == 0.0)
        return;
    for (int64_t i = 0; i < count; i++)
        scalar[i] = (float)(model->score_gain * (double)scalar[i] + model->score_bias);
}
