/* What the compute room keeps in a context: buffers that only grow, so that a training step allocates nothing once it
 * has seen its largest shapes. A context belongs to one thread at a time and tasks do not call back into this room, so
 * the shared buffers have one user. */
#ifndef RLHFI_COMPUTE_STATE_H
#define RLHFI_COMPUTE_STATE_H

#include "compute/kernels.h"

typedef struct rlhfi_buffer {
    float *data;
    size_t capacity; /* floats */
} rlhfi_buffer;

typedef struct rlhfi_compute {
    void *blis;           /* products_blis.c; NULL without BLIS */
    struct {
        int32_t trials;   /* large products done so far, while it is open which way is faster */
        double rate[2];   /* best operations per second: own loops, BLIS */
    } race;
    struct {
        void (*pairs)(const rlhfi_block *work); /* product of pairs */
        enum rlhfi_form many;                   /* the faster form for many rows; RLHFI_FLOATS = not known yet */
    } bf16;
    rlhfi_buffer packed;  /* the right-hand matrix of a product, as panels */
    rlhfi_buffer rounded; /* the left-hand matrix of a bf16 product */
    rlhfi_buffer partial; /* sums of row blocks that wait to be added in order */
    rlhfi_buffer tile;    /* a chunk of logits and of gathered rows */
    rlhfi_buffer gathered;
    rlhfi_buffer index;   /* 64-bit numbers: where the tasks of each sequence begin */
    int32_t workers;
    rlhfi_buffer worker[]; /* scratch of each thread */
} rlhfi_compute;

static inline rlhfi_compute *rlhfi_compute_of(const rlhf_context *context)
{
    return context->products;
}

/* Floats that a buffer has when count are asked for. */
size_t rlhfi_buffer_size(size_t count);
/* Floats of a thread's scratch for the head's forward pass, and for a transposed left-hand matrix. */
size_t rlhfi_head_scratch(int64_t d);
size_t rlhfi_product_scratch(void);
/* Floats of the packed right-hand matrix [k, n] of a product. */
size_t rlhfi_product_packed(int64_t n, int64_t k);
enum { RLHFI_HEAD_ROWS = 512 }; /* of the head that are worked on at a time */

/* Makes room for count floats; the contents are lost. */
rlhf_status rlhfi_buffer_reserve(rlhf_context *context, rlhfi_buffer *buffer, size_t count);
/* The same for every thread's scratch. */
rlhf_status rlhfi_scratch_reserve(rlhf_context *context, size_t count);

/* task(argument, first, end) over 0..count-1 in pieces of grain (the last one shorter). */
typedef void (*rlhfi_range_task)(void *argument, int64_t first, int64_t end);
void rlhfi_parallel_ranges(rlhf_context *context, int64_t count, int64_t grain, rlhfi_range_task task, void *argument);
/* Rows per piece so that a piece has about `elements` of width `width`. */
int64_t rlhfi_rows_per_piece(int64_t width, int64_t elements);

/* products_bf16.c: the form in which this many rows are multiplied fastest, and the kernel for a form. The first call
 * for many rows tries both forms for some ten microseconds. */
enum rlhfi_form rlhfi_bf16_form(rlhf_context *context, int64_t rows);
typedef void (*rlhfi_block_kernel)(const rlhfi_block *work);
rlhfi_block_kernel rlhfi_kernel_of_form(const rlhf_context *context, enum rlhfi_form form);
/* Floats of the left-hand matrix that are rounded at a time. */
size_t rlhfi_bf16_rounded(int64_t rows, int64_t steps);
/* Panels of pairs times the rows of a. */
rlhf_status rlhfi_product_of_pairs(rlhf_context *context, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                                   const float *panels, const float *bias, float *c, int64_t ldc);

/* Cuts the product into tiles and runs them on the pool. B must be readable as rlhfi_block says. */
void rlhfi_run_block(rlhf_context *context, const rlhfi_block *work);
/* products_rows.c: work->b is stored [n,k], rows ldb apart; a_step 1; meant for m <= 64. */
rlhf_status rlhfi_product_few_rows(rlhf_context *context, const rlhfi_block *work);
/* Room for the slabs that rlhfi_run_block makes of a left-hand matrix with a_row 1. */
rlhf_status rlhfi_slabs_reserve(rlhf_context *context);
/* All panels of B stored [n,k] (transposed) or [k,n] into panel [ceil(n/32)][k][32]. */
void rlhfi_pack_panels(rlhf_context *context, int transposed, int64_t k, int64_t n, const float *source, int64_t ld,
                       float *panel);
/* The same with rounding to bf16: panel [ceil(n/32)][steps of k][32]. */
void rlhfi_pack_rounded(rlhf_context *context, enum rlhfi_form form, int transposed, int64_t k, int64_t n,
                        const rlhfi_array *source, int64_t ld, float *panel);

/* sum[j] += over rows, ascending in blocks of 256 that are then added in order: dy, or with x a chain of
 * dy * (x - mean) * rstd (mean NULL = 0). */
rlhf_status rlhfi_sum_over_rows(rlhf_context *context, int64_t rows, int64_t n, const float *x, const float *dy,
                                int64_t ld, const float *mean, const float *rstd, float *sum);

static inline int64_t rlhfi_head_blocks(int64_t vocabulary)
{
    return (vocabulary + RLHFI_HEAD_BLOCK - 1) / RLHFI_HEAD_BLOCK;
}

/* products_blis.c. attach: leaves compute->blis NULL if BLIS is missing, of another version or not exact. */
void rlhfi_blis_attach(rlhf_context *context);
void rlhfi_blis_detach(rlhf_context *context);
const char *rlhfi_blis_version(void); /* of the running library, NULL without BLIS */
bool rlhfi_blis_suits(const rlhf_context *context, int64_t m, int64_t n, int64_t k);
void rlhfi_blis_product(rlhf_context *context, const rlhfi_block *work, int64_t b_row, int64_t b_column);

#endif
