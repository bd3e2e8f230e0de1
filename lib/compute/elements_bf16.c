/* Passes over numbers that are kept as bf16: rounding and back, gathering rows, the optimizer. */
#include "compute/state.h"

enum {
    PIECE = 1 << 16, /* elements of a task */
    GROUP = RLHFI_DRAW_GROUP
};

struct bf16_pass {
    const rlhfi_kernels *kernels;
    float *wide;
    uint16_t *narrow;
    const float *from_wide;
    const uint16_t *from_narrow;
};

static void round_range(void *argument, int64_t first, int64_t end)
{
    const struct bf16_pass *pass = argument;
    pass->kernels->round_numbers(end - first, pass->from_wide + first, pass->narrow + first);
}

void rlhfi_round(rlhf_context *context, uint16_t *to, const float *from, int64_t count)
{
    struct bf16_pass pass = {.kernels = rlhfi_kernels_of(context), .narrow = to, .from_wide = from};
    rlhfi_parallel_ranges(context, count, PIECE, round_range, &pass);
}

static void widen_range(void *argument, int64_t first, int64_t end)
{
    const struct bf16_pass *pass = argument;
    pass->kernels->widen(end - first, pass->from_narrow + first, pass->wide + first);
}

void rlhfi_widen(rlhf_context *context, float *to, const uint16_t *from, int64_t count)
{
    struct bf16_pass pass = {.kernels = rlhfi_kernels_of(context), .wide = to, .from_narrow = from};
    rlhfi_parallel_ranges(context, count, PIECE, widen_range, &pass);
}

/* ---- tables of rows ---------------------------------------------------------------------------------------------- */

struct gather_pass {
    const rlhfi_kernels *kernels;
    int64_t d;
    const uint16_t *table;
    const int32_t *id;
    int accumulate;
    float *to;
};

static void gather_range(void *argument, int64_t first, int64_t end)
{
    const struct gather_pass *pass = argument;

    for (int64_t r = first; r < end; r++) {
        const uint16_t *row = pass->table + pass->id[r] * pass->d;
        float *to = pass->to + r * pass->d;
        if (!pass->accumulate) {
            pass->kernels->widen(pass->d, row, to);
            continue;
        }
        for (int64_t j = 0; j < pass->d; j += GROUP) {
            float wide[GROUP];
            int64_t n = pass->d - j < GROUP ? pass->d - j : GROUP;
            pass->kernels->widen(n, row + j, wide);
            pass->kernels->add(n, to + j, wide);
        }
    }
}

void rlhfi_gather_bf16(rlhf_context *context, int64_t rows, int64_t d, const uint16_t *table, const int32_t *id,
                       int accumulate, float *y)
{
    struct gather_pass pass = {rlhfi_kernels_of(context), d, table, id, accumulate, y};
    rlhfi_parallel_ranges(context, rows, rlhfi_rows_per_piece(d, PIECE), gather_range, &pass);
}

/* ---- AdamW ------------------------------------------------------------------------------------------------------- */

struct adamw_pass {
    const rlhfi_kernels *kernels;
    const rlhfi_adamw *step;
    const rlhfi_draw *draw;
    int64_t count;
    uint16_t *parameter;
    const float *gradient;
    float *m, *v;
};

/* Groups of draws are counted from element 0 of all parameters, so the first and the last may lie across the ends. */
static void adamw_groups(void *argument, int64_t first, int64_t end)
{
    const struct adamw_pass *pass = argument;
    const int64_t origin = pass->draw->first;

    for (int64_t group = origin / GROUP + first; group < origin / GROUP + end; group++) {
        int64_t from = group * GROUP - origin, until = from + GROUP, skipped = from < 0 ? -from : 0;
        float wide[GROUP];
        uint16_t halves[GROUP];
        from += skipped;
        if (until > pass->count)
            until = pass->count;
        pass->kernels->widen(until - from, pass->parameter + from, wide);
        pass->kernels->adamw(pass->step, until - from, wide, pass->gradient + from, pass->m + from, pass->v + from);
        pass->kernels->draw(pass->draw->seed, pass->draw->number, group, halves);
        pass->kernels->round_stochastic(until - from, wide, halves + skipped, pass->parameter + from);
    }
}

void rlhfi_adamw_update_bf16(rlhf_context *context, const rlhfi_adamw *step, const rlhfi_draw *draw, int64_t count,
                             uint16_t *parameter, const float *gradient, float *m, float *v)
{
    struct adamw_pass pass = {rlhfi_kernels_of(context), step, draw, count, parameter, gradient, m, v};

    if (count > 0)
        rlhfi_parallel_ranges(context, (draw->first + count + GROUP - 1) / GROUP - draw->first / GROUP,
                              PIECE / 2 / GROUP, adamw_groups, &pass);
}
