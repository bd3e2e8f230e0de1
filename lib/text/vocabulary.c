/* Token spellings by id and ids by spelling. */
#include "text/pipeline.h"

rlhf_status rlhfi_vocabulary_init(struct rlhfi_vocabulary *vocabulary, rlhf_context *context, size_t expected)
{
    vocabulary->context = context;
    rlhfi_string_init(&vocabulary->text, context);
    /* Ids may have gaps, but a short file must not ask for a long table. */
    size_t limit = expected < (size_t)(INT32_MAX / 8 - 1024) ? 8 * (expected + 1024) : (size_t)INT32_MAX;
    vocabulary->limit = (int32_t)limit;
    return rlhfi_table_create(&vocabulary->ids, context, expected);
}

static rlhf_status reserve(struct rlhfi_vocabulary *vocabulary, int32_t count)
{
    if (count <= vocabulary->capacity)
        return RLHF_OK;
    int64_t capacity = (int64_t)vocabulary->capacity * 2;
    if (capacity < count)
        capacity = count;
    if (capacity < 256)
        capacity = 256;
    struct rlhfi_token *tokens =
        rlhfi_realloc_array(vocabulary->context, vocabulary->tokens, (size_t)capacity, sizeof *tokens);
    if (!tokens)
        return rlhfi_out_of_memory(vocabulary->context);
    for (int64_t i = vocabulary->capacity; i < capacity; i++)
        tokens[i] = (struct rlhfi_token){.offset = UINT32_MAX};
    vocabulary->tokens = tokens;
    vocabulary->capacity = (int32_t)capacity;
    return RLHF_OK;
}

rlhf_status rlhfi_vocabulary_add(struct rlhfi_vocabulary *vocabulary, const char *text, size_t bytes, int64_t id)
{
    rlhf_context *context = vocabulary->context;
    if (id < 0 || id >= vocabulary->limit)
        return rlhfi_fail(context, RLHF_E_FORMAT, "\"%.40s\": id %lld is outside 0..%d", text, (long long)id,
                          (int)vocabulary->limit - 1);
    if (memchr(text, '\0', bytes))
        return rlhfi_fail(context, RLHF_E_FORMAT, "id %lld: spelling has a NUL", (long long)id);
    if (vocabulary->text.size + bytes >= UINT32_MAX)
        return rlhfi_fail(context, RLHF_E_RANGE, "vocabulary: more than 4 GiB of spellings");
    RLHFI_TRY(reserve(vocabulary, (int32_t)id + 1));
    struct rlhfi_token *token = &vocabulary->tokens[id];
    if (token->offset != UINT32_MAX)
        return rlhfi_fail(context, RLHF_E_FORMAT, "\"%.40s\": id %lld belongs to \"%.40s\" already", text,
                          (long long)id, vocabulary->text.data + token->offset);
    uint32_t offset = (uint32_t)vocabulary->text.size;
    rlhfi_string_add_bytes(&vocabulary->text, text, bytes);
    rlhfi_string_add_bytes(&vocabulary->text, "", 1);
    if (vocabulary->text.failed)
        return rlhfi_out_of_memory(context);
    RLHFI_TRY(rlhfi_table_put(vocabulary->ids, text, bytes, (int32_t)id));
    *token = (struct rlhfi_token){.offset = offset, .bytes = (uint32_t)bytes};
    if (id >= vocabulary->count)
        vocabulary->count = (int32_t)id + 1;
    return RLHF_OK;
}

int32_t rlhfi_vocabulary_find(const struct rlhfi_vocabulary *vocabulary, const char *text, size_t bytes)
{
    int32_t id;
    return rlhfi_table_get(vocabulary->ids, text, bytes, &id) ? id : -1;
}

const char *rlhfi_vocabulary_text(const struct rlhfi_vocabulary *vocabulary, int32_t id, size_t *bytes)
{
    if (id < 0 || id >= vocabulary->count || vocabulary->tokens[id].offset == UINT32_MAX)
        return NULL;
    if (bytes)
        *bytes = vocabulary->tokens[id].bytes;
    return vocabulary->text.data + vocabulary->tokens[id].offset;
}

void rlhfi_vocabulary_free(struct rlhfi_vocabulary *vocabulary)
{
    rlhfi_table_release(&vocabulary->ids);
    if (vocabulary->context)
        rlhfi_string_free(&vocabulary->text);
    rlhfi_free(vocabulary->context, vocabulary->tokens);
    memset(vocabulary, 0, sizeof *vocabulary);
}
