/* Normalisers (formats.md 4.4). */
#include "text/pipeline.h"

enum { NORMAL_FORM, PREPEND, REPLACE, LOWERCASE, STRIP, STRIP_ACCENTS, BYTE_LEVEL };

static const struct {
    const char *type;
    int32_t kind;
    enum rlhfi_normal_form form;
} known[] = {
    {"NFC", NORMAL_FORM, RLHFI_NFC},      {"NFD", NORMAL_FORM, RLHFI_NFD}, {"NFKC", NORMAL_FORM, RLHFI_NFKC},
    {"NFKD", NORMAL_FORM, RLHFI_NFKD},    {"Prepend", PREPEND, RLHFI_NFC}, {"Replace", REPLACE, RLHFI_NFC},
    {"Lowercase", LOWERCASE, RLHFI_NFC},  {"Strip", STRIP, RLHFI_NFC},     {"StripAccents", STRIP_ACCENTS, RLHFI_NFC},
    {"ByteLevel", BYTE_LEVEL, RLHFI_NFC},
};

static rlhf_status parse_content(struct rlhfi_normalizer *item, rlhf_context *context, const rlhfi_json *node,
                                 const char *key)
{
    const char *text = rlhfi_json_text(rlhfi_json_get(node, key), &item->content_bytes);
    if (!text)
        return rlhfi_fail(context, RLHF_E_FORMAT, "%s: must be a string", key);
    item->content = rlhfi_strndup(context, text, item->content_bytes);
    return item->content ? RLHF_OK : rlhfi_out_of_memory(context);
}

static rlhf_status parse_item(void *target, const rlhfi_json *node, const char *type)
{
    struct rlhfi_normalizers *normalizers = target;
    rlhf_context *context = normalizers->context;
    size_t which = 0;
    while (which < sizeof known / sizeof known[0] && strcmp(known[which].type, type) != 0)
        which++;
    if (which == sizeof known / sizeof known[0])
        return rlhfi_fail(context, RLHF_E_UNSUPPORTED, "this type of normalizer is not supported");

    struct rlhfi_normalizer *items =
        rlhfi_realloc_array(context, normalizers->items, normalizers->count + 1, sizeof *items);
    if (!items)
        return rlhfi_out_of_memory(context);
    normalizers->items = items;
    struct rlhfi_normalizer *item = &items[normalizers->count++];
    *item = (struct rlhfi_normalizer){.kind = known[which].kind, .form = known[which].form};
    switch (item->kind) {
    case PREPEND:
        return parse_content(item, context, node, "prepend");
    case REPLACE:
        RLHFI_TRY(parse_content(item, context, node, "content"));
        return rlhfi_pattern_parse(&item->pattern, context, rlhfi_json_get(node, "pattern"));
    case STRIP:
        RLHFI_TRY(rlhfi_json_flag(context, node, "strip_left", true, &item->left));
        return rlhfi_json_flag(context, node, "strip_right", true, &item->right);
    default:
        return RLHF_OK;
    }
}

rlhf_status rlhfi_normalizers_parse(struct rlhfi_normalizers *normalizers, rlhf_context *context,
                                    const rlhfi_json *node)
{
    normalizers->context = context;
    return rlhfi_components_parse(context, node, "normalizers", parse_item, normalizers);
}

void rlhfi_normalizers_free(struct rlhfi_normalizers *normalizers)
{
    for (size_t i = 0; i < normalizers->count; i++) {
        rlhfi_free(normalizers->context, normalizers->items[i].content);
        rlhfi_pattern_free(&normalizers->items[i].pattern, normalizers->context);
    }
    rlhfi_free(normalizers->context, normalizers->items);
    memset(normalizers, 0, sizeof *normalizers);
}

static void strip(const struct rlhfi_normalizer *item, const char *text, size_t bytes, rlhfi_string *out)
{
    size_t start = 0, end = bytes, length;
    uint32_t code;
    while (item->left && start < end) {
        length = rlhfi_utf8_next(text + start, &code);
        if (!rlhfi_is_space(code))
            break;
        start += length;
    }
    while (item->right && end > start) {
        length = rlhfi_utf8_previous(text, end, &code);
        if (!rlhfi_is_space(code))
            break;
        end -= length;
    }
    rlhfi_string_add_bytes(out, text + start, end - start);
}

static void strip_accents(const char *text, size_t bytes, rlhfi_string *out)
{
    for (size_t at = 0, length; at < bytes; at += length) {
        uint32_t code;
        length = rlhfi_utf8_next(text + at, &code);
        if (!rlhfi_is_mark(code))
            rlhfi_string_add_bytes(out, text + at, length);
    }
}

static rlhf_status apply(const struct rlhfi_normalizer *item, const char *text, size_t bytes, rlhfi_string *out)
{
    switch (item->kind) {
    case NORMAL_FORM:
        return rlhfi_normal_form_add(out, item->form, text, bytes);
    case PREPEND:
        if (bytes > 0)
            rlhfi_string_add_bytes(out, item->content, item->content_bytes);
        rlhfi_string_add_bytes(out, text, bytes);
        break;
    case REPLACE:
        return rlhfi_pattern_replace_add(&item->pattern, text, bytes, item->content, item->content_bytes, out);
    case LOWERCASE:
        rlhfi_lowercase_add(out, text, bytes);
        break;
    case STRIP:
        strip(item, text, bytes, out);
        break;
    case STRIP_ACCENTS:
        strip_accents(text, bytes, out);
        break;
    default:
        rlhfi_bytes_add_characters(out, text, bytes);
        break;
    }
    return out->failed ? rlhfi_out_of_memory(out->context) : RLHF_OK;
}

rlhf_status rlhfi_normalize(const struct rlhfi_normalizers *normalizers, rlhfi_string buffers[2], const char *text,
                            size_t bytes, const char **out, size_t *out_bytes)
{
    for (size_t i = 0; i < normalizers->count; i++) {
        rlhfi_string *buffer = &buffers[i & 1];
        buffer->size = 0;
        RLHFI_TRY(apply(&normalizers->items[i], text, bytes, buffer));
        text = buffer->data ? buffer->data : "";
        bytes = buffer->size;
    }
    *out = text;
    *out_bytes = bytes;
    return RLHF_OK;
}
