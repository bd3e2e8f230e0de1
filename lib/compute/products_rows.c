/* Products of few rows: what they cost is reading the right-hand matrix, so it is read once, as it stands. */
#include "compute/state.h"

enum {
    INLINE_BYTES = 256 << 10, /* of the right-hand matrix: less is not worth waking a thread for, */
    INLINE_WORK = 1 << 20,    /* unless there are so many floating-point operations */
    READ_ROWS = 4,            /* up to so many rows reading is all there is: long pieces, so that it streams */
    READ_BYTES = 1 << 20,     /* of a task then, about; else short ones, which share better */
    TASK_BYTES = 64 << 10
};

struct pass {
    const rlhfi_kernels *kernels;
    rlhfi_block whole;
    int64_t columns; /* of a task */
    rlhfi_buffer *scratch;
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static void run_columns(void *argument, int64_t index, int32_t worker)
{
    const struct pass *pass = argument;
    const int64_t end = smaller(pass->whole.n, (index + 1) * pass->columns);

    for (int64_t j = index * pass->columns; j < end; j += RLHFI_PANEL) {
        rlhfi_block work = pass->whole;
        work.n = smaller(RLHFI_PANEL, end - j);
        work.b += j * work.ldb;
        work.c += j;
        if (work.bias != NULL)
            work.bias += j;
        pass->kernels->product_direct(&work, pass->scratch[worker].data);
    }
}

rlhf_status rlhfi_product_few_rows(rlhf_context *context, const rlhfi_block *work)
{
    struct pass pass = {rlhfi_kernels_of(context), *work, 0, rlhfi_compute_of(context)->worker};
    const int64_t panels = (work->n + RLHFI_PANEL - 1) / RLHFI_PANEL;
    const double bytes = 4.0 * RLHFI_PANEL * (double)panels * (double)work->k;
    const double piece = work->m <= READ_ROWS ? READ_BYTES : TASK_BYTES;
    /* An even number, so that two threads have the same to do. */
    const int64_t tasks = 2 * (int64_t)(1.0 + bytes / (2.0 * piece));

    RLHFI_TRY(rlhfi_scratch_reserve(context, RLHFI_CHUNK * RLHFI_PANEL));
    if (bytes < INLINE_BYTES && bytes / 2.0 * (double)work->m < INLINE_WORK)
        pass.columns = work->n;
    else
        pass.columns = RLHFI_PANEL * ((panels + tasks - 1) / tasks);
    rlhfi_parallel(context, (work->n + pass.columns - 1) / pass.columns, run_columns, &pass);
    return RLHF_OK;
}
