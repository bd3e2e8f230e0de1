/* What goes into an objective's functions and what comes out is looked at here, number by number: it costs nothing
 * beside the model, and a NaN is named where it first shows. */
#include "objectives/builtin.h"

#include <math.h>

rlhf_status rlhfi_numbers_there(rlhf_context *context, const char *owner, const rlhfi_numbers *arrays, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (arrays[i].needed && arrays[i].values == NULL && arrays[i].count > 0)
            return rlhfi_fail(context, RLHF_E_INVAL, "objective %s: %s is NULL", owner, arrays[i].name);
    return RLHF_OK;
}

rlhf_status rlhfi_numbers_finite(rlhf_context *context, const char *owner, const rlhfi_numbers *arrays, size_t count)
{
    char text[32];

    for (size_t i = 0; i < count; i++) {
        for (int64_t j = 0; arrays[i].values != NULL && j < arrays[i].count; j++) {
            if (isfinite(arrays[i].values[j]))
                continue;
            rlhfi_format_double(arrays[i].values[j], text, sizeof text);
            return rlhfi_fail(context, RLHF_E_NONFINITE, "objective %s: %s[%lld] is %s", owner, arrays[i].name,
                              (long long)j, text);
        }
    }
    return RLHF_OK;
}

rlhf_status rlhfi_numbers_check(rlhf_context *context, const char *owner, const rlhfi_numbers *arrays, size_t count)
{
    RLHFI_TRY(rlhfi_numbers_there(context, owner, arrays, count));
    return rlhfi_numbers_finite(context, owner, arrays, count);
}

rlhf_status rlhfi_rows_check(rlhf_context *context, const char *owner, int64_t rows, const int64_t *offset,
                             int64_t *count)
{
    *count = 0;
    if (rows < 0 || offset == NULL)
        return rlhfi_fail(context, RLHF_E_INVAL, "objective %s: rows is %lld and offset %s", owner, (long long)rows,
                          offset != NULL ? "is there" : "is NULL");
    if (offset[0] != 0)
        return rlhfi_fail(context, RLHF_E_INVAL, "objective %s: offset[0] is %lld, must be 0", owner,
                          (long long)offset[0]);
    for (int64_t i = 0; i < rows; i++)
        if (offset[i + 1] < offset[i])
            return rlhfi_fail(context, RLHF_E_INVAL, "objective %s: offset[%lld] is %lld, less than the one before",
                              owner, (long long)i + 1, (long long)offset[i + 1]);
    *count = offset[rows];
    return RLHF_OK;
}

rlhf_status rlhfi_groups_check(rlhf_context *context, const char *owner, int64_t rows, int32_t samples_per_prompt)
{
    if (samples_per_prompt < 0 || (samples_per_prompt > 1 && rows % samples_per_prompt != 0))
        return rlhfi_fail(context, RLHF_E_INVAL, "objective %s: %lld rows are not whole groups of %ld", owner,
                          (long long)rows, (long)samples_per_prompt);
    return RLHF_OK;
}

rlhf_status rlhfi_divisor_check(rlhf_context *context, const char *owner, const char *name, double divisor,
                                int64_t divided)
{
    char text[32];

    if (isfinite(divisor) && (divisor > 0 || (divisor == 0 && divided == 0)))
        return RLHF_OK;
    rlhfi_format_double(divisor, text, sizeof text);
    return rlhfi_fail(context, RLHF_E_INVAL, "objective %s: %s is %s, must be positive", owner, name, text);
}
