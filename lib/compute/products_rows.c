/* Products of few rows: what they cost is reading the right-hand matrix, so it is read once, as it stands. */
#include "compute/state.h"

enum {
    TASK_BYTES = 256 << 10, /* of the right-hand matrix, about: long enough to stream */
    INLINE_BYTES = 256 << 10,
    PANEL_FLOATS = RLHFI_CHUNK * RLHFI_PANEL
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

struct pass {
    const rlhfi_kernels *kernels;
    rlhfi_block whole;
    int64_t columns; /* of a task, whole panels */
    rlhfi_buffer *scratch;
};

static void run_task(void *argument, int64_t index, int32_t worker)
{
    const struct pass *pass = argument;
    int64_t end = smaller(pass->whole.n, (index + 1) * pass->columns);

    for (int64_t j = index * pass->columns; j < end; j += RLHFI_PANEL) {
        rlhfi_block work = pass->whole;
        work.n = smaller(RLHFI_PANEL, end - j);
        work.b += j * work.ldb;
        work.c += j;
        if (work.bias != NULL)
            work.bias += j;
        pass->kernels->product_direct(&work, pass->scratch[worker].data, work.b + RLHFI_PANEL * work.ldb);
    }
}

rlhf_status rlhfi_product_few_rows(rlhf_context *context, const rlhfi_block *work)
{
    struct pass pass = {rlhfi_kernels_of(context), *work, 0, rlhfi_compute_of(context)->worker};
    int64_t panel_bytes = RLHFI_PANEL * 4 * work->k, panels = TASK_BYTES / panel_bytes;

    RLHFI_TRY(rlhfi_scratch_reserve(context, PANEL_FLOATS));
    pass.columns = RLHFI_PANEL * (panels < 1 ? 1 : panels);
    if (4 * work->n * work->k < INLINE_BYTES)
        for (int64_t i = 0; i * pass.columns < work->n; i++)
            run_task(&pass, i, 0);
    else
        rlhfi_parallel(context, (work->n + pass.columns - 1) / pass.columns, run_task, &pass);
    return RLHF_OK;
}
