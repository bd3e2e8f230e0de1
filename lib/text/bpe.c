/* Byte-pair encoding of one pre-token (formats.md 4.6): the pair with the lowest rank merges first, of equals the
 * leftmost. A heap of candidate pairs over a linked list of symbols keeps it at n log n, because some tokenizers
 * (Llama-2, Gemma) give whole texts as one pre-token. */
#include "text/pipeline.h"

enum { CACHE_ENTRIES = 1 << 14, TRIM_ENTRIES = 1 << 16 };

/* ---- merge table ---------------------------------------------------------------------------------------------- */

static size_t pair_slot(const struct rlhfi_bpe *bpe, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    key *= 0x9E3779B97F4A7C15u; /* multiplicative hashing: the high bits are the good ones */
    return (size_t)(key >> 32) & bpe->mask;
}

static const struct rlhfi_merge_slot *find_merge(const struct rlhfi_bpe *bpe, int32_t left, int32_t right)
{
    for (size_t slot = pair_slot(bpe, left, right);; slot = (slot + 1) & bpe->mask) {
        const struct rlhfi_merge_slot *merge = &bpe->merges[slot];
        if (merge->left == left && merge->right == right)
            return merge;
        if (merge->left < 0)
            return NULL;
    }
}

/* A pair that stands twice keeps its last rank, as in the reference. */
void rlhfi_bpe_put_merge(struct rlhfi_bpe *bpe, int32_t left, int32_t right, uint32_t rank, int32_t result)
{
    size_t slot = pair_slot(bpe, left, right);
    while (bpe->merges[slot].left >= 0 && (bpe->merges[slot].left != left || bpe->merges[slot].right != right))
        slot = (slot + 1) & bpe->mask;
    bpe->merges[slot] = (struct rlhfi_merge_slot){.left = left, .right = right, .rank = rank, .result = result};
}

/* ---- scratch -------------------------------------------------------------------------------------------------- */

rlhf_status rlhfi_bpe_scratch_init(struct rlhfi_bpe_scratch *scratch, rlhf_context *context)
{
    rlhfi_string_init(&scratch->spelling, context);
    scratch->cache = rlhfi_calloc(context, CACHE_ENTRIES, sizeof *scratch->cache);
    return scratch->cache ? RLHF_OK : rlhfi_out_of_memory(context);
}

void rlhfi_bpe_scratch_trim(struct rlhfi_bpe_scratch *scratch, rlhf_context *context)
{
    if (scratch->symbol_capacity > TRIM_ENTRIES) {
        rlhfi_free(context, scratch->symbols);
        scratch->symbols = NULL;
        scratch->symbol_capacity = 0;
    }
    if (scratch->heap_capacity > TRIM_ENTRIES) {
        rlhfi_free(context, scratch->heap);
        scratch->heap = NULL;
        scratch->heap_capacity = 0;
    }
}

void rlhfi_bpe_scratch_free(struct rlhfi_bpe_scratch *scratch, rlhf_context *context)
{
    rlhfi_free(context, scratch->symbols);
    rlhfi_free(context, scratch->heap);
    rlhfi_free(context, scratch->cache);
    if (scratch->spelling.context)
        rlhfi_string_free(&scratch->spelling);
    memset(scratch, 0, sizeof *scratch);
}

/* Makes room for one more element of an array that doubles. */
static rlhf_status grow(rlhf_context *context, void **array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return RLHF_OK;
    size_t larger = *capacity ? *capacity * 2 : 64;
    void *moved = rlhfi_realloc_array(context, *array, larger, size);
    if (!moved)
        return rlhfi_out_of_memory(context);
    *array = moved;
    *capacity = larger;
    return RLHF_OK;
}

/* ---- symbols -------------------------------------------------------------------------------------------------- */

static rlhf_status add_symbol(rlhf_context *context, struct rlhfi_bpe_scratch *scratch, int32_t id)
{
    void *symbols = scratch->symbols;
    rlhf_status status =
        grow(context, &symbols, scratch->symbol_count, &scratch->symbol_capacity, sizeof *scratch->symbols);
    scratch->symbols = symbols;
    if (status != RLHF_OK)
        return status;
    int32_t at = (int32_t)scratch->symbol_count++;
    scratch->symbols[at] = (struct rlhfi_symbol){.id = id, .previous = at - 1, .next = at + 1};
    return RLHF_OK;
}

/* Spelling of the character text[0..bytes) with the affixes that its place asks for. */
static const char *spell(const struct rlhfi_bpe *bpe, struct rlhfi_bpe_scratch *scratch, const char *text,
                         size_t *bytes, bool is_first, bool is_last)
{
    bool prefix = bpe->prefix && !is_first, suffix = bpe->suffix && is_last;
    if (!prefix && !suffix)
        return text;
    rlhfi_string *spelling = &scratch->spelling;
    spelling->size = 0;
    if (prefix)
        rlhfi_string_add_bytes(spelling, bpe->prefix, bpe->prefix_bytes);
    rlhfi_string_add_bytes(spelling, text, *bytes);
    if (suffix)
        rlhfi_string_add_bytes(spelling, bpe->suffix, bpe->suffix_bytes);
    *bytes = spelling->size;
    return spelling->failed ? NULL : spelling->data;
}

/* Id of a token of the model; added tokens share its table, but are none of its tokens. */
static int32_t find_model_token(const struct rlhfi_bpe *bpe, const char *text, size_t bytes)
{
    int32_t id = rlhfi_vocabulary_find(bpe->vocabulary, text, bytes);
    return id >= 0 && bpe->vocabulary->tokens[id].flags & RLHFI_TOKEN_NOT_IN_MODEL ? -1 : id;
}

static bool has_byte_tokens(const struct rlhfi_bpe *bpe, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (bpe->byte_ids[(unsigned char)text[i]] < 0)
            return false;
    return true;
}

/* One symbol per character; unknown characters become their bytes, the unknown token, or nothing. */
static rlhf_status make_symbols(const struct rlhfi_bpe *bpe, struct rlhfi_bpe_scratch *scratch, const char *text,
                                size_t bytes)
{
    bool unknown = false; /* an unknown token is due; the reference writes it only when a known character follows */
    scratch->symbol_count = 0;
    for (size_t at = 0, length; at < bytes; at += length) {
        uint32_t code;
        length = rlhfi_utf8_next(text + at, &code);
        size_t size = length;
        const char *spelling = spell(bpe, scratch, text + at, &size, at == 0, at + length == bytes);
        if (!spelling)
            return rlhfi_out_of_memory(bpe->context);
        int32_t id = code < RLHFI_DIRECT_CHARACTERS && spelling == text + at ? bpe->direct[code]
                                                                             : find_model_token(bpe, spelling, size);
        if (id >= 0) {
            if (unknown)
                RLHFI_TRY(add_symbol(bpe->context, scratch, bpe->unknown));
            unknown = false;
            RLHFI_TRY(add_symbol(bpe->context, scratch, id));
        } else if (bpe->byte_fallback && has_byte_tokens(bpe, spelling, size)) {
            for (size_t i = 0; i < size; i++)
                RLHFI_TRY(add_symbol(bpe->context, scratch, bpe->byte_ids[(unsigned char)spelling[i]]));
        } else if (bpe->unknown >= 0) {
            if (unknown && !bpe->fuse_unknown)
                RLHFI_TRY(add_symbol(bpe->context, scratch, bpe->unknown));
            unknown = true;
        }
    }
    if (unknown)
        RLHFI_TRY(add_symbol(bpe->context, scratch, bpe->unknown));
    if (scratch->symbol_count > 0)
        scratch->symbols[scratch->symbol_count - 1].next = -1;
    return RLHF_OK;
}

/* ---- merging -------------------------------------------------------------------------------------------------- */

/* Adds the pair (left, its right neighbour) to the heap, if it merges. */
static rlhf_status add_candidate(const struct rlhfi_bpe *bpe, struct rlhfi_bpe_scratch *scratch, int32_t left)
{
    const struct rlhfi_symbol *symbols = scratch->symbols;
    const struct rlhfi_merge_slot *merge = find_merge(bpe, symbols[left].id, symbols[symbols[left].next].id);
    if (!merge)
        return RLHF_OK;
    void *heap = scratch->heap;
    rlhf_status status = grow(bpe->context, &heap, scratch->heap_count, &scratch->heap_capacity, sizeof *scratch->heap);
    scratch->heap = heap;
    if (status != RLHF_OK)
        return status;
    struct rlhfi_candidate candidate = {(uint64_t)merge->rank << 32 | (uint32_t)left, merge->result};
    size_t at = scratch->heap_count++;
    for (; at > 0 && scratch->heap[(at - 1) / 2].order > candidate.order; at = (at - 1) / 2)
        scratch->heap[at] = scratch->heap[(at - 1) / 2];
    scratch->heap[at] = candidate;
    return RLHF_OK;
}

static struct rlhfi_candidate take_first(struct rlhfi_bpe_scratch *scratch)
{
    struct rlhfi_candidate *heap = scratch->heap, first = heap[0], last = heap[--scratch->heap_count];
    size_t at = 0, count = scratch->heap_count;
    for (size_t child = 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count && heap[child + 1].order < heap[child].order)
            child++;
        if (heap[child].order >= last.order)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return first;
}

static rlhf_status merge_symbols(const struct rlhfi_bpe *bpe, struct rlhfi_bpe_scratch *scratch)
{
    scratch->heap_count = 0;
    for (size_t i = 0; i + 1 < scratch->symbol_count; i++)
        RLHFI_TRY(add_candidate(bpe, scratch, (int32_t)i));
    while (scratch->heap_count > 0) {
        struct rlhfi_candidate candidate = take_first(scratch);
        int32_t at = (int32_t)(candidate.order & 0xFFFFFFFFu);
        struct rlhfi_symbol *left = &scratch->symbols[at];
        if (left->id < 0 || left->next < 0)
            continue;
        struct rlhfi_symbol *right = &scratch->symbols[left->next];
        /* The symbols may have changed since the pair was written down. */
        const struct rlhfi_merge_slot *merge = find_merge(bpe, left->id, right->id);
        if (!merge || merge->result != candidate.result)
            continue;
        left->id = candidate.result;
        left->next = right->next;
        right->id = -1;
        if (left->next >= 0)
            scratch->symbols[left->next].previous = at;
        if (left->previous >= 0)
            RLHFI_TRY(add_candidate(bpe, scratch, left->previous));
        if (left->next >= 0)
            RLHFI_TRY(add_candidate(bpe, scratch, at));
    }
    return RLHF_OK;
}

static rlhf_status encode(const struct rlhfi_bpe *bpe, struct rlhfi_bpe_scratch *scratch, const char *text,
                          size_t bytes, rlhfi_ids *ids)
{
    if (bpe->ignore_merges) {
        int32_t id = find_model_token(bpe, text, bytes);
        if (id >= 0)
            return rlhfi_ids_push(bpe->context, ids, &id, 1);
    }
    RLHFI_TRY(make_symbols(bpe, scratch, text, bytes));
    RLHFI_TRY(merge_symbols(bpe, scratch));
    for (int32_t at = scratch->symbol_count > 0 ? 0 : -1; at >= 0; at = scratch->symbols[at].next)
        RLHFI_TRY(rlhfi_ids_push(bpe->context, ids, &scratch->symbols[at].id, 1));
    return RLHF_OK;
}

/* ---- cache ---------------------------------------------------------------------------------------------------- */

static uint32_t hash_text(const char *text, size_t bytes)
{
    uint64_t hash = 0xCBF29CE484222325u ^ bytes, word;
    for (; bytes >= 8; text += 8, bytes -= 8) {
        memcpy(&word, text, 8);
        hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 29;
    }
    word = 0;
    memcpy(&word, text, bytes);
    hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(hash >> 32);
}

static rlhf_status encode_cached(const struct rlhfi_bpe *bpe, struct rlhfi_bpe_scratch *scratch, const char *text,
                                 size_t bytes, rlhfi_ids *ids)
{
    if (bytes > sizeof scratch->cache->text)
        return encode(bpe, scratch, text, bytes, ids);
    uint32_t hash = hash_text(text, bytes);
    struct rlhfi_cache_entry *entry = &scratch->cache[hash & (CACHE_ENTRIES - 1)];
    if (entry->bytes == bytes && entry->hash == hash && memcmp(entry->text, text, bytes) == 0)
        return rlhfi_ids_push(bpe->context, ids, entry->ids, entry->count);
    size_t before = ids->count;
    RLHFI_TRY(encode(bpe, scratch, text, bytes, ids));
    size_t count = ids->count - before;
    if (count <= sizeof entry->ids / sizeof entry->ids[0]) {
        entry->hash = hash;
        entry->bytes = (uint8_t)bytes;
        entry->count = (uint8_t)count;
        memcpy(entry->text, text, bytes);
        if (count > 0)
            memcpy(entry->ids, ids->data + before, count * sizeof *entry->ids);
    }
    return RLHF_OK;
}

/* Where the word at text ends: in front of the next U+2581 that follows another character. */
static size_t next_break(const char *text, size_t bytes)
{
    static const char block[] = "\xE2\x96\x81";
    size_t at = 0;
    while (bytes - at >= 3 && memcmp(text + at, block, 3) == 0)
        at += 3;
    const char *found = at < bytes ? memmem(text + at, bytes - at, block, 3) : NULL;
    return found ? (size_t)(found - text) : bytes;
}

rlhf_status rlhfi_bpe_encode(const struct rlhfi_bpe *bpe, struct rlhfi_bpe_scratch *scratch, const char *text,
                             size_t bytes, rlhfi_ids *ids)
{
    if (bytes > INT32_MAX - 1)
        return rlhfi_fail(bpe->context, RLHF_E_RANGE, "tokenizer: more than 2 GiB in one piece");
    /* Where no merge can cross, the words of a text are independent: short ones come from the cache. */
    while (bpe->breaks_at_blocks && bytes > 0) {
        size_t length = next_break(text, bytes);
        if (length == bytes)
            break;
        RLHFI_TRY(encode_cached(bpe, scratch, text, length, ids));
        text += length;
        bytes -= length;
    }
    return bytes > 0 ? encode_cached(bpe, scratch, text, bytes, ids) : RLHF_OK;
}
