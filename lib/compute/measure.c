/* Timing of dense products: what include/rlhf/experimental/measure.h declares. */
#include "compute/compute.h"

#include <rlhf/experimental/measure.h>

enum { MOST_SIZE = 1 << 24, MOST_REPEATS = 1 << 20 };
#define MOST_ELEMENTS ((int64_t)1 << 31)

typedef struct operands {
    int32_t kind;
    int64_t m, n, k;
    float *a, *b, *c;
    rlhfi_panels *panels;
} operands;

static rlhf_status check(rlhf_context *context, int32_t format, int32_t kind, int64_t m, int64_t n, int64_t k,
                         int64_t repeats)
{
    if (kind < RLHF_PRODUCT_FORWARD || kind > RLHF_PRODUCT_DECODING)
        return rlhfi_fail(context, RLHF_E_INVAL, "measure: kind %d of product is unknown", kind);
    if (format != RLHF_FLOAT32)
        return rlhfi_fail(context, RLHF_E_UNSUPPORTED, "measure: products of format %d are not measured, only float32",
                          format);
    if (m < 1 || n < 1 || k < 1 || m > MOST_SIZE || n > MOST_SIZE || k > MOST_SIZE)
        return rlhfi_fail(context, RLHF_E_RANGE, "measure: sizes %lld, %lld, %lld must be 1 to %d", (long long)m,
                          (long long)n, (long long)k, MOST_SIZE);
    if (m * n > MOST_ELEMENTS || m * k > MOST_ELEMENTS || n * k > MOST_ELEMENTS)
        return rlhfi_fail(context, RLHF_E_RANGE, "measure: a matrix would have more than %lld elements",
                          (long long)MOST_ELEMENTS);
    if (repeats < 1 || repeats > MOST_REPEATS)
        return rlhfi_fail(context, RLHF_E_RANGE, "measure: repeats %lld must be 1 to %d", (long long)repeats,
                          MOST_REPEATS);
    return RLHF_OK;
}

static float *filled(rlhf_context *context, int64_t count)
{
    float *x = rlhfi_alloc(context, (size_t)count * sizeof *x);

    for (int64_t i = 0; x != NULL && i < count; i++)
        x[i] = (float)(i % 31 - 15) * 0.0625f;
    return x;
}

static rlhf_status multiply(rlhf_context *context, const operands *self)
{
    int64_t m = self->m, n = self->n, k = self->k;

    switch (self->kind) {
    case RLHF_PRODUCT_FORWARD:
        return rlhfi_product(context, RLHFI_NO, RLHFI_YES, m, n, k, self->a, k, self->b, k, NULL, RLHFI_NO, self->c, n);
    case RLHF_PRODUCT_INPUT_GRADIENT:
        return rlhfi_product(context, RLHFI_NO, RLHFI_NO, m, n, k, self->a, k, self->b, n, NULL, RLHFI_NO, self->c, n);
    case RLHF_PRODUCT_WEIGHT_GRADIENT:
        return rlhfi_product(context, RLHFI_YES, RLHFI_NO, m, n, k, self->a, m, self->b, n, NULL, RLHFI_YES, self->c,
                             n);
    default:
        return rlhfi_product_panels(context, m, self->a, k, self->panels, NULL, self->c, n);
    }
}

rlhf_status rlhf_measure_product(rlhf_context *context, int32_t format, int32_t kind, int64_t m, int64_t n, int64_t k,
                                 int64_t repeats, double *seconds)
{
    operands self = {.kind = kind, .m = m, .n = n, .k = k};
    rlhf_status status = RLHF_E_NOMEM;

    RLHFI_TRY(rlhfi_enter(context));
    RLHFI_REQUIRE(context, seconds != NULL);
    RLHFI_TRY(check(context, format, kind, m, n, k, repeats));
    self.a = filled(context, m * k);
    self.b = filled(context, n * k);
    self.c = filled(context, m * n);
    if (self.a == NULL || self.b == NULL || self.c == NULL)
        goto done;
    if (kind == RLHF_PRODUCT_DECODING)
        RLHFI_GOTO(rlhfi_panels_create(&self.panels, context, RLHFI_YES, n, k, self.b, k));
    RLHFI_GOTO(multiply(context, &self));
    for (int64_t r = 0; r < repeats; r++) {
        double start = rlhfi_seconds();
        RLHFI_GOTO(multiply(context, &self));
        seconds[r] = rlhfi_seconds() - start;
    }
done:
    rlhfi_panels_release(&self.panels);
    rlhfi_free(context, self.c);
    rlhfi_free(context, self.b);
    rlhfi_free(context, self.a);
    return status;
}
