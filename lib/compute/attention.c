/* Causal attention over ragged sequences, forward. A task is a block of queries of one sequence with all query heads
 * that share a key/value head: its rows are (query, head) pairs, its scores rows x keys stand in the thread's scratch.
 * Scores and outputs are the products of compute.h, so tile sizes and the number of queries in a call never show in the
 * bits: a masked key inside a tile has p = 0 and adds exactly nothing. */
#include "compute/state.h"

enum {
    ROWS_SHORT = 96, /* rows of a task when the keys are few */
    ROWS_LONG = 48,
    SHORT_KEYS = 1024,
    FEW_ROWS = 3,    /* so few rows use wide tiles: four panels of keys at once */
    ROW_TILE = 12,   /* rows of one product over the values: they share a range of keys */
    INLINE_WORK = 1 << 18
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

struct attend {
    const rlhfi_kernels *kernels;
    const rlhfi_attention *shape;
    const float *q;
    float *out, *log_sum_exp;
    int64_t ldq, ldout;
    int64_t group;           /* query heads of a key/value head */
    const int64_t *task_end; /* [sequences] query blocks up to and with this sequence */
    int64_t block;           /* queries of a task */
    rlhfi_buffer *scratch;
};

/* One task's place and its pieces of scratch. */
struct part {
    int64_t rows, queries, first_query; /* first_query: position in the sequence */
    int64_t keys, width;                /* keys that its last query sees, and rounded up */
    const float *key, *value;
    float *q, *panel, *scores, *out;
};

static int64_t rounded_up(int64_t x, int64_t step) { return (x + step - 1) / step * step; }

/* Rows of scores are not a multiple of 4096 bytes apart: twelve of them would share a few cache lines. */
static int64_t score_stride(int64_t keys) { return rounded_up(keys, 16) + 16; }

static size_t scratch_floats(const rlhfi_attention *shape, int64_t rows, int64_t most_keys)
{
    size_t head = (size_t)shape->head_dim;

    return (size_t)rows * ((size_t)score_stride(most_keys) + 2 * head + 16) + 4 * RLHFI_PANEL * head + 64;
}

static int64_t first_key(const rlhfi_attention *shape, int64_t query)
{
    return shape->window > 0 ? larger(0, query + 1 - shape->window) : 0;
}

static void compute_scores(const struct attend *attend, const struct part *part)
{
    const rlhfi_attention *shape = attend->shape;
    const int64_t step = part->rows <= FEW_ROWS ? 4 * RLHFI_PANEL : RLHFI_PANEL, head = shape->head_dim;

    for (int64_t u = first_key(shape, part->first_query) / RLHFI_PANEL * RLHFI_PANEL; u < part->keys; u += step) {
        /* rows whose queries see any of these keys */
        int64_t from = larger(0, u - part->first_query), to = part->queries;
        int64_t keys = smaller(step, part->keys - u);
        if (shape->window > 0)
            to = smaller(to, u + keys - 1 + shape->window - part->first_query);
        if (from >= to)
            continue;
        for (int64_t j = 0; j < keys; j += RLHFI_PANEL)
            attend->kernels->pack(1, head, smaller(RLHFI_PANEL, keys - j), part->key + (u + j) * shape->ldkv,
                                  shape->ldkv, part->panel + j * head);
        rlhfi_block work = {.m = (to - from) * attend->group, .n = keys, .k = head,
                            .a = part->q + from * attend->group * head, .a_row = head, .a_step = 1,
                            .b = part->panel, .ldb = RLHFI_PANEL, .panel_stride = RLHFI_PANEL * head,
                            .c = part->scores + from * attend->group * part->width + u, .ldc = part->width};
        attend->kernels->product(&work);
    }
}

/* Rows [row, row+count) over the keys that any of them sees. A chain restarts where the key's number is a multiple of
 * 256, also if the window starts elsewhere. */
static void weigh_values(const struct attend *attend, const struct part *part, int64_t row, int64_t count)
{
    const rlhfi_attention *shape = attend->shape;
    const int64_t head = shape->head_dim, last = part->first_query + (row + count - 1) / attend->group;
    int64_t u = first_key(shape, part->first_query + row / attend->group);

    while (u <= last) {
        int64_t end = u % RLHFI_CHUNK == 0 ? last + 1 : smaller(last + 1, rounded_up(u, RLHFI_CHUNK));
        rlhfi_block work = {.m = count, .n = head, .k = end - u, .a = part->scores + row * part->width + u,
                            .a_row = part->width, .a_step = 1, .b = part->value + u * shape->ldkv, .ldb = shape->ldkv,
                            .panel_stride = RLHFI_PANEL, .accumulate = 1, .c = part->out + row * head, .ldc = head};
        attend->kernels->product(&work);
        u = end;
    }
}

static void attend_part(const struct attend *attend, const struct part *part, const float *q, float *out,
                        float *log_sum_exp)
{
    const rlhfi_attention *shape = attend->shape;
    const int64_t head = shape->head_dim, group = attend->group;
    float sum[ROW_TILE], maximum[ROW_TILE], log_sum[ROW_TILE];

    for (int64_t t = 0; t < part->queries; t++)
        memcpy(part->q + t * group * head, q + t * attend->ldq, (size_t)(group * head) * sizeof(float));
    compute_scores(attend, part);
    /* C starts from +0, which also turns a sum of -0 into +0: then masked products cannot show. */
    memset(part->out, 0, (size_t)(part->rows * head) * sizeof(float));
    for (int64_t row = 0; row < part->rows; row += ROW_TILE) {
        int64_t count = smaller(ROW_TILE, part->rows - row);
        const int64_t seen = rounded_up(part->first_query + (row + count - 1) / group + 1, 16);
        for (int64_t r = 0; r < count; r++) {
            int64_t query = part->first_query + (row + r) / group;
            rlhfi_score_row score = {first_key(shape, query), query + 1, seen, shape->scale};
            sum[r] = attend->kernels->softmax(&score, part->scores + (row + r) * part->width, &maximum[r]);
        }
        attend->kernels->log(count, sum, log_sum);
        weigh_values(attend, part, row, count);
        for (int64_t r = 0; r < count; r++) {
            int64_t t = (row + r) / group, h = (row + r) % group;
            attend->kernels->divide(head, part->out + (row + r) * head, sum[r], out + t * attend->ldout + h * head);
            if (log_sum_exp != NULL)
                log_sum_exp[t * shape->heads + h] = maximum[r] + log_sum[r];
        }
    }
}

static void attend_task(void *argument, int64_t index, int32_t worker)
{
    const struct attend *attend = argument;
    const rlhfi_attention *shape = attend->shape;
    const int64_t g = index % shape->kv_heads, block = index / shape->kv_heads, head = shape->head_dim;
    int64_t low = 0, high = shape->sequences - 1;
    struct part part;

    while (low < high) { /* the first sequence that ends beyond this block */
        int64_t middle = (low + high) / 2;
        if (attend->task_end[middle] > block)
            high = middle;
        else
            low = middle + 1;
    }
    int64_t queries = shape->query_offset[low + 1] - shape->query_offset[low];
    int64_t blocks = (queries + attend->block - 1) / attend->block;
    int64_t t = (block - (attend->task_end[low] - blocks)) * attend->block;
    int64_t row = shape->query_offset[low] + t;

    part.queries = smaller(attend->block, queries - t);
    part.rows = part.queries * attend->group;
    part.first_query = shape->key_length[low] - queries + t;
    part.keys = part.first_query + part.queries;
    part.width = score_stride(part.keys);
    part.key = shape->key[low] + g * head;
    part.value = shape->value[low] + g * head;
    part.q = attend->scratch[worker].data;
    part.out = part.q + part.rows * head;
    part.panel = part.out + part.rows * head;
    part.scores = part.panel + 4 * RLHFI_PANEL * head;
    attend_part(attend, &part, attend->q + row * attend->ldq + g * attend->group * head,
                attend->out + row * attend->ldout + g * attend->group * head,
                attend->log_sum_exp == NULL ? NULL
                                            : attend->log_sum_exp + row * shape->heads + g * attend->group);
}

static rlhf_status check(rlhf_context *context, const rlhfi_attention *shape)
{
    RLHFI_REQUIRE(context, shape->heads > 0 && shape->kv_heads > 0 && shape->head_dim > 0 &&
                               shape->heads % shape->kv_heads == 0 && shape->window >= 0);
    for (int64_t s = 0; s < shape->sequences; s++)
        RLHFI_REQUIRE(context, shape->query_offset[s + 1] >= shape->query_offset[s] &&
                                   shape->key_length[s] >= shape->query_offset[s + 1] - shape->query_offset[s]);
    return RLHF_OK;
}

rlhf_status rlhfi_attend(rlhf_context *context, const rlhfi_attention *shape, const float *q, int64_t ldq, float *out,
                         int64_t ldout, float *log_sum_exp)
{
    rlhfi_compute *compute = rlhfi_compute_of(context);
    struct attend attend = {.kernels = rlhfi_kernels_of(context), .shape = shape, .q = q, .out = out,
                            .log_sum_exp = log_sum_exp, .ldq = ldq, .ldout = ldout, .scratch = compute->worker};
    int64_t most_keys = 0, most_queries = 0, blocks = 0, *task_end;
    double work = 0.0;

    RLHFI_TRY(check(context, shape));
    attend.group = shape->heads / shape->kv_heads;
    for (int64_t s = 0; s < shape->sequences; s++) {
        int64_t queries = shape->query_offset[s + 1] - shape->query_offset[s];
        most_keys = larger(most_keys, shape->key_length[s]);
        most_queries = larger(most_queries, queries);
        work += (double)queries * (double)shape->key_length[s] * shape->heads * shape->head_dim;
    }
    attend.block = larger(1, (most_keys <= SHORT_KEYS ? ROWS_SHORT : ROWS_LONG) / attend.group);
    RLHFI_TRY(rlhfi_buffer_reserve(context, &compute->index, 2 * (size_t)shape->sequences));
    RLHFI_TRY(rlhfi_scratch_reserve(
        context, scratch_floats(shape, smaller(attend.block, larger(1, most_queries)) * attend.group, most_keys)));
    task_end = (int64_t *)(void *)compute->index.data;
    for (int64_t s = 0; s < shape->sequences; s++) {
        blocks += (shape->query_offset[s + 1] - shape->query_offset[s] + attend.block - 1) / attend.block;
        task_end[s] = blocks;
    }
    attend.task_end = task_end;
    if (work < INLINE_WORK)
        for (int64_t i = 0; i < blocks * shape->kv_heads; i++)
            attend_task(&attend, i, 0);
    else
        rlhfi_parallel(context, blocks * shape->kv_heads, attend_task, &attend);
    return RLHF_OK;
}
