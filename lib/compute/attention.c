/* Causal attention over ragged sequences, forward: cuts the work into parts (attention.h). */
#include "compute/attention.h"

enum {
    PART_ROWS = 96,   /* rows of a part, about */
    FEW_ROWS = 16,    /* below, a key per lane: decoding */
    MOST_KEYS = 1 << 24, /* key numbers are compared as floats */
    INLINE_WORK = 1 << 18
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

struct attend {
    rlhfi_attention_part whole; /* what all parts have in common; q, out, log_sum_exp at their beginnings */
    const int64_t *task_end;    /* [sequences] query blocks up to and with this sequence */
    int64_t block;              /* queries of a part */
    size_t join;                /* floats of a worker's scratch in front of the part's, for keys that stand apart */
    rlhfi_buffer *scratch;
};

/* The first sequence that ends beyond this block. */
static int64_t sequence_of(const struct attend *attend, int64_t block)
{
    int64_t low = 0, high = attend->whole.shape->sequences - 1;

    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (attend->task_end[middle] > block)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* A part reads its keys as one matrix. Copying the few that a head has costs less than a hundredth of their use. */
static void join_prefix(rlhfi_attention_part *part, int64_t s, float *scratch)
{
    const rlhfi_attention *shape = part->shape;
    const int64_t g = part->key - shape->key[s], prefix = shape->prefix_length[s], head = shape->head_dim;
    float *key = scratch, *value = scratch + part->keys * head;

    rlhfi_join_rows(part->kernels, prefix, part->keys, head, shape->prefix_key[s] + g, part->key, shape->ldkv, key);
    rlhfi_join_rows(part->kernels, prefix, part->keys, head, shape->prefix_value[s] + g, part->value, shape->ldkv,
                    value);
    part->key = key;
    part->value = value;
    part->ldkv = head;
}

static void attend_task(void *argument, int64_t index, int32_t worker)
{
    const struct attend *attend = argument;
    const rlhfi_attention *shape = attend->whole.shape;
    const int64_t g = index % shape->kv_heads, block = index / shape->kv_heads, s = sequence_of(attend, block);
    const int64_t queries = shape->query_offset[s + 1] - shape->query_offset[s];
    const int64_t blocks = (queries + attend->block - 1) / attend->block;
    const int64_t t = (block - (attend->task_end[s] - blocks)) * attend->block, row = shape->query_offset[s] + t;
    rlhfi_attention_part part = attend->whole;
    const int64_t first_head = g * part.group;

    part.queries = smaller(attend->block, queries - t);
    part.rows = part.queries * part.group;
    part.first_query = shape->key_length[s] - queries + t;
    part.keys = part.first_query + part.queries;
    part.key = shape->key[s] + g * shape->head_dim;
    part.value = shape->value[s] + g * shape->head_dim;
    part.q += row * part.ldq + first_head * shape->head_dim;
    part.out += row * part.ldout + first_head * shape->head_dim;
    if (part.log_sum_exp != NULL)
        part.log_sum_exp += row * shape->heads + first_head;
    part.ldkv = shape->ldkv;
    part.scratch = attend->scratch[worker].data + attend->join;
    if (rlhfi_prefix_length(shape, s) > 0)
        join_prefix(&part, s, attend->scratch[worker].data);
    if (part.rows < FEW_ROWS)
        rlhfi_attend_rows(&part);
    else
        rlhfi_attend_columns(&part);
}

static rlhf_status check(rlhf_context *context, const rlhfi_attention *shape)
{
    RLHFI_REQUIRE(context, shape->heads > 0 && shape->kv_heads > 0 && shape->head_dim > 0 &&
                               shape->heads % shape->kv_heads == 0 && shape->window >= 0);
    for (int64_t s = 0; s < shape->sequences; s++)
        RLHFI_REQUIRE(context, shape->query_offset[s + 1] >= shape->query_offset[s] &&
                                   shape->key_length[s] >= shape->query_offset[s + 1] - shape->query_offset[s] &&
                                   shape->key_length[s] <= MOST_KEYS && rlhfi_prefix_length(shape, s) >= 0 &&
                                   shape->key_length[s] >= rlhfi_prefix_length(shape, s));
    return RLHF_OK;
}

rlhf_status rlhfi_attend(rlhf_context *context, const rlhfi_attention *shape, const float *q, int64_t ldq, float *out,
                         int64_t ldout, float *log_sum_exp)
{
    rlhfi_compute *compute = rlhfi_compute_of(context);
    struct attend attend = {.whole = {.kernels = rlhfi_kernels_of(context), .shape = shape, .q = q, .out = out,
                                      .log_sum_exp = log_sum_exp, .ldq = ldq, .ldout = ldout},
                            .scratch = compute->worker};
    int64_t most_keys = 0, most_joined = 0, blocks = 0, *task_end;
    size_t few, many;
    double work = 0.0;

    RLHFI_TRY(check(context, shape));
    attend.whole.group = shape->heads / shape->kv_heads;
    attend.block = larger(1, PART_ROWS / attend.whole.group);
    RLHFI_TRY(rlhfi_buffer_reserve(context, &compute->index, 2 * (size_t)shape->sequences));
    task_end = (int64_t *)(void *)compute->index.data;
    for (int64_t s = 0; s < shape->sequences; s++) {
        int64_t queries = shape->query_offset[s + 1] - shape->query_offset[s];
        most_keys = larger(most_keys, shape->key_length[s]);
        if (rlhfi_prefix_length(shape, s) > 0)
            most_joined = larger(most_joined, shape->key_length[s]);
        blocks += (queries + attend.block - 1) / attend.block;
        task_end[s] = blocks;
        work += (double)queries * (double)shape->key_length[s] * shape->heads * shape->head_dim;
    }
    attend.task_end = task_end;
    few = rlhfi_attend_rows_scratch(FEW_ROWS - 1, most_keys, shape->head_dim);
    many = rlhfi_attend_columns_scratch(most_keys, shape->head_dim);
    attend.join = 2 * (size_t)most_joined * (size_t)shape->head_dim;
    attend.join = (attend.join + 15) / 16 * 16;
    RLHFI_TRY(rlhfi_scratch_reserve(context, attend.join + (few > many ? few : many)));
    if (work < INLINE_WORK)
        for (int64_t i = 0; i < blocks * shape->kv_heads; i++)
            attend_task(&attend, i, 0);
    else
        rlhfi_parallel(context, blocks * shape->kv_heads, attend_task, &attend);
    return RLHF_OK;
}
