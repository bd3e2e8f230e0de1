/* Decoders (formats.md 4.10): a list of token texts goes through each of them; what is left is joined. */
#include "text/pipeline.h"

enum { BYTE_LEVEL, METASPACE, REPLACE, BYTE_FALLBACK, FUSE, STRIP, SUFFIX };

static rlhf_status set_content(struct rlhfi_decoder *item, rlhf_context *context, const char *text, size_t bytes)
{
    item->content = rlhfi_strndup(context, text, bytes);
    item->content_bytes = bytes;
    return item->content ? RLHF_OK : rlhfi_out_of_memory(context);
}

static rlhf_status parse_metaspace(struct rlhfi_decoder *item, rlhf_context *context, const rlhfi_json *node)
{
    size_t bytes = 3;
    const char *text = "\xE2\x96\x81"; /* U+2581 */
    const rlhfi_json *replacement = rlhfi_json_get(node, "replacement");
    const char *scheme = rlhfi_json_text(rlhfi_json_get(node, "prepend_scheme"), NULL);
    bool legacy;
    item->kind = METASPACE;
    RLHFI_TRY(rlhfi_json_flag(context, node, "add_prefix_space", true, &legacy));
    item->drop_first = scheme ? strcmp(scheme, "never") != 0 : legacy;
    if (rlhfi_json_type(replacement) != RLHFI_JSON_NULL)
        text = rlhfi_json_text(replacement, &bytes);
    if (!text || bytes == 0)
        return rlhfi_fail(context, RLHF_E_FORMAT, "replacement: must be one character");
    return set_content(item, context, text, bytes);
}

static rlhf_status parse_strip(struct rlhfi_decoder *item, rlhf_context *context, const rlhfi_json *node)
{
    size_t bytes;
    uint32_t code;
    const char *text = rlhfi_json_text(rlhfi_json_get(node, "content"), &bytes);
    item->kind = STRIP;
    if (!text || bytes == 0 || rlhfi_utf8_next(text, &code) != bytes)
        return rlhfi_fail(context, RLHF_E_FORMAT, "content: must be one character");
    if (!rlhfi_json_integer(rlhfi_json_get(node, "start"), &item->left) ||
        !rlhfi_json_integer(rlhfi_json_get(node, "stop"), &item->right) || item->left < 0 || item->right < 0)
        return rlhfi_fail(context, RLHF_E_FORMAT, "start, stop: must be whole numbers");
    return set_content(item, context, text, bytes);
}

static rlhf_status parse_fields(struct rlhfi_decoder *item, rlhf_context *context, const rlhfi_json *node,
                                const char *type)
{
    size_t bytes;
    const char *text;
    if (strcmp(type, "ByteLevel") == 0) {
        item->kind = BYTE_LEVEL;
        return RLHF_OK;
    }
    if (strcmp(type, "ByteFallback") == 0) {
        item->kind = BYTE_FALLBACK;
        return RLHF_OK;
    }
    if (strcmp(type, "Fuse") == 0) {
        item->kind = FUSE;
        return RLHF_OK;
    }
    if (strcmp(type, "Replace") == 0) {
        item->kind = REPLACE;
        text = rlhfi_json_text(rlhfi_json_get(node, "content"), &bytes);
        if (!text)
            return rlhfi_fail(context, RLHF_E_FORMAT, "content: must be a string");
        RLHFI_TRY(set_content(item, context, text, bytes));
        return rlhfi_pattern_parse(&item->pattern, context, rlhfi_json_get(node, "pattern"));
    }
    if (strcmp(type, "Strip") == 0)
        return parse_strip(item, context, node);
    if (strcmp(type, "Metaspace") == 0)
        return parse_metaspace(item, context, node);
    if (strcmp(type, "BPEDecoder") == 0) {
        item->kind = SUFFIX;
        text = rlhfi_json_text(rlhfi_json_get(node, "suffix"), &bytes);
        if (!text)
            return rlhfi_fail(context, RLHF_E_FORMAT, "suffix: must be a string");
        RLHFI_TRY(set_content(item, context, text, bytes));
        return rlhfi_pattern_set_literal(&item->pattern, context, text, bytes);
    }
    return rlhfi_fail(context, RLHF_E_UNSUPPORTED, "this type of decoder is not supported");
}

static rlhf_status parse_item(void *target, const rlhfi_json *node, const char *type)
{
    struct rlhfi_decoders *decoders = target;
    struct rlhfi_decoder *items =
        rlhfi_realloc_array(decoders->context, decoders->items, decoders->count + 1, sizeof *items);
    if (!items)
        return rlhfi_out_of_memory(decoders->context);
    decoders->items = items;
    struct rlhfi_decoder *item = &items[decoders->count++];
    memset(item, 0, sizeof *item);
    return parse_fields(item, decoders->context, node, type);
}

rlhf_status rlhfi_decoders_parse(struct rlhfi_decoders *decoders, rlhf_context *context, const rlhfi_json *node)
{
    decoders->context = context;
    return rlhfi_components_parse(context, node, "decoders", parse_item, decoders);
}

void rlhfi_decoders_free(struct rlhfi_decoders *decoders)
{
    for (size_t i = 0; i < decoders->count; i++) {
        rlhfi_free(decoders->context, decoders->items[i].content);
        rlhfi_pattern_free(&decoders->items[i].pattern, decoders->context);
    }
    rlhfi_free(decoders->context, decoders->items);
    memset(decoders, 0, sizeof *decoders);
}

/* ---- pieces ------------------------------------------------------------------------------------------------------ */

/* Ends the piece that was written to pieces->text since the last end. */
static rlhf_status end_piece(struct rlhfi_pieces *pieces)
{
    rlhf_context *context = pieces->text.context;
    if (pieces->text.failed)
        return rlhfi_out_of_memory(context);
    if (pieces->count == pieces->capacity) {
        size_t capacity = pieces->capacity ? pieces->capacity * 2 : 64;
        size_t *ends = rlhfi_realloc_array(context, pieces->ends, capacity, sizeof *ends);
        if (!ends)
            return rlhfi_out_of_memory(context);
        pieces->ends = ends;
        pieces->capacity = capacity;
    }
    pieces->ends[pieces->count++] = pieces->text.size;
    return RLHF_OK;
}

rlhf_status rlhfi_pieces_add(struct rlhfi_pieces *pieces, const char *text, size_t bytes)
{
    rlhfi_string_add_bytes(&pieces->text, text, bytes);
    return end_piece(pieces);
}

static const char *piece(const struct rlhfi_pieces *pieces, size_t index, size_t *bytes)
{
    size_t start = index > 0 ? pieces->ends[index - 1] : 0;
    *bytes = pieces->ends[index] - start;
    return pieces->text.data ? pieces->text.data + start : "";
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

/* A token all of whose characters are in the byte alphabet gives its bytes, any other gives itself. */
static void add_token_bytes(rlhfi_string *out, const char *text, size_t bytes)
{
    size_t before = out->size;
    for (size_t at = 0; at < bytes;) {
        uint32_t code;
        at += rlhfi_utf8_next(text + at, &code);
        int32_t byte = rlhfi_character_byte(code);
        if (byte < 0) {
            if (out->data)
                out->size = before;
            rlhfi_string_add_bytes(out, text, bytes);
            return;
        }
        rlhfi_string_add_bytes(out, &(char){(char)byte}, 1);
    }
}

static rlhf_status decode_byte_level(const struct rlhfi_pieces *in, struct rlhfi_pieces *out)
{
    rlhfi_string joined;
    rlhfi_string_init(&joined, in->text.context);
    for (size_t i = 0; i < in->count; i++) {
        size_t bytes;
        const char *text = piece(in, i, &bytes);
        add_token_bytes(&joined, text, bytes);
    }
    if (joined.failed)
        out->text.failed = true;
    if (joined.data)
        rlhfi_utf8_add_lossy(&out->text, joined.data, joined.size);
    rlhfi_string_free(&joined);
    return end_piece(out);
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte of a token <0xHH>, or -1. */
static int byte_of_token(const char *text, size_t bytes)
{
    if (bytes != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    int high = hex_value(text[3]), low = hex_value(text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* A run of byte tokens: its bytes, if they are UTF-8, else one U+FFFD for each. */
static rlhf_status end_byte_run(struct rlhfi_pieces *out, rlhfi_string *run)
{
    if (run->failed)
        return rlhfi_out_of_memory(run->context);
    if (run->size == 0)
        return RLHF_OK;
    size_t count = run->size;
    run->size = 0;
    if (rlhfi_utf8_valid(run->data, count, NULL))
        return rlhfi_pieces_add(out, run->data, count);
    for (size_t i = 0; i < count; i++)
        RLHFI_TRY(rlhfi_pieces_add(out, RLHFI_REPLACEMENT, 3));
    return RLHF_OK;
}

static rlhf_status decode_byte_fallback(const struct rlhfi_pieces *in, struct rlhfi_pieces *out)
{
    rlhf_status status = RLHF_OK;
    rlhfi_string run;
    rlhfi_string_init(&run, in->text.context);
    for (size_t i = 0; i < in->count && status == RLHF_OK; i++) {
        size_t bytes;
        const char *text = piece(in, i, &bytes);
        int byte = byte_of_token(text, bytes);
        if (byte >= 0) {
            rlhfi_string_add_bytes(&run, &(char){(char)byte}, 1);
            continue;
        }
        status = end_byte_run(out, &run);
        if (status == RLHF_OK)
            status = rlhfi_pieces_add(out, text, bytes);
    }
    if (status == RLHF_OK)
        status = end_byte_run(out, &run);
    rlhfi_string_free(&run);
    return status;
}

static bool is_content(const struct rlhfi_decoder *item, const char *text, size_t bytes)
{
    return bytes >= item->content_bytes && memcmp(text, item->content, item->content_bytes) == 0;
}

static void decode_strip(const struct rlhfi_decoder *item, const char *text, size_t bytes, rlhfi_string *out)
{
    size_t length = item->content_bytes;
    for (int64_t i = 0; i < item->left && is_content(item, text, bytes); i++) {
        text += length;
        bytes -= length;
    }
    for (int64_t i = 0; i < item->right && bytes >= length && is_content(item, text + bytes - length, length); i++)
        bytes -= length;
    rlhfi_string_add_bytes(out, text, bytes);
}

static void decode_metaspace(const struct rlhfi_decoder *item, bool first, const char *text, size_t bytes,
                             rlhfi_string *out)
{
    while (bytes > 0) {
        if (is_content(item, text, bytes)) {
            if (!first || !item->drop_first)
                rlhfi_string_add(out, " ");
            text += item->content_bytes;
            bytes -= item->content_bytes;
        } else {
            uint32_t code;
            size_t length = rlhfi_utf8_next(text, &code);
            rlhfi_string_add_bytes(out, text, length);
            text += length;
            bytes -= length;
        }
    }
}

static rlhf_status decode_stage(const struct rlhfi_decoder *item, const struct rlhfi_pieces *in,
                                struct rlhfi_pieces *out)
{
    if (item->kind == BYTE_LEVEL)
        return decode_byte_level(in, out);
    if (item->kind == BYTE_FALLBACK)
        return decode_byte_fallback(in, out);
    if (item->kind == FUSE)
        return rlhfi_pieces_add(out, in->text.data ? in->text.data : "", in->text.size);
    for (size_t i = 0; i < in->count; i++) {
        size_t bytes;
        const char *text = piece(in, i, &bytes);
        if (item->kind == STRIP)
            decode_strip(item, text, bytes, &out->text);
        else if (item->kind == METASPACE)
            decode_metaspace(item, i == 0, text, bytes, &out->text);
        else if (item->kind == REPLACE)
            RLHFI_TRY(
                rlhfi_pattern_replace_add(&item->pattern, text, bytes, item->content, item->content_bytes, &out->text));
        else /* the suffix of a word's last token becomes a space, except at the very end */
            RLHFI_TRY(
                rlhfi_pattern_replace_add(&item->pattern, text, bytes, " ", i + 1 < in->count ? 1 : 0, &out->text));
        RLHFI_TRY(end_piece(out));
    }
    return RLHF_OK;
}

rlhf_status rlhfi_decode_pieces(const struct rlhfi_decoders *decoders, struct rlhfi_pieces lists[2], rlhfi_string *out)
{
    struct rlhfi_pieces *in = &lists[0];
    for (size_t i = 0; i < decoders->count; i++) {
        struct rlhfi_pieces *next = &lists[(i + 1) & 1];
        next->count = next->text.size = 0;
        RLHFI_TRY(decode_stage(&decoders->items[i], in, next));
        in = next;
    }
    if (decoders->count > 0) {
        rlhfi_string_add_bytes(out, in->text.data ? in->text.data : "", in->text.size);
    } else { /* without a decoder, tokens are words */
        for (size_t i = 0; i < in->count; i++) {
            size_t bytes;
            const char *text = piece(in, i, &bytes);
            if (i > 0)
                rlhfi_string_add(out, " ");
            rlhfi_string_add_bytes(out, text, bytes);
        }
    }
    return out->failed ? rlhfi_out_of_memory(out->context) : RLHF_OK;
}
