/* The header of a safetensors file: grammar, then the checks in the reference reader's order (formats.md 1.2, 1.4).
 *
 * Memory: the text itself, and tables whose sizes a first pass has counted. The shortest entry takes 50 bytes of text,
 * so the tables are at most some three times the text, whatever the file says. */
#include "formats/safetensors.h"
#include "formats/scan.h"
#include "formats/sort.h"

struct parser {
    rlhf_context *context;
    const char *subject;
    rlhfi_scan scan;
};

/* Ignored values may nest this deep; the format itself needs three levels. */
enum { IGNORED_LEVELS = 16 };

static rlhf_status syntax(const struct parser *parser)
{
    return rlhfi_fail(parser->context, RLHF_E_FORMAT, "%s: header, byte %zu: %s", parser->subject, parser->scan.at,
                      parser->scan.problem);
}

static bool equals(const char *text, size_t bytes, const char *word)
{
    return strlen(word) == bytes && memcmp(text, word, bytes) == 0;
}

/* How many members the object at the current place has, on a copy of the scan, so nothing is taken. False after a
 * problem, which parser->scan then shows. */
static bool count_members(struct parser *parser, bool whole_text, size_t *members)
{
    rlhfi_scan ahead = parser->scan;
    int got = rlhfi_scan_open(&ahead, '{') ? RLHFI_SCAN_ITEM : RLHFI_SCAN_BAD;

    *members = 0;
    while (got == RLHFI_SCAN_ITEM) {
        got = rlhfi_scan_member(&ahead, members, NULL, NULL);
        if (got == RLHFI_SCAN_ITEM && !rlhfi_scan_skip(&ahead, IGNORED_LEVELS))
            got = RLHFI_SCAN_BAD;
    }
    if (got == RLHFI_SCAN_END && (!whole_text || rlhfi_scan_finish(&ahead)))
        return true;
    parser->scan = ahead;
    return false;
}

/* ---- __metadata__ ------------------------------------------------------------------------------------------------ */

static rlhf_status parse_metadata(struct parser *parser, rlhfi_safetensors_header *header)
{
    size_t members, taken = 0, key_bytes, value_bytes;
    char *key, *value;
    int got;

    if (rlhfi_scan_null(&parser->scan))
        return RLHF_OK;
    if (!count_members(parser, false, &members))
        return syntax(parser);
    header->metadata = rlhfi_alloc_array(parser->context, members, 2 * sizeof *header->metadata);
    if (header->metadata == NULL)
        return RLHF_E_NOMEM;
    rlhfi_scan_open(&parser->scan, '{');
    while ((got = rlhfi_scan_member(&parser->scan, &taken, &key, &key_bytes)) == RLHFI_SCAN_ITEM) {
        if (!rlhfi_scan_string(&parser->scan, &value, &value_bytes)) {
            syntax(parser);
            return rlhfi_fail_prefix(parser->context, RLHF_E_FORMAT, "__metadata__ must map text to text");
        }
        if (strlen(key) != key_bytes || strlen(value) != value_bytes)
            return rlhfi_fail(parser->context, RLHF_E_FORMAT, "%s: header: metadata \"%s\" holds a NUL",
                              parser->subject, key);
        header->metadata[2 * header->pairs] = key;
        header->metadata[2 * header->pairs + 1] = value;
        header->pairs++;
    }
    return got == RLHFI_SCAN_END ? RLHF_OK : syntax(parser);
}

/* ---- one tensor -------------------------------------------------------------------------------------------------- */

struct entry {
    rlhfi_tensor_info *info;
    uint32_t bits;
    uint64_t begin, end;
    bool has_dtype, has_shape, has_offsets;
};

static rlhf_status tensor_fail(const struct parser *parser, rlhf_status status, const char *name, const char *fact)
{
    return rlhfi_fail(parser->context, status, "%s: tensor \"%s\": %s", parser->subject, name, fact);
}

static rlhf_status tensor_syntax(const struct parser *parser, const char *name, const char *field)
{
    return rlhfi_fail(parser->context, RLHF_E_FORMAT, "%s: tensor \"%s\": %s: header, byte %zu: %s", parser->subject,
                      name, field, parser->scan.at, parser->scan.problem);
}

static rlhf_status parse_dtype(struct parser *parser, struct entry *entry)
{
    const char *name = entry->info->name;
    char *text;
    size_t bytes;

    if (!rlhfi_scan_string(&parser->scan, &text, &bytes))
        return tensor_syntax(parser, name, "dtype");
    if (!rlhfi_dtype_find(text, bytes, &entry->info->dtype, &entry->bits))
        return rlhfi_fail(parser->context, RLHF_E_FORMAT, "%s: tensor \"%s\": dtype \"%.32s\" is unknown",
                          parser->subject, name, text);
    return RLHF_OK;
}

static rlhf_status parse_shape(struct parser *parser, struct entry *entry)
{
    rlhfi_tensor_info *info = entry->info;
    size_t taken = 0;
    uint64_t size;
    int got;

    if (!rlhfi_scan_open(&parser->scan, '['))
        return tensor_syntax(parser, info->name, "shape");
    while ((got = rlhfi_scan_element(&parser->scan, &taken)) == RLHFI_SCAN_ITEM) {
        if (!rlhfi_scan_unsigned(&parser->scan, &size))
            return tensor_syntax(parser, info->name, "shape");
        if (info->rank == RLHFI_MAX_RANK)
            return tensor_fail(parser, RLHF_E_UNSUPPORTED, info->name, "more than 8 dimensions");
        if (size > INT64_MAX)
            return tensor_fail(parser, RLHF_E_FORMAT, info->name, "a dimension is larger than 2^63-1");
        info->shape[info->rank++] = (int64_t)size;
    }
    return got == RLHFI_SCAN_END ? RLHF_OK : tensor_syntax(parser, info->name, "shape");
}

static rlhf_status parse_offsets(struct parser *parser, struct entry *entry)
{
    uint64_t pair[2] = {0, 0};
    size_t taken = 0;
    int got = rlhfi_scan_open(&parser->scan, '[') ? RLHFI_SCAN_ITEM : RLHFI_SCAN_BAD;

    while (got == RLHFI_SCAN_ITEM) {
        got = rlhfi_scan_element(&parser->scan, &taken);
        if (got != RLHFI_SCAN_ITEM)
            break;
        if (taken > 2)
            return tensor_fail(parser, RLHF_E_FORMAT, entry->info->name, "data_offsets must be two numbers");
        if (!rlhfi_scan_unsigned(&parser->scan, &pair[taken - 1]))
            got = RLHFI_SCAN_BAD;
    }
    if (got == RLHFI_SCAN_BAD)
        return tensor_syntax(parser, entry->info->name, "data_offsets");
    if (taken != 2)
        return tensor_fail(parser, RLHF_E_FORMAT, entry->info->name, "data_offsets must be two numbers");
    entry->begin = pair[0];
    entry->end = pair[1];
    return RLHF_OK;
}

static rlhf_status parse_field(struct parser *parser, struct entry *entry, const char *key, size_t bytes)
{
    static const char *const names[] = {"dtype", "shape", "data_offsets"};
    rlhf_status (*const parsers[])(struct parser *, struct entry *) = {parse_dtype, parse_shape, parse_offsets};
    bool *const seen[] = {&entry->has_dtype, &entry->has_shape, &entry->has_offsets};

    for (size_t i = 0; i < 3; i++) {
        if (!equals(key, bytes, names[i]))
            continue;
        if (*seen[i])
            return rlhfi_fail(parser->context, RLHF_E_FORMAT, "%s: tensor \"%s\": %s appears twice", parser->subject,
                              entry->info->name, names[i]);
        *seen[i] = true;
        return parsers[i](parser, entry);
    }
    if (!rlhfi_scan_skip(&parser->scan, IGNORED_LEVELS))
        return tensor_syntax(parser, entry->info->name, "an unknown field");
    return RLHF_OK;
}

/* Elements and bytes from the shape; multiplied in order, so that a zero behind an overflow does not excuse it. */
static rlhf_status measure(const struct parser *parser, struct entry *entry)
{
    rlhfi_tensor_info *info = entry->info;
    uint64_t elements = 1, bits;

    for (int32_t i = 0; i < info->rank; i++)
        if (__builtin_mul_overflow(elements, (uint64_t)info->shape[i], &elements))
            return tensor_fail(parser, RLHF_E_FORMAT, info->name, "the product of the shape overflows");
    if (__builtin_mul_overflow(elements, (uint64_t)entry->bits, &bits))
        return tensor_fail(parser, RLHF_E_FORMAT, info->name, "the product of the shape overflows");
    info->elements = (int64_t)elements;
    info->bytes = bits / 8;
    if (bits % 8 != 0)
        return rlhfi_fail(parser->context, RLHF_E_FORMAT,
                          "%s: tensor \"%s\": %llu elements of %u bits do not fill whole bytes", parser->subject,
                          info->name, (unsigned long long)elements, (unsigned)entry->bits);
    return RLHF_OK;
}

static rlhf_status parse_tensor(struct parser *parser, struct entry *entry)
{
    rlhfi_tensor_info *info = entry->info;
    size_t taken = 0, bytes;
    char *key;
    int got;

    if (!rlhfi_scan_open(&parser->scan, '{'))
        return tensor_syntax(parser, info->name, "entry");
    while ((got = rlhfi_scan_member(&parser->scan, &taken, &key, &bytes)) == RLHFI_SCAN_ITEM)
        RLHFI_TRY(parse_field(parser, entry, key, bytes));
    if (got != RLHFI_SCAN_END)
        return tensor_syntax(parser, info->name, "entry");
    if (!entry->has_dtype || !entry->has_shape || !entry->has_offsets)
        return rlhfi_fail(parser->context, RLHF_E_FORMAT, "%s: tensor \"%s\": %s is missing", parser->subject,
                          info->name, !entry->has_dtype ? "dtype" : !entry->has_shape ? "shape" : "data_offsets");
    return RLHF_OK;
}

/* ---- all tensors ------------------------------------------------------------------------------------------------- */

static int compare_offsets(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

int rlhfi_tensor_compare_names(const void *a, const void *b)
{
    const rlhfi_tensor_info *x = a, *y = b;
    int order = strcmp(x->name, y->name);

    return order != 0 ? order : (x->file > y->file) - (x->file < y->file);
}

/* No hole, no overlap, no alias, nothing behind the last tensor. */
static rlhf_status check_layout(const struct parser *parser, struct entry *entries, size_t count, uint64_t data_bytes)
{
    uint64_t place = 0;

    rlhfi_sort(entries, count, sizeof *entries, compare_offsets);
    for (size_t i = 0; i < count; i++) {
        const struct entry *entry = &entries[i];
        if (entry->begin != place)
            return rlhfi_fail(parser->context, RLHF_E_FORMAT,
                              "%s: tensor \"%s\": data begins at %llu, the one before ends at %llu", parser->subject,
                              entry->info->name, (unsigned long long)entry->begin, (unsigned long long)place);
        if (entry->end < entry->begin)
            return rlhfi_fail(parser->context, RLHF_E_FORMAT, "%s: tensor \"%s\": data ends at %llu, begins at %llu",
                              parser->subject, entry->info->name, (unsigned long long)entry->end,
                              (unsigned long long)entry->begin);
        place = entry->end;
    }
    for (size_t i = 0; i < count; i++) {
        struct entry *entry = &entries[i];
        RLHFI_TRY(measure(parser, entry));
        if (entry->info->bytes != entry->end - entry->begin)
            return rlhfi_fail(parser->context, RLHF_E_FORMAT,
                              "%s: tensor \"%s\": its shape needs %llu bytes, data_offsets give %llu", parser->subject,
                              entry->info->name, (unsigned long long)entry->info->bytes,
                              (unsigned long long)(entry->end - entry->begin));
        entry->info->offset = entry->begin;
    }
    if (place != data_bytes)
        return rlhfi_fail(parser->context, RLHF_E_FORMAT, "%s: tensors end at byte %llu of the data, it has %llu",
                          parser->subject, (unsigned long long)place, (unsigned long long)data_bytes);
    return RLHF_OK;
}

static int compare_keys(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;

    return strcmp(x[0], y[0]);
}

static rlhf_status check_names(const struct parser *parser, rlhfi_safetensors_header *header)
{
    rlhfi_sort(header->tensors, header->count, sizeof *header->tensors, rlhfi_tensor_compare_names);
    for (size_t i = 1; i < header->count; i++)
        if (strcmp(header->tensors[i - 1].name, header->tensors[i].name) == 0)
            return tensor_fail(parser, RLHF_E_FORMAT, header->tensors[i].name, "appears twice");
    rlhfi_sort(header->metadata, header->pairs, 2 * sizeof *header->metadata, compare_keys);
    for (size_t i = 1; i < header->pairs; i++)
        if (strcmp(header->metadata[2 * i - 2], header->metadata[2 * i]) == 0)
            return rlhfi_fail(parser->context, RLHF_E_FORMAT, "%s: header: metadata \"%s\" appears twice",
                              parser->subject, header->metadata[2 * i]);
    return RLHF_OK;
}

static rlhf_status parse_entries(struct parser *parser, rlhfi_safetensors_header *header, struct entry *entries)
{
    bool has_metadata = false;
    size_t taken = 0, bytes;
    char *key;
    int got;

    rlhfi_scan_open(&parser->scan, '{');
    while ((got = rlhfi_scan_member(&parser->scan, &taken, &key, &bytes)) == RLHFI_SCAN_ITEM) {
        if (equals(key, bytes, "__metadata__")) {
            if (has_metadata)
                return rlhfi_fail(parser->context, RLHF_E_FORMAT, "%s: header: \"__metadata__\" appears twice",
                                  parser->subject);
            has_metadata = true;
            RLHFI_TRY(parse_metadata(parser, header));
            continue;
        }
        if (strlen(key) != bytes)
            return tensor_fail(parser, RLHF_E_FORMAT, key, "its name holds a NUL");
        if (bytes > RLHFI_TENSOR_NAME_LIMIT)
            return rlhfi_fail(parser->context, RLHF_E_UNSUPPORTED,
                              "%s: tensor \"%.64s...\": its name has %zu bytes, at most %d", parser->subject, key,
                              bytes, RLHFI_TENSOR_NAME_LIMIT);
        header->tensors[header->count] = (rlhfi_tensor_info){.name = key};
        entries[header->count] = (struct entry){.info = &header->tensors[header->count]};
        RLHFI_TRY(parse_tensor(parser, &entries[header->count]));
        header->count++;
    }
    return got == RLHFI_SCAN_END ? RLHF_OK : syntax(parser);
}

rlhf_status rlhfi_safetensors_header_parse(rlhfi_safetensors_header *out, rlhf_context *context, const char *subject,
                                           char *text, size_t bytes, uint64_t data_bytes)
{
    struct parser parser = {.context = context, .subject = subject, .scan = rlhfi_scan_begin(text, bytes)};
    struct entry *entries = NULL;
    size_t members, bad;
    rlhf_status status;

    *out = (rlhfi_safetensors_header){0};
    if (!rlhfi_utf8_valid(text, bytes, &bad))
        return rlhfi_fail(context, RLHF_E_FORMAT, "%s: header, byte %zu: not UTF-8", subject, bad);
    if (bytes == 0 || text[0] != '{') {
        rlhfi_scan_fail(&parser.scan, "an object must begin here");
        return syntax(&parser);
    }
    if (!count_members(&parser, true, &members))
        return syntax(&parser);
    if (members > RLHFI_TENSOR_LIMIT)
        return rlhfi_fail(context, RLHF_E_UNSUPPORTED, "%s: header: %zu entries, at most %d", subject, members,
                          RLHFI_TENSOR_LIMIT);
    out->tensors = rlhfi_alloc_array(context, members, sizeof *out->tensors);
    entries = rlhfi_alloc_array(context, members, sizeof *entries);
    if (out->tensors == NULL || entries == NULL) {
        status = RLHF_E_NOMEM;
        goto done;
    }
    RLHFI_GOTO(parse_entries(&parser, out, entries));
    RLHFI_GOTO(check_layout(&parser, entries, out->count, data_bytes));
    RLHFI_GOTO(check_names(&parser, out));
done:
    rlhfi_free(context, entries);
    if (status != RLHF_OK)
        rlhfi_safetensors_header_free(context, out);
    return status;
}

void rlhfi_safetensors_header_free(rlhf_context *context, rlhfi_safetensors_header *header)
{
    rlhfi_free(context, header->tensors);
    rlhfi_free(context, header->metadata);
    *header = (rlhfi_safetensors_header){0};
}
