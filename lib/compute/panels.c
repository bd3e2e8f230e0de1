/* Weights kept as panels: a call with few rows streams them once from memory, in the order in which it needs them. */
#include "compute/state.h"

struct rlhfi_panels {
    rlhf_context *context;
    enum rlhfi_form form; /* floats or pairs */
    int transposed;
    int64_t n, k;
    float *data; /* [ceil(n/32)][steps of k][32] */
};

static rlhf_status create(rlhfi_panels **out, rlhf_context *context, enum rlhfi_form form, int transposed, int64_t n,
                          int64_t k, rlhfi_array weight, int64_t ld)
{
    rlhfi_panels *panels;
    size_t count;

    *out = NULL;
    RLHFI_REQUIRE(context, n > 0 && k > 0 && n <= INT64_MAX - RLHFI_PANEL && k < INT64_MAX);
    if (!rlhfi_multiply((size_t)((n + RLHFI_PANEL - 1) / RLHFI_PANEL * RLHFI_PANEL),
                        (size_t)rlhfi_form_steps(form, k), &count))
        return rlhfi_out_of_memory(context);
    panels = rlhfi_calloc(context, 1, sizeof *panels);
    if (panels == NULL)
        return RLHF_E_NOMEM;
    panels->data = rlhfi_alloc_array(context, count, sizeof *panels->data);
    if (panels->data == NULL) {
        rlhfi_free(context, panels);
        return RLHF_E_NOMEM;
    }
    panels->context = rlhfi_context_retain(context);
    panels->form = form;
    panels->transposed = transposed;
    panels->n = n;
    panels->k = k;
    rlhfi_panels_repack(panels, weight, ld);
    *out = panels;
    return RLHF_OK;
}

rlhf_status rlhfi_panels_create(rlhfi_panels **out, rlhf_context *context, int transposed, int64_t n, int64_t k,
                                const float *weight, int64_t ld)
{
    return create(out, context, RLHFI_FLOATS, transposed, n, k, rlhfi_floats(weight), ld);
}

rlhf_status rlhfi_panels_create_bf16(rlhfi_panels **out, rlhf_context *context, int transposed, int64_t n, int64_t k,
                                     rlhfi_array weight, int64_t ld)
{
    return create(out, context, RLHFI_PAIRS, transposed, n, k, weight, ld);
}

void rlhfi_panels_repack(rlhfi_panels *panels, rlhfi_array weight, int64_t ld)
{
    if (panels->form == RLHFI_FLOATS)
        rlhfi_pack_panels(panels->context, panels->transposed, panels->k, panels->n, weight.f32, ld, panels->data);
    else
        rlhfi_pack_rounded(panels->context, panels->form, panels->transposed, panels->k, panels->n, &weight, ld,
                           panels->data);
}

void rlhfi_panels_release(rlhfi_panels **panels)
{
    rlhf_context *context;

    if (panels == NULL || *panels == NULL)
        return;
    context = (*panels)->context;
    rlhfi_free(context, (*panels)->data);
    rlhfi_free(context, *panels);
    *panels = NULL;
    rlhf_context_release(&context);
}

rlhf_status rlhfi_product_panels(rlhf_context *context, int64_t m, const float *a, int64_t lda,
                                 const rlhfi_panels *panels, const float *bias, float *c, int64_t ldc)
{
    rlhfi_block work = {.m = m, .n = panels->n, .k = panels->k, .a = a, .a_row = lda, .a_step = 1, .b = panels->data,
                        .ldb = RLHFI_PANEL, .panel_stride = RLHFI_PANEL * panels->k, .bias = bias, .c = c, .ldc = ldc};

    if (panels->form == RLHFI_PAIRS)
        return rlhfi_product_of_pairs(context, m, panels->n, panels->k, a, lda, panels->data, bias, c, ldc);
    if (m > 0)
        rlhfi_run_block(context, &work);
    return RLHF_OK;
}
