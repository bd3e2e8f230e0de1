/* Decoding with a cache of keys and values. The rows pass the same kernels as in training; only the weights come from
 * panels, which stream once from memory and give the same bits. */
#include "model/internal.h"

/* Rows of a group: of a small model's step, so that all threads have some, and of a large one's prompts, to bound
 * memory. Up to PANEL_ROWS rows the panels are faster than ordinary products. */
enum { SMALL_GROUP = 32, LARGE_GROUP = 1024, PANEL_ROWS = 64, FIRST_CAPACITY = 64 };

/* ---- the cache -------------------------------------------------------------------------------------------------- */

struct slot {
    float *data;                 /* [layers, capacity, width] */
    int64_t capacity, length;    /* tokens */
    bool taken;                  /* in the call that is running */
};

struct rlhfi_cache {
    rlhf_context *context;
    int64_t layers, width;       /* width: a key and its value side by side */
    int64_t slots, most;         /* most tokens per slot */
    struct slot *slot;
};

rlhf_status rlhfi_cache_create(rlhfi_cache **out, rlhfi_model *model, int64_t slots, int64_t length)
{
    const rlhfi_architecture *a = &model->architecture;
    rlhf_context *context = model->context;
    rlhfi_cache *cache;

    *out = NULL;
    RLHFI_REQUIRE(context, slots > 0 && length > 0);
    cache = rlhfi_calloc(context, 1, sizeof *cache);
    if (cache == NULL)
        return RLHF_E_NOMEM;
    cache->slot = rlhfi_calloc(context, (size_t)slots, sizeof *cache->slot);
    if (cache->slot == NULL) {
        rlhfi_free(context, cache);
        return RLHF_E_NOMEM;
    }
    cache->context = rlhfi_context_retain(context);
    cache->layers = a->layers;
    cache->width = 2 * a->kv_heads * a->head_dim;
    cache->slots = slots;
    cache->most = length < a->positions ? length : a->positions;
    *out = cache;
    return RLHF_OK;
}

void rlhfi_cache_clear(rlhfi_cache *cache, int64_t slot)
{
    cache->slot[slot].length = 0;
}

int64_t rlhfi_cache_length(const rlhfi_cache *cache, int64_t slot)
{
    return cache->slot[slot].length;
}

/* Room for this many tokens; what stands there stays. */
static rlhf_status reserve(rlhfi_cache *cache, struct slot *slot, int64_t tokens)
{
    int64_t capacity = slot->capacity > 0 ? slot->capacity : FIRST_CAPACITY;
    size_t rows, floats;
    float *data;

    if (tokens <= slot->capacity)
        return RLHF_OK;
    while (capacity < tokens)
        capacity *= 2;
    if (capacity > cache->most)
        capacity = cache->most;
    if (!rlhfi_multiply((size_t)cache->layers, (size_t)capacity, &rows) ||
        !rlhfi_multiply(rows, (size_t)cache->width, &floats))
        return rlhfi_out_of_memory(cache->context);
    data = rlhfi_alloc_array(cache->context, floats, sizeof *data);
    if (data == NULL)
        return RLHF_E_NOMEM;
    for (int64_t layer = 0; layer < cache->layers && slot->length > 0; layer++)
        memcpy(data + layer * capacity * cache->width, slot->data + layer * slot->capacity * cache->width,
               (size_t)(slot->length * cache->width) * sizeof *data);
    rlhfi_free(cache->context, slot->data);
    slot->data = data;
    slot->capacity = capacity;
    return RLHF_OK;
}

rlhf_status rlhfi_cache_copy(rlhfi_cache *cache, int64_t from, int64_t to, int64_t tokens)
{
    struct slot *source, *target;

    RLHFI_REQUIRE(cache->context, from >= 0 && from < cache->slots && to >= 0 && to < cache->slots);
    source = &cache->slot[from];
    target = &cache->slot[to];
    RLHFI_REQUIRE(cache->context, tokens >= 0 && tokens <= source->length);
    if (from == to) {
        target->length = tokens;
        return RLHF_OK;
    }
    target->length = 0;
    RLHFI_TRY(reserve(cache, target, tokens));
    for (int64_t layer = 0; layer < cache->layers && tokens > 0; layer++)
        memcpy(target->data + layer * target->capacity * cache->width,
               source->data + layer * source->capacity * cache->width,
               (size_t)(tokens * cache->width) * sizeof *target->data);
    target->length = tokens;
    return RLHF_OK;
}

void rlhfi_cache_release(rlhfi_cache **cache)
{
    rlhf_context *context;

    if (cache == NULL || *cache == NULL)
        return;
    context = (*cache)->context;
    for (int64_t i = 0; i < (*cache)->slots; i++)
        rlhfi_free(context, (*cache)->slot[i].data);
    rlhfi_free(context, (*cache)->slot);
    rlhfi_free(context, *cache);
    *cache = NULL;
    rlhf_context_release(&context);
}

/* ---- the step --------------------------------------------------------------------------------------------------- */

struct scratch {
    rlhfi_layer_tape tape;       /* its arrays serve every layer in turn */
    float *normed, *hidden, *last;
    int32_t *id;
    const float **key, **value;
    int64_t *length;             /* keys of each sequence, the new ones included */
};

struct run {
    const rlhfi_model *model;
    rlhfi_cache *cache;
    const rlhfi_groups *groups;
    const int64_t *slot;         /* [count] */
    const int32_t *tokens, *position;
    struct scratch *scratch;     /* [workers] */
    float *logits;               /* [count, vocabulary] */
};

static rlhf_status scratch_make(const rlhfi_model *model, const rlhfi_groups *groups, struct scratch *scratch)
{
    const rlhfi_architecture *a = &model->architecture;
    int64_t rows = groups->most_rows, sequences = groups->most_sequences;

    *scratch = (struct scratch){
        .tape = {.input = rlhfi_scratch(model, rows * a->width, sizeof(float)),
                 .middle = rlhfi_scratch(model, rows * a->width, sizeof(float)),
                 .qkv = rlhfi_scratch(model, rows * rlhfi_qkv_width(a), sizeof(float)),
                 .attended = rlhfi_scratch(model, rows * rlhfi_query_width(a), sizeof(float)),
                 .up = rlhfi_scratch(model, rows * rlhfi_up_width(a), sizeof(float))},
        .normed = rlhfi_scratch(model, rows * a->width, sizeof(float)),
        .hidden = rlhfi_scratch(model, rows * a->inner, sizeof(float)),
        .last = rlhfi_scratch(model, sequences * a->width, sizeof(float)),
        .id = rlhfi_scratch(model, sequences, sizeof(int32_t)),
        .key = rlhfi_scratch(model, sequences, sizeof(float *)),
        .value = rlhfi_scratch(model, sequences, sizeof(float *)),
        .length = rlhfi_scratch(model, sequences, sizeof(int64_t)),
    };
    if (scratch->tape.input == NULL || scratch->tape.middle == NULL || scratch->tape.qkv == NULL ||
        scratch->tape.attended == NULL || scratch->tape.up == NULL || scratch->normed == NULL ||
        scratch->hidden == NULL || scratch->last == NULL || scratch->id == NULL || scratch->key == NULL ||
        scratch->value == NULL || scratch->length == NULL)
        return RLHF_E_NOMEM;
    return RLHF_OK;
}

/* Takes the new keys and values of a group into the cache and describes attention over all that stand there. */
static rlhfi_attention cached_attention(const struct run *run, const rlhfi_group *group, int64_t layer,
                                        const struct scratch *scratch)
{
    const rlhfi_architecture *a = &run->model->architecture;
    const rlhfi_cache *cache = run->cache;
    int64_t width = rlhfi_qkv_width(a), query = rlhfi_query_width(a);

    for (int64_t s = 0; s < group->sequences; s++) {
        const struct slot *slot = &cache->slot[run->slot[group->first + s]];
        float *rows = slot->data + layer * slot->capacity * cache->width;
        for (int64_t i = group->offset[s]; i < group->offset[s + 1]; i++)
            memcpy(rows + (slot->length + i - group->offset[s]) * cache->width, scratch->tape.qkv + i * width + query,
                   (size_t)cache->width * sizeof(float));
        scratch->key[s] = rows;
        scratch->value[s] = rows + a->kv_heads * a->head_dim;
        scratch->length[s] = slot->length + group->length[s];
    }
    return (rlhfi_attention){
        .sequences = group->sequences,
        .query_offset = group->offset,
        .key_length = scratch->length,
        .key = scratch->key,
        .value = scratch->value,
        .ldkv = cache->width,
        .heads = (int32_t)a->heads,
        .kv_heads = (int32_t)a->kv_heads,
        .head_dim = (int32_t)a->head_dim,
        .scale = rlhfi_attention_scale(a, layer),
    };
}

/* Panels of bf16 are as good for many rows, and need no packing. */
static bool takes_panels(const rlhfi_model *model, int64_t rows)
{
    return rows <= PANEL_ROWS || rlhfi_rounds(model);
}

/* Logits behind the last new token of each sequence. */
static rlhf_status group_logits(rlhf_context *context, const struct run *run, const rlhfi_group *group,
                                const struct scratch *scratch)
{
    const rlhfi_model *model = run->model;
    int64_t width = model->architecture.width, vocabulary = model->architecture.vocabulary;
    float *logits = run->logits + group->first * vocabulary;

    for (int64_t s = 0; s < group->sequences; s++)
        scratch->id[s] = (int32_t)(group->offset[s + 1] - 1);
    rlhfi_gather(context, group->sequences, width, scratch->tape.input, scratch->id, 0, scratch->last);
    rlhfi_norm_forward(context, model, model->table->final_weight, model->table->final_bias, group->sequences,
                       scratch->last, scratch->normed, NULL, NULL);
    if (takes_panels(model, group->sequences))
        return rlhfi_product_panels(context, group->sequences, scratch->normed, width, model->decode->head, NULL,
                                    logits, vocabulary);
    return rlhfi_product(context, RLHFI_NO, RLHFI_YES, group->sequences, vocabulary, width, scratch->normed, width,
                         rlhfi_head_weight(model).weight.f32, width, NULL, 0, logits, vocabulary);
}

static rlhf_status run_group(void *argument, int64_t index, int32_t worker, rlhf_context *context)
{
    const struct run *run = argument;
    const rlhfi_model *model = run->model;
    const rlhfi_architecture *a = &model->architecture;
    const rlhfi_group *group = &run->groups->group[index];
    const struct scratch *scratch = &run->scratch[worker];
    const rlhfi_layer_tape *tape = &scratch->tape;
    const int32_t *position = run->position + group->row;

    rlhfi_embed(context, model, group->rows, run->tokens + group->row, position, tape->input);
    for (int64_t layer = 0; layer < a->layers; layer++) {
        const rlhfi_layer_panels *panels =
            takes_panels(model, group->rows) ? &model->decode->layer[layer] : &rlhfi_no_panels;
        rlhfi_attention attention;
        RLHFI_TRY(rlhfi_block_begin(context, model, layer, panels, group->rows, position, tape, scratch->normed));
        attention = cached_attention(run, group, layer, scratch);
        RLHFI_TRY(rlhfi_attend(context, &attention, tape->qkv, rlhfi_qkv_width(a), tape->attended,
                               rlhfi_query_width(a), NULL));
        RLHFI_TRY(rlhfi_block_end(context, model, layer, panels, group->rows, tape, scratch->normed, scratch->hidden,
                                  tape->input));
    }
    return group_logits(context, run, group, scratch);
}

/* Every entry names a slot of its own, and its tokens fit. Marks the slots. */
static rlhf_status take_slots(rlhfi_model *model, rlhfi_cache *cache, int64_t count, const int64_t *slot,
                              const int64_t *offset, const int32_t *tokens)
{
    rlhf_context *context = model->context;

    for (int64_t i = 0; i < count; i++) {
        int64_t fresh = offset[i + 1] - offset[i];
        struct slot *s;
        RLHFI_REQUIRE(context, slot[i] >= 0 && slot[i] < cache->slots && fresh > 0);
        s = &cache->slot[slot[i]];
        if (s->taken)
            return rlhfi_fail(context, RLHF_E_INVAL, "decode: slot %lld is named twice", (long long)slot[i]);
        s->taken = true;
        if (fresh > cache->most - s->length)
            return rlhfi_fail(context, RLHF_E_RANGE, "decode: slot %lld: %lld tokens and %lld more are over %lld",
                              (long long)slot[i], (long long)s->length, (long long)fresh, (long long)cache->most);
        RLHFI_TRY(rlhfi_check_tokens(model, i, tokens + offset[i], fresh));
        RLHFI_TRY(reserve(cache, s, s->length + fresh));
    }
    return RLHF_OK;
}

static rlhf_status decode(rlhfi_model *model, rlhfi_cache *cache, int64_t count, const int64_t *slot,
                          const int64_t *offset, const int32_t *tokens, float **logits)
{
    rlhfi_ragged batch = {.sequences = count, .offset = offset, .tokens = tokens};
    int64_t rows = offset[count] - offset[0], longest = 0, workers;
    rlhfi_groups groups;
    int32_t *position;
    struct run run;

    RLHFI_TRY(take_slots(model, cache, count, slot, offset, tokens));
    RLHFI_TRY(rlhfi_panels_need(model, true, false));
    RLHFI_TRY(rlhfi_vectors_need(model));
    *logits = rlhfi_scratch(model, count * model->architecture.vocabulary, sizeof(float));
    position = rlhfi_scratch(model, rows, sizeof *position);
    if (*logits == NULL || position == NULL)
        return RLHF_E_NOMEM;
    for (int64_t i = 0, row = 0; i < count; i++) {
        int64_t length = cache->slot[slot[i]].length, fresh = offset[i + 1] - offset[i];
        for (int64_t t = 0; t < fresh; t++)
            position[row++] = (int32_t)(length + t);
        if (length + fresh > longest)
            longest = length + fresh;
    }
    RLHFI_TRY(rlhfi_model_need_positions(model, longest));
    RLHFI_TRY(rlhfi_groups_make(model, &batch, rlhfi_model_is_small(model) ? SMALL_GROUP : LARGE_GROUP, &groups));
    if (groups.parallel)
        RLHFI_TRY(rlhfi_lanes_need(model));
    workers = rlhfi_groups_workers(model, groups.parallel);
    run = (struct run){.model = model, .cache = cache, .groups = &groups, .slot = slot, .tokens = tokens + offset[0],
                       .position = position, .scratch = rlhfi_scratch(model, workers, sizeof *run.scratch),
                       .logits = *logits};
    if (run.scratch == NULL)
        return RLHF_E_NOMEM;
    for (int64_t i = 0; i < workers; i++)
        RLHFI_TRY(scratch_make(model, &groups, &run.scratch[i]));
    return rlhfi_groups_run(model, groups.parallel, groups.count, run_group, &run);
}

rlhf_status rlhfi_decode(rlhfi_model *model, rlhfi_cache *cache, int64_t count, const int64_t *slot,
                         const int64_t *offset, const int32_t *tokens, float **logits)
{
    const rlhfi_architecture *a = &model->architecture;
    rlhf_status status;

    *logits = NULL;
    RLHFI_TRY(rlhfi_model_idle(model));
    RLHFI_REQUIRE(model->context, model->head == RLHFI_HEAD_TOKENS);
    RLHFI_REQUIRE(model->context, cache->layers == a->layers && cache->width == 2 * a->kv_heads * a->head_dim);
    rlhfi_arena_reset(model->arena);
    status = decode(model, cache, count, slot, offset, tokens, logits);
    for (int64_t i = 0; i < count; i++) {
        if (slot[i] < 0 || slot[i] >= cache->slots)
            continue;
        cache->slot[slot[i]].taken = false;
        if (status == RLHF_OK)
            cache->slot[slot[i]].length += offset[i + 1] - offset[i];
    }
    if (status != RLHF_OK)
        *logits = NULL;
    return status;
}
