/* Patterns and the cutting of a text by them. Text is valid UTF-8 everywhere here. */
#include "text/pattern.h"

#include "text/unicode.h"

rlhf_status rlhfi_pattern_set_literal(struct rlhfi_pattern *pattern, rlhf_context *context, const char *text,
                                      size_t bytes)
{
    pattern->literal = rlhfi_strndup(context, text, bytes);
    pattern->literal_bytes = bytes;
    return pattern->literal ? RLHF_OK : rlhfi_out_of_memory(context);
}

rlhf_status rlhfi_pattern_parse(struct rlhfi_pattern *pattern, rlhf_context *context, const rlhfi_json *node)
{
    size_t bytes;
    const rlhfi_json *literal = rlhfi_json_type(node) == RLHFI_JSON_STRING ? node : rlhfi_json_get(node, "String");
    const char *text = rlhfi_json_text(literal, &bytes);
    if (text)
        return rlhfi_pattern_set_literal(pattern, context, text, bytes);
    text = rlhfi_json_text(rlhfi_json_get(node, "Regex"), &bytes);
    if (text)
        return rlhfi_regex_compile(&pattern->regex, context, text, bytes);
    return rlhfi_fail(context, RLHF_E_FORMAT, "pattern: must be {\"String\": ...} or {\"Regex\": ...}");
}

void rlhfi_pattern_free(struct rlhfi_pattern *pattern, rlhf_context *context)
{
    rlhfi_regex_release(&pattern->regex);
    rlhfi_free(context, pattern->literal);
    memset(pattern, 0, sizeof *pattern);
}

/* ---- matching ------------------------------------------------------------------------------------------------- */

static bool find_member(const struct rlhfi_pattern *pattern, const char *text, size_t bytes, size_t from, size_t *start,
                        size_t *end)
{
    while (from < bytes) {
        uint32_t code;
        size_t length = rlhfi_utf8_next(text + from, &code);
        if (pattern->member(code)) {
            *start = from;
            *end = from + length;
            return true;
        }
        from += length;
    }
    return false;
}

static bool find_literal(const struct rlhfi_pattern *pattern, const char *text, size_t bytes, size_t from,
                         size_t *start, size_t *end)
{
    const char *place = text + from;
    if (pattern->literal_bytes == 1)
        place = from < bytes ? memchr(place, pattern->literal[0], bytes - from) : NULL;
    else if (pattern->literal_bytes > 1)
        place = from < bytes ? memmem(place, bytes - from, pattern->literal, pattern->literal_bytes) : NULL;
    if (!place)
        return false;
    *start = (size_t)(place - text);
    *end = *start + pattern->literal_bytes;
    return true;
}

static rlhf_status find(const struct rlhfi_pattern *pattern, const char *text, size_t bytes, size_t from, size_t *start,
                        size_t *end, bool *found)
{
    if (pattern->regex)
        return rlhfi_regex_find(pattern->regex, text, bytes, from, start, end, found);
    *found = pattern->member ? find_member(pattern, text, bytes, from, start, end)
                             : find_literal(pattern, text, bytes, from, start, end);
    return RLHF_OK;
}

void rlhfi_segments_begin(struct rlhfi_segments *segments, const struct rlhfi_pattern *pattern, const char *text,
                          size_t bytes)
{
    *segments = (struct rlhfi_segments){.pattern = pattern, .text = text, .bytes = bytes, .last_end = SIZE_MAX};
}

/* Finds the next match; an empty one directly behind the last match does not count. */
static rlhf_status find_next(struct rlhfi_segments *segments)
{
    bool found;
    for (;;) {
        if (segments->search > segments->bytes)
            break;
        RLHFI_TRY(find(segments->pattern, segments->text, segments->bytes, segments->search, &segments->match_start,
                       &segments->match_end, &found));
        if (!found)
            break;
        if (segments->match_start != segments->match_end || segments->match_end != segments->last_end) {
            segments->pending = true;
            segments->search = segments->last_end = segments->match_end;
            return RLHF_OK;
        }
        uint32_t code;
        segments->search = segments->match_end;
        segments->search +=
            segments->search < segments->bytes ? rlhfi_utf8_next(segments->text + segments->search, &code) : 1;
    }
    segments->exhausted = true;
    return RLHF_OK;
}

rlhf_status rlhfi_segments_next(struct rlhfi_segments *segments, bool *more)
{
    if (!segments->pending && !segments->exhausted)
        RLHFI_TRY(find_next(segments));
    *more = true;
    segments->start = segments->done;
    if (segments->pending && segments->match_start == segments->done) {
        segments->end = segments->match_end;
        segments->is_match = true;
        segments->pending = false;
    } else {
        segments->end = segments->pending ? segments->match_start : segments->bytes;
        segments->is_match = false;
        *more = segments->pending || segments->end > segments->start;
    }
    segments->done = segments->end;
    return RLHF_OK;
}

rlhf_status rlhfi_pattern_replace_add(const struct rlhfi_pattern *pattern, const char *text, size_t bytes,
                                      const char *content, size_t content_bytes, rlhfi_string *out)
{
    struct rlhfi_segments segments;
    bool more;
    rlhfi_segments_begin(&segments, pattern, text, bytes);
    for (;;) {
        RLHFI_TRY(rlhfi_segments_next(&segments, &more));
        if (!more)
            break;
        if (segments.is_match)
            rlhfi_string_add_bytes(out, content, content_bytes);
        else
            rlhfi_string_add_bytes(out, text + segments.start, segments.end - segments.start);
    }
    return out->failed ? rlhfi_out_of_memory(out->context) : RLHF_OK;
}
