/* Attention of one query over pages of 32 keys, decoding's: a key is a lane, keys stand as columns already, and the
 * heads that share keys and values share what is loaded. The orders are those of compute.h, as in every other way. */
#ifndef RLHFI_PAGES_TEMPLATE_H
#define RLHFI_PAGES_TEMPLATE_H

/* Scores of `rows` query heads with the key head that begins at `key` in every page. */
INLINE void page_scores(const int rows, const rlhfi_paged_query *work, int64_t key, const float *q, float *s)
{
    const int64_t head = work->head_dim, stride = work->score_stride;

    for (int64_t u = 0; u < work->keys; u += RLHFI_PANEL) {
        const float *column = work->page[u / RLHFI_PANEL] + key;
        v16 total[2 * PAGED_ROWS];
        UNROLLED for (int i = 0; i < 2 * rows; i++)
            total[i] = v16_zero();
        for (int64_t d = 0; d < head; d += RLHFI_CHUNK) {
            const int64_t end = head - d < RLHFI_CHUNK ? head : d + RLHFI_CHUNK;
            v16 sum[2 * PAGED_ROWS];
            UNROLLED for (int i = 0; i < 2 * rows; i++)
                sum[i] = v16_zero();
            for (int64_t e = d; e < end; e++) {
                v16 low = v16_load(column + e * RLHFI_PANEL), high = v16_load(column + e * RLHFI_PANEL + 16);
                UNROLLED for (int r = 0; r < rows; r++) {
                    v16 x = v16_set(q[r * head + e]);
                    sum[2 * r] = v16_fma(x, low, sum[2 * r]);
                    sum[2 * r + 1] = v16_fma(x, high, sum[2 * r + 1]);
                }
            }
            UNROLLED for (int i = 0; i < 2 * rows; i++)
                total[i] = d == 0 ? sum[i] : v16_add(total[i], sum[i]);
        }
        UNROLLED for (int i = 0; i < 2 * rows; i++)
            v16_store(s + i / 2 * stride + u + i % 2 * 16, total[i]);
    }
}

/* Sums over the keys of p v: `heads` value heads (value: where they begin in a page's row) times `rows` query heads
 * each times `vectors` vectors, a single one of `lanes` lanes. s: scores of the first query head, to: its output. */
INLINE void page_values(const int heads, const int rows, const int vectors, const rlhfi_paged_query *work,
                        int64_t value, int64_t lanes, const float *s, const float *divisor, float *to)
{
    const int64_t head = work->head_dim, stride = work->score_stride, width = work->value_width;
    v16 total[4 * PAGED_ROWS];

    UNROLLED for (int i = 0; i < heads * rows * vectors; i++)
        total[i] = v16_zero();
    for (int64_t first = 0; first < work->keys; first += RLHFI_CHUNK) {
        const int64_t end = work->keys - first < RLHFI_CHUNK ? work->keys : first + RLHFI_CHUNK;
        v16 sum[4 * PAGED_ROWS];
        UNROLLED for (int i = 0; i < heads * rows * vectors; i++)
            sum[i] = v16_zero();
        for (int64_t u = first; u < end; u++) {
            const float *v = work->page[u / RLHFI_PANEL] + value + u % RLHFI_PANEL * width;
            UNROLLED for (int h = 0; h < heads; h++) {
                v16 x[4];
                UNROLLED for (int i = 0; i < vectors; i++)
                    x[i] = vectors == 1 ? load_up_to(v + h * head, lanes) : v16_load(v + h * head + 16 * i);
                UNROLLED for (int r = 0; r < rows; r++) {
                    v16 p = v16_set(s[(h * work->group + r) * stride + u]);
                    UNROLLED for (int i = 0; i < vectors; i++)
                        sum[(h * rows + r) * vectors + i] = v16_fma(p, x[i], sum[(h * rows + r) * vectors + i]);
                }
            }
        }
        UNROLLED for (int i = 0; i < heads * rows * vectors; i++)
            total[i] = v16_add(total[i], sum[i]);
    }
    UNROLLED for (int h = 0; h < heads; h++) {
        UNROLLED for (int r = 0; r < rows; r++) {
            const int64_t at = h * work->group + r;
            const v16 by = v16_set(divisor[at]);
            UNROLLED for (int i = 0; i < vectors; i++)
                store_up_to(to + at * head + 16 * i, v16_div(total[(h * rows + r) * vectors + i], by),
                            vectors == 1 ? lanes : 16);
        }
    }
}

/* The shapes that exist: one value head in four vectors, or four or one in one. */
#define PAGED_SHAPE(rows)                                                                                              \
    static void page_scores_##rows(const rlhfi_paged_query *work, int64_t key, const float *q, float *s)              \
    {                                                                                                                  \
        page_scores(rows, work, key, q, s);                                                                            \
    }                                                                                                                  \
    static void page_wide_##rows(const rlhfi_paged_query *work, int64_t value, int64_t lanes, const float *s,         \
                                 const float *divisor, float *to)                                                      \
    {                                                                                                                  \
        page_values(1, rows, 4, work, value, lanes, s, divisor, to);                                                   \
    }                                                                                                                  \
    static void page_four_##rows(const rlhfi_paged_query *work, int64_t value, int64_t lanes, const float *s,         \
                                 const float *divisor, float *to)                                                      \
    {                                                                                                                  \
        page_values(4, rows, 1, work, value, lanes, s, divisor, to);                                                   \
    }                                                                                                                  \
    static void page_one_##rows(const rlhfi_paged_query *work, int64_t value, int64_t lanes, const float *s,          \
                                const float *divisor, float *to)                                                       \
    {                                                                                                                  \
        page_values(1, rows, 1, work, value, lanes, s, divisor, to);                                                   \
    }

typedef void page_scores_function(const rlhfi_paged_query *, int64_t, const float *, float *);
typedef void page_values_function(const rlhfi_paged_query *, int64_t, int64_t, const float *, const float *, float *);
PAGED_TABLE /* the includer's list: page_scores_of, page_wide, page_four, page_one [rows <= PAGED_ROWS] */

static void k_attend_pages(const rlhfi_paged_query *work)
{
    const int64_t head = work->head_dim, group = work->group, stride = work->score_stride;
    float *scores = work->scratch, *sum = scores + work->kv_heads * group * stride;

    for (int64_t g = 0; g < work->kv_heads; g++)
        for (int64_t r = 0; r < group; r += PAGED_ROWS) {
            int64_t h = g * group + r, rows = group - r < PAGED_ROWS ? group - r : PAGED_ROWS;
            page_scores_of[rows](work, work->key + g * head * RLHFI_PANEL, work->q + h * head, scores + h * stride);
        }
    for (int64_t h = 0; h < work->kv_heads * group; h++) {
        rlhfi_score_row row = {0, work->keys, (work->keys + 15) / 16 * 16, work->scale};
        float maximum;
        sum[h] = k_softmax(&row, scores + h * stride, &maximum);
    }
    for (int64_t j = 0; j < head;) { /* columns of the heads */
        const int64_t lanes = head - j < 16 ? head - j : 16;
        const bool wide = head - j >= 64;
        for (int64_t g = 0; g < work->kv_heads;) {
            const int64_t heads = !wide && work->kv_heads - g >= 4 ? 4 : 1;
            page_values_function *const *shape = wide ? page_wide : heads == 4 ? page_four : page_one;
            for (int64_t r = 0; r < group; r += PAGED_ROWS) {
                int64_t h = g * group + r, rows = group - r < PAGED_ROWS ? group - r : PAGED_ROWS;
                shape[rows](work, work->value + g * head + j, lanes, scores + h * stride, sum + h,
                            work->out + h * head + j);
            }
            g += heads;
        }
        j += wide ? 64 : 16;
    }
}

#endif
