/* The table of kernels, one instance per instruction set, chosen once per context. Every entry gives the same bits in
 * every instance, because all are made from one source (kernels_template.h) over a 16-lane vector type. */
#ifndef RLHFI_KERNELS_H
#define RLHFI_KERNELS_H

#include "compute/compute.h"

enum {
    RLHFI_PANEL = 32,      /* columns of a panel: [k][32] floats, one behind the other */
    RLHFI_CHUNK = 256,     /* a chain restarts after so many k */
    RLHFI_HEAD_BLOCK = 1024, /* logits per block of the head's log-sum-exp */
    RLHFI_DRAW_GROUP = 128   /* 16-bit draws that are made together */
};

/* How an operand of a product stands in memory. A product of bf16 numbers goes over the pairs of neighbouring k, of
 * each pair first the second number, then the first: that is how the instruction VDPBF16PS does it. Where the last pair
 * lacks its second number that is +0. Either form gives the same bits, and which is faster depends on the machine. */
enum rlhfi_form {
    RLHFI_FLOATS = 0,
    RLHFI_PAIRS,      /* a pair of bf16 in the place of a float, the first number in the lower half */
    RLHFI_SWAPPED     /* floats that are bf16 numbers, the two of each pair having changed places */
};

/* Places of a float along k. */
static inline int64_t rlhfi_form_steps(enum rlhfi_form form, int64_t k)
{
    return form == RLHFI_PAIRS ? (k + 1) / 2 : form == RLHFI_SWAPPED ? k + (k & 1) : k;
}

/* C[m,n] = A * B (+ C) (+ bias), on one thread. k counts places of a float, all of one form. A element (i,p) is
 * a[i*a_row + p*a_step]. B element (p,j) stands in panel j/32 at b[j/32*panel_stride + p*ldb + j%32]: packed panels
 * have ldb 32 and panel_stride 32*k, a plain row-major matrix has panel_stride 32. Nothing beyond column n is read or
 * written. */
typedef struct rlhfi_block {
    int64_t m, n, k;
    const float *a;
    int64_t a_row, a_step;
    const float *b;
    int64_t ldb, panel_stride;
    const float *bias;
    int accumulate;
    float *c;
    int64_t ldc;
    enum rlhfi_form form;
} rlhfi_block;

/* One row of attention scores s[0..width), width a multiple of 16; keys first <= u < end are allowed. */
typedef struct rlhfi_score_row {
    int64_t first, end, width;
    float scale;
} rlhfi_score_row;

/* Scores of 16 rows as columns: row `u - begin` of s, 32 wide, holds key u, begin <= u < stop; row j of the 16 may
 * see the keys first[j] <= u < end[j] (whole numbers up to 2^24). */
typedef struct rlhfi_score_columns {
    int64_t begin, stop;
    float scale, first[16], end[16];
} rlhfi_score_columns;

/* One query's attention over pages of 32 keys (compute.h: rlhfi_attention_pages). */
typedef struct rlhfi_paged_query {
    const float *const *page;
    int64_t keys, key, value, value_width;
    int64_t kv_heads, group, head_dim; /* group: query heads that share a key/value head */
    int64_t score_stride;              /* keys in whole pages at least */
    float scale;
    const float *q;                    /* [kv_heads*group, head_dim] */
    float *out;                        /* likewise */
    float *scratch;                    /* kv_heads * group * (score_stride + 1) */
} rlhfi_paged_query;

/* What a row's softmax needs from one block of logits z: x = z * inverse_temperature, m its maximum. */
typedef struct rlhfi_head_part {
    float highest;  /* max z */
    float sum;      /* sum of e^(x - m), lanes */
    float weighted; /* sum of e^(x - m) * (x - m), lanes */
    float plain;    /* sum of x, lanes */
    int32_t best;   /* index in the block of the first z that is the highest */
} rlhfi_head_part;

/* dz = inverse_temperature * (each - p * (common + entropy_gradient * (log p + entropy))) */
typedef struct rlhfi_head_slope {
    float inverse_temperature, log_sum_exp, common, entropy_gradient, entropy, each;
} rlhfi_head_slope;

typedef struct rlhfi_kernels {
    const char *name;

    void (*product)(const rlhfi_block *work);         /* RLHFI_FLOATS */
    /* The bf16 products treat subnormal numbers as 0 and flush subnormal sums to 0, keeping the sign. */
    void (*product_pairs)(const rlhfi_block *work);   /* RLHFI_PAIRS */
    void (*product_swapped)(const rlhfi_block *work); /* RLHFI_SWAPPED; NULL: no faster than pairs */
    /* The same for B as it stands, [n,k] with rows ldb apart, n <= 32, a_step 1. panel: scratch of 256 * 32
     * floats. The rows behind are fetched meanwhile, whether there are any or not. */
    void (*product_direct)(const rlhfi_block *work, float *panel);
    /* One panel of n <= 32 columns from B stored [n,k] (transposed) or [k,n]; missing columns are left undefined. */
    void (*pack)(int transposed, int64_t k, int64_t n, const float *source, int64_t ld, float *panel);
    /* Rounding to bf16 (nearest, ties to even, subnormal numbers to 0) into the form of an operand:
     * rows [rows,k], columns [k,n], a panel from either as in pack; pairs of panels to the swapped form. */
    void (*round_rows)(enum rlhfi_form form, int64_t rows, int64_t k, const rlhfi_array *source, int64_t ld,
                       float *to, int64_t ldto);
    void (*round_columns)(enum rlhfi_form form, int64_t k, int64_t n, const rlhfi_array *source, int64_t ld,
                          float *to, int64_t ldto);
    void (*pack_rounded)(enum rlhfi_form form, int transposed, int64_t k, int64_t n, const rlhfi_array *source,
                         int64_t ld, float *panel);
    void (*spread_pairs)(int64_t steps, const float *pairs, float *to);
    /* Plain arrays: float to bf16 as above, and back. */
    void (*round_numbers)(int64_t n, const float *source, uint16_t *to);
    void (*widen)(int64_t n, const uint16_t *source, float *to);
    /* Draw i of a group is a 16-bit half of what Philox gives for {lane, number, RLHFI_RANDOM_ROUND}, lane = 16 group +
     * i mod 16: half i/16 of its eight, so that 16 neighbours are made side by side. */
    void (*draw)(uint64_t seed, uint64_t number, int64_t group, uint16_t halves[RLHFI_DRAW_GROUP]);
    /* float to bf16, up where the lower half and the draw together reach 2^16 */
    void (*round_stochastic)(int64_t n, const float *x, const uint16_t *draws, uint16_t *to);
    /* rows of n floats, ld apart, one behind the other into to */
    void (*copy_rows)(int64_t rows, int64_t n, const float *source, int64_t ld, float *to);

    void (*add)(int64_t n, float *y, const float *x);
    void (*scale)(int64_t n, float *x, float factor);
    double (*sum_of_squares)(int64_t n, const float *x);
    bool (*all_finite)(int64_t n, const float *x);
    void (*adamw)(const rlhfi_adamw *step, int64_t n, float *parameter, const float *gradient, float *m, float *v);

    /* Rows of width d that stand one behind the other. */
    void (*rms_norm)(int64_t rows, int64_t d, const float *x, const float *weight, float eps, float *y, float *rstd);
    void (*rms_norm_backward)(int64_t rows, int64_t d, const float *x, const float *weight, const float *rstd,
                              const float *dy, float *dx);
    void (*layer_norm)(int64_t rows, int64_t d, const float *x, const float *weight, const float *bias, float eps,
                       float *y, float *mean, float *rstd);
    void (*layer_norm_backward)(int64_t rows, int64_t d, const float *x, const float *weight, const float *mean,
                                const float *rstd, const float *dy, float *dx);
    /* sum[j] = chain over the rows of dy * (x - mean) * rstd, for n columns; mean NULL = 0 */
    void (*norm_weight_sum)(int64_t rows, int64_t n, const float *x, const float *dy, int64_t ld, const float *mean,
                            const float *rstd, float *sum);
    /* sum[j] = sum over the rows of dy */
    void (*column_sum)(int64_t rows, int64_t n, const float *dy, int64_t ld, float *sum);

    void (*activate)(enum rlhfi_activation kind, int64_t n, const float *x, const float *u, float *y);
    void (*activate_backward)(enum rlhfi_activation kind, int64_t n, const float *x, const float *u, const float *dy,
                              float *dx, float *du);
    /* heads of width 2*half; sine is multiplied with direction +1 or -1 */
    void (*rotate)(int64_t heads, int64_t half, const float *cosine, const float *sine, float direction, float *x);

    /* Attention. softmax: s becomes e^(scale*s - max), 0 where not allowed; returns the sum, *maximum the maximum. */
    float (*softmax)(const rlhfi_score_row *row, float *s, float *maximum);
    /* The same for `rows` <= 16 rows as columns of s. */
    void (*softmax_columns)(const rlhfi_score_columns *columns, int rows, float *s, float *sum, float *maximum);
    /* to[j][i] = x[i*32 + j] / divisor[j] for n numbers of 16 rows */
    void (*spread_columns)(int64_t n, const float *x, const float *divisor, float *const *to);
    void (*attend_pages)(const rlhfi_paged_query *work);
    void (*divide)(int64_t n, const float *x, float by, float *y);
    /* lanes over n of a*b */
    float (*dot)(int64_t n, const float *a, const float *b);
    /* s becomes p = e^(scale*s - log_sum_exp), dp becomes scale * p * (dp - delta), both 0 where not allowed */
    void (*softmax_backward)(const rlhfi_score_row *row, float log_sum_exp, float delta, float *s, float *dp);

    void (*head_part)(int64_t n, const float *z, float inverse_temperature, bool want_best, rlhfi_head_part *part);
    void (*head_slope)(int64_t n, const rlhfi_head_slope *slope, float *z);
    /* p = e^(z*inverse_temperature - maximum) * factor */
    void (*exp_scaled)(int64_t n, const float *z, float inverse_temperature, float maximum, float factor, float *p);
    void (*sampling_weights)(int64_t n, const float *z, double top, double inverse_temperature, double *weight);

    /* The polynomials, for tests and vector callers: y = f(x). */
    void (*exp)(int64_t n, const float *x, float *y);
    void (*log)(int64_t n, const float *x, float *y);
    void (*tanh)(int64_t n, const float *x, float *y);
    void (*erf)(int64_t n, const float *x, float *y);
} rlhfi_kernels;

/* The products of bf16 are files of their own; the last is for machines that have the instruction. */
void rlhfi_product_pairs_scalar(const rlhfi_block *work);
void rlhfi_product_pairs_avx2(const rlhfi_block *work);
void rlhfi_product_pairs_avx512(const rlhfi_block *work);
void rlhfi_product_pairs_avx512_bf16(const rlhfi_block *work);

extern const rlhfi_kernels rlhfi_kernels_scalar;
extern const rlhfi_kernels rlhfi_kernels_avx2;
extern const rlhfi_kernels rlhfi_kernels_avx512;

static inline const rlhfi_kernels *rlhfi_kernels_of(const rlhf_context *context)
{
    return context->kernels;
}

#endif
