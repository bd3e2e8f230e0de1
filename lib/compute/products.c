/* Dense products: the right-hand matrix is packed into panels of 32 columns, then C is cut into tiles by the
 * problem. */
#include "compute/state.h"

enum {
    PACK_LIMIT = 2 << 20,   /* floats of a packed right-hand matrix at most (8 MB) */
    K_LIMIT = 16384,        /* k of one packing at most; a multiple of RLHFI_CHUNK, so that chains stay the same */
    ROW_BLOCK = 96,         /* rows of a task: with 256 k they fit the second-level cache beside a panel */
    LEAST_ROW_BLOCK = 24,
    INLINE_WORK = 1 << 20,  /* floating-point operations that are not worth waking a thread for */
    TASK_WORK = 1 << 20,    /* of a task, at least */
    MOST_TASKS = 32,
    ENOUGH_TASKS = 8,
    TRIALS = 3,             /* of each way before the faster one is known */
    WIDE_PANELS = 4,        /* 128 columns: what one row needs to hide the latency of its chains */
    SLAB = 512,             /* k of a column-major left-hand block that is copied at a time; a multiple of the chunk */
    SLAB_STRIDE = 768,      /* distance of its k from which copying pays: pages and cache sets run out */
    DIRECT_ROWS = 16,       /* up to so many rows a row-major right-hand matrix is read where it is */
    PANELS_PER_PACK = 4,
    FEW_ROWS = 64           /* up to so many rows a column-major right-hand matrix is read where it is */
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t pieces(int64_t whole, int64_t piece) { return (whole + piece - 1) / piece; }
static int64_t rounded_up(int64_t x, int64_t step) { return pieces(x, step) * step; }

/* ---- tiles of C -------------------------------------------------------------------------------------------------- */

struct grid {
    const rlhfi_kernels *kernels;
    rlhfi_block_kernel product;
    rlhfi_block whole;
    int64_t row_block, column_block, row_blocks;
    rlhfi_buffer *scratch; /* for slabs of A, NULL if it is read where it is */
};

/* A transposed left-hand matrix touches another page at every k: slabs of it are copied side by side first. */
static void run_slabs(const struct grid *grid, const rlhfi_block *block, float *slab)
{
    for (int64_t p = 0; p < block->k; p += SLAB) {
        rlhfi_block work = *block;
        work.k = smaller(SLAB, block->k - p);
        grid->kernels->copy_rows(work.k, work.m, block->a + p * block->a_step, block->a_step, slab);
        work.a = slab;
        work.a_step = work.m;
        work.b += p * work.ldb;
        work.accumulate = block->accumulate || p > 0;
        work.bias = p + work.k == block->k ? block->bias : NULL;
        grid->product(&work);
    }
}

static void run_tile(void *argument, int64_t index, int32_t worker)
{
    const struct grid *grid = argument;
    rlhfi_block work = grid->whole;
    int64_t i = index % grid->row_blocks * grid->row_block, j = index / grid->row_blocks * grid->column_block;

    work.m = smaller(grid->row_block, work.m - i);
    work.n = smaller(grid->column_block, work.n - j);
    work.a += i * work.a_row;
    work.b += j / RLHFI_PANEL * work.panel_stride;
    work.c += i * work.ldc + j;
    if (work.bias != NULL)
        work.bias += j;
    if (grid->scratch != NULL)
        run_slabs(grid, &work, grid->scratch[worker].data);
    else
        grid->product(&work);
}

/* Sizes of the tiles: wide ones first, because a block of A is then used often; narrower columns until there are tasks
 * enough for many threads; shorter rows and single panels only where else a few threads would idle. */
static void cut(struct grid *grid, double work)
{
    const rlhfi_block *whole = &grid->whole;
    const int64_t panels = pieces(whole->n, RLHFI_PANEL), least = whole->m <= 3 ? WIDE_PANELS : 1;
    int64_t wanted = work > (double)MOST_TASKS * TASK_WORK ? MOST_TASKS : (int64_t)(work / TASK_WORK) + 1;
    int64_t enough = smaller(wanted, ENOUGH_TASKS);
    int64_t rows = rounded_up(pieces(whole->m, pieces(whole->m, ROW_BLOCK)), 12);
    int64_t columns = panels; /* in panels */

    while (columns > WIDE_PANELS && pieces(whole->m, rows) * pieces(panels, columns) < wanted)
        columns = larger(WIDE_PANELS, pieces(columns, 2));
    while (rows > LEAST_ROW_BLOCK && pieces(whole->m, rows) * pieces(panels, columns) < enough)
        rows = rounded_up(rows / 2, 12);
    while (columns > least && pieces(whole->m, rows) * pieces(panels, columns) < enough)
        columns = larger(least, pieces(columns, 2));
    grid->row_block = rows;
    grid->column_block = columns * RLHFI_PANEL;
    grid->row_blocks = pieces(whole->m, rows);
}

void rlhfi_run_block(rlhf_context *context, const rlhfi_block *work)
{
    struct grid grid = {rlhfi_kernels_of(context), rlhfi_kernel_of_form(context, work->form), *work, work->m, work->n,
                        1, NULL};
    double operations = 2.0 * (double)work->m * (double)work->n * (double)work->k;

    if (operations < INLINE_WORK) {
        grid.product(work);
        return;
    }
    cut(&grid, operations);
    if (work->a_row == 1 && work->a_step >= SLAB_STRIDE)
        grid.scratch = rlhfi_compute_of(context)->worker;
    rlhfi_parallel(context, grid.row_blocks * pieces(work->n, grid.column_block), run_tile, &grid);
}

size_t rlhfi_product_scratch(void) { return (size_t)ROW_BLOCK * SLAB; }

rlhf_status rlhfi_slabs_reserve(rlhf_context *context)
{
    return rlhfi_scratch_reserve(context, rlhfi_product_scratch());
}

/* ---- packing ----------------------------------------------------------------------------------------------------- */

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

/* ---- the product ------------------------------------------------------------------------------------------------- */

static void empty_product(const rlhfi_block *work)
{
    if (work->accumulate)
        return;
    for (int64_t i = 0; i < work->m; i++)
        for (int64_t j = 0; j < work->n; j++)
            work->c[i * work->ldc + j] = work->bias != NULL ? work->bias[j] : 0.0f;
}

static int64_t portion_columns(int64_t k) { return PACK_LIMIT / k / RLHFI_PANEL * RLHFI_PANEL; }

size_t rlhfi_product_packed(int64_t n, int64_t k)
{
    k = smaller(k, K_LIMIT);
    return (size_t)(rounded_up(smaller(n, portion_columns(k)), RLHFI_PANEL) * k);
}

/* One block of k: columns of B in as many portions as the pack buffer needs. */
static rlhf_status product_portions(rlhf_context *context, const rlhfi_block *work, int transpose_b, const float *b,
                                    int64_t ldb)
{
    rlhfi_buffer *packed = &rlhfi_compute_of(context)->packed;
    bool direct = !transpose_b && work->m <= DIRECT_ROWS;
    int64_t most = direct ? work->n : portion_columns(work->k);

    if (work->a_row == 1)
        RLHFI_TRY(rlhfi_slabs_reserve(context));
    if (!direct)
        RLHFI_TRY(rlhfi_buffer_reserve(context, packed, rlhfi_product_packed(work->n, work->k)));
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

static rlhf_status own_product(rlhf_context *context, const rlhfi_block *work, int transpose_b, const float *b,
                               int64_t ldb)
{
    for (int64_t p = 0; p < work->k; p += K_LIMIT) {
        rlhfi_block part = *work;
        part.k = smaller(K_LIMIT, work->k - p);
        part.a += p * work->a_step;
        part.accumulate = work->accumulate || p > 0;
        part.bias = p + part.k == work->k ? work->bias : NULL;
        RLHFI_TRY(product_portions(context, &part, transpose_b, b + (transpose_b ? p : p * ldb), ldb));
    }
    return RLHF_OK;
}

/* Large products: our own loops and BLIS give the same bits, and which is faster depends on the machine. So the first
 * ones are done in turns, and the better way does the rest. */
static rlhf_status large_product(rlhf_context *context, const rlhfi_block *work, int transpose_b, const float *b,
                                 int64_t ldb)
{
    rlhfi_compute *compute = rlhfi_compute_of(context);
    bool open = compute->race.trials < 2 * TRIALS;
    int way = open ? compute->race.trials % 2 : compute->race.rate[1] > compute->race.rate[0];
    double start = open ? rlhfi_seconds() : 0.0;

    if (way == 0) {
        RLHFI_TRY(own_product(context, work, transpose_b, b, ldb));
    } else {
        rlhfi_block whole = *work;
        whole.b = b;
        rlhfi_blis_product(context, &whole, transpose_b ? 1 : ldb, transpose_b ? ldb : 1);
    }
    if (open) {
        double rate = (double)work->m * (double)work->n * (double)work->k / (rlhfi_seconds() - start + 1e-9);
        if (rate > compute->race.rate[way])
            compute->race.rate[way] = rate;
        compute->race.trials++;
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
    if (transpose_b && !transpose_a && m <= FEW_ROWS) {
        work.b = b;
        work.ldb = ldb;
        return rlhfi_product_few_rows(context, &work);
    }
    if (rlhfi_blis_suits(context, m, n, k))
        return large_product(context, &work, transpose_b, b, ldb);
    return own_product(context, &work, transpose_b, b, ldb);
}
