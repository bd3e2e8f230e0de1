/* The model of tokenizer.json: vocabulary, merges and flags (formats.md 4.6). */
#include "text/pipeline.h"

static rlhf_status parse_vocabulary(struct rlhfi_vocabulary *vocabulary, rlhf_context *context,
                                    const rlhfi_json *object)
{
    const char *key;
    const rlhfi_json *value;
    if (rlhfi_json_type(object) != RLHFI_JSON_OBJECT)
        return rlhfi_fail(context, RLHF_E_FORMAT, "vocab: must be an object of spellings and ids");
    RLHFI_TRY(rlhfi_vocabulary_init(vocabulary, context, rlhfi_json_size(object)));
    for (void *i = NULL; rlhfi_json_next(object, &i, &key, &value);) {
        int64_t id;
        rlhf_status status = RLHF_OK;
        if (rlhfi_json_type(value) != RLHFI_JSON_INTEGER || !rlhfi_json_integer(value, &id))
            status = rlhfi_fail(context, RLHF_E_FORMAT, "\"%.40s\": id is not a whole number", key);
        else
            status = rlhfi_vocabulary_add(vocabulary, key, strlen(key), id);
        if (status != RLHF_OK)
            return rlhfi_fail_prefix(context, status, "vocab");
    }
    return RLHF_OK;
}

/* The two parts of a merge: "a b" with exactly one space, or ["a", "b"]. *skip: a version line. */
static rlhf_status merge_parts(rlhf_context *context, const rlhfi_json *node, const char *part[2], size_t bytes[2],
                               bool *skip)
{
    size_t all;
    const char *text = rlhfi_json_text(node, &all);
    *skip = false;
    if (text) {
        if (all >= 8 && memcmp(text, "#version", 8) == 0) {
            *skip = true;
            return RLHF_OK;
        }
        const char *space = memchr(text, ' ', all);
        if (space && !memchr(space + 1, ' ', all - (size_t)(space + 1 - text))) {
            part[0] = text;
            bytes[0] = (size_t)(space - text);
            part[1] = space + 1;
            bytes[1] = all - bytes[0] - 1;
            return RLHF_OK;
        }
    } else if (rlhfi_json_type(node) == RLHFI_JSON_ARRAY && rlhfi_json_size(node) == 2) {
        part[0] = rlhfi_json_text(rlhfi_json_at(node, 0), &bytes[0]);
        part[1] = rlhfi_json_text(rlhfi_json_at(node, 1), &bytes[1]);
        if (part[0] && part[1])
            return RLHF_OK;
    }
    return rlhfi_fail(context, RLHF_E_FORMAT, "must be two spellings");
}

/* U+2581, which stands for a space. */
static bool is_block(const char *text)
{
    return memcmp(text, "\xE2\x96\x81", 3) == 0;
}

/* True if U+2581 stands behind another character in text. */
static bool has_inner_block(const char *text, size_t bytes)
{
    for (size_t at = 1; at + 3 <= bytes; at++)
        if (is_block(text + at) && (at < 3 || !is_block(text + at - 3)))
            return true;
    return false;
}

static rlhf_status parse_merge(struct rlhfi_bpe *bpe, const rlhfi_json *node, rlhfi_string *joined, uint32_t *rank)
{
    const char *part[2] = {NULL, NULL};
    size_t bytes[2] = {0, 0};
    int32_t id[2];
    bool skip;
    RLHFI_TRY(merge_parts(bpe->context, node, part, bytes, &skip));
    if (skip)
        return RLHF_OK;
    for (int i = 0; i < 2; i++) {
        id[i] = rlhfi_vocabulary_find(bpe->vocabulary, part[i], bytes[i]);
        if (id[i] < 0)
            return rlhfi_fail(bpe->context, RLHF_E_FORMAT, "\"%.40s\" is not in vocab", part[i]);
    }
    if (bytes[1] < bpe->prefix_bytes)
        return rlhfi_fail(bpe->context, RLHF_E_FORMAT, "\"%.40s\" is shorter than continuing_subword_prefix", part[1]);
    joined->size = 0;
    rlhfi_string_add_bytes(joined, part[0], bytes[0]);
    rlhfi_string_add_bytes(joined, part[1] + bpe->prefix_bytes, bytes[1] - bpe->prefix_bytes);
    if (joined->failed)
        return rlhfi_out_of_memory(bpe->context);
    int32_t result = rlhfi_vocabulary_find(bpe->vocabulary, joined->data, joined->size);
    if (result < 0)
        return rlhfi_fail(bpe->context, RLHF_E_FORMAT, "\"%.40s\" is not in vocab", joined->data);
    if (bpe->breaks_at_blocks && has_inner_block(joined->data, joined->size))
        bpe->breaks_at_blocks = false;
    rlhfi_bpe_put_merge(bpe, id[0], id[1], (*rank)++, result);
    return RLHF_OK;
}

static rlhf_status parse_merges(struct rlhfi_bpe *bpe, const rlhfi_json *list)
{
    rlhf_status status = RLHF_OK;
    rlhfi_string joined;
    size_t count = rlhfi_json_size(list), slots = 16;
    uint32_t rank = 0;
    if (rlhfi_json_type(list) != RLHFI_JSON_ARRAY || count > INT32_MAX / 4)
        return rlhfi_fail(bpe->context, RLHF_E_FORMAT, "merges: must be a list of pairs");
    while (slots < 2 * count)
        slots *= 2;
    bpe->merges = rlhfi_alloc_array(bpe->context, slots, sizeof *bpe->merges);
    if (!bpe->merges)
        return rlhfi_out_of_memory(bpe->context);
    for (size_t i = 0; i < slots; i++)
        bpe->merges[i].left = -1;
    bpe->mask = slots - 1;

    rlhfi_string_init(&joined, bpe->context);
    for (size_t i = 0; i < count && status == RLHF_OK; i++) {
        status = parse_merge(bpe, rlhfi_json_at(list, i), &joined, &rank);
        if (status != RLHF_OK)
            rlhfi_fail_prefix(bpe->context, status, "merges[%zu]", i);
    }
    rlhfi_string_free(&joined);
    return status;
}

/* An optional affix; "" means none. */
static rlhf_status parse_affix(struct rlhfi_bpe *bpe, const rlhfi_json *model, const char *key, char **text,
                               size_t *bytes)
{
    const rlhfi_json *node = rlhfi_json_get(model, key);
    const char *given = rlhfi_json_text(node, bytes);
    if (rlhfi_json_type(node) == RLHFI_JSON_NULL)
        *bytes = 0;
    if (rlhfi_json_type(node) != RLHFI_JSON_NULL && !given)
        return rlhfi_fail(bpe->context, RLHF_E_FORMAT, "%s: must be a string or null", key);
    if (*bytes == 0)
        return RLHF_OK;
    *text = rlhfi_strndup(bpe->context, given, *bytes);
    return *text ? RLHF_OK : rlhfi_out_of_memory(bpe->context);
}

static rlhf_status parse_unknown(struct rlhfi_bpe *bpe, const rlhfi_json *node)
{
    size_t bytes;
    const char *text = rlhfi_json_text(node, &bytes);
    bpe->unknown = -1;
    if (rlhfi_json_type(node) == RLHFI_JSON_NULL)
        return RLHF_OK;
    if (!text)
        return rlhfi_fail(bpe->context, RLHF_E_FORMAT, "unk_token: must be a string or null");
    bpe->unknown = rlhfi_vocabulary_find(bpe->vocabulary, text, bytes);
    if (bpe->unknown < 0)
        return rlhfi_fail(bpe->context, RLHF_E_FORMAT, "unk_token: \"%.40s\" is not in vocab", text);
    return RLHF_OK;
}

static void find_characters(struct rlhfi_bpe *bpe)
{
    static const char hex[] = "0123456789ABCDEF";
    char text[6];
    for (uint32_t code = 0; code < RLHFI_DIRECT_CHARACTERS; code++)
        bpe->direct[code] = rlhfi_vocabulary_find(bpe->vocabulary, text, rlhfi_utf8_put(code, text));
    memcpy(text, "<0x00>", 6);
    for (int byte = 0; byte < 256; byte++) {
        text[3] = hex[byte >> 4];
        text[4] = hex[byte & 15];
        bpe->byte_ids[byte] = rlhfi_vocabulary_find(bpe->vocabulary, text, 6);
    }
}

rlhf_status rlhfi_bpe_parse(struct rlhfi_bpe *bpe, struct rlhfi_vocabulary *vocabulary, rlhf_context *context,
                            const rlhfi_json *model)
{
    double dropout = 0;
    const rlhfi_json *node = rlhfi_json_get(model, "dropout");
    bpe->context = context;
    bpe->vocabulary = vocabulary;
    if (rlhfi_json_type(node) != RLHFI_JSON_NULL && (!rlhfi_json_number(node, &dropout) || dropout != 0))
        return rlhfi_fail(context, RLHF_E_UNSUPPORTED, "dropout: must be null or 0");
    RLHFI_TRY(parse_vocabulary(vocabulary, context, rlhfi_json_get(model, "vocab")));
    RLHFI_TRY(rlhfi_json_flag(context, model, "byte_fallback", false, &bpe->byte_fallback));
    RLHFI_TRY(rlhfi_json_flag(context, model, "fuse_unk", false, &bpe->fuse_unknown));
    RLHFI_TRY(rlhfi_json_flag(context, model, "ignore_merges", false, &bpe->ignore_merges));
    RLHFI_TRY(parse_affix(bpe, model, "continuing_subword_prefix", &bpe->prefix, &bpe->prefix_bytes));
    RLHFI_TRY(parse_affix(bpe, model, "end_of_word_suffix", &bpe->suffix, &bpe->suffix_bytes));
    RLHFI_TRY(parse_unknown(bpe, rlhfi_json_get(model, "unk_token")));
    find_characters(bpe);
    /* A break is only safe where a piece has no ends that matter and U+2581 is known, so that it ends unknown runs. */
    bpe->breaks_at_blocks = !bpe->ignore_merges && !bpe->prefix && !bpe->suffix &&
                            rlhfi_vocabulary_find(vocabulary, "\xE2\x96\x81", 3) >= 0;
    return parse_merges(bpe, rlhfi_json_get(model, "merges"));
}

void rlhfi_bpe_free(struct rlhfi_bpe *bpe)
{
    rlhfi_free(bpe->context, bpe->merges);
    rlhfi_free(bpe->context, bpe->prefix);
    rlhfi_free(bpe->context, bpe->suffix);
    memset(bpe, 0, sizeof *bpe);
}
