/* Products of bf16: both operands are rounded into the form that the machine multiplies fastest, then the tiles of
 * products.c run on them. Rounding costs a pass over the operands, the product many. */
#include "compute/state.h"

enum {
    ROUND_LIMIT = 2 << 20, /* floats of a rounded left-hand matrix at most (8 MB) */
    PACK_LIMIT = 2 << 20,  /* likewise right-hand */
    K_LIMIT = 16384,       /* k at a time: even, and a multiple of RLHFI_CHUNK, so that chains stay the same */
    FEW_ROWS = 8,          /* up to so many rows reading memory takes longer than multiplying: pairs are half of it */
    FEW_PANEL_ROWS = 32,   /* with panels the other form has to be made first as well */
    ROW_STEP = 96,         /* rows of a portion are a multiple of this */
    PIECE = 1 << 15,       /* elements of a task that rounds */
    PANELS_PER_PACK = 4,
    TRIAL_STEPS = 256,
    TRIALS = 3
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t pieces(int64_t whole, int64_t piece) { return (whole + piece - 1) / piece; }

/* ---- the faster form --------------------------------------------------------------------------------------------- */

rlhfi_block_kernel rlhfi_kernel_of_form(const rlhf_context *context, enum rlhfi_form form)
{
    const rlhfi_kernels *kernels = rlhfi_kernels_of(context);

    return form == RLHFI_PAIRS     ? rlhfi_compute_of(context)->bf16.pairs
           : form == RLHFI_SWAPPED ? kernels->product_swapped
                                   : kernels->product;
}

static double seconds_of(rlhfi_block_kernel kernel, const rlhfi_block *work)
{
    double start = rlhfi_seconds();

    kernel(work);
    return rlhfi_seconds() - start;
}

/* One register tile, in turns and the best of each, because a core may wake up in between. Pairs do twice the work. */
static enum rlhfi_form faster_form(const rlhf_context *context)
{
    float a[12 * TRIAL_STEPS] = {0}, b[RLHFI_PANEL * TRIAL_STEPS] = {0}, c[12 * RLHFI_PANEL];
    rlhfi_block work = {.m = 12, .n = RLHFI_PANEL, .k = TRIAL_STEPS, .a = a, .a_row = TRIAL_STEPS, .a_step = 1, .b = b,
                        .ldb = RLHFI_PANEL, .panel_stride = RLHFI_PANEL * TRIAL_STEPS, .c = c, .ldc = RLHFI_PANEL};
    double pairs = 1.0, swapped = 1.0;

    for (int i = 0; i < TRIALS; i++) {
        double one = seconds_of(rlhfi_kernel_of_form(context, RLHFI_PAIRS), &work);
        double other = seconds_of(rlhfi_kernel_of_form(context, RLHFI_SWAPPED), &work);
        pairs = one < pairs ? one : pairs;
        swapped = other < swapped ? other : swapped;
    }
    return pairs <= 2.0 * swapped ? RLHFI_PAIRS : RLHFI_SWAPPED;
}

enum rlhfi_form rlhfi_bf16_form(rlhf_context *context, int64_t rows)
{
    rlhfi_compute *compute = rlhfi_compute_of(context);

    if (rows <= FEW_ROWS || rlhfi_kernels_of(context)->product_swapped == NULL)
        return RLHFI_PAIRS;
    if (compute->bf16.many == RLHFI_FLOATS)
        compute->bf16.many = faster_form(context);
    return compute->bf16.many;
}

/* ---- operands ---------------------------------------------------------------------------------------------------- */

struct operand {
    const rlhfi_kernels *kernels;
    enum rlhfi_form form;
    int transposed; /* stored [k, count], else [count, k] */
    int64_t count, k, ld;
    rlhfi_array source;
    float *to;
};

static void round_row_range(void *argument, int64_t first, int64_t end)
{
    const struct operand *a = argument;
    const rlhfi_array from = rlhfi_array_at(a->source, first * a->ld);
    int64_t steps = rlhfi_form_steps(a->form, a->k);

    a->kernels->round_rows(a->form, end - first, a->k, &from, a->ld, a->to + first * steps, steps);
}

/* first and end count pairs of k. */
static void round_column_range(void *argument, int64_t first, int64_t end)
{
    const struct operand *a = argument;
    const rlhfi_array from = rlhfi_array_at(a->source, 2 * first * a->ld);

    a->kernels->round_columns(a->form, smaller(a->k, 2 * end) - 2 * first, a->count, &from, a->ld,
                              a->to + rlhfi_form_steps(a->form, 2 * first) * a->count, a->count);
}

/* The left-hand matrix: [count][steps], or [steps][count] if it is stored that way. */
static void round_left(rlhf_context *context, struct operand *a)
{
    if (a->transposed)
        rlhfi_parallel_ranges(context, pieces(a->k, 2), rlhfi_rows_per_piece(2 * a->count, PIECE), round_column_range,
                              a);
    else
        rlhfi_parallel_ranges(context, a->count, rlhfi_rows_per_piece(a->k, PIECE), round_row_range, a);
}

static void pack_range(void *argument, int64_t first, int64_t end)
{
    const struct operand *b = argument;

    for (int64_t i = first; i < end; i++) {
        int64_t j = i * RLHFI_PANEL;
        const rlhfi_array from = rlhfi_array_at(b->source, b->transposed ? j : j * b->ld);
        b->kernels->pack_rounded(b->form, !b->transposed, b->k, smaller(RLHFI_PANEL, b->count - j), &from, b->ld,
                                 b->to + j * rlhfi_form_steps(b->form, b->k));
    }
}

void rlhfi_pack_rounded(rlhf_context *context, enum rlhfi_form form, int transposed, int64_t k, int64_t n,
                        const rlhfi_array *source, int64_t ld, float *panel)
{
    struct operand b = {rlhfi_kernels_of(context), form, !transposed, n, k, ld, *source, panel};
    int64_t panels = pieces(n, RLHFI_PANEL);

    rlhfi_parallel_ranges(context, panels, k * n < PIECE ? panels : PANELS_PER_PACK, pack_range, &b);
}

/* ---- the product ------------------------------------------------------------------------------------------------- */

static int64_t rounded_rows(int64_t steps) { return pieces(ROUND_LIMIT / ROW_STEP, steps) * ROW_STEP; }

size_t rlhfi_bf16_rounded(int64_t rows, int64_t steps)
{
    return (size_t)(smaller(rounded_rows(steps), rows) * steps);
}

/* Rows in portions of bounded memory against a right-hand matrix that is ready. `left` is the whole left-hand one. */
static rlhf_status run_portions(rlhf_context *context, const rlhfi_block *work, const struct operand *left)
{
    rlhfi_buffer *rounded = &rlhfi_compute_of(context)->rounded;
    int64_t most = rounded_rows(work->k);

    RLHFI_TRY(rlhfi_buffer_reserve(context, rounded, rlhfi_bf16_rounded(work->m, work->k)));
    for (int64_t i = 0; i < work->m; i += most) {
        struct operand a = *left;
        rlhfi_block portion = *work;
        a.count = portion.m = smaller(most, work->m - i);
        a.source = rlhfi_array_at(left->source, a.transposed ? i : i * a.ld);
        a.to = rounded->data;
        round_left(context, &a);
        portion.a = rounded->data;
        portion.a_row = a.transposed ? 1 : work->k;
        portion.a_step = a.transposed ? a.count : 1;
        portion.c += i * work->ldc;
        rlhfi_run_block(context, &portion);
    }
    return RLHF_OK;
}

/* One stretch of k: work->k and the operands' k are of the stretch. */
static rlhf_status product_stretch(rlhf_context *context, const rlhfi_block *work, const struct operand *left,
                                   int transpose_b, rlhfi_array b, int64_t ldb)
{
    rlhfi_buffer *packed = &rlhfi_compute_of(context)->packed;
    int64_t most = PACK_LIMIT / work->k / RLHFI_PANEL * RLHFI_PANEL;

    if (left->transposed)
        RLHFI_TRY(rlhfi_slabs_reserve(context));
    RLHFI_TRY(rlhfi_buffer_reserve(context, packed,
                                   (size_t)(pieces(smaller(work->n, most), RLHFI_PANEL) * RLHFI_PANEL * work->k)));
    for (int64_t j = 0; j < work->n; j += most) {
        const rlhfi_array from = rlhfi_array_at(b, transpose_b ? j * ldb : j);
        rlhfi_block portion = *work;
        portion.n = smaller(most, work->n - j);
        portion.c += j;
        if (portion.bias != NULL)
            portion.bias += j;
        rlhfi_pack_rounded(context, work->form, transpose_b, left->k, portion.n, &from, ldb, packed->data);
        portion.b = packed->data;
        portion.ldb = RLHFI_PANEL;
        portion.panel_stride = RLHFI_PANEL * work->k;
        RLHFI_TRY(run_portions(context, &portion, left));
    }
    return RLHF_OK;
}

rlhf_status rlhfi_product_bf16(rlhf_context *context, int transpose_a, int transpose_b, int64_t m, int64_t n, int64_t k,
                               const float *a, int64_t lda, rlhfi_array b, int64_t ldb, const float *bias,
                               int accumulate, float *c, int64_t ldc)
{
    const enum rlhfi_form form = rlhfi_bf16_form(context, m);

    if (m <= 0 || n <= 0)
        return RLHF_OK;
    if (k <= 0) /* nothing to round: C or the bias alone */
        return rlhfi_product(context, transpose_a, transpose_b, m, n, 0, a, lda, NULL, ldb, bias, accumulate, c, ldc);
    for (int64_t p = 0; p < k; p += K_LIMIT) {
        struct operand left = {.kernels = rlhfi_kernels_of(context), .form = form, .transposed = transpose_a,
                               .count = m, .k = smaller(K_LIMIT, k - p), .ld = lda,
                               .source = rlhfi_floats(a + (transpose_a ? p * lda : p))};
        rlhfi_block work = {.m = m, .n = n, .k = rlhfi_form_steps(form, left.k), .form = form,
                            .bias = p + left.k == k ? bias : NULL, .accumulate = accumulate || p > 0, .c = c,
                            .ldc = ldc};
        RLHFI_TRY(product_stretch(context, &work, &left, transpose_b,
                                  rlhfi_array_at(b, transpose_b ? p : p * ldb), ldb));
    }
    return RLHF_OK;
}

rlhf_status rlhfi_product_either(rlhf_context *context, bool rounded, int transpose_a, int transpose_b, int64_t m,
                                 int64_t n, int64_t k, const float *a, int64_t lda, rlhfi_array b, int64_t ldb,
                                 const float *bias, int accumulate, float *c, int64_t ldc)
{
    if (rounded)
        return rlhfi_product_bf16(context, transpose_a, transpose_b, m, n, k, a, lda, b, ldb, bias, accumulate, c, ldc);
    return rlhfi_product(context, transpose_a, transpose_b, m, n, k, a, lda, b.f32, ldb, bias, accumulate, c, ldc);
}

/* ---- panels ------------------------------------------------------------------------------------------------------ */

struct spread {
    const rlhfi_kernels *kernels;
    const float *pairs;
    float *to;
};

static void spread_range(void *argument, int64_t first, int64_t end)
{
    const struct spread *spread = argument;

    spread->kernels->spread_pairs(end - first, spread->pairs + first * RLHFI_PANEL,
                                  spread->to + 2 * first * RLHFI_PANEL);
}

rlhf_status rlhfi_product_of_pairs(rlhf_context *context, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                                   const float *panels, const float *bias, float *c, int64_t ldc)
{
    const enum rlhfi_form form = m <= FEW_PANEL_ROWS ? RLHFI_PAIRS : rlhfi_bf16_form(context, m);
    const int64_t pairs = rlhfi_form_steps(RLHFI_PAIRS, k), steps = rlhfi_form_steps(form, k);
    struct operand left = {.kernels = rlhfi_kernels_of(context), .form = form, .count = m, .k = k, .ld = lda,
                           .source = rlhfi_floats(a)};
    rlhfi_block work = {.m = m, .n = n, .k = steps, .form = form, .b = panels, .ldb = RLHFI_PANEL,
                        .panel_stride = RLHFI_PANEL * steps, .bias = bias, .c = c, .ldc = ldc};
    struct spread spread = {rlhfi_kernels_of(context), panels, NULL};

    if (m <= 0)
        return RLHF_OK;
    if (form == RLHFI_PAIRS)
        return run_portions(context, &work, &left);
    /* A few panels at a time go through the pack buffer. */
    rlhfi_buffer *packed = &rlhfi_compute_of(context)->packed;
    const int64_t most = PACK_LIMIT / steps / RLHFI_PANEL > 0 ? PACK_LIMIT / steps / RLHFI_PANEL * RLHFI_PANEL
                                                              : RLHFI_PANEL;
    RLHFI_TRY(rlhfi_buffer_reserve(context, packed,
                                   (size_t)(pieces(smaller(n, most), RLHFI_PANEL) * RLHFI_PANEL * steps)));
    for (int64_t j = 0; j < n; j += most) {
        rlhfi_block portion = work;
        portion.n = smaller(most, n - j);
        spread.pairs = panels + j * pairs;
        spread.to = packed->data;
        rlhfi_parallel_ranges(context, pieces(portion.n, RLHFI_PANEL) * pairs, PIECE / RLHFI_PANEL, spread_range,
                              &spread);
        portion.b = packed->data;
        portion.c += j;
        if (bias != NULL)
            portion.bias = bias + j;
        RLHFI_TRY(run_portions(context, &portion, &left));
    }
    return RLHF_OK;
}
