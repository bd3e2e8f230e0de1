/* Added tokens (formats.md 4.3): found in the text before anything else happens to it, the longest at the leftmost
 * place first. A trie over all of them keeps a text linear however many there are (Gemma has 6,415). */
#include "text/pipeline.h"

enum { MAX_CONTENT = 512 }; /* bytes: bounds the work per place of the text */

/* ---- trie ------------------------------------------------------------------------------------------------------- */

static rlhf_status add_node(struct rlhfi_trie *trie, rlhf_context *context, uint8_t byte, int32_t *index)
{
    if (trie->count == trie->capacity) {
        int32_t capacity = trie->capacity ? trie->capacity * 2 : 64;
        struct rlhfi_trie_node *nodes = rlhfi_realloc_array(context, trie->nodes, (size_t)capacity, sizeof *nodes);
        if (!nodes)
            return rlhfi_out_of_memory(context);
        trie->nodes = nodes;
        trie->capacity = capacity;
    }
    *index = trie->count++;
    trie->nodes[*index] = (struct rlhfi_trie_node){.child = -1, .sibling = -1, .token = -1, .byte = byte};
    return RLHF_OK;
}

static int32_t find_child(const struct rlhfi_trie *trie, int32_t node, uint8_t byte)
{
    if (node == 0)
        return trie->first[byte];
    int32_t child = trie->nodes[node].child;
    while (child >= 0 && trie->nodes[child].byte != byte)
        child = trie->nodes[child].sibling;
    return child;
}

static rlhf_status trie_insert(struct rlhfi_trie *trie, rlhf_context *context, const char *text, size_t bytes,
                               int32_t token)
{
    int32_t node = 0;
    if (trie->count == 0) {
        for (int i = 0; i < 256; i++)
            trie->first[i] = -1;
        RLHFI_TRY(add_node(trie, context, 0, &node));
    }
    for (size_t i = 0; i < bytes; i++) {
        uint8_t byte = (uint8_t)text[i];
        int32_t child = find_child(trie, node, byte);
        if (child < 0) {
            RLHFI_TRY(add_node(trie, context, byte, &child));
            trie->nodes[child].sibling = trie->nodes[node].child;
            trie->nodes[node].child = child;
            if (node == 0)
                trie->first[byte] = child;
        }
        node = child;
    }
    trie->nodes[node].token = token; /* two tokens alike after normalisation: the later one, as in the reference */
    trie->any = true;
    return RLHF_OK;
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

struct reader {
    struct rlhfi_added_tokens *added;
    struct rlhfi_vocabulary *vocabulary;
    const struct rlhfi_normalizers *normalizers;
    int64_t next_id; /* what the reference would give to a token that the model doesn't have */
};

static rlhf_status settle_id(struct reader *reader, const char *content, size_t bytes, int64_t *id)
{
    rlhf_context *context = reader->vocabulary->context;
    int32_t known = rlhfi_vocabulary_find(reader->vocabulary, content, bytes);
    if (known >= 0) { /* what the model says about its own token holds */
        if (known != *id)
            rlhfi_log(context, RLHF_LOG_WARNING, "tokenizer: added token \"%.40s\" has id %d in vocab, not %lld",
                      content, (int)known, (long long)*id);
        *id = known;
        return RLHF_OK;
    }
    if (*id != reader->next_id)
        return rlhfi_fail(context, RLHF_E_FORMAT,
                          "\"%.40s\": id %lld leaves a gap or is taken, the next free one is %lld", content,
                          (long long)*id, (long long)reader->next_id);
    reader->next_id++;
    RLHFI_TRY(rlhfi_vocabulary_add(reader->vocabulary, content, bytes, *id));
    reader->vocabulary->tokens[*id].flags |= RLHFI_TOKEN_NOT_IN_MODEL;
    return RLHF_OK;
}

/* Text that the token is looked for as, if normalisers change it. */
static rlhf_status normalize_content(struct reader *reader, struct rlhfi_added_token *token, const char *content)
{
    rlhf_context *context = reader->vocabulary->context;
    rlhfi_string buffers[2];
    const char *text;
    size_t bytes;
    rlhfi_string_init(&buffers[0], context);
    rlhfi_string_init(&buffers[1], context);
    rlhf_status status = rlhfi_normalize(reader->normalizers, buffers, content, token->bytes, &text, &bytes);
    if (status == RLHF_OK) {
        if (bytes != token->bytes || memcmp(text, content, bytes) != 0)
            reader->vocabulary->tokens[token->id].flags |= RLHFI_TOKEN_REWRITTEN;
        token->content = rlhfi_strndup(context, text, bytes);
        token->bytes = bytes;
        if (!token->content)
            status = rlhfi_out_of_memory(context);
    }
    rlhfi_string_free(&buffers[0]);
    rlhfi_string_free(&buffers[1]);
    return status;
}

static rlhf_status store_token(struct reader *reader, struct rlhfi_added_token *token, const char *content)
{
    struct rlhfi_added_tokens *added = reader->added;
    rlhf_context *context = reader->vocabulary->context;
    if (added->count == added->capacity) {
        size_t capacity = added->capacity ? added->capacity * 2 : 16;
        struct rlhfi_added_token *tokens = rlhfi_realloc_array(context, added->tokens, capacity, sizeof *tokens);
        if (!tokens)
            return rlhfi_out_of_memory(context);
        added->tokens = tokens;
        added->capacity = capacity;
    }
    uint8_t flags = (uint8_t)(RLHFI_TOKEN_ADDED | (token->special ? RLHFI_TOKEN_SPECIAL : 0));
    reader->vocabulary->tokens[token->id].flags |= flags;
    struct rlhfi_added_token *stored = &added->tokens[added->count++];
    *stored = *token;
    if (stored->normalized) {
        RLHFI_TRY(normalize_content(reader, stored, content));
    } else {
        stored->content = rlhfi_strndup(context, content, stored->bytes);
        if (!stored->content)
            return rlhfi_out_of_memory(context);
    }
    if (stored->bytes == 0)
        return RLHF_OK; /* normalised away: can never be found */
    return trie_insert(stored->normalized ? &added->normalized : &added->raw, context, stored->content, stored->bytes,
                       (int32_t)added->count - 1);
}

static rlhf_status parse_token(struct reader *reader, const rlhfi_json *node, int64_t id)
{
    rlhf_context *context = reader->vocabulary->context;
    struct rlhfi_added_token token = {0};
    const char *content = rlhfi_json_text(rlhfi_json_get(node, "content"), &token.bytes);
    if (!content || token.bytes == 0)
        return rlhfi_fail(context, RLHF_E_FORMAT, "content: must be a string, not empty");
    if (token.bytes > MAX_CONTENT)
        return rlhfi_fail(context, RLHF_E_FORMAT, "content: %zu bytes, at most %d are allowed", token.bytes,
                          MAX_CONTENT);
    RLHFI_TRY(rlhfi_json_flag(context, node, "special", false, &token.special));
    RLHFI_TRY(rlhfi_json_flag(context, node, "single_word", false, &token.single_word));
    RLHFI_TRY(rlhfi_json_flag(context, node, "lstrip", false, &token.lstrip));
    RLHFI_TRY(rlhfi_json_flag(context, node, "rstrip", false, &token.rstrip));
    RLHFI_TRY(rlhfi_json_flag(context, node, "normalized", !token.special, &token.normalized));
    if (id < 0 && (rlhfi_json_type(rlhfi_json_get(node, "id")) != RLHFI_JSON_INTEGER ||
                   !rlhfi_json_integer(rlhfi_json_get(node, "id"), &id) || id < 0))
        return rlhfi_fail(context, RLHF_E_FORMAT, "id: must be a whole number");
    RLHFI_TRY(settle_id(reader, content, token.bytes, &id));
    token.id = (int32_t)id;
    if (reader->vocabulary->tokens[id].flags & RLHFI_TOKEN_ADDED)
        return rlhfi_fail(context, RLHF_E_FORMAT, "content: \"%.40s\" was added before", content);
    return store_token(reader, &token, content);
}

/* added_tokens_decoder of tokenizer_config.json: {"id": {token}}; only what the list doesn't have. */
static rlhf_status parse_decoder(struct reader *reader, const rlhfi_json *decoder)
{
    const char *key;
    const rlhfi_json *node;
    for (void *i = NULL; rlhfi_json_next(decoder, &i, &key, &node);) {
        size_t bytes;
        int64_t id;
        const char *content = rlhfi_json_text(rlhfi_json_get(node, "content"), &bytes);
        if (!rlhfi_parse_int64(key, strlen(key), &id) || id < 0 || !content)
            return rlhfi_fail(reader->vocabulary->context, RLHF_E_FORMAT, "added_tokens_decoder: \"%.40s\" is no token",
                              key);
        int32_t known = rlhfi_vocabulary_find(reader->vocabulary, content, bytes);
        if (known >= 0 && reader->vocabulary->tokens[known].flags & RLHFI_TOKEN_ADDED)
            continue;
        rlhf_status status = parse_token(reader, node, id);
        if (status != RLHF_OK)
            return rlhfi_fail_prefix(reader->vocabulary->context, status, "added_tokens_decoder: \"%.40s\"", key);
    }
    return RLHF_OK;
}

rlhf_status rlhfi_added_tokens_parse(struct rlhfi_added_tokens *added, struct rlhfi_vocabulary *vocabulary,
                                     const struct rlhfi_normalizers *normalizers, const rlhfi_json *list,
                                     const rlhfi_json *decoder)
{
    struct reader reader = {.added = added, .vocabulary = vocabulary, .normalizers = normalizers};
    reader.next_id = (int64_t)rlhfi_table_count(vocabulary->ids);
    if (rlhfi_json_type(list) != RLHFI_JSON_NULL && rlhfi_json_type(list) != RLHFI_JSON_ARRAY)
        return rlhfi_fail(vocabulary->context, RLHF_E_FORMAT, "added_tokens: must be a list");
    for (size_t i = 0; i < rlhfi_json_size(list); i++) {
        rlhf_status status = parse_token(&reader, rlhfi_json_at(list, i), -1);
        if (status != RLHF_OK)
            return rlhfi_fail_prefix(vocabulary->context, status, "added_tokens[%zu]", i);
    }
    return parse_decoder(&reader, decoder);
}

void rlhfi_added_tokens_free(struct rlhfi_added_tokens *added, rlhf_context *context)
{
    for (size_t i = 0; i < added->count; i++)
        rlhfi_free(context, added->tokens[i].content);
    rlhfi_free(context, added->tokens);
    rlhfi_free(context, added->raw.nodes);
    rlhfi_free(context, added->normalized.nodes);
    memset(added, 0, sizeof *added);
}

/* ---- finding ---------------------------------------------------------------------------------------------------- */

/* The longest token that begins at text[0..bytes), and its length. */
static int32_t longest_at(const struct rlhfi_trie *trie, const char *text, size_t bytes, size_t *length)
{
    int32_t token = -1;
    for (size_t i = 0, node = 0; i < bytes; i++) {
        int32_t child = find_child(trie, (int32_t)node, (uint8_t)text[i]);
        if (child < 0)
            break;
        node = (size_t)child;
        if (trie->nodes[node].token >= 0) {
            token = trie->nodes[node].token;
            *length = i + 1;
        }
    }
    return token;
}

static bool is_alone(const char *text, size_t bytes, size_t start, size_t end)
{
    uint32_t code;
    if (start > 0) {
        rlhfi_utf8_previous(text, start, &code);
        if (rlhfi_is_word(code))
            return false;
    }
    if (end < bytes) {
        rlhfi_utf8_next(text + end, &code);
        if (rlhfi_is_word(code))
            return false;
    }
    return true;
}

void rlhfi_added_tokens_find(const struct rlhfi_added_tokens *added, const struct rlhfi_trie *trie, bool skip_special,
                             const char *text, size_t bytes, size_t *at, size_t floor, size_t *start, size_t *end,
                             const struct rlhfi_added_token **token)
{
    *token = NULL;
    if (!trie->any)
        return;
    for (size_t place = *at, length = 0; place < bytes;) {
        if (trie->first[(uint8_t)text[place]] < 0) {
            place++;
            continue;
        }
        int32_t index = longest_at(trie, text + place, bytes - place, &length);
        if (index < 0) {
            place++;
            continue;
        }
        const struct rlhfi_added_token *found = &added->tokens[index];
        *start = place;
        *end = place + length;
        place = *at = *end; /* a match that is discarded is not looked into again */
        if ((skip_special && found->special) || (found->single_word && !is_alone(text, bytes, *start, *end)))
            continue;
        uint32_t code;
        while (found->lstrip && *start > floor) {
            size_t space = rlhfi_utf8_previous(text, *start, &code);
            if (!rlhfi_is_space(code))
                break;
            *start -= space;
        }
        if (found->lstrip && *start < floor)
            *start = floor;
        while (found->rstrip && *end < bytes) {
            size_t space = rlhfi_utf8_next(text + *end, &code);
            if (!rlhfi_is_space(code))
                break;
            *end += space;
        }
        if (*start >= *end)
            continue; /* white space that the match before has swallowed whole */
        *token = found;
        return;
    }
}
