/* Decoding with a cache of keys and values. The rows pass the same kernels as in training; a small model's weights come
 * from panels, which stay in the processor's caches and give the same bits. */
#include "model/internal.h"

/* Rows of a group: of a small model's step, so that all threads have some, and of a large one's prompts, to bound
 * memory. Up to PANEL_ROWS rows the panels are faster than ordinary products. */
enum { SMALL_GROUP = 32, LARGE_GROUP = 1024, PANEL_ROWS = 64 };

/* ---- the cache: pages that slots share until one of them writes ------------------------------------------------- */

/* Keys and values of RLHFI_PAGE tokens in all layers, as rlhfi_attend_pages wants them. */
struct page {
    int64_t references;
    struct page *next;           /* in the list of unused pages */
    _Alignas(64) float data[];   /* [layers][keys, values] */
};

/* Pages are asked for many at a time: a step seldom allocates. They follow behind. */
struct slab {
    struct slab *older;
    _Alignas(64) char pages[];
};

struct slot {
    float **page;                /* [pages in use]: their data */
    int64_t pages, length;       /* length: tokens */
    bool taken;                  /* in the call that is running */
};

struct rlhfi_cache {
    rlhf_context *context;
    int64_t layers, width;       /* width: a key and its value side by side */
    int64_t slots, most;         /* most tokens per slot */
    size_t page_bytes;
    struct page *unused;         /* pages that nobody uses any more */
    struct slab *slab;           /* the newest; memory goes back to the allocator with the cache only */
    int64_t slab_left, unmade;   /* pages of it that nobody has used yet; pages that may still be asked for */
    struct slot *slot;
    float **table;               /* all slots' pages */
};

static struct page *page_of(float *data)
{
    return (struct page *)(void *)((char *)data - offsetof(struct page, data));
}

static int64_t pages_for(int64_t tokens)
{
    return tokens / RLHFI_PAGE + (tokens % RLHFI_PAGE != 0);
}

/* Floats of a layer's keys, or values, in a page. */
static int64_t page_part(const rlhfi_cache *cache)
{
    return cache->width / 2 * RLHFI_PAGE;
}

rlhf_status rlhfi_cache_create(rlhfi_cache **out, rlhfi_model *model, int64_t slots, int64_t length)
{
    const rlhfi_architecture *a = &model->architecture;
    rlhf_context *context = model->context;
    size_t floats, entries;
    int64_t pages;
    rlhfi_cache *cache;

    *out = NULL;
    RLHFI_REQUIRE(context, slots > 0 && length > 0);
    cache = rlhfi_calloc(context, 1, sizeof *cache);
    if (cache == NULL)
        return RLHF_E_NOMEM;
    cache->context = rlhfi_context_retain(context);
    cache->layers = a->layers;
    cache->width = 2 * a->kv_heads * a->head_dim;
    cache->slots = slots;
    cache->most = length < a->positions ? length : a->positions;
    pages = pages_for(cache->most);
    cache->unmade = slots * pages;
    if (rlhfi_multiply((size_t)cache->layers, (size_t)cache->width * RLHFI_PAGE, &floats) &&
        rlhfi_multiply(floats, sizeof(float), &cache->page_bytes) &&
        rlhfi_add(cache->page_bytes, sizeof(struct page), &cache->page_bytes) &&
        cache->page_bytes <= SIZE_MAX / 4 &&
        rlhfi_multiply((size_t)slots, (size_t)pages, &entries)) {
        cache->slot = rlhfi_calloc(context, (size_t)slots, sizeof *cache->slot);
        cache->table = rlhfi_calloc(context, entries, sizeof *cache->table);
    } else {
        rlhfi_out_of_memory(context);
    }
    if (cache->slot == NULL || cache->table == NULL) {
        rlhfi_cache_release(&cache);
        return RLHF_E_NOMEM;
    }
    for (int64_t i = 0; i < slots; i++)
        cache->slot[i].page = cache->table + i * pages;
    *out = cache;
    return RLHF_OK;
}

/* Two pages per slot at first, later one: slots that began together need the next one together. */
static rlhf_status make_slab(rlhfi_cache *cache)
{
    int64_t pages = cache->slab == NULL ? 2 * cache->slots : cache->slots;
    struct slab *slab;
    size_t bytes;

    if (pages > cache->unmade)
        pages = cache->unmade;
    if (!rlhfi_multiply((size_t)pages, cache->page_bytes, &bytes) || !rlhfi_add(bytes, sizeof *slab, &bytes))
        return rlhfi_out_of_memory(cache->context);
    slab = rlhfi_alloc(cache->context, bytes);
    if (slab == NULL)
        return RLHF_E_NOMEM;
    slab->older = cache->slab;
    cache->slab = slab;
    cache->slab_left = pages;
    cache->unmade -= pages;
    return RLHF_OK;
}

static float *take_page(rlhfi_cache *cache)
{
    struct page *page = cache->unused;

    if (page != NULL) {
        cache->unused = page->next;
    } else {
        if (cache->slab_left == 0 && make_slab(cache) != RLHF_OK)
            return NULL;
        page = (struct page *)(void *)(cache->slab->pages + (size_t)--cache->slab_left * cache->page_bytes);
    }
    page->references = 1;
    page->next = NULL;
    return page->data;
}

static void give_page(rlhfi_cache *cache, float *data)
{
    struct page *page = page_of(data);

    if (--page->references > 0)
        return;
    page->next = cache->unused;
    cache->unused = page;
}

/* The slot holds this many pages, or fewer. */
static void keep_pages(rlhfi_cache *cache, struct slot *slot, int64_t pages)
{
    while (slot->pages > pages)
        give_page(cache, slot->page[--slot->pages]);
}

void rlhfi_cache_clear(rlhfi_cache *cache, int64_t slot)
{
    keep_pages(cache, &cache->slot[slot], 0);
    cache->slot[slot].length = 0;
}

int64_t rlhfi_cache_length(const rlhfi_cache *cache, int64_t slot)
{
    return cache->slot[slot].length;
}

/* Room for this many tokens, in pages that no other slot sees from the slot's length on. */
static rlhf_status reserve(rlhfi_cache *cache, struct slot *slot, int64_t tokens)
{
    const int64_t last = slot->length / RLHFI_PAGE;

    if (last < slot->pages && page_of(slot->page[last])->references > 1) {
        float *own = take_page(cache);
        if (own == NULL)
            return RLHF_E_NOMEM;
        memcpy(own, slot->page[last], cache->page_bytes - sizeof(struct page));
        give_page(cache, slot->page[last]);
        slot->page[last] = own;
    }
    while (slot->pages < pages_for(tokens)) {
        float *fresh = take_page(cache);
        if (fresh == NULL)
            return RLHF_E_NOMEM;
        slot->page[slot->pages++] = fresh;
    }
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
        keep_pages(cache, target, pages_for(tokens));
        target->length = tokens;
        return RLHF_OK;
    }
    rlhfi_cache_clear(cache, to);
    while (target->pages < pages_for(tokens)) {
        target->page[target->pages] = source->page[target->pages];
        page_of(target->page[target->pages++])->references++;
    }
    target->length = tokens;
    return RLHF_OK;
}

void rlhfi_cache_release(rlhfi_cache **cache)
{
    rlhf_context *context;

    if (cache == NULL || *cache == NULL)
        return;
    context = (*cache)->context;
    while ((*cache)->slab != NULL) {
        struct slab *slab = (*cache)->slab;
        (*cache)->slab = slab->older;
        rlhfi_free(context, slab);
    }
    rlhfi_free(context, (*cache)->slot);
    rlhfi_free(context, (*cache)->table);
    rlhfi_free(context, *cache);
    *cache = NULL;
    rlhf_context_release(&context);
}

/* ---- the step --------------------------------------------------------------------------------------------------- */

struct scratch {
    rlhfi_layer_tape tape;       /* its arrays serve every layer in turn */
    float *normed, *hidden, *last;
    int32_t *id;
    const float **key, **value;        /* of the sequences that begin */
    const float *const **page;
    int64_t *length;             /* keys of each sequence, the new ones included */
};

struct run {
    const rlhfi_model *model;
    rlhfi_cache *cache;
    const rlhfi_groups *groups;
    bool packed, packed_head;    /* weights as panels, of the layers and of the head */
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
        .page = rlhfi_scratch(model, sequences, sizeof(float **)),
        .length = rlhfi_scratch(model, sequences, sizeof(int64_t)),
    };
    if (scratch->tape.input == NULL || scratch->tape.middle == NULL || scratch->tape.qkv == NULL ||
        scratch->tape.attended == NULL || scratch->tape.up == NULL || scratch->normed == NULL ||
        scratch->hidden == NULL || scratch->last == NULL || scratch->id == NULL || scratch->key == NULL ||
        scratch->value == NULL || scratch->page == NULL || scratch->length == NULL)
        return RLHF_E_NOMEM;
    return RLHF_OK;
}

/* Takes the new keys and values of a sequence into its pages: keys become columns. */
static void keep_rows(const rlhfi_cache *cache, const struct slot *slot, int64_t layer, const float *key, int64_t ld,
                      int64_t rows)
{
    const int64_t width = cache->width / 2, part = page_part(cache);

    for (int64_t i = 0; i < rows; i++, key += ld) {
        const int64_t at = (slot->length + i) % RLHFI_PAGE;
        float *to = slot->page[(slot->length + i) / RLHFI_PAGE] + 2 * layer * part;
        for (int64_t j = 0; j < width; j++)
            to[j * RLHFI_PAGE + at] = key[j];
        memcpy(to + part + at * width, key + width, (size_t)width * sizeof(float));
    }
}

/* Attention of the sequences [first, end) of a group, which all begin here: of the new rows among themselves. */
static rlhf_status attend_fresh(rlhf_context *context, const struct run *run, const rlhfi_group *group, int64_t layer,
                                const struct scratch *scratch, int64_t first, int64_t end)
{
    const rlhfi_architecture *a = &run->model->architecture;
    const int64_t width = rlhfi_qkv_width(a), query = rlhfi_query_width(a), key = a->kv_heads * a->head_dim;
    const rlhfi_attention attention = {
        .sequences = end - first, .query_offset = group->offset + first, .key_length = scratch->length + first,
        .key = scratch->key + first, .value = scratch->value + first, .ldkv = width, .heads = (int32_t)a->heads,
        .kv_heads = (int32_t)a->kv_heads, .head_dim = (int32_t)a->head_dim, .scale = rlhfi_attention_scale(a, layer),
    };

    for (int64_t s = first; s < end; s++) {
        scratch->key[s] = scratch->tape.qkv + group->offset[s] * width + query;
        scratch->value[s] = scratch->key[s] + key;
    }
    return rlhfi_attend(context, &attention, scratch->tape.qkv, width, scratch->tape.attended, query, NULL);
}

/* Likewise for sequences that go on: of the new rows to all that stands in the cache. */
static rlhf_status attend_cached(rlhf_context *context, const struct run *run, const rlhfi_group *group, int64_t layer,
                                 const struct scratch *scratch, int64_t first, int64_t end)
{
    const rlhfi_architecture *a = &run->model->architecture;
    const int64_t part = page_part(run->cache);
    const rlhfi_attention_pages attention = {
        .sequences = end - first, .query_offset = group->offset + first, .key_length = scratch->length + first,
        .page = scratch->page + first, .key = 2 * layer * part, .value = (2 * layer + 1) * part,
        .heads = (int32_t)a->heads, .kv_heads = (int32_t)a->kv_heads, .head_dim = (int32_t)a->head_dim,
        .scale = rlhfi_attention_scale(a, layer),
    };

    return rlhfi_attend_pages(context, &attention, scratch->tape.qkv, rlhfi_qkv_width(a), scratch->tape.attended,
                              rlhfi_query_width(a));
}

static rlhf_status attend(rlhf_context *context, const struct run *run, const rlhfi_group *group, int64_t layer,
                          const struct scratch *scratch)
{
    const rlhfi_architecture *a = &run->model->architecture;
    const int64_t width = rlhfi_qkv_width(a), query = rlhfi_query_width(a);

    for (int64_t s = 0; s < group->sequences; s++) {
        const struct slot *slot = &run->cache->slot[run->slot[group->first + s]];
        keep_rows(run->cache, slot, layer, scratch->tape.qkv + group->offset[s] * width + query, width,
                  group->length[s]);
        scratch->page[s] = (const float *const *)slot->page;
        scratch->length[s] = slot->length + group->length[s];
    }
    for (int64_t s = 0, end; s < group->sequences; s = end) {
        const bool fresh = scratch->length[s] == group->length[s];
        for (end = s + 1; end < group->sequences && (scratch->length[end] == group->length[end]) == fresh; end++)
            ;
        RLHFI_TRY((fresh ? attend_fresh : attend_cached)(context, run, group, layer, scratch, s, end));
    }
    return RLHF_OK;
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
    if (run->packed_head && takes_panels(model, group->sequences))
        return rlhfi_product_panels(context, group->sequences, scratch->normed, width, model->decode->head, NULL,
                                    logits, vocabulary);
    return rlhfi_product(context, RLHFI_NO, RLHFI_YES, group->sequences, vocabulary, width, scratch->normed, width,
                         rlhfi_head_weight(model).weight.f32, width, NULL, 0, logits, vocabulary);
}

static rlhf_status run_group(void *argument, int64_t index, int32_t worker, rlhf_context *context)
{
    const struct run *run = argument;
    const rlhfi_model *model = run->model;
    const rlhfi_group *group = &run->groups->group[index];
    const struct scratch *scratch = &run->scratch[worker];
    const rlhfi_layer_tape *tape = &scratch->tape;
    const int32_t *position = run->position + group->row;

    rlhfi_embed(context, model, group->rows, run->tokens + group->row, position, tape->input);
    for (int64_t layer = 0; layer < model->architecture.layers; layer++) {
        const rlhfi_layer_panels *panels =
            run->packed && takes_panels(model, group->rows) ? &model->decode->layer[layer] : &rlhfi_no_panels;
        RLHFI_TRY(rlhfi_block_begin(context, model, layer, panels, group->rows, position, tape, scratch->normed));
        RLHFI_TRY(attend(context, run, group, layer, scratch));
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
    /* A large model's weights are not kept twice: products of few rows read them as they stand, [out,in], as fast as
     * memory gives them. GPT-2's [in,out] they cannot read so fast. */
    const bool packed_head = rlhfi_model_is_small(model) || rlhfi_rounds(model);
    const bool packed = packed_head || !model->architecture.transposed_weights;
    struct run run;

    RLHFI_TRY(take_slots(model, cache, count, slot, offset, tokens));
    if (packed)
        RLHFI_TRY(rlhfi_panels_need(model, packed_head, false));
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
    run = (struct run){.model = model, .cache = cache, .groups = &groups, .packed = packed,
                       .packed_head = packed_head, .slot = slot, .tokens = tokens + offset[0],
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
