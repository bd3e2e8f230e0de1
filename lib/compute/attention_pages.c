/* Attention over a cache that is kept in pages: decoding. Each query is a piece of work by itself. */
#include "compute/state.h"

enum {
    INLINE_WORK = 1 << 17, /* multiply-adds that are not worth waking a thread for */
    FEW_QUERIES = 8,       /* then the heads are cut too */
    MOST_KEYS = 1 << 24
};

_Static_assert((int)RLHFI_PAGE == (int)RLHFI_PANEL, "a page is a panel of keys");

struct pass {
    const rlhfi_kernels *kernels;
    const rlhfi_attention_pages *shape;
    const int64_t *sequence_of; /* [queries] */
    const float *q;
    float *out;
    int64_t ldq, ldout, parts; /* parts: pieces that the heads of a query are cut into */
    rlhfi_buffer *scratch;
};

static int64_t score_stride(int64_t keys)
{
    /* Whole pages; rows must not be a multiple of 4096 bytes apart, else they would share a few cache lines. */
    return (keys + RLHFI_PANEL - 1) / RLHFI_PANEL * RLHFI_PANEL + 16;
}

static void run_query(void *argument, int64_t index, int32_t worker)
{
    const struct pass *pass = argument;
    const rlhfi_attention_pages *shape = pass->shape;
    const int64_t i = index / pass->parts, s = pass->sequence_of[i], row = shape->query_offset[0] + i;
    const int64_t kv_heads = shape->kv_heads / pass->parts, first = index % pass->parts * kv_heads;
    const int64_t group = shape->heads / shape->kv_heads, head = shape->head_dim;
    rlhfi_paged_query work = {
        .page = shape->page[s], .keys = shape->key_length[s] - (shape->query_offset[s + 1] - row) + 1,
        .key = shape->key + first * head * RLHFI_PANEL, .value = shape->value + first * head,
        .value_width = shape->kv_heads * head, .kv_heads = kv_heads, .group = group, .head_dim = head,
        .scale = shape->scale, .q = pass->q + row * pass->ldq + first * group * head,
        .out = pass->out + row * pass->ldout + first * group * head, .scratch = pass->scratch[worker].data,
    };

    work.score_stride = score_stride(work.keys);
    pass->kernels->attend_pages(&work);
}

rlhf_status rlhfi_attend_pages(rlhf_context *context, const rlhfi_attention_pages *shape, const float *q, int64_t ldq,
                               float *out, int64_t ldout)
{
    rlhfi_compute *compute = rlhfi_compute_of(context);
    struct pass pass = {rlhfi_kernels_of(context), shape, NULL, q, out, ldq, ldout, 1, compute->worker};
    int64_t queries = shape->query_offset[shape->sequences] - shape->query_offset[0], most = 0, *sequence_of;
    double work = 0.0;

    RLHFI_REQUIRE(context, shape->heads > 0 && shape->kv_heads > 0 && shape->head_dim > 0 &&
                               shape->heads % shape->kv_heads == 0);
    RLHFI_TRY(rlhfi_buffer_reserve(context, &compute->index, 2 * (size_t)queries));
    sequence_of = (int64_t *)(void *)compute->index.data;
    for (int64_t s = 0, i = 0; s < shape->sequences; s++) {
        int64_t count = shape->query_offset[s + 1] - shape->query_offset[s];
        RLHFI_REQUIRE(context, count >= 0 && shape->key_length[s] >= count && shape->key_length[s] <= MOST_KEYS);
        for (int64_t t = 0; t < count; t++)
            sequence_of[i++] = s;
        if (shape->key_length[s] > most)
            most = shape->key_length[s];
        work += (double)count * (double)shape->key_length[s] * shape->heads * shape->head_dim * 2.0;
    }
    pass.sequence_of = sequence_of;
    if (queries < FEW_QUERIES)
        pass.parts = shape->kv_heads;
    RLHFI_TRY(rlhfi_scratch_reserve(context, (size_t)shape->heads * ((size_t)score_stride(most) + 1)));
    if (work < INLINE_WORK)
        for (int64_t i = 0; i < queries * pass.parts; i++)
            run_query(&pass, i, 0);
    else
        rlhfi_parallel(context, queries * pass.parts, run_query, &pass);
    return RLHF_OK;
}
