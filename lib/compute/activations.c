/* Activations (plain and gated) and the rotary embedding: passes over rows with leading dimensions. */
#include "compute/state.h"

enum { PIECE = 1 << 14 /* elements of a task: an exponential each */ };

struct activation {
    const rlhfi_kernels *kernels;
    enum rlhfi_activation kind;
    int64_t n;
    const float *x, *u, *dy;
    int64_t ldx, ldu, lddy;
    float *y, *du; /* y is dx in the backward pass */
    int64_t ldy, lddu;
};

static void forward_range(void *argument, int64_t first, int64_t end)
{
    const struct activation *a = argument;

    for (int64_t r = first; r < end; r++)
        a->kernels->activate(a->kind, a->n, a->x + r * a->ldx, a->u == NULL ? NULL : a->u + r * a->ldu,
                             a->y + r * a->ldy);
}

void rlhfi_activate(rlhf_context *context, enum rlhfi_activation kind, int64_t rows, int64_t n, const float *x,
                    int64_t ldx, const float *u, int64_t ldu, float *y, int64_t ldy)
{
    struct activation a = {.kernels = rlhfi_kernels_of(context), .kind = kind, .n = n, .x = x, .u = u, .ldx = ldx,
                           .ldu = ldu, .y = y, .ldy = ldy};

    rlhfi_parallel_ranges(context, rows, rlhfi_rows_per_piece(n, PIECE), forward_range, &a);
}

static void backward_range(void *argument, int64_t first, int64_t end)
{
    const struct activation *a = argument;

    for (int64_t r = first; r < end; r++)
        a->kernels->activate_backward(a->kind, a->n, a->x + r * a->ldx, a->u == NULL ? NULL : a->u + r * a->ldu,
                                      a->dy + r * a->lddy, a->y + r * a->ldy,
                                      a->du == NULL ? NULL : a->du + r * a->lddu);
}

void rlhfi_activate_backward(rlhf_context *context, enum rlhfi_activation kind, int64_t rows, int64_t n, const float *x,
                             int64_t ldx, const float *u, int64_t ldu, const float *dy, int64_t lddy, float *dx,
                             int64_t lddx, float *du, int64_t lddu)
{
    struct activation a = {.kernels = rlhfi_kernels_of(context), .kind = kind, .n = n, .x = x, .u = u, .dy = dy,
                           .ldx = ldx, .ldu = ldu, .lddy = lddy, .y = dx, .du = du, .ldy = lddx, .lddu = lddu};

    rlhfi_parallel_ranges(context, rows, rlhfi_rows_per_piece(n, PIECE), backward_range, &a);
}

/* ---- rotary embedding -------------------------------------------------------------------------------------------- */

struct angles {
    int64_t half;
    const float *inverse_frequency;
    float *cosine, *sine;
};

static void angle_range(void *argument, int64_t first, int64_t end)
{
    const struct angles *angles = argument;

    for (int64_t position = first; position < end; position++) {
        for (int64_t i = 0; i < angles->half; i++) {
            float angle = (float)position * angles->inverse_frequency[i];
            angles->cosine[position * angles->half + i] = rlhfi_cosf(angle);
            angles->sine[position * angles->half + i] = rlhfi_sinf(angle);
        }
    }
}

void rlhfi_rotary_table(rlhf_context *context, int64_t positions, int64_t head_dim, const float *inverse_frequency,
                        float *cosine, float *sine)
{
    struct angles angles = {head_dim / 2, inverse_frequency, cosine, sine};

    rlhfi_parallel_ranges(context, positions, rlhfi_rows_per_piece(head_dim / 2, PIECE / 16), angle_range, &angles);
}

struct rotation {
    const rlhfi_kernels *kernels;
    int64_t heads, half;
    const int32_t *position;
    const float *cosine, *sine;
    float direction;
    float *x;
    int64_t ldx;
};

static void rotate_range(void *argument, int64_t first, int64_t end)
{
    const struct rotation *rotation = argument;

    for (int64_t r = first; r < end; r++) {
        int64_t at = rotation->position[r] * rotation->half;
        rotation->kernels->rotate(rotation->heads, rotation->half, rotation->cosine + at, rotation->sine + at,
                                  rotation->direction, rotation->x + r * rotation->ldx);
    }
}

void rlhfi_rotate(rlhf_context *context, int64_t rows, int64_t heads, int64_t head_dim, const int32_t *position,
                  const float *cosine, const float *sine, int direction, float *x, int64_t ldx)
{
    struct rotation rotation = {rlhfi_kernels_of(context), heads, head_dim / 2, position, cosine, sine,
                                direction < 0 ? -1.0f : 1.0f, x, ldx};

    rlhfi_parallel_ranges(context, rows, rlhfi_rows_per_piece(heads * head_dim, 2 * PIECE), rotate_range, &rotation);
}
