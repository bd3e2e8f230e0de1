/* Kernels with a specified order of every reduction (design 4), chosen once per context by instruction set. A function
 * here gives the same bits for every cpu mask, any number of threads, with or without BLIS. Rows are independent: what
 * stands in the other rows of a call never changes a row's bits. */
#ifndef RLHFI_COMPUTE_H
#define RLHFI_COMPUTE_H

#include "core/core.h"

/* The two orders of reduction:
 * - "chain": fused multiply-adds over k ascending, from +0, restarted every 256 k; the chunk sums added in order
 *   (first chunk sum, + second, ...). All products, attention included.
 * - "lanes": 16 virtual lanes, lane j takes elements i with i % 16 == j in ascending order (missing ones add nothing);
 *   then lanes l and l+8 are added, then l and l+4, l+2, l+1. Sums over a row: softmax, norms, means.
 * exp, log, tanh, erf, sin, cos are our own polynomials (at most 2 ulp), the same on every machine. */

/* Numbers in memory, as floats or as bf16 (the upper half of a float): one of the two is NULL. */
typedef struct rlhfi_array {
    const float *f32;
    const uint16_t *bf16;
} rlhfi_array;

static inline rlhfi_array rlhfi_floats(const float *f32)
{
    return (rlhfi_array){f32, NULL};
}

static inline rlhfi_array rlhfi_array_at(rlhfi_array numbers, int64_t index)
{
    return numbers.f32 != NULL ? (rlhfi_array){numbers.f32 + index, NULL}
                               : (rlhfi_array){NULL, numbers.bf16 + index};
}

/* ---- dense products ------------------------------------------------------------------------------------------- */

enum { RLHFI_NO = 0, RLHFI_YES = 1 };
/* C[m,n] = (accumulate ? C : 0) + op(A)[m,k] * op(B)[k,n], all row-major with leading dimensions (elements).
 * op(A) = A[m,k] or, transposed, A stored [k,m]; op(B) = B[k,n] or, transposed, B stored [n,k].
 * With accumulate, C + first chunk sum, + second chunk sum, .... Threads: tiles of C, cut by the problem.
 * bias [n] or NULL is added after the last chunk (not with accumulate). */
rlhf_status rlhfi_product(rlhf_context *context, int transpose_a, int transpose_b, int64_t m, int64_t n, int64_t k,
                          const float *a, int64_t lda, const float *b, int64_t ldb, const float *bias, int accumulate,
                          float *c, int64_t ldc);

/* The same with both operands rounded to bf16 (nearest, ties to even, subnormal numbers to 0), summed in float. The
 * chain goes over pairs of neighbouring k, of each the second number first, then the first; an odd k ends with a pair
 * whose second number is +0. It restarts every 256 k as above. Inputs and sums below 2^-126 are 0 with their sign. */
rlhf_status rlhfi_product_bf16(rlhf_context *context, int transpose_a, int transpose_b, int64_t m, int64_t n, int64_t k,
                               const float *a, int64_t lda, rlhfi_array b, int64_t ldb, const float *bias,
                               int accumulate, float *c, int64_t ldc);

/* The bf16 product if rounded, else the float product of b.f32. */
rlhf_status rlhfi_product_either(rlhf_context *context, bool rounded, int transpose_a, int transpose_b, int64_t m,
                                 int64_t n, int64_t k, const float *a, int64_t lda, rlhfi_array b, int64_t ldb,
                                 const float *bias, int accumulate, float *c, int64_t ldc);

/* Weights packed for few rows (decoding): streamed once from memory, same bits as rlhfi_product. */
typedef struct rlhfi_panels rlhfi_panels;
/* weight stored [n,k] (transposed 1, as HF Linear) or [k,n] (transposed 0, as GPT-2 Conv1D). */
rlhf_status rlhfi_panels_create(rlhfi_panels **out, rlhf_context *context, int transposed, int64_t n, int64_t k,
                                const float *weight, int64_t ld);
/* The same for rlhfi_product_bf16: half the memory. */
rlhf_status rlhfi_panels_create_bf16(rlhfi_panels **out, rlhf_context *context, int transposed, int64_t n, int64_t k,
                                     rlhfi_array weight, int64_t ld);
void rlhfi_panels_repack(rlhfi_panels *panels, rlhfi_array weight, int64_t ld); /* after the weights changed */
void rlhfi_panels_release(rlhfi_panels **panels);
/* C[m,n] = A[m,k] * W (+ bias), any m; meant for m <= 64. */
rlhf_status rlhfi_product_panels(rlhf_context *context, int64_t m, const float *a, int64_t lda,
                                 const rlhfi_panels *panels, const float *bias, float *c, int64_t ldc);

/* ---- rows and elements. All loops are threaded inside, cut into blocks of rows or elements. ---------------------- */

void rlhfi_copy(rlhf_context *context, float *to, const float *from, int64_t count);
void rlhfi_zero(rlhf_context *context, float *x, int64_t count);
void rlhfi_round(rlhf_context *context, uint16_t *to, const float *from, int64_t count);  /* to bf16, as products do */
void rlhfi_widen(rlhf_context *context, float *to, const uint16_t *from, int64_t count);  /* from bf16 */
void rlhfi_add_to(rlhf_context *context, float *y, const float *x, int64_t count);           /* y += x */
void rlhfi_scale(rlhf_context *context, float *x, float factor, int64_t count);
/* gradient of a bias: db[j] += sum over rows of dy[r][j], rows ascending in blocks of 256 like a chain (adds) */
rlhf_status rlhfi_bias_gradient(rlhf_context *context, int64_t rows, int64_t n, const float *dy, int64_t ld, float *db);

/* x [rows,d] + position or token table rows: y[r] = table[id[r]] (+ y[r] if accumulate) */
void rlhfi_gather(rlhf_context *context, int64_t rows, int64_t d, const float *table, const int32_t *id, int accumulate,
                  float *y);
void rlhfi_gather_bf16(rlhf_context *context, int64_t rows, int64_t d, const uint16_t *table, const int32_t *id,
                       int accumulate, float *y);
/* table[id[r]] += dy[r] for r ascending (fixed order; threads cut columns) */
void rlhfi_scatter_add(rlhf_context *context, int64_t rows, int64_t d, const int32_t *id, const float *dy,
                       float *table);

/* Norms. rstd and mean [rows] are kept for the backward pass (NULL = not kept). */
void rlhfi_rms_norm(rlhf_context *context, int64_t rows, int64_t d, const float *x, const float *weight, float eps,
                    float *y, float *rstd);
/* dx += ...; dweight += sum over rows (specified: row blocks of 256, blocks in order; inside a block ascending). dx,
 * dweight and dbias may be NULL: not wanted. */
rlhf_status rlhfi_rms_norm_backward(rlhf_context *context, int64_t rows, int64_t d, const float *x, const float *weight,
                                    const float *rstd, const float *dy, float *dx, float *dweight);
void rlhfi_layer_norm(rlhf_context *context, int64_t rows, int64_t d, const float *x, const float *weight,
                      const float *bias, float eps, float *y, float *mean, float *rstd);
rlhf_status rlhfi_layer_norm_backward(rlhf_context *context, int64_t rows, int64_t d, const float *x,
                                      const float *weight, const float *mean, const float *rstd, const float *dy,
                                      float *dx, float *dweight, float *dbias);

enum rlhfi_activation { RLHFI_SILU = 1, RLHFI_GELU_TANH = 2, RLHFI_GELU_ERF = 3, RLHFI_RELU = 4 };
/* y = act(x) (* gate partner u if not NULL). x, u, y have leading dimensions so that fused projections work in
 * place. */
void rlhfi_activate(rlhf_context *context, enum rlhfi_activation kind, int64_t rows, int64_t n, const float *x,
                    int64_t ldx, const float *u, int64_t ldu, float *y, int64_t ldy);
/* dx = dy * act'(x) (* u), du = dy * act(x); dx may alias dy. */
void rlhfi_activate_backward(rlhf_context *context, enum rlhfi_activation kind, int64_t rows, int64_t n, const float *x,
                             int64_t ldx, const float *u, int64_t ldu, const float *dy, int64_t lddy, float *dx,
                             int64_t lddx, float *du, int64_t lddu);

/* Rotary embedding, half-split layout, on `heads` heads of width head_dim standing side by side in a row of x.
 * angle table: cosine and sine [max_position, head_dim/2], made once (rlhfi_rotary_table). direction +1 forward, -1
 * backward. */
void rlhfi_rotary_table(rlhf_context *context, int64_t positions, int64_t head_dim, const float *inverse_frequency,
                        float *cosine, float *sine);
void rlhfi_rotate(rlhf_context *context, int64_t rows, int64_t heads, int64_t head_dim, const int32_t *position,
                  const float *cosine, const float *sine, int direction, float *x, int64_t ldx);

/* ---- attention, causal, ragged, grouped heads ------------------------------------------------------------------- */

typedef struct rlhfi_attention {
    int64_t sequences;
    const int64_t *query_offset;     /* [sequences+1] rows of q and out: the new tokens of each sequence */
    const int64_t *key_length;       /* [sequences] keys each sequence has in all; its last query sees all of them */
    const float *const *key;         /* [sequences] first key row of the sequence: [key_length, kv_heads*head_dim] */
    const float *const *value;       /* likewise */
    int64_t ldkv;                    /* leading dimension of key and value rows */
    int32_t heads, kv_heads, head_dim;
    int64_t window;                  /* 0 = none; else a query sees the last `window` keys, itself included */
    float scale;                     /* applied after the dot product */
    /* NULL = none. The first prefix_length[s] of the sequence's keys stand elsewhere, likewise ldkv apart, because
     * several sequences share them; key[s] and value[s] are then the rows behind them. key_length counts both. */
    const float *const *prefix_key, *const *prefix_value; /* [sequences] */
    const int64_t *prefix_length;                         /* [sequences] 0 = this one has none */
} rlhfi_attention;
/* out[t] = sum_u p_u v_u, p = softmax(scale * q.k): scores by chain over head_dim, maximum, exp, sum by lanes over u
 * (u counted from the first key of the sequence), output by chain over u of p_u*v_u (restart every 256 u), then one
 * division by the sum. log_sum_exp [rows, heads] is kept for the backward pass (NULL = not kept). Never T x T. */
rlhf_status rlhfi_attend(rlhf_context *context, const rlhfi_attention *shape, const float *q, int64_t ldq, float *out,
                         int64_t ldout, float *log_sum_exp);
/* The same for keys and values that stand in pages of RLHFI_PAGE tokens (a cache), without a window. At `key` floats
 * from a page's beginning stand the keys as columns [kv_heads][head_dim][RLHFI_PAGE], at `value` the values as rows
 * [RLHFI_PAGE][kv_heads*head_dim]; what stands behind the last key does not matter. */
enum { RLHFI_PAGE = 32 };
typedef struct rlhfi_attention_pages {
    int64_t sequences;
    const int64_t *query_offset, *key_length; /* as above */
    const float *const *const *page;          /* [sequences][pages] */
    int64_t key, value;
    int32_t heads, kv_heads, head_dim;
    float scale;
} rlhfi_attention_pages;
rlhf_status rlhfi_attend_pages(rlhf_context *context, const rlhfi_attention_pages *shape, const float *q, int64_t ldq,
                               float *out, int64_t ldout);
/* For whole sequences (query rows = key rows behind the prefix). dq, dk, dv are written (not added); k/v gradients are
 * the sum over the query heads of the group in ascending order, over queries ascending as a chain. key/value/dk/dv are
 * rows of the flattened batch with leading dimension ldkv. A prefix must be the last sequence before it that has none,
 * as a whole: to that one's gradients, the sums of each sequence that continues it are added, sequences ascending. */
rlhf_status rlhfi_attend_backward(rlhf_context *context, const rlhfi_attention *shape, const float *q, int64_t ldq,
                                  const float *out, int64_t ldout, const float *log_sum_exp, const float *dout,
                                  int64_t lddout, float *dq, int64_t lddq, float *dk, float *dv, int64_t lddkv);

/* ---- language-model head, fused: logits exist only tile by tile -------------------------------------------------- */

typedef struct rlhfi_head_result { /* each [rows], NULL = not wanted */
    float *log_prob;       /* log softmax(z * inverse_temperature) at the target, nats */
    float *entropy;        /* of that distribution */
    float *mean_log_prob;  /* mean over the vocabulary of log p (label smoothing) */
    int32_t *best;         /* arg max of z, the smallest id among equals */
    float *log_sum_exp;    /* of z * inverse_temperature, for the backward pass */
} rlhfi_head_result;
/* Weight of the head [vocabulary, d]. Products with it are float, or bf16 if `rounded`. */
typedef struct rlhfi_head_matrix {
    rlhfi_array weight; /* bf16 needs rounded */
    bool rounded;
} rlhfi_head_matrix;

static inline rlhfi_head_matrix rlhfi_float_head(const float *weight)
{
    return (rlhfi_head_matrix){rlhfi_floats(weight), false};
}

/* z = hidden[row[i]] * weight^T, weight [vocabulary, d]; row NULL = 0..rows-1. target [rows], may be NULL if
 * log_prob is not wanted. inverse_temperature > 0. */
rlhf_status rlhfi_head(rlhf_context *context, int64_t rows, int64_t d, int64_t vocabulary, const float *hidden,
                       const int64_t *row, rlhfi_head_matrix matrix, const int32_t *target, float inverse_temperature,
                       const rlhfi_head_result *result);
/* Gradients per row on log_prob, entropy, mean_log_prob (NULL = none) to dhidden[row[i]] += and dweight += (either
 * may be NULL). The result of the forward pass gives log_sum_exp and (if d_entropy) entropy. Rows with all gradients
 * exactly 0 may be skipped. */
rlhf_status rlhfi_head_backward(rlhf_context *context, int64_t rows, int64_t d, int64_t vocabulary, const float *hidden,
                                const int64_t *row, rlhfi_head_matrix matrix, const int32_t *target,
                                float inverse_temperature, const rlhfi_head_result *result, const float *d_log_prob,
                                const float *d_entropy, const float *d_mean_log_prob, float *dhidden, float *dweight);
/* The same numbers from logits that are already there (the sampler's few rows): bit for bit those of rlhfi_head. */
void rlhfi_head_from_logits(rlhf_context *context, int64_t rows, int64_t vocabulary, const float *logits, int64_t ld,
                            const int32_t *target, float inverse_temperature, const rlhfi_head_result *result);
/* What a token is drawn by: weight = e^((z - top) * inverse_temperature), top the largest logit. In double and without
 * fused operations, so the same on every machine. From any thread. */
void rlhfi_sampling_weights(const rlhf_context *context, int64_t n, const float *z, double top,
                            double inverse_temperature, double *weight);
/* One row: softmax(z * inverse_temperature) into p; returns the log-sum-exp. */
float rlhfi_softmax_row(rlhf_context *context, int64_t n, const float *z, float inverse_temperature, float *p);

/* ---- optimizer passes -------------------------------------------------------------------------------------------- */

/* Sum of squares in double: blocks of 4096 by 16 lanes, block sums added in order. */
double rlhfi_sum_of_squares(rlhf_context *context, const float *x, int64_t count);
/* false if any element is NaN or infinite */
bool rlhfi_all_finite(rlhf_context *context, const float *x, int64_t count);
/* AdamW as PyTorch (Loshchilov & Hutter 2017): g = gradient * gradient_scale; p -= lr*weight_decay*p; m, v;
 * p -= lr * (m/bias1) / (sqrt(v/bias2) + eps). fp32, element by element. */
typedef struct rlhfi_adamw {
    float learning_rate, beta1, beta2, epsilon, weight_decay, gradient_scale;
    float one_minus_beta1, one_minus_beta2;       /* rounded from double */
    float inverse_bias1, inverse_sqrt_bias2;      /* 1/(1-beta1^t), 1/sqrt(1-beta2^t), rounded from double */
} rlhfi_adamw;
void rlhfi_adamw_update(rlhf_context *context, const rlhfi_adamw *step, int64_t count, float *parameter,
                        const float *gradient, float *m, float *v);
/* The same on bf16 parameters: computed in float, then rounded stochastically, up with the probability that keeps the
 * mean. The draw for an element depends on seed, number (of the step) and first + its index alone. */
typedef struct rlhfi_draw {
    uint64_t seed, number;
    int64_t first;
} rlhfi_draw;
void rlhfi_adamw_update_bf16(rlhf_context *context, const rlhfi_adamw *step, const rlhfi_draw *draw, int64_t count,
                             uint16_t *parameter, const float *gradient, float *m, float *v);

/* ---- elementwise functions for tests and for scalar code elsewhere; bits equal the vector ones ------------------- */
float rlhfi_expf(float x);
float rlhfi_logf(float x);
float rlhfi_tanhf(float x);
float rlhfi_erff(float x);
float rlhfi_sinf(float x);
float rlhfi_cosf(float x);
/* double versions for objectives (error <= 2 ulp, IEEE basic operations and fma only, so the same everywhere) */
double rlhfi_exp_double(double x);
double rlhfi_log_double(double x);
double rlhfi_log1p_double(double x);
double rlhfi_expm1_double(double x);

/* Gives a context the scratch that another has grown to. For contexts that take turns at the same work: whichever
 * gets a piece next allocates nothing. */
rlhf_status rlhfi_compute_match(rlhf_context *context, const rlhf_context *other);

/* Bytes that the buffers of a context grow to at such work: for plans of memory. */
typedef struct rlhfi_compute_work {
    int32_t workers;
    bool backward;
    int64_t rows;                          /* of products; 0 = only the head */
    int64_t sequences, keys, joined;       /* of attention; keys of the longest one, and of the longest with a prefix */
    int64_t head_dim;
    const int64_t (*product)[2];           /* widths in and out of the layers' products */
    int64_t products;
    bool packed_weights;                   /* the weights come as panels */
    bool rounded;                          /* to bf16: what is planned is an upper bound then */
    bool transposed_weights, biases;       /* stored [out, in]; with gradients of biases */
    int64_t head_rows, width, vocabulary;  /* of the language-model head */
} rlhfi_compute_work;
uint64_t rlhfi_compute_plan(const rlhfi_compute_work *work);

size_t rlhfi_compute_describe(const rlhf_context *context, char *buffer, size_t capacity);

#endif
