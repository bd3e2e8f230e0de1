/* Passes over elements and rows that need no arithmetic of their own: copies, sums, gathers; and the optimizer's. */
#include "compute/state.h"

enum {
    PIECE = 1 << 16,     /* elements of a task in passes that only move memory */
    SQUARE_BLOCK = 4096, /* elements whose squares are summed by lanes */
    ROUND = 1024,        /* blocks of one parallel round, so that their sums fit the stack */
    ROW_SUM_BLOCK = 256, /* rows of one partial sum */
    COLUMN_BLOCK = 256   /* columns of one task */
};

struct pass {
    const rlhfi_kernels *kernels;
    float *y;
    const float *x;
    float factor;
};

static void copy_range(void *argument, int64_t first, int64_t end)
{
    const struct pass *pass = argument;
    memmove(pass->y + first, pass->x + first, (size_t)(end - first) * sizeof(float));
}

void rlhfi_copy(rlhf_context *context, float *to, const float *from, int64_t count)
{
    struct pass pass = {.y = to, .x = from};
    rlhfi_parallel_ranges(context, count, PIECE, copy_range, &pass);
}

static void zero_range(void *argument, int64_t first, int64_t end)
{
    const struct pass *pass = argument;
    memset(pass->y + first, 0, (size_t)(end - first) * sizeof(float));
}

void rlhfi_zero(rlhf_context *context, float *x, int64_t count)
{
    struct pass pass = {.y = x};
    rlhfi_parallel_ranges(context, count, PIECE, zero_range, &pass);
}

static void add_range(void *argument, int64_t first, int64_t end)
{
    const struct pass *pass = argument;
    pass->kernels->add(end - first, pass->y + first, pass->x + first);
}

void rlhfi_add_to(rlhf_context *context, float *y, const float *x, int64_t count)
{
    struct pass pass = {.kernels = rlhfi_kernels_of(context), .y = y, .x = x};
    rlhfi_parallel_ranges(context, count, PIECE, add_range, &pass);
}

static void scale_range(void *argument, int64_t first, int64_t end)
{
    const struct pass *pass = argument;
    pass->kernels->scale(end - first, pass->y + first, pass->factor);
}

void rlhfi_scale(rlhf_context *context, float *x, float factor, int64_t count)
{
    struct pass pass = {.kernels = rlhfi_kernels_of(context), .y = x, .factor = factor};
    rlhfi_parallel_ranges(context, count, PIECE, scale_range, &pass);
}

/* ---- tables of rows ---------------------------------------------------------------------------------------------- */

struct table_pass {
    const rlhfi_kernels *kernels;
    int64_t rows, d;
    const float *from;
    const int32_t *id;
    int accumulate;
    float *to;
};

static void gather_range(void *argument, int64_t first, int64_t end)
{
    const struct table_pass *pass = argument;

    for (int64_t r = first; r < end; r++) {
        const float *row = pass->from + pass->id[r] * pass->d;
        if (pass->accumulate)
            pass->kernels->add(pass->d, pass->to + r * pass->d, row);
        else
            memcpy(pass->to + r * pass->d, row, (size_t)pass->d * sizeof(float));
    }
}

void rlhfi_gather(rlhf_context *context, int64_t rows, int64_t d, const float *table, const int32_t *id, int accumulate,
                  float *y)
{
    struct table_pass pass = {rlhfi_kernels_of(context), rows, d, table, id, accumulate, y};
    rlhfi_parallel_ranges(context, rows, rlhfi_rows_per_piece(d, PIECE), gather_range, &pass);
}

static void scatter_columns(void *argument, int64_t first, int64_t end)
{
    const struct table_pass *pass = argument;

    for (int64_t r = 0; r < pass->rows; r++)
        pass->kernels->add(end - first, pass->to + pass->id[r] * pass->d + first, pass->from + r * pass->d + first);
}

void rlhfi_scatter_add(rlhf_context *context, int64_t rows, int64_t d, const int32_t *id, const float *dy, float *table)
{
    struct table_pass pass = {rlhfi_kernels_of(context), rows, d, dy, id, 1, table};
    int64_t columns = rows * d < PIECE ? d : COLUMN_BLOCK;
    rlhfi_parallel_ranges(context, d, columns, scatter_columns, &pass);
}

/* ---- sums over rows ---------------------------------------------------------------------------------------------- */

struct column_pass {
    const rlhfi_kernels *kernels;
    int64_t rows, n, ld, column_tasks;
    const float *x, *dy, *mean, *rstd;
    float *partial;
};

static void sum_columns(void *argument, int64_t index, int32_t worker)
{
    const struct column_pass *pass = argument;
    int64_t block = index / pass->column_tasks, row = block * ROW_SUM_BLOCK;
    int64_t column = index % pass->column_tasks * COLUMN_BLOCK;
    int64_t rows = pass->rows - row < ROW_SUM_BLOCK ? pass->rows - row : ROW_SUM_BLOCK;
    int64_t columns = pass->n - column < COLUMN_BLOCK ? pass->n - column : COLUMN_BLOCK;
    const float *dy = pass->dy + row * pass->ld + column;
    float *sum = pass->partial + block * pass->n + column;

    (void)worker;
    if (pass->x == NULL)
        pass->kernels->column_sum(rows, columns, dy, pass->ld, sum);
    else
        pass->kernels->norm_weight_sum(rows, columns, pass->x + row * pass->ld + column, dy, pass->ld,
                                       pass->mean == NULL ? NULL : pass->mean + row, pass->rstd + row, sum);
}

rlhf_status rlhfi_sum_over_rows(rlhf_context *context, int64_t rows, int64_t n, const float *x, const float *dy,
                                int64_t ld, const float *mean, const float *rstd, float *sum)
{
    rlhfi_buffer *partial = &rlhfi_compute_of(context)->partial;
    struct column_pass pass = {rlhfi_kernels_of(context), rows, n, ld, (n + COLUMN_BLOCK - 1) / COLUMN_BLOCK,
                               x, dy, mean, rstd, NULL};
    int64_t blocks = (rows + ROW_SUM_BLOCK - 1) / ROW_SUM_BLOCK, tasks = blocks * pass.column_tasks;

    if (rows <= 0 || n <= 0)
        return RLHF_OK;
    RLHFI_TRY(rlhfi_buffer_reserve(context, partial, (size_t)blocks * (size_t)n));
    pass.partial = partial->data;
    if (rows * n < PIECE)
        for (int64_t i = 0; i < tasks; i++)
            sum_columns(&pass, i, 0);
    else
        rlhfi_parallel(context, tasks, sum_columns, &pass);
    for (int64_t block = 0; block < blocks; block++)
        pass.kernels->add(n, sum, partial->data + block * n);
    return RLHF_OK;
}

rlhf_status rlhfi_bias_gradient(rlhf_context *context, int64_t rows, int64_t n, const float *dy, int64_t ld, float *db)
{
    return rlhfi_sum_over_rows(context, rows, n, NULL, dy, ld, NULL, NULL, db);
}

/* ---- optimizer passes -------------------------------------------------------------------------------------------- */

struct square_pass {
    const rlhfi_kernels *kernels;
    const float *x;
    int64_t count;
    double *sum;
};

static void square_blocks(void *argument, int64_t first, int64_t end)
{
    const struct square_pass *pass = argument;

    for (int64_t block = first; block < end; block++) {
        int64_t at = block * SQUARE_BLOCK, left = pass->count - at;
        pass->sum[block] = pass->kernels->sum_of_squares(left < SQUARE_BLOCK ? left : SQUARE_BLOCK, pass->x + at);
    }
}

double rlhfi_sum_of_squares(rlhf_context *context, const float *x, int64_t count)
{
    double sums[ROUND], total = 0.0;

    for (int64_t done = 0; done < count; done += (int64_t)ROUND * SQUARE_BLOCK) {
        int64_t left = count - done, most = (int64_t)ROUND * SQUARE_BLOCK, here = left < most ? left : most;
        int64_t blocks = (here + SQUARE_BLOCK - 1) / SQUARE_BLOCK;
        struct square_pass pass = {rlhfi_kernels_of(context), x + done, here, sums};
        rlhfi_parallel_ranges(context, blocks, PIECE / SQUARE_BLOCK, square_blocks, &pass);
        for (int64_t i = 0; i < blocks; i++)
            total += sums[i];
    }
    return total;
}

struct finite_pass {
    const rlhfi_kernels *kernels;
    const float *x;
    int bad; /* written with atomics */
};

static void finite_range(void *argument, int64_t first, int64_t end)
{
    struct finite_pass *pass = argument;

    if (!__atomic_load_n(&pass->bad, __ATOMIC_RELAXED) && !pass->kernels->all_finite(end - first, pass->x + first))
        __atomic_store_n(&pass->bad, 1, __ATOMIC_RELAXED);
}

bool rlhfi_all_finite(rlhf_context *context, const float *x, int64_t count)
{
    struct finite_pass pass = {rlhfi_kernels_of(context), x, 0};

    rlhfi_parallel_ranges(context, count, PIECE, finite_range, &pass);
    return !pass.bad;
}

struct adamw_pass {
    const rlhfi_kernels *kernels;
    const rlhfi_adamw *step;
    float *parameter;
    const float *gradient;
    float *m, *v;
};

static void adamw_range(void *argument, int64_t first, int64_t end)
{
    const struct adamw_pass *pass = argument;

    pass->kernels->adamw(pass->step, end - first, pass->parameter + first, pass->gradient + first, pass->m + first,
                         pass->v + first);
}

void rlhfi_adamw_update(rlhf_context *context, const rlhfi_adamw *step, int64_t count, float *parameter,
                        const float *gradient, float *m, float *v)
{
    struct adamw_pass pass = {rlhfi_kernels_of(context), step, parameter, gradient, m, v};

    rlhfi_parallel_ranges(context, count, PIECE / 2, adamw_range, &pass);
}
