/* The pieces of attention's forward pass. A part is a block of queries of one sequence with all query heads that
 * share a key/value head: its rows are (query, head) pairs, the heads of a query side by side. Two ways give the
 * same bits: many rows with one row per lane (attention_columns.c), few rows with one key per lane
 * (attention_rows.c). Scores and outputs are the products of compute.h, so which way is taken and where parts are
 * cut never shows: a masked key has p = 0 and adds exactly nothing. */
#ifndef RLHFI_COMPUTE_ATTENTION_H
#define RLHFI_COMPUTE_ATTENTION_H

#include "compute/state.h"

typedef struct rlhfi_attention_part {
    const rlhfi_kernels *kernels;
    const rlhfi_attention *shape;
    int64_t group;                      /* query heads of the key/value head */
    int64_t rows, queries, first_query; /* first_query: position in the sequence */
    int64_t keys;                       /* that its last query sees */
    const float *key, *value;           /* the head's part of the sequence's first row */
    int64_t ldkv;                       /* of these two */
    const float *q;                     /* the group's first head in the first query's row */
    float *out, *log_sum_exp;           /* likewise; log_sum_exp may be NULL */
    int64_t ldq, ldout;
    float *scratch;
} rlhfi_attention_part;

void rlhfi_attend_rows(const rlhfi_attention_part *part);
void rlhfi_attend_columns(const rlhfi_attention_part *part);
/* Floats of scratch for a part of so many rows and keys. */
size_t rlhfi_attend_rows_scratch(int64_t rows, int64_t keys, int64_t head_dim);
size_t rlhfi_attend_columns_scratch(int64_t keys, int64_t head_dim);
/* The same for a task of the backward pass; joined: keys of the longest sequence with a prefix. */
size_t rlhfi_attend_backward_scratch(int64_t head_dim, int64_t keys, int64_t joined);

static inline int64_t rlhfi_first_key(const rlhfi_attention *shape, int64_t query)
{
    return shape->window > 0 && query + 1 > shape->window ? query + 1 - shape->window : 0;
}

/* Keys of sequence s that stand apart. */
static inline int64_t rlhfi_prefix_length(const rlhfi_attention *shape, int64_t s)
{
    return shape->prefix_length != NULL ? shape->prefix_length[s] : 0;
}

/* Puts the rows of a prefix and those behind it one below the other: n floats of each, for keys 0..keys-1. */
static inline void rlhfi_join_rows(const rlhfi_kernels *kernels, int64_t prefix, int64_t keys, int64_t n,
                                   const float *shared, const float *own, int64_t ld, float *to)
{
    if (prefix > keys)
        prefix = keys;
    kernels->copy_rows(prefix, n, shared, ld, to);
    kernels->copy_rows(keys - prefix, n, own, ld, to + prefix * n);
}

/* A chain over keys restarts where the key's number is a multiple of 256, also if a window starts elsewhere: the end of
 * the product that starts at key u and should reach `end`. */
static inline int64_t rlhfi_chain_end(int64_t u, int64_t end)
{
    int64_t restart = (u + RLHFI_CHUNK - 1) / RLHFI_CHUNK * RLHFI_CHUNK;

    return u == restart || restart > end ? end : restart;
}

#endif
