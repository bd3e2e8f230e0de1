/* Products of few rows: what they cost is reading the right-hand matrix, so it is read once, as it stands. */
#include "compute/state.h"

enum {
    INLINE_BYTES = 256 << 10, /* of the right-hand matrix: less is not worth waking a thread for, */
    INLINE_WORK = 1 << 20,    /* unless there are so many floating-point operations */
    TASK_BYTES = 256 << 10,   /* of a task, about: long enough to stream, short enough to share */
    TASK_WORK = 1 << 21
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
    /* a panel's */
    const double bytes = 4.0 * RLHFI_PANEL * (double)work->k, operations = bytes / 2.0 * (double)work->m;
    const double panels = bytes / TASK_BYTES > operations / TASK_WORK ? TASK_BYTES / bytes : TASK_WORK / operations;
    const int64_t all = (work->n + RLHFI_PANEL - 1) / RLHFI_PANEL;

    RLHFI_TRY(rlhfi_scratch_reserve(context, RLHFI_CHUNK * RLHFI_PANEL));
    if (bytes * (double)all < INLINE_BYTES && operations * (double)all < INLINE_WORK)
        pass.columns = work->n;
    else
        pass.columns = RLHFI_PANEL * (panels < 1.0 ? 1 : panels > (double)all ? all : (int64_t)panels);
    rlhfi_parallel(context, (work->n + pass.columns - 1) / pass.columns, run_columns, &pass);
    return RLHF_OK;
}
