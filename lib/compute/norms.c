/* Root-mean-square and layer normalisation. */
#include "compute/state.h"

enum { PIECE = 1 << 15 /* elements of a task */ };

struct norm {
    const rlhfi_kernels *kernels;
    int64_t d;
    const float *x, *weight, *bias;
    float eps;
    float *y, *mean, *rstd;
};

static void rms_range(void *argument, int64_t first, int64_t end)
{
    const struct norm *norm = argument;
    int64_t at = first * norm->d;

    norm->kernels->rms_norm(end - first, norm->d, norm->x + at, norm->weight, norm->eps, norm->y + at,
                            norm->rstd == NULL ? NULL : norm->rstd + first);
}

void rlhfi_rms_norm(rlhf_context *context, int64_t rows, int64_t d, const float *x, const float *weight, float eps,
                    float *y, float *rstd)
{
    struct norm norm = {rlhfi_kernels_of(context), d, x, weight, NULL, eps, y, NULL, rstd};

    rlhfi_parallel_ranges(context, rows, rlhfi_rows_per_piece(d, PIECE), rms_range, &norm);
}

static void layer_range(void *argument, int64_t first, int64_t end)
{
    const struct norm *norm = argument;
    int64_t at = first * norm->d;

    norm->kernels->layer_norm(end - first, norm->d, norm->x + at, norm->weight, norm->bias, norm->eps, norm->y + at,
                              norm->mean == NULL ? NULL : norm->mean + first,
                              norm->rstd == NULL ? NULL : norm->rstd + first);
}

void rlhfi_layer_norm(rlhf_context *context, int64_t rows, int64_t d, const float *x, const float *weight,
                      const float *bias, float eps, float *y, float *mean, float *rstd)
{
    struct norm norm = {rlhfi_kernels_of(context), d, x, weight, bias, eps, y, mean, rstd};

    rlhfi_parallel_ranges(context, rows, rlhfi_rows_per_piece(d, PIECE), layer_range, &norm);
}

struct norm_gradient {
    const rlhfi_kernels *kernels;
    int64_t d;
    const float *x, *weight, *mean, *rstd, *dy;
    float *dx;
};

static void gradient_range(void *argument, int64_t first, int64_t end)
{
    const struct norm_gradient *norm = argument;
    int64_t at = first * norm->d;

    if (norm->mean == NULL)
        norm->kernels->rms_norm_backward(end - first, norm->d, norm->x + at, norm->weight, norm->rstd + first,
                                         norm->dy + at, norm->dx + at);
    else
        norm->kernels->layer_norm_backward(end - first, norm->d, norm->x + at, norm->weight, norm->mean + first,
                                           norm->rstd + first, norm->dy + at, norm->dx + at);
}

static void input_gradient(rlhf_context *context, int64_t rows, struct norm_gradient *norm)
{
    if (norm->dx != NULL)
        rlhfi_parallel_ranges(context, rows, rlhfi_rows_per_piece(norm->d, PIECE), gradient_range, norm);
}

rlhf_status rlhfi_rms_norm_backward(rlhf_context *context, int64_t rows, int64_t d, const float *x, const float *weight,
                                    const float *rstd, const float *dy, float *dx, float *dweight)
{
    struct norm_gradient norm = {rlhfi_kernels_of(context), d, x, weight, NULL, rstd, dy, dx};

    if (dweight != NULL)
        RLHFI_TRY(rlhfi_sum_over_rows(context, rows, d, x, dy, d, NULL, rstd, dweight));
    input_gradient(context, rows, &norm);
    return RLHF_OK;
}

rlhf_status rlhfi_layer_norm_backward(rlhf_context *context, int64_t rows, int64_t d, const float *x,
                                      const float *weight, const float *mean, const float *rstd, const float *dy,
                                      float *dx, float *dweight, float *dbias)
{
    struct norm_gradient norm = {rlhfi_kernels_of(context), d, x, weight, mean, rstd, dy, dx};

    if (dweight != NULL)
        RLHFI_TRY(rlhfi_sum_over_rows(context, rows, d, x, dy, d, mean, rstd, dweight));
    if (dbias != NULL)
        RLHFI_TRY(rlhfi_sum_over_rows(context, rows, d, NULL, dy, d, NULL, NULL, dbias));
    input_gradient(context, rows, &norm);
    return RLHF_OK;
}
