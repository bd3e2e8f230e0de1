/* Dense products: the right-hand matrix is packed into panels of 32 columns, then C is cut into tiles by the problem. */
#include "compute/state.h"

enum {
    PACK_LIMIT = 2 << 20,   /* floats of a packed right-hand matrix at most (8 MB) */
    K_LIMIT = 16384,        /* k of one packing at most; a multiple of RLHFI_CHUNK, so that chains stay the same */
    ROW_BLOCK = 96,         /* rows of a task: with 256 k they fit the second-level cache beside a panel */
    LEAST_ROW_BLOCK = 24,
    ENOUGH_TASKS = 8,
    INLINE_WORK = 1 << 20,  /* floating-point operations that are not worth waking a thread for */
    LEAST_WORK = 1 << 19,   /* of a task */
    MOST_WORK = 1 << 23,
    DIRECT_ROWS = 16,       /* up to so many rows a row-major right-hand matrix is read where it is */
    PANELS_PER_PACK = 4
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t pieces(int64_t whole, int64_t piece) { return (whole + piece - 1) / piece; }
static int64_t rounded_up(int64_t x, int64_t step) { return pieces(x, step) * step; }

/* ---- tiles of C ----------------------------------------------------------------------------------------------------- */

struct grid {
    const rlhfi_kernels *kernels;
    rlhfi_block whole;
    int64_t row_block, column_block, row_blocks;
};

static void run_tile(void *argument, int64_t index, int32_t worker)
{
    const struct grid *grid = argument;
    rlhfi_block work = grid->whole;
    int64_t i = index % grid->row_blocks * grid->row_block, j = index / grid->row_blocks * grid->column_block;

    (void)worker;
    work.m = smaller(grid->row_block, work.m - i);
    work.n = smaller(grid->column_block, work.n - j);
    work.a += i * work.a_row;
    work.b += j / RLHFI_PANEL * work.panel_stride;
    work.c += i * work.ldc + j;
    if (work.bias != NULL)
        work.bias += j;
    grid->kernels->product(&work);
}

/* Sizes of the tiles: about `target` operations each, even, and enough of them to keep a few threads busy. */
static void cut(struct grid *grid, double work)
{
    const rlhfi_block *whole = &grid->whole;
    double target = work / 16 < LEAST_WORK ? LEAST_WORK : work / 16 > MOST_WORK ? MOST_WORK : work / 16;
    int64_t rows = rounded_up(pieces(whole->m, pieces(whole->m, ROW_BLOCK)), 12);
    int64_t least_columns = whole->m <= 3 ? 4 * RLHFI_PANEL : RLHFI_PANEL;
    int64_t columns = (int64_t)(target / (2.0 * (double)smaller(rows, whole->m) * (double)whole->k));

    columns = columns < least_columns ? least_columns : smaller(columns, whole->n);
    columns = rounded_up(pieces(whole->n, pieces(whole->n, columns)), least_columns);
    while (rows > LEAST_ROW_BLOCK && pieces(whole->m, rows) * pieces(whole->n, columns) < ENOUGH_TASKS)
        rows = rounded_up(rows / 2, 12);
    grid->row_block = rows;
    grid->column_block = columns;
    grid->row_blocks = pieces(whole->m, rows);
}

void rlhfi_run_block(rlhf_context *context, const rlhfi_block *work)
{
    struct grid grid = {rlhfi_kernels_of(context), *work, work->m, work->n, 1};
    double operations = 2.0 * (double)work->m * (double)work->n * (double)work->k;

    if (operations < INLINE_WORK) {
        grid.kernels->product(work);
        return;
    }
    cut(&grid, operations);
    rlhfi_parallel(context, grid.row_blocks * pieces(work->n, grid.column_block), run_tile, &grid);
}

/* ---- packing -------------------------------------------------------------------------------------------------------- */

struct packing {
    const rlhfi_kernels *kernels;
    int transposed;
    int64_t k, n, ld;
    const float *source;
    float *panel;
};

static void pack_range(void *argument, int64_t first, int64_t end)
{
    const struct packing *packing = argument;

    for (int64_t i = first; i < end; i++) {
        int64_t j = i * RLHFI_PANEL;
        const float *from = packing->source + (packing->transposed ? j * packing->ld : j);
        packing->kernels->pack(packing->transposed, packing->k, smaller(RLHFI_PANEL, packing->n - j), from,
                               packing->ld, packing->panel + j * packing->k);
    }
}

void rlhfi_pack_panels(rlhf_context *context, int transposed, int64_t k, int64_t n, const float *source, int64_t ld,
                       float *panel)
{
    struct packing packing = {rlhfi_kernels_of(context), transposed, k, n, ld, source, panel};
    int64_t panels = pieces(n, RLHFI_PANEL);
    /* A panel moves k*32 floats at about one a cycle: wake others only for 64 thousand. */
    int64_t grain = k * n < (1 << 16) ? panels : PANELS_PER_PACK;

    rlhfi_parallel_ranges(context, panels, grain, pack_range, &packing);
}

/* ---- the product ---------------------------------------------------------------------------------------------------- */

static void empty_product(const rlhfi_block *work)
{
    if (work->accumulate)
        return;
    for (int64_t i = 0; i < work->m; i++)
        for (int64_t j = 0; j < work->n; j++)
            work->c[i * work->ldc + j] = work->bias != NULL ? work->bias[j] : 0.0f;
}

/* One block of k: columns of B in as many portions as the pack buffer needs. */
static rlhf_status product_portions(rlhf_context *context, const rlhfi_block *work, int transpose_b, const float *b,
                                    int64_t ldb)
{
    rlhfi_buffer *packed = &rlhfi_compute_of(context)->packed;
    bool direct = !transpose_b && work->m <= DIRECT_ROWS;
    int64_t most = direct ? work->n : PACK_LIMIT / work->k / RLHFI_PANEL * RLHFI_PANEL;

    if (!direct)
        RLHFI_TRY(rlhfi_buffer_reserve(
            context, packed, (size_t)(rounded_up(smaller(work->n, most), RLHFI_PANEL) * work->k)));
    for (int64_t j = 0; j < work->n; j += most) {
        rlhfi_block portion = *work;
        portion.n = smaller(most, work->n - j);
        portion.c += j;
        if (portion.bias != NULL)
            portion.bias += j;
        if (direct) {
            portion.b = b;
            portion.ldb = ldb;
            portion.panel_stride = RLHFI_PANEL;
        } else {
            rlhfi_pack_panels(context, transpose_b, work->k, portion.n, b + (transpose_b ? j * ldb : j), ldb,
                              packed->data);
            portion.b = packed->data;
            portion.ldb = RLHFI_PANEL;
            portion.panel_stride = RLHFI_PANEL * work->k;
        }
        rlhfi_run_block(context, &portion);
    }
    return RLHF_OK;
}

rlhf_status rlhfi_product(rlhf_context *context, int transpose_a, int transpose_b, int64_t m, int64_t n, int64_t k,
                          const float *a, int64_t lda, const float *b, int64_t ldb, const float *bias, int accumulate,
                          float *c, int64_t ldc)
{
    rlhfi_block work = {.m = m, .n = n, .k = k, .a = a, .a_row = transpose_a ? 1 : lda,
                        .a_step = transpose_a ? lda : 1, .bias = bias, .accumulate = accumulate, .c = c, .ldc = ldc};

    if (m <= 0 || n <= 0)
        return RLHF_OK;
    if (k <= 0) {
        empty_product(&work);
        return RLHF_OK;
    }
    if (rlhfi_blis_wants(context, m, n, k)) {
        work.b = b;
        rlhfi_blis_product(context, &work, transpose_b ? 1 : ldb, transpose_b ? ldb : 1);
        return RLHF_OK;
    }
    for (int64_t p = 0; p < k; p += K_LIMIT) {
        rlhfi_block part = work;
        part.k = smaller(K_LIMIT, k - p);
        part.a += p * work.a_step;
        part.accumulate = accumulate || p > 0;
        part.bias = p + part.k == k ? bias : NULL;
        RLHFI_TRY(product_portions(context, &part, transpose_b, b + (transpose_b ? p : p * ldb), ldb));
    }
    return RLHF_OK;
}
