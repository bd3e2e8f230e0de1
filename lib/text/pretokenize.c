/* Pre-tokenisers (formats.md 4.5). Each hands its pieces to the next one as it finds them, so no list is ever built. */
#include "text/pipeline.h"

enum { SPLIT, BYTE_LEVEL, METASPACE, WORDS };
enum { REMOVED, ISOLATED, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT, CONTIGUOUS };
enum { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER };

static const char gpt2_regex[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* ---- GPT-2's byte alphabet -------------------------------------------------------------------------------------- */

static bool is_printable_byte(uint32_t code)
{
    return (code >= 33 && code <= 126) || (code >= 161 && code <= 172) || (code >= 174 && code <= 255);
}

uint32_t rlhfi_byte_character(uint8_t byte)
{
    if (is_printable_byte(byte))
        return byte;
    if (byte <= 32)
        return 0x100u + byte;
    return byte == 173 ? 0x143u : 0x121u + (byte - 127u);
}

int32_t rlhfi_character_byte(uint32_t code)
{
    if (code < 0x100)
        return is_printable_byte(code) ? (int32_t)code : -1;
    if (code <= 0x120)
        return (int32_t)(code - 0x100);
    if (code <= 0x142)
        return (int32_t)(code - 0x121 + 127);
    return code == 0x143 ? 173 : -1;
}

void rlhfi_bytes_add_characters(rlhfi_string *out, const char *bytes, size_t count)
{
    char block[256];
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        used += rlhfi_utf8_put(rlhfi_byte_character((uint8_t)bytes[i]), block + used);
        if (used > sizeof block - 4) {
            rlhfi_string_add_bytes(out, block, used);
            used = 0;
        }
    }
    rlhfi_string_add_bytes(out, block, used);
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static rlhf_status parse_behavior(rlhf_context *context, const rlhfi_json *node, int32_t *behavior)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const char *name = rlhfi_json_text(node, NULL);
    for (int32_t i = 0; name && i < 5; i++) {
        if (strcmp(name, names[i]) == 0) {
            *behavior = i;
            return RLHF_OK;
        }
    }
    return rlhfi_fail(context, RLHF_E_FORMAT, "behavior: unknown or missing");
}

/* A string of exactly one character. */
static rlhf_status parse_character(rlhf_context *context, const rlhfi_json *node, const char *key, char out[4],
                                   size_t *bytes)
{
    uint32_t code;
    const char *text = rlhfi_json_text(node, bytes);
    if (!text || *bytes == 0 || *bytes > 4 || rlhfi_utf8_next(text, &code) != *bytes)
        return rlhfi_fail(context, RLHF_E_FORMAT, "%s: must be one character", key);
    memcpy(out, text, *bytes);
    return RLHF_OK;
}

static rlhf_status parse_byte_level(struct rlhfi_pretokenizer *item, rlhf_context *context, const rlhfi_json *node)
{
    item->kind = BYTE_LEVEL;
    RLHFI_TRY(rlhfi_json_flag(context, node, "add_prefix_space", true, &item->prefix_space));
    RLHFI_TRY(rlhfi_json_flag(context, node, "use_regex", true, &item->split));
    if (!item->split)
        return RLHF_OK;
    return rlhfi_regex_compile(&item->pattern.regex, context, gpt2_regex, sizeof gpt2_regex - 1);
}

static rlhf_status parse_metaspace(struct rlhfi_pretokenizer *item, rlhf_context *context, const rlhfi_json *node)
{
    static const char *const schemes[] = {"always", "first", "never"};
    const rlhfi_json *replacement = rlhfi_json_get(node, "replacement");
    const rlhfi_json *scheme = rlhfi_json_get(node, "prepend_scheme");
    bool legacy;
    item->kind = METASPACE;
    memcpy(item->replacement, "\xE2\x96\x81", 3); /* U+2581 */
    item->replacement_bytes = 3;
    if (rlhfi_json_type(replacement) != RLHFI_JSON_NULL)
        RLHFI_TRY(parse_character(context, replacement, "replacement", item->replacement, &item->replacement_bytes));
    RLHFI_TRY(rlhfi_json_flag(context, node, "split", true, &item->split));
    RLHFI_TRY(rlhfi_json_flag(context, node, "add_prefix_space", true, &legacy));
    item->prepend = legacy ? PREPEND_ALWAYS : PREPEND_NEVER;
    if (rlhfi_json_type(scheme) != RLHFI_JSON_NULL) {
        const char *name = rlhfi_json_text(scheme, NULL);
        for (item->prepend = 0; item->prepend < 3; item->prepend++)
            if (name && strcmp(name, schemes[item->prepend]) == 0)
                break;
        if (item->prepend == 3 || (!legacy && item->prepend != PREPEND_NEVER))
            return rlhfi_fail(context, RLHF_E_FORMAT, "prepend_scheme: unknown, or contradicts add_prefix_space");
    }
    return rlhfi_pattern_set_literal(&item->pattern, context, item->replacement, item->replacement_bytes);
}

static rlhf_status parse_fields(struct rlhfi_pretokenizer *item, rlhf_context *context, const rlhfi_json *node,
                                const char *type)
{
    char delimiter[4];
    size_t bytes;
    bool individual;
    if (strcmp(type, "Split") == 0) {
        RLHFI_TRY(parse_behavior(context, rlhfi_json_get(node, "behavior"), &item->behavior));
        RLHFI_TRY(rlhfi_json_flag(context, node, "invert", false, &item->invert));
        return rlhfi_pattern_parse(&item->pattern, context, rlhfi_json_get(node, "pattern"));
    }
    if (strcmp(type, "ByteLevel") == 0)
        return parse_byte_level(item, context, node);
    if (strcmp(type, "Metaspace") == 0)
        return parse_metaspace(item, context, node);
    if (strcmp(type, "Digits") == 0) {
        RLHFI_TRY(rlhfi_json_flag(context, node, "individual_digits", false, &individual));
        item->behavior = individual ? ISOLATED : CONTIGUOUS;
        item->pattern.member = rlhfi_is_numeric;
        return RLHF_OK;
    }
    if (strcmp(type, "Punctuation") == 0) {
        const rlhfi_json *behavior = rlhfi_json_get(node, "behavior");
        item->behavior = ISOLATED;
        item->pattern.member = rlhfi_is_punctuation;
        return rlhfi_json_type(behavior) == RLHFI_JSON_NULL ? RLHF_OK
                                                            : parse_behavior(context, behavior, &item->behavior);
    }
    if (strcmp(type, "WhitespaceSplit") == 0) {
        item->behavior = REMOVED;
        item->pattern.member = rlhfi_is_space;
        return RLHF_OK;
    }
    if (strcmp(type, "Whitespace") == 0) {
        item->kind = WORDS;
        return RLHF_OK;
    }
    if (strcmp(type, "CharDelimiterSplit") == 0) {
        RLHFI_TRY(parse_character(context, rlhfi_json_get(node, "delimiter"), "delimiter", delimiter, &bytes));
        item->behavior = REMOVED;
        return rlhfi_pattern_set_literal(&item->pattern, context, delimiter, bytes);
    }
    return rlhfi_fail(context, RLHF_E_UNSUPPORTED, "this type of pre_tokenizer is not supported");
}

static rlhf_status parse_item(void *target, const rlhfi_json *node, const char *type)
{
    struct rlhfi_pretokenizers *pretokenizers = target;
    struct rlhfi_pretokenizer *items =
        rlhfi_realloc_array(pretokenizers->context, pretokenizers->items, pretokenizers->count + 1, sizeof *items);
    if (!items)
        return rlhfi_out_of_memory(pretokenizers->context);
    pretokenizers->items = items;
    struct rlhfi_pretokenizer *item = &items[pretokenizers->count++];
    *item = (struct rlhfi_pretokenizer){.kind = SPLIT};
    return parse_fields(item, pretokenizers->context, node, type);
}

rlhf_status rlhfi_pretokenizers_parse(struct rlhfi_pretokenizers *pretokenizers, rlhf_context *context,
                                      const rlhfi_json *node)
{
    pretokenizers->context = context;
    return rlhfi_components_parse(context, node, "pretokenizers", parse_item, pretokenizers);
}

void rlhfi_pretokenizers_free(struct rlhfi_pretokenizers *pretokenizers)
{
    for (size_t i = 0; i < pretokenizers->count; i++)
        rlhfi_pattern_free(&pretokenizers->items[i].pattern, pretokenizers->context);
    rlhfi_free(pretokenizers->context, pretokenizers->items);
    memset(pretokenizers, 0, sizeof *pretokenizers);
}

/* ---- running ---------------------------------------------------------------------------------------------------- */

struct run {
    const struct rlhfi_pretokenizers *list;
    rlhfi_string *buffers;
    rlhfi_piece_fn emit;
    void *user_data;
};

static rlhf_status run_stage(const struct run *run, size_t stage, const char *text, size_t bytes, bool at_start);

/* Gives the piece text[start..end) of a stage to the next one. */
static rlhf_status pass(const struct run *run, size_t stage, const char *text, size_t start, size_t end, bool at_start)
{
    if (start == end)
        return RLHF_OK;
    if (run->list->items[stage].kind != BYTE_LEVEL)
        return run_stage(run, stage + 1, text + start, end - start, at_start && start == 0);
    rlhfi_string *mapped = &run->buffers[2 * stage + 1];
    mapped->size = 0;
    rlhfi_bytes_add_characters(mapped, text + start, end - start);
    if (mapped->failed)
        return rlhfi_out_of_memory(mapped->context);
    return run_stage(run, stage + 1, mapped->data, mapped->size, at_start && start == 0);
}

/* Cuts text by pattern and joins matches to their neighbours as behavior says. One segment is held back, because what
 * becomes of it can depend on the next one. */
static rlhf_status split(const struct run *run, size_t stage, int32_t behavior, const char *text, size_t bytes,
                         bool at_start)
{
    const struct rlhfi_pretokenizer *item = &run->list->items[stage];
    struct rlhfi_segments segments;
    size_t start = 0, end = 0; /* the segment held back */
    bool held_match = false, more;
    rlhfi_segments_begin(&segments, &item->pattern, text, bytes);
    for (;;) {
        RLHFI_TRY(rlhfi_segments_next(&segments, &more));
        if (!more)
            break;
        bool is_match = segments.is_match != item->invert, join = false;
        switch (behavior) {
        case REMOVED:
            if (is_match)
                continue;
            break;
        case MERGED_WITH_PREVIOUS:
            join = is_match && !held_match;
            break;
        case MERGED_WITH_NEXT:
            join = held_match && !is_match;
            break;
        case CONTIGUOUS:
            join = held_match == is_match;
            break;
        default:
            break;
        }
        if (!join) {
            RLHFI_TRY(pass(run, stage, text, start, end, at_start));
            start = segments.start;
        }
        end = segments.end;
        held_match = is_match;
    }
    return pass(run, stage, text, start, end, at_start);
}

static rlhf_status run_byte_level(const struct run *run, size_t stage, const char *text, size_t bytes, bool at_start)
{
    const struct rlhfi_pretokenizer *item = &run->list->items[stage];
    if (item->prefix_space && bytes > 0 && text[0] != ' ') {
        rlhfi_string *spaced = &run->buffers[2 * stage];
        spaced->size = 0;
        rlhfi_string_add(spaced, " ");
        rlhfi_string_add_bytes(spaced, text, bytes);
        if (spaced->failed)
            return rlhfi_out_of_memory(spaced->context);
        text = spaced->data;
        bytes = spaced->size;
    }
    return item->split ? split(run, stage, ISOLATED, text, bytes, at_start)
                       : pass(run, stage, text, 0, bytes, at_start);
}

static rlhf_status run_metaspace(const struct run *run, size_t stage, const char *text, size_t bytes, bool at_start)
{
    const struct rlhfi_pretokenizer *item = &run->list->items[stage];
    rlhfi_string *out = &run->buffers[2 * stage];
    bool begins = bytes > 0 && (text[0] == ' ' || (bytes >= item->replacement_bytes &&
                                                   memcmp(text, item->replacement, item->replacement_bytes) == 0));
    out->size = 0;
    if (!begins && (item->prepend == PREPEND_ALWAYS || (item->prepend == PREPEND_FIRST && at_start)))
        rlhfi_string_add_bytes(out, item->replacement, item->replacement_bytes);
    for (size_t at = 0; at < bytes;) {
        const char *space = memchr(text + at, ' ', bytes - at);
        size_t length = space ? (size_t)(space - text) - at : bytes - at;
        rlhfi_string_add_bytes(out, text + at, length);
        if (space)
            rlhfi_string_add_bytes(out, item->replacement, item->replacement_bytes);
        at += length + (space ? 1 : 0);
    }
    if (out->failed)
        return rlhfi_out_of_memory(out->context);
    if (item->split)
        return split(run, stage, MERGED_WITH_NEXT, out->data, out->size, at_start);
    return pass(run, stage, out->data, 0, out->size, at_start);
}

/* Runs of word characters, and runs of what is neither word nor white space. */
static rlhf_status run_words(const struct run *run, size_t stage, const char *text, size_t bytes, bool at_start)
{
    size_t start = 0;
    int previous = 0; /* 0 space, 1 word, 2 other */
    for (size_t at = 0, length; at < bytes; at += length) {
        uint32_t code;
        length = rlhfi_utf8_next(text + at, &code);
        int kind = rlhfi_is_word(code) ? 1 : rlhfi_is_space(code) ? 0 : 2;
        if (kind != previous) {
            if (previous != 0)
                RLHFI_TRY(pass(run, stage, text, start, at, at_start));
            start = at;
        }
        previous = kind;
    }
    return previous != 0 ? pass(run, stage, text, start, bytes, at_start) : RLHF_OK;
}

static rlhf_status run_stage(const struct run *run, size_t stage, const char *text, size_t bytes, bool at_start)
{
    if (stage == run->list->count)
        return run->emit(run->user_data, text, bytes);
    const struct rlhfi_pretokenizer *item = &run->list->items[stage];
    switch (item->kind) {
    case BYTE_LEVEL:
        return run_byte_level(run, stage, text, bytes, at_start);
    case METASPACE:
        return run_metaspace(run, stage, text, bytes, at_start);
    case WORDS:
        return run_words(run, stage, text, bytes, at_start);
    default:
        return split(run, stage, item->behavior, text, bytes, at_start);
    }
}

rlhf_status rlhfi_pretokenize(const struct rlhfi_pretokenizers *pretokenizers, rlhfi_string *buffers, const char *text,
                              size_t bytes, bool at_start, rlhfi_piece_fn emit, void *user_data)
{
    const struct run run = {pretokenizers, buffers, emit, user_data};
    return run_stage(&run, 0, text, bytes, at_start);
}
