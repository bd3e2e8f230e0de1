/* Attention for few rows, a key per lane: decoding. The rows share every key and value that comes from memory. */
#include "compute/attention.h"

enum {
    WIDE_ROWS = 3,                 /* so few rows use wide tiles: four panels of keys at once */
    WIDE_KEYS = 4 * RLHFI_PANEL,
    MOST_ROWS = 16
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t rounded_up(int64_t x, int64_t step) { return (x + step - 1) / step * step; }

/* Rows of scores are not a multiple of 4096 bytes apart: then they would share a few cache lines. */
static int64_t score_stride(int64_t keys) { return rounded_up(keys, 16) + 16; }

size_t rlhfi_attend_rows_scratch(int64_t rows, int64_t keys, int64_t head_dim)
{
    return (size_t)rows * ((size_t)score_stride(keys) + 2 * (size_t)head_dim) + WIDE_KEYS * (size_t)head_dim;
}

struct pieces { /* of the scratch */
    float *q, *out, *panel, *scores;
    int64_t width;
};

static void compute_scores(const rlhfi_attention_part *part, const struct pieces *pieces)
{
    const rlhfi_attention *shape = part->shape;
    const int64_t step = part->rows <= WIDE_ROWS ? WIDE_KEYS : RLHFI_PANEL, head = shape->head_dim;

    for (int64_t u = rlhfi_first_key(shape, part->first_query) / RLHFI_PANEL * RLHFI_PANEL; u < part->keys; u += step) {
        /* rows whose queries see any of these keys */
        int64_t from = larger(0, u - part->first_query), to = part->queries, keys = smaller(step, part->keys - u);
        if (shape->window > 0)
            to = smaller(to, u + keys - 1 + shape->window - part->first_query);
        if (from >= to)
            continue;
        for (int64_t j = 0; j < keys; j += RLHFI_PANEL)
            part->kernels->pack(1, head, smaller(RLHFI_PANEL, keys - j), part->key + (u + j) * part->ldkv, part->ldkv,
                                pieces->panel + j * head);
        rlhfi_block work = {.m = (to - from) * part->group, .n = keys, .k = head,
                            .a = pieces->q + from * part->group * head, .a_row = head, .a_step = 1, .b = pieces->panel,
                            .ldb = RLHFI_PANEL, .panel_stride = RLHFI_PANEL * head,
                            .c = pieces->scores + from * part->group * pieces->width + u, .ldc = pieces->width};
        part->kernels->product(&work);
    }
}

static void weigh_values(const rlhfi_attention_part *part, const struct pieces *pieces)
{
    const rlhfi_attention *shape = part->shape;
    int64_t u = rlhfi_first_key(shape, part->first_query);

    /* C starts from +0, which also turns a sum of -0 into +0: then masked products cannot show. */
    memset(pieces->out, 0, (size_t)(part->rows * shape->head_dim) * sizeof(float));
    while (u < part->keys) {
        int64_t end = rlhfi_chain_end(u, part->keys);
        rlhfi_block work = {.m = part->rows, .n = shape->head_dim, .k = end - u, .a = pieces->scores + u,
                            .a_row = pieces->width, .a_step = 1, .b = part->value + u * part->ldkv,
                            .ldb = part->ldkv, .panel_stride = RLHFI_PANEL, .accumulate = 1, .c = pieces->out,
                            .ldc = shape->head_dim};
        part->kernels->product(&work);
        u = end;
    }
}

void rlhfi_attend_rows(const rlhfi_attention_part *part)
{
    const rlhfi_attention *shape = part->shape;
    const int64_t head = shape->head_dim, group = part->group;
    float sum[MOST_ROWS], maximum[MOST_ROWS], log_sum[MOST_ROWS];
    struct pieces pieces = {.q = part->scratch, .width = score_stride(part->keys)};

    pieces.out = pieces.q + part->rows * head;
    pieces.panel = pieces.out + part->rows * head;
    pieces.scores = pieces.panel + WIDE_KEYS * head;
    for (int64_t t = 0; t < part->queries; t++)
        memcpy(pieces.q + t * group * head, part->q + t * part->ldq, (size_t)(group * head) * sizeof(float));
    compute_scores(part, &pieces);
    for (int64_t r = 0; r < part->rows; r++) {
        int64_t query = part->first_query + r / group;
        rlhfi_score_row score = {rlhfi_first_key(shape, query), query + 1, rounded_up(part->keys, 16), shape->scale};
        sum[r] = part->kernels->softmax(&score, pieces.scores + r * pieces.width, &maximum[r]);
    }
    part->kernels->log(part->rows, sum, log_sum);
    weigh_values(part, &pieces);
    for (int64_t r = 0; r < part->rows; r++) {
        int64_t t = r / group, h = r % group;
        part->kernels->divide(head, pieces.out + r * head, sum[r], part->out + t * part->ldout + h * head);
        if (part->log_sum_exp != NULL)
            part->log_sum_exp[t * shape->heads + h] = maximum[r] + log_sum[r];
    }
}
