/* Attention for many rows, a row per lane: panels of 32 rows with their scores as [keys][32]. Keys and values are
 * read where they are, and softmax needs no sums across lanes: the 16 virtual lanes of a row's sum are 16 sums of
 * vectors. */
#include "compute/attention.h"

enum { PANEL = RLHFI_PANEL, HALF = 16 };

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

size_t rlhfi_attend_columns_scratch(int64_t keys, int64_t head_dim)
{
    return (size_t)PANEL * ((size_t)keys + 3 * (size_t)head_dim) + (size_t)head_dim;
}

struct panel {
    int64_t row, rows;          /* of the part */
    int64_t begin, end;         /* keys that any of its rows sees */
    float *q, *packed, *out;    /* [32][head_dim], [head_dim][32], [head_dim][32] */
    float *nowhere;             /* [head_dim]: where missing rows are written */
    float *scores;              /* [end - begin][32] */
};

static void compute_scores(const rlhfi_attention_part *part, const struct panel *panel)
{
    const int64_t head = part->shape->head_dim, ldkv = part->ldkv;

    for (int64_t r = 0; r < panel->rows; r++) {
        int64_t t = (panel->row + r) / part->group, h = (panel->row + r) % part->group;
        memcpy(panel->q + r * head, part->q + t * part->ldq + h * head, (size_t)head * sizeof(float));
    }
    part->kernels->pack(1, head, panel->rows, panel->q, head, panel->packed);
    rlhfi_block work = {.m = panel->end - panel->begin, .n = panel->rows, .k = head,
                        .a = part->key + panel->begin * ldkv, .a_row = ldkv, .a_step = 1, .b = panel->packed,
                        .ldb = PANEL, .panel_stride = PANEL * head, .c = panel->scores, .ldc = PANEL};
    part->kernels->product(&work);
}

static void softmax(const rlhfi_attention_part *part, const struct panel *panel, float sum[PANEL], float maximum[PANEL])
{
    for (int64_t half = 0; half < panel->rows; half += HALF) {
        rlhfi_score_columns columns = {panel->begin, panel->end, part->shape->scale, {0}, {0}};
        for (int64_t j = 0; j < HALF && half + j < panel->rows; j++) {
            int64_t query = part->first_query + (panel->row + half + j) / part->group;
            columns.first[j] = (float)rlhfi_first_key(part->shape, query);
            columns.end[j] = (float)(query + 1);
        }
        part->kernels->softmax_columns(&columns, (int)smaller(HALF, panel->rows - half), panel->scores + half,
                                       sum + half, maximum + half);
    }
}

static void weigh_values(const rlhfi_attention_part *part, const struct panel *panel)
{
    const int64_t head = part->shape->head_dim, ldkv = part->ldkv;

    /* C starts from +0, which also turns a sum of -0 into +0: then masked products cannot show. */
    memset(panel->out, 0, (size_t)(head * PANEL) * sizeof(float));
    for (int64_t u = panel->begin, end; u < panel->end; u = end) {
        end = rlhfi_chain_end(u, panel->end);
        rlhfi_block work = {.m = head, .n = panel->rows, .k = end - u, .a = part->value + u * ldkv, .a_row = 1,
                            .a_step = ldkv, .b = panel->scores + (u - panel->begin) * PANEL, .ldb = PANEL,
                            .panel_stride = PANEL, .accumulate = 1, .c = panel->out, .ldc = PANEL};
        part->kernels->product(&work);
    }
}

static void write_rows(const rlhfi_attention_part *part, const struct panel *panel, const float *sum,
                       const float *maximum)
{
    const int64_t head = part->shape->head_dim;
    float log_sum[PANEL];

    part->kernels->log(panel->rows, sum, log_sum);
    for (int64_t half = 0; half < panel->rows; half += HALF) {
        float *to[HALF];
        for (int64_t j = 0; j < HALF; j++) {
            int64_t r = half + j, t = (panel->row + r) / part->group, h = (panel->row + r) % part->group;
            to[j] = r < panel->rows ? part->out + t * part->ldout + h * head : panel->nowhere;
            if (part->log_sum_exp != NULL && r < panel->rows)
                part->log_sum_exp[t * part->shape->heads + h] = maximum[r] + log_sum[r];
        }
        part->kernels->spread_columns(head, panel->out + half, sum + half, to);
    }
}

void rlhfi_attend_columns(const rlhfi_attention_part *part)
{
    const int64_t head = part->shape->head_dim;
    struct panel panel = {.q = part->scratch};

    panel.packed = panel.q + PANEL * head;
    panel.out = panel.packed + PANEL * head;
    panel.nowhere = panel.out + PANEL * head;
    panel.scores = panel.nowhere + head;
    for (; panel.row < part->rows; panel.row += PANEL) {
        float sum[PANEL], maximum[PANEL];
        panel.rows = smaller(PANEL, part->rows - panel.row);
        panel.begin = rlhfi_first_key(part->shape, part->first_query + panel.row / part->group);
        panel.end = part->first_query + (panel.row + panel.rows - 1) / part->group + 1;
        for (int j = 0; j < PANEL; j++)
            sum[j] = 1.0f; /* of the missing rows */
        compute_scores(part, &panel);
        softmax(part, &panel, sum, maximum);
        weigh_values(part, &panel);
        write_rows(part, &panel, sum, maximum);
    }
}
